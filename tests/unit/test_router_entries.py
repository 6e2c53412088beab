"""Routing tables: entries of hand-placed trees, and the refusal of a chip that runs out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from compiler.mapping.map import map_network
from compiler.mapping.router_entries import refuse_full_routers, router_entries
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError
from neurochip.program.image import PORTS, TILES
from tests.hand_programs import naive_program, spike_network
from tests.report_samples import origin
from tests.small_chips import small_chip


def with_entries(chip: ChipSpec, entries: int) -> ChipSpec:
    data = json.loads(chip.to_json())
    figure = {"value": entries, "unit": "entries", "source": "neurochip", "status": "assumed", "note": "a test"}
    data["mesh"] |= {"multicast": "tree", "router_entries": figure}
    return ChipSpec.model_validate(data)


def placed(entries: int = 1000):
    """A tile of four channels on router (1, 1): all go to (3, 1) and (2, 0), the first two also to (1, 1)."""
    program = naive_program(spike_network(), with_entries(small_chip(columns=8, rows=4), entries))
    cores = program.cores[[0, 0, 0, 0]].copy()
    cores["x"], cores["y"] = [1, 3, 2, 1], [1, 1, 0, 1]
    tiles = np.array([(0, 0, 0, 1, 0, 1, 0, 4)], TILES)
    ports = np.array([(core, 0, 0, 1, 0, 1, 0, 4 if core < 3 else 2) for core in (1, 2, 3)], PORTS)
    return replace(program, cores=cores, tiles=tiles, ports=ports)


def test_entries_are_at_the_source_at_turns_and_where_packets_arrive():
    assert router_entries(placed()).tolist() == [
        [0, 0, 1, 0],  # (2, 0): arrives
        [0, 2, 1, 1],  # (1, 1): the key of all and that of the first two; (2, 1): turns north; (3, 1): arrives
    ]


def test_a_router_that_runs_out_is_named_with_the_limit():
    refuse_full_routers(placed(entries=2))
    with pytest.raises(CapacityError, match=r"router \(1, 1\) needs 2 routing-table entries, chip 'loihi' has 1"):
        refuse_full_routers(placed(entries=1))


def test_mapping_refuses_a_chip_whose_tables_are_too_small():
    network = spike_network()
    assert map_network(network, with_entries(small_chip(), 100), origin(), ()).n_cores
    with pytest.raises(CapacityError, match="routing-table entries"):
        map_network(network, with_entries(small_chip(neurons=5), 1), origin(), ())
