"""Limits of filled and placed cores: formats counted by hand, addresses that do not reach."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from compiler.mapping.map import map_network
from compiler.mapping.placed_limits import formats_by_core, refuse_placed
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError
from neurochip.network.network import Network
from tests.hand_programs import image_network, naive_program, spike_network
from tests.report_samples import origin
from tests.small_chips import small_chip


def limited(chip: ChipSpec, **more: dict[str, object]) -> ChipSpec:
    """``chip`` with figures at ``section__key`` replaced, sources and status filled in."""
    data = json.loads(chip.to_json())
    for path, figure in more.items():
        *sections, key = path.split("__")
        part = data
        for section in sections:
            part[section] = part[section] or {}
            part = part[section]
        part[key] = {"source": "neurochip", "status": "assumed", "note": "a test", **figure}
    return ChipSpec.model_validate(data)


def two_thresholds() -> Network:
    network = spike_network()
    cells = [p for p in network.populations if p.neuron.kind == "lif"]
    other = replace(cells[0], neuron=replace(cells[0].neuron, threshold=cells[0].neuron.threshold + 64))
    return replace(network, populations=tuple(other if p is cells[0] else p for p in network.populations))


def test_formats_are_counted_by_the_literal_rule():
    program = map_network(two_thresholds(), small_chip(neurons=100), origin(), ())
    found = formats_by_core(program)
    for core in range(len(program.cores)):
        own = [program.network.populations[t["population"]].neuron for t in program.tiles if t["core"] == core]
        assert found["neuron"][core] == len({(n.kind, n.decay, n.threshold) for n in own})
        assert found["threshold"][core] == len({n.threshold for n in own})
    assert found["neuron"].max() > 1


def test_a_core_with_more_formats_than_it_can_choose_from_is_refused():
    chip = small_chip(neurons=100)
    program = map_network(two_thresholds(), chip, origin(), ())
    refuse_placed(program)
    tight = limited(chip, core__formats__neuron={"value": 1, "unit": "formats"})
    with pytest.raises(CapacityError, match=r"core 0 holds 2 different neuron formats, a core of 'loihi' has 1"):
        refuse_placed(replace(program, chip=tight))
    assert map_network(two_thresholds(), tight, origin(), ()).n_cores == program.n_cores + 1


def test_shipped_formats_hold_what_compiling_makes():
    formats = load_chip("loihi").core.formats
    assert formats is not None
    used = formats_by_core(map_network(image_network(), load_chip("loihi"), origin(), ()))
    assert all(int(used[name].max()) <= getattr(formats, name).value for name in used)


def test_packets_beyond_the_reach_of_an_address_are_refused():
    program = naive_program(spike_network(), limited(small_chip(), mesh__reach={"value": 2, "unit": "routers"}))
    refuse_placed(program)
    cores = program.cores.copy()
    neuron_cores = np.flatnonzero(cores["kind"] == 0)
    cores["x"][neuron_cores[::2]] += 3
    with pytest.raises(CapacityError, match=r"routers along x, an address of 'loihi' reaches 2"):
        refuse_placed(replace(program, cores=cores))


def test_neurons_that_may_read_few_axons_are_refused_more():
    """Positions share axons, so a neuron behind a 3 x 3 kernel reads nine."""
    network = image_network()
    plenty = limited(small_chip(), core__fan_in_per_neuron={"value": 200, "unit": "axons"})
    assert map_network(network, plenty, origin(), ()).n_cores
    few = limited(small_chip(), core__fan_in_per_neuron={"value": 3, "unit": "axons"})
    with pytest.raises(CapacityError, match=r"one neuron reads \d+ axons, one of 'loihi' can read 3"):
        map_network(network, few, origin(), ())
