"""Every short cut of the simulator against the plain way: equal counts, spikes and times."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.mapping.map import map_network
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Dense, Pool, Projection, Source
from neurochip.noc.kernels.loads import running_sums
from neurochip.noc.mesh import Mesh
from neurochip.noc.timing import Timing
from neurochip.program.image import Origin, Program
from neurochip.sim.engine import prepared, run_program
from neurochip.sim.kernels import dense
from neurochip.sim.kernels.fanout import Fanout, RouteTable, add_up_routes
from neurochip.sim.kernels.synapses import Window
from neurochip.sim.kernels.traffic import Books, book_packets
from neurochip.sim.trace import Trace
from tests.property.test_simulator import mapped
from tests.property.test_spike_streams import compiled, spikes, summed
from tests.small_chips import small_chip
from tests.strategies import random_arithmetic, random_network
from tests.stream_networks import stacked

SEEDS = st.integers(0, 1_000_000)


def vector_program(seed: int) -> Program:
    """Random layers of integrate-and-fire and leaky neurons, with skips, on small cores."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 40, rng.integers(2, 5))
    populations = [_population("input", int(sizes[0]), 0, Neuron(kind="source"))]
    projections: list[Projection] = []
    for depth, (before, size) in enumerate(pairwise(sizes), start=1):
        neuron = Neuron(kind="lif", threshold=int(rng.integers(1, 9)) << 12, decay=int(rng.choice([0, 2048])))
        sources = [Source(f"p{depth - 1}" if depth > 1 else "input")]
        skip = populations[-2] if depth > 2 and populations[-2].channels == before else None
        sources += [Source(skip.name, 2)] if skip else []
        weight = rng.integers(-127, 128, (before, size)).astype(np.int8)
        name = f"p{depth}"
        projections.append(Dense(name=name, sources=tuple(sources), target=name, origin=name, shift=6, weight=weight))
        populations.append(_population(name, int(size), depth, neuron))
    last = populations[-1]
    populations.append(_population("counts", last.channels, last.depth + 1, Neuron(kind="readout")))
    projections.append(Pool(name="links", sources=(Source(last.name),), target="counts", origin="counts"))
    network = Network(
        name="vectors",
        timesteps=int(rng.integers(1, 9)),
        populations=tuple(populations),
        projections=tuple(projections),
        input=InputSpec(shape=(int(sizes[0]),), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="counts", scale=1.0, divisor=1, bias=(0.0,) * last.channels),
        arithmetic=Arithmetic(),
    )
    origin = Origin(
        model="vectors", model_sha256="", family="vectors", compiler_version="test", weight_bits=8,
        attention="processor", placement="hilbert", profile="loihi_sanafe_nahuku", seed=0,
    )  # fmt: skip
    return map_network(network, small_chip(arithmetic=network.arithmetic), origin, ())


def _population(name: str, size: int, depth: int, neuron: Neuron) -> Population:
    return Population(name=name, height=1, width=1, channels=size, neuron=neuron, origin=name, depth=depth)


def assert_equal(one: Any, other: Any, where: str = "trace") -> None:
    """Equal integers and times; sums of times of several inputs may be added up in another order."""
    if hasattr(one, "__dataclass_fields__"):
        for field in fields(one):
            if not field.name.endswith("seconds"):
                assert_equal(getattr(one, field.name), getattr(other, field.name), f"{where}.{field.name}")
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_equal(value, other[key], f"{where}[{key}]")
    else:
        np.testing.assert_allclose(one, other, rtol=1e-12 if where.endswith("busy_ns") else 0, err_msg=where)


def traces(program: Program, x: np.ndarray) -> tuple[Trace, Trace]:
    """One run the quick way, one that keeps every spike, which small networks do tick by tick."""
    return run_program(program, x), run_program(program, x, observe=lambda *_: None)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 3))
def test_small_networks_in_one_call_count_what_the_engine_counts(seed: int, inputs: int) -> None:
    program = vector_program(seed)
    assert prepared(program)[2] is not None, "must take the quick way"
    network = program.network
    x = np.random.default_rng(seed).integers(0, 2, (network.timesteps, inputs, *network.input.shape)).astype(np.uint8)
    quick, plain = traces(program, x)
    assert_equal(quick, plain)
    assert np.array_equal(quick.readout, network.run(x).readout)


def test_what_a_run_prepares_is_kept_with_its_program_alone() -> None:
    program = vector_program(3)
    assert prepared(program) is prepared(program)
    assert prepared(replace(program)) is not prepared(program)


def with_relays(network: Network) -> Network:
    """``network`` with a relay wherever a projection waits for one source's unit spikes for more than a tick."""
    populations, projections = list(network.populations), []
    for projection in network.projections:
        source = projection.sources[0] if len(projection.sources) == 1 else Source("")
        sender = network.by_name.get(source.population)
        if sender is not None and sender.neuron.kind == "lif" and source.delay > 1 and isinstance(projection, Dense):
            name = f"{projection.name}.relay"
            neuron = Neuron(kind="lif", threshold=63)
            relay = replace(sender, name=name, neuron=neuron, depth=sender.depth + 1, compartments=1)
            populations.append(relay)
            projections.append(Pool(name=name, sources=(Source(sender.name),), target=name, origin=name, shift=6))
            projection = replace(projection, sources=(Source(name, source.delay - 1),))
        projections.append(projection)
    order = sorted(populations, key=lambda p: p.depth)
    return replace(network, populations=tuple(order), projections=tuple(projections))


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 2), st.booleans())
def test_layer_by_layer_counts_what_tick_by_tick_counts(seed: int, threads: int, odd: bool) -> None:
    arithmetic = random_arithmetic(seed) if odd else Arithmetic()
    network, x = random_network(seed, arithmetic=arithmetic, rare=seed % 3 == 0)
    program = mapped(with_relays(network))
    assume(prepared(program)[3] is not None)
    assert_equal_to_ticks(program, x, threads)


def assert_equal_to_ticks(program: Program, x: np.ndarray, threads: int) -> None:
    layers = run_program(program, x, threads=threads)
    with patch("neurochip.sim.engine.wave_plans", return_value=None):
        ticks = run_program(replace(program), x)
    assert_equal(layers, ticks)
    assert np.array_equal(layers.cores.busy_ns, ticks.cores.busy_ns), "sums of times are added up in one order"


@settings(max_examples=15, deadline=None)
@given(
    st.integers(2, 5), st.integers(1, 3), st.integers(1, 3), st.sets(st.integers(0, 4), min_size=1), st.integers(0, 999)
)
def test_counts_that_travel_spike_by_spike_are_booked_in_their_ticks(
    depth: int, side: int, timesteps: int, levels: set[int], seed: int
) -> None:
    network = stacked(depth, 4, side, timesteps, seed)
    chip = small_chip()
    program = compiled(summed(network, levels, chip), chip)
    assert prepared(program)[3] is not None
    assert_equal_to_ticks(program, spikes(network, seed), 1 + seed % 2)


LATENCY = Timing(x_latency=3, y_latency=5, chip_latency=7)


def random_table(rng: np.random.Generator, mesh: Mesh) -> RouteTable:
    """Routes of tiles of one population of 4 x 4 positions and 8 channels to random cores, several from one box."""
    n_cores, n_tiles, n_ports = 30, 6, 9
    cores = np.zeros((n_cores, 5), np.int64)
    cores[:, 0], cores[:, 1] = rng.integers(0, mesh.width, n_cores), rng.integers(0, mesh.height, n_cores)
    cores[:, 2], cores[:, 3], cores[:, 4] = rng.integers(0, 2, n_cores), 3 * cores[:, 0], 5 * cores[:, 1]
    cores[:, 3] += 7 * (cores[:, 0] // mesh.columns)
    cores[:, 4] += 7 * (cores[:, 1] // mesh.rows)

    def boxes(count: int) -> np.ndarray:
        low = rng.integers(0, (3, 3, 7), (count, 3))
        high = rng.integers(low + 1, (5, 5, 9))
        return np.stack([low, high], axis=2).reshape(count, 6)

    tiles = np.column_stack([np.zeros(n_tiles), rng.integers(0, n_cores, n_tiles), boxes(n_tiles)]).astype(np.int32)
    ports = np.column_stack([np.arange(n_ports) % n_cores, np.zeros(n_ports), boxes(n_ports)]).astype(np.int32)
    pairs = [
        (t, p, 1)
        for t in range(n_tiles)
        for p in range(n_ports)
        if all(max(tiles[t, a], ports[p, a]) < min(tiles[t, a + 1], ports[p, a + 1]) for a in (2, 4, 6))
    ]
    routes = np.array(pairs, np.int32).reshape(-1, 3)
    size = mesh.height, mesh.width
    return RouteTable(tiles, ports, routes, cores, (mesh.columns, mesh.rows), size, LATENCY.rings(mesh))


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.booleans(), st.booleans())
def test_booking_by_box_equals_sending_every_packet_along_its_route(seed: int, wrap_x: bool, wrap_y: bool) -> None:
    rng = np.random.default_rng(seed)
    mesh = Mesh(columns=3, rows=2, chip_columns=2, chip_rows=2, wrap_x=wrap_x, wrap_y=wrap_y)
    table = random_table(rng, mesh)
    n, cores = len(table.routes), table.cores
    room = Fanout(
        np.empty((n + 1, 7), np.int32), np.empty((n + 1, 6), np.int32), np.empty(n + 1, np.int32),
        np.zeros(n + 1, np.int32), np.empty((n, 2), np.int32),
        np.zeros(n + 1, np.int32), np.empty((7 * n, 2), np.int32),
    )  # fmt: skip
    boxes = add_up_routes(table, np.arange(9, dtype=np.int32), room)[0] if n else 0
    fanout = room._replace(boxes=room.boxes[:boxes])
    spikes = rng.integers(0, 3, (4, 4, 8))
    packets = np.array([[spikes[b[0] : b[1], b[2] : b[3], b[4] : b[5]].sum() for b in fanout.boxes]], np.int64)
    books = Books(
        np.zeros((1, len(cores)), np.int64), np.zeros((1, 3 * (len(cores) + 1)), np.int64), np.zeros(1, np.int64),
        np.zeros((1, 4 * mesh.n_routers), np.int64),
    )  # fmt: skip
    totals = book_packets(packets.reshape(1, -1), fanout, books)

    sent, received = np.zeros((2, len(cores)), np.int64)
    links, moved, longest = np.zeros(mesh.n_links, np.int64), np.zeros(6, np.int64), 0
    for t, p, _ in table.routes:
        low = np.maximum(table.tiles[t, 2::2], table.ports[p, 2::2])
        high = np.minimum(table.tiles[t, 3::2], table.ports[p, 3::2])
        count = int(spikes[low[0] : high[0], low[1] : high[1], low[2] : high[2]].sum())
        source, target = cores[table.tiles[t, 1]], cores[table.ports[p, 0]]
        path = mesh.links_of((source[0], source[1]), (target[0], target[1]))
        crossing = int(mesh.link_ends().crossing[path].sum())
        hops = np.bincount(mesh.link_ends().direction[path] // 2, minlength=2)
        moved += count * np.array([1, *hops, crossing, not hops.any(), target[2]])
        links[path] += count
        sent[table.tiles[t, 1]] += count
        received[table.ports[p, 0]] += count
        longest = max(longest, int(LATENCY.links(mesh).latency[path].sum()) if count else 0)
    arrived = np.cumsum(books.received.reshape(3, -1), axis=1)[:, :-1]
    spans = books.spans.reshape(4, mesh.height, mesh.width)
    np.subtract.at(spans[2], (cores[:, 1], cores[:, 0]), arrived[1])
    np.add.at(spans[3], (cores[:, 1], cores[:, 0]), arrived[2])
    loads = np.zeros((4, mesh.height, mesh.width), np.int64)
    running_sums(spans[:2], spans[2:], loads)
    assert np.array_equal(totals, moved)
    assert np.array_equal(books.sent[0], sent)
    assert np.array_equal(arrived.sum(axis=0), received)
    assert np.array_equal(loads.ravel()[mesh.link_places], links)
    assert books.longest[0] == longest


@pytest.mark.skipif(not dense.AVAILABLE, reason="this processor has no dot products of bytes")
@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_matrix_products_equal_integer_sums_for_every_window(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, stride, padding = int(rng.integers(1, 4)), int(rng.integers(1, 3)), int(rng.integers(0, 2))
    height, width = rng.integers(kernel, 9, 2)
    n_in, n_out, inputs = 4 * int(rng.integers(1, 4)), dense.PANEL * int(rng.integers(1, 3)), int(rng.integers(1, 3))
    counts = np.zeros((inputs, height + 2 * padding, width + 2 * padding, n_in), np.uint8)
    inner = counts[:, padding : padding + height, padding : padding + width]
    inner[:] = rng.integers(0, 256, inner.shape)
    weight = rng.integers(-128, 128, (kernel, kernel, n_in, n_out)).astype(np.int8)
    out = ((height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1)
    window = Window(height, width, *out, kernel, kernel, stride, stride, padding, padding)
    current = rng.integers(-9, 9, (inputs * out[0] * out[1], n_out)).astype(np.int32)
    expected = current.reshape(inputs, *out, n_out).astype(np.int64)
    for y in range(out[0]):
        for x in range(out[1]):
            patch = counts[:, y * stride : y * stride + kernel, x * stride : x * stride + kernel].astype(np.int64)
            expected[:, y, x] += np.einsum("bijc,ijco->bo", patch, weight.astype(np.int64))
    panels = dense.panels(weight.reshape(-1, n_out), kernel)
    dense.multiply(counts, window, panels, (0, 1, 0, out[0]), current.reshape(inputs, -1, n_out))
    assert np.array_equal(current, expected.reshape(current.shape))
