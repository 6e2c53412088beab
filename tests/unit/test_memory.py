"""Memory of a compilation: what full-size models cannot afford, on small arrays and without a clock."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Conv2d, Input, Linear, Mean
from compiler.ir.ops.base import ELEMENTS_AT_ONCE, weighted_interval
from compiler.mapping.linking import linked, merged
from compiler.mapping.traffic import Edges
from compiler.passes.merge_linear import MergeLinear
from compiler.passes.target import Target
from compiler.passes.units import Levels, integer_weights
from neurochip.network.arithmetic import Arithmetic
from neurochip.sim.booking import _room
from neurochip.sim.kernels.fanout import RouteTable, add_up_routes

BLOCK = 8 * ELEMENTS_AT_ONCE


def peak_of(work: Callable[[], Any]) -> tuple[Any, int]:
    """What ``work`` returns, and the most bytes it held at once, its result included."""
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_quantising_weights_holds_the_integers_and_a_few_blocks() -> None:
    weight = np.random.default_rng(0).normal(size=(64, 64, 28, 28))
    whole, peak = peak_of(lambda: integer_weights(weight, 0.02, Levels(-127, 127)))
    assert np.array_equal(whole, np.clip(np.rint(weight / 0.02), -127, 127))
    assert peak < whole.nbytes + 5 * BLOCK


def test_bounds_of_a_current_take_no_copy_of_its_weights() -> None:
    weight = np.random.default_rng(0).integers(-127, 128, (512, 16 * 1024)).astype(np.int8)
    bias = np.arange(512, dtype=np.int32)
    found, peak = peak_of(lambda: weighted_interval(weight, bias, 0.0, 2.0))
    wide = weight.astype(np.int64)
    ends = [2 * part.sum(axis=1) + bias for part in (np.minimum(wide, 0), np.maximum(wide, 0))]
    assert found == (ends[0].min(), ends[1].max())
    assert peak < 5 * BLOCK < weight.nbytes


def test_a_mean_of_currents_over_positions_is_merged_without_copies_of_its_matrix() -> None:
    rng = np.random.default_rng(0)
    conv = Conv2d(weight=rng.normal(size=(48, 48, 3, 3)).astype(np.float32), padding=(1, 1))
    nodes = (
        Node("x", Input(shape=(48, 14, 14), integer=True, low=0, high=1)),
        Node("conv", conv, ("x",)),
        Node("mean", Mean(axes=(1, 2)), ("conv",)),
    )
    graph = Graph(name="pooled", nodes=nodes, outputs=("mean",), timesteps=1)
    target = Target(arithmetic=Arithmetic(), weight_low=-127, weight_high=127, shift_low=0, shift_high=7)
    found, peak = peak_of(lambda: MergeLinear().run(graph, target))
    (matrix,) = [node.op for node in found.nodes if isinstance(node.op, Linear)]
    assert matrix.weight.shape == (48, 48 * 14 * 14)
    assert peak < 1.35 * matrix.weight.nbytes
    x = (rng.random((1, 2, 48, 14, 14)) < 0.2).astype(float)
    np.testing.assert_allclose(found.run(x).outputs["mean"], graph.run(x).outputs["mean"], rtol=1e-9)


@dataclass(frozen=True)
class Ring:
    """Each of ``n_clusters`` clusters talks to the next 200; edges exist only while they are looked at."""

    n_clusters: int

    def parts(self) -> Iterator[Edges]:
        source = np.arange(self.n_clusters, dtype=np.int32)
        for step in range(1, 201):
            yield Edges(source, (source + step) % self.n_clusters, np.full(self.n_clusters, step, np.int32))


def test_links_of_traffic_are_all_that_placement_holds_of_it() -> None:
    traffic, movable = Ring(2000), np.arange(2000)
    linked(traffic, movable, 1.0)  # kernels are compiled
    (links, _), peak = peak_of(lambda: linked(traffic, movable, 1.0))
    assert len(links.target) == 2 * 200 * 2000
    held = links.target.nbytes + links.weight.nbytes
    assert peak < 1.1 * held
    coarse = merged(links, movable // 4)
    assert links.weight.sum() == 2 * 2000 * 201 * 100
    assert len(coarse.target) < len(links.target) / 10


def test_coarse_links_are_made_from_finer_ones_a_part_at_a_time(monkeypatch: Any) -> None:
    monkeypatch.setattr("compiler.mapping.linking._AT_ONCE", 1 << 15)
    traffic, movable = Ring(2000), np.arange(2000)
    links, _ = linked(traffic, movable, 1.0)
    merged(links, movable // 4)
    coarse, peak = peak_of(lambda: merged(links, movable // 4))
    held = coarse.target.nbytes + coarse.weight.nbytes
    assert peak < held + 16 * (1 << 15) + 100_000 < links.target.nbytes


def test_targets_in_one_column_share_what_the_books_hold_of_their_links() -> None:
    """A core at (2, 1) sends to the other cores of a 5 x 4 mesh, column after column within each row."""
    x, y = np.arange(20) % 5, np.arange(20) // 5
    cores = np.stack([x, y, 0 * x, 10 * x, 10 * y], axis=1).astype(np.int64)
    box = [0, 1, 0, 1, 0, 8]
    tiles = np.array([[0, 7, *box]], np.int32)
    ports = np.array([[core, 0, *box] for core in range(20)], np.int32)
    routes = np.array([[0, port, 1] for port in range(20)], np.int32)
    piece = np.zeros(9, np.int32)
    piece[8] = 1
    out = _room(2, 20)
    boxes, _, n_spans = add_up_routes(RouteTable(tiles, ports, routes, cores, (5, 4), (4, 5)), piece, out)
    index = out.spans[:n_spans, 0]
    assert boxes == 1
    assert len(set(index.tolist())) == n_spans == 4 + 5 + 5 + 2  # rows without x = 2, south, north, leaving
    counts = np.zeros(80, np.int64)
    np.add.at(counts, index, out.spans[:n_spans, 1])
    east, west, south, north = counts.reshape(4, 4, 5)
    assert east[1].tolist() == [0, 0, 8, -4, -4]
    assert west[1].tolist() == [4, 4, -8, 0, 0]
    assert south[1].tolist() == [2] * 5
    assert north[1].tolist() == [-1] * 5
