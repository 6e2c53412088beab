"""Multicast trees against a literal union of XY paths: links, hops, crossings, deliveries and energy."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.mapping.map import map_network
from neurochip.chip.spec import ChipSpec
from neurochip.errors import SimulationError
from neurochip.program.image import Program
from neurochip.sim.clock import program_mesh
from neurochip.sim.engine import run_program
from tests.hand_programs import naive_program, spike_network
from tests.report_samples import origin
from tests.small_chips import small_chip
from tests.strategies import random_network


def with_trees(chip: ChipSpec) -> ChipSpec:
    data = json.loads(chip.to_json())
    data["mesh"]["multicast"] = "tree"
    return ChipSpec.model_validate(data)


def closed(program: Program) -> Program:
    """``program`` on a torus of no more chips than it uses."""
    data = json.loads(program.chip.to_json())
    data["mesh"]["topology"] = "torus"
    mesh = program_mesh(program)
    for name, chips in (("columns", mesh.chip_columns), ("rows", mesh.chip_rows)):
        data["boards"][name]["value"] = chips
    data["boards"]["max_chips"]["value"] = mesh.chip_columns * mesh.chip_rows
    return replace(program, chip=ChipSpec.model_validate(data))


def tree_links(program: Program, spikes: dict[str, np.ndarray]) -> tuple[Counter[int], int, Counter[int]]:
    """Packets over each link, packets sent and packets received by core, one neuron's box at a time."""
    mesh, cores = program_mesh(program), program.cores
    links, received, sent = Counter[int](), Counter[int](), 0
    groups: dict[tuple[int, ...], set[int]] = {}
    for tile_id, port_id, _ in program.routes.tolist():
        tile, port = program.tiles[tile_id], program.ports[port_id]
        box = [max(tile[a + "0"], port[a + "0"]) for a in "yxc"] + [min(tile[a + "1"], port[a + "1"]) for a in "yxc"]
        groups.setdefault((tile_id, *map(int, box)), set()).add(port_id)
    for (tile_id, y0, x0, c0, y1, x1, c1), ports in groups.items():
        tile = program.tiles[tile_id]
        population = program.network.populations[tile["population"]]
        per_neuron = spikes[population.name].sum(axis=(0, 1)).reshape(population.height, population.width, -1)
        packets = int(per_neuron[y0:y1, x0:x1, c0:c1].sum())
        here = cores[tile["core"]]
        union = set()
        for port_id in ports:
            target = program.ports[port_id]["core"]
            received[int(target)] += packets
            there = cores[target]
            path = mesh.links_of((int(here["x"]), int(here["y"])), (int(there["x"]), int(there["y"])))
            union |= set(path.tolist())
        sent += packets
        for link in union:
            links[link] += packets
    return links, sent, received


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 1 << 30), st.booleans())
def test_every_link_of_a_tree_carries_a_packet_once(seed: int, torus: bool) -> None:
    network, x = random_network(seed)
    if any(p.neuron.kind == "product" for p in network.populations):
        return  # payloads count as their digits
    program = map_network(network, with_trees(small_chip()), origin(), ())
    program = closed(program) if torus else program
    trace = run_program(program, x)
    links, sent, received = tree_links(program, network.run(x).spikes)
    assert {i: int(n) for i, n in enumerate(trace.links) if n} == {i: n for i, n in links.items() if n}
    assert trace.packets == sent
    assert trace.hops_x + trace.hops_y == sum(links.values())
    assert {i: int(n) for i, n in enumerate(trace.cores.packets_in) if n} == {i: n for i, n in received.items() if n}
    ends = program_mesh(program).link_ends()
    assert trace.crossings == sum(n for i, n in links.items() if ends.crossing[i])


def test_a_tree_never_takes_more_hops_than_single_packets() -> None:
    network, x = spike_network(), np.ones((4, 2, 20))
    single = run_program(naive_program(network, small_chip(), 1, 2), x)
    tree = run_program(naive_program(network, with_trees(small_chip()), 1, 2), x)
    assert 0 < tree.hops_x + tree.hops_y < single.hops_x + single.hops_y
    assert 0 < tree.packets < single.packets
    assert np.array_equal(tree.cores.packets_in, single.cores.packets_in)
    assert np.array_equal(tree.logits, single.logits)
    assert (tree.links <= single.links).all()


def test_a_torus_is_as_large_as_its_system_and_packets_go_round_where_that_is_shorter() -> None:
    for chip in (small_chip(columns=5), with_trees(small_chip(columns=5))):
        program, x = naive_program(spike_network(), chip, 1, 2), np.ones((4, 2, 20))
        line, ring = run_program(program, x), run_program(closed(program), x)
        mesh = program_mesh(closed(program))
        assert (mesh.wrap_x, program_mesh(program).wrap_x) == (True, False)
        assert ring.links[mesh.link_ends().target - mesh.link_ends().source == 1 - mesh.width].any()
        # a tree of shortest ways may have more links than one that never goes round
        assert ring.hops_x < line.hops_x or chip.mesh.multicast == "tree"
        assert np.array_equal(ring.logits, line.logits)
        assert np.array_equal(ring.cores.packets_in, line.cores.packets_in)
        if chip.mesh.multicast == "tree":
            with pytest.raises(SimulationError, match="multicast trees"):
                run_program(closed(program), x, noc="packet")
        else:
            assert np.array_equal(run_program(closed(program), x, noc="packet").links, ring.links)


def test_a_model_on_less_than_half_of_a_torus_is_as_on_a_mesh() -> None:
    program, x = naive_program(spike_network(), small_chip(columns=5), 1, 2), np.ones((4, 2, 20))
    data = json.loads(closed(program).chip.to_json())
    for name, chips in (("columns", 9), ("rows", 9), ("max_chips", 81)):
        data["boards"][name]["value"] = chips
    free = replace(program, chip=ChipSpec.model_validate(data))
    assert program_mesh(free) == program_mesh(program)
    assert np.array_equal(run_program(free, x).links, run_program(program, x).links)
    assert np.array_equal(run_program(free, x, noc="packet").links, run_program(program, x).links)


def test_packet_mode_refuses_trees() -> None:
    program = naive_program(spike_network(), with_trees(small_chip()))
    with pytest.raises(SimulationError, match=r"multicast trees.*use analytic"):
        run_program(program, np.ones((4, 1, 20)), noc="packet")
