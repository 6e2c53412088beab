"""Tiles whose register formats do not fit one core together are kept apart."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from compiler.lower.balance import balance
from compiler.mapping.formats import KINDS, formats_of
from compiler.mapping.map import map_network
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network, Neuron
from neurochip.program.image import Program
from tests.property.test_simulator import ORIGIN
from tests.property.test_time import chain


def chip_with(**formats: int | None) -> ChipSpec:
    """Loihi whose cores have so many formats, and no other limits of that kind."""
    data = json.loads(load_chip("loihi").to_json())
    one = data["core"]["formats"]["neuron"]
    units = {"neuron": "formats", "threshold": "thresholds", "synapse": "formats"}
    data["core"]["formats"] = {
        kind: {**one, "value": formats[kind], "unit": units[kind]} for kind in KINDS if kind in formats
    }
    return ChipSpec.model_validate(data)


def thresholds(count: int) -> Network:
    """Layers of as many different thresholds, each so small that one core holds them all."""
    network, _ = chain(count)
    populations = [
        replace(p, neuron=Neuron(kind="lif", threshold=(i + 1) << 6)) if p.neuron.kind == "lif" else p
        for i, p in enumerate(network.populations)
    ]
    return balance(replace(network, populations=tuple(populations)), 7)


def most(program: Program, kind: str) -> int:
    """Different formats of one kind on the core that holds most."""
    held: dict[int, set[object]] = {}
    for tile in program.tiles:
        population = program.network.populations[tile["population"]]
        if population.neuron.kind != "source":
            held.setdefault(int(tile["core"]), set()).update(formats_of(program.network, population)[kind])
    return max(map(len, held.values()))


def test_thresholds_beyond_a_cores_number_go_to_other_cores() -> None:
    network = thresholds(6)
    free = map_network(network, chip_with(neuron=64), ORIGIN, ())
    assert (free.n_cores, most(free, "threshold")) == (1, 7)
    tight = map_network(network, chip_with(threshold=2), ORIGIN, ())
    assert most(tight, "threshold") == 2
    assert tight.n_cores == 4, "six thresholds and the readout's, two a core"


def test_lists_of_other_weight_exponents_are_formats_of_their_own() -> None:
    network = thresholds(4)
    shifted = [replace(p, shift=3 + i) for i, p in enumerate(network.projections)]
    program = map_network(replace(network, projections=tuple(shifted)), chip_with(synapse=1), ORIGIN, ())
    assert most(program, "synapse") == 1
    assert program.n_cores == len(np.unique([p.shift for p in shifted]))
