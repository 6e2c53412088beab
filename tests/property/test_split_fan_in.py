"""Partial sums: every spike and membrane as before, within the chip's limits, whatever is split how."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.legal import Choices
from compiler.legal.fan_in import needs, together
from compiler.legal.separate_axons import SeparateAxons
from compiler.legal.split_fan_in import SplitFanIn
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Network
from neurochip.network.projections import Einsum, Pool, Source
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from tests.crossbar_chips import crossbar_chip
from tests.legal_networks import layers
from tests.property.test_simulator import ORIGIN
from tests.property.test_time import simulated
from tests.small_chips import small_chip
from tests.strategies import random_network
from tests.unit.test_balance import unbalanced

SEEDS = st.integers(0, 10_000)
RULES = Arithmetic(fires="ge", soft_reset=True)
WIDE = Choices(weight_bits=8, max_interval=4096)


def equal(before: Network, after: Network, x: np.ndarray) -> None:
    """All populations of ``before`` do the same in ``after``, and no burst exceeds what was proven."""
    expected, found = before.run(x), after.run(x)
    for name, spikes in expected.spikes.items():
        assert np.array_equal(spikes, found.spikes[name]), name
    assert np.array_equal(expected.readout, found.readout)
    for population in after.populations:
        if population.name in found.spikes:
            assert found.spikes[population.name].max() <= population.high


def fits(network: Network, chip: ChipSpec) -> bool:
    return all(
        together(list(needs(network, p, chip, 8).values())).fit(chip)
        for p in network.populations
        if p.neuron.kind not in ("source", "product")
    )


def dense(seed: int, rules: Arithmetic = RULES) -> tuple[Network, np.ndarray]:
    """Three layers of up to 30 inputs with weights of either sign, T up to 4."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(8, 31, 4)
    top = int(rng.choice([1, 3, 7]))
    weights = [rng.integers(-top, top + 1, shape).tolist() for shape in pairwise(sizes)]
    timesteps = int(rng.integers(1, 5))
    x = (rng.random((timesteps, 3, sizes[0])) < 0.4).astype(np.float64)
    return layers(*weights, timesteps=timesteps, arithmetic=rules), x


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(8, 20), st.sampled_from([0, 8]), st.booleans())
def test_dense_layers_keep_every_spike(seed: int, axons: int, payload: int, counts: bool) -> None:
    network, x = dense(seed)
    chip = small_chip(input_axons=axons, arithmetic=RULES, weight_sharing=False, payload=payload, counts=counts)
    try:
        after = SplitFanIn().run(network, chip, WIDE)
    except CapacityError:
        assert axons < 12  # the parts of 30 inputs arrive on fewer axons than that
        return
    validate_network(after, timed=False)
    validate_network(balance(after, 7))
    assert fits(after, chip)
    assert (after.interval == 1) == (payload > 0 or all(p.high == 1 for p in after.populations))
    equal(network, after, x)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(20, 80))
def test_convolutions_pools_residuals_and_products_keep_every_spike(seed: int, axons: int) -> None:
    network, x = random_network(seed, arithmetic=RULES)
    chip = small_chip(input_axons=axons, arithmetic=RULES, weight_sharing=False, counts=False)
    plain = unbalanced(network)
    try:
        after = SplitFanIn().run(SeparateAxons().run(plain, chip, WIDE), chip, WIDE)
    except (CapacityError, UnsupportedError):
        return
    validate_network(after, timed=False)
    equal(plain, after, x)


@settings(max_examples=6, deadline=None)
@given(SEEDS)
def test_the_simulator_does_the_same(seed: int) -> None:
    network, x = dense(seed)
    chip = small_chip(input_axons=18, arithmetic=RULES, weight_sharing=False)
    simulated(SplitFanIn().run(network, chip, WIDE), x, 7, chip)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(3, 6))
def test_sums_wider_than_a_payload_travel_as_two_digits(seed: int, payload: int) -> None:
    network, x = dense(seed)
    chip = small_chip(input_axons=18, arithmetic=RULES, weight_sharing=False, payload=payload)
    after = SplitFanIn().run(network, chip, WIDE)
    validate_network(after, timed=False)
    assert after.interval == 1
    assert all(p.high < 1 << payload for p in after.populations if p.coding == "graded")
    assert fits(after, chip)
    equal(network, after, x)


def summing(seed: int) -> tuple[Network, np.ndarray]:
    """48 spikes, summed over three axes of sizes 4, 3 and 2 into two neurons with weights 3 and -1 << 6."""
    network, _ = dense(seed)
    first, last = network.populations[0], network.populations[-1]
    source, readout = replace(first, channels=48), replace(last, channels=2)
    middle = replace(network.populations[1], name="sums", channels=2, origin="sums")
    sizes = (("n", 4), ("t", 3), ("c", 2), ("h", 2))
    einsums = [
        Einsum(
            name=f"sums.{weight}", sources=(Source(source.name),), target="sums", origin="sums", shift=6, weight=weight,
            axes=(",,nhtc", ",,h"), sizes=sizes,
        )
        for weight in (3, -1)
    ]  # fmt: skip
    out = Pool(name="out", sources=(Source("sums"),), target=readout.name, origin="out", shift=6)
    rng = np.random.default_rng(seed)
    changed = replace(
        network,
        populations=(source, middle, readout),
        projections=(*einsums, out),
        input=replace(network.input, shape=(48,)),
        readout=replace(network.readout, bias=(0.0, 0.0)),
    )
    return changed, (rng.random((network.timesteps, 3, 48)) < rng.random()).astype(np.float64)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(14, 47), st.sampled_from([0, 3, 8]))
def test_sums_by_index_are_cut_along_the_axes_they_sum_over(seed: int, axons: int, payload: int) -> None:
    network, x = summing(seed)
    chip = small_chip(input_axons=axons, arithmetic=RULES, weight_sharing=False, payload=payload)
    after = SplitFanIn().run(network, chip, WIDE)
    validate_network(after, timed=False)
    assert fits(after, chip)
    assert len(after.populations) > len(network.populations)
    equal(network, after, x)


def test_a_chip_that_needs_no_split_gets_its_network_back() -> None:
    network, _ = dense(1)
    assert SplitFanIn().run(network, small_chip(arithmetic=RULES), WIDE) is network


def test_synapse_memory_splits_as_axons_do() -> None:
    network, x = dense(5)
    chip = small_chip(words=20, arithmetic=RULES)
    after = SplitFanIn().run(network, chip, WIDE)
    assert len(after.populations) > len(network.populations)
    equal(network, after, x)


def test_each_accumulate_of_the_model_is_counted_once() -> None:
    network, _ = dense(3)
    after = SplitFanIn().run(network, small_chip(input_axons=16, arithmetic=RULES, weight_sharing=False), WIDE)
    for name in "bcd":
        inputs = network.incoming[name][0].weight.shape[0]
        pieces = [p for p in after.projections if p.origin == name and p.counted and p.kind == "conv"]
        if pieces:
            assert sum(p.weight.shape[2] for p in pieces) == inputs


def test_hard_resets_are_refused() -> None:
    network, _ = dense(1, Arithmetic())
    chip = small_chip(input_axons=8, weight_sharing=False)
    with pytest.raises(UnsupportedError, match=r"layer 'b' \(b\): one neuron needs .* cannot send partial sums"):
        SplitFanIn().run(network, chip, WIDE)


def test_several_steps_whose_strobes_leave_no_room_are_refused_where_neurons_compare_in_every_tick() -> None:
    network, _ = dense(7, load_chip("truenorth").arithmetic)
    assert network.timesteps > 1
    flat = [replace(p, neuron=replace(p.neuron, decay=0)) for p in network.populations]
    chip = crossbar_chip(neurons=40, axons=6)
    with pytest.raises(CapacityError, match=r"axons that hold a neuron back over T = \d+ steps; .* or T = 1"):
        SplitFanIn().run(replace(network, populations=tuple(flat)), chip, Choices(weight_bits=4))


def test_bursts_longer_than_allowed_are_refused_with_the_length_that_would_do() -> None:
    network, _ = dense(2)
    chip = small_chip(input_axons=16, arithmetic=RULES, weight_sharing=False)
    longest = SplitFanIn().run(network, chip, WIDE).interval
    assert longest > 2
    with pytest.raises(CapacityError, match=r"at most 2 are allowed; allow more \(--max-interval \d+\)"):
        SplitFanIn().run(network, chip, replace(WIDE, max_interval=2))


def test_sums_that_do_not_split_are_refused() -> None:
    network = layers([[1]] * 40, [[1]], arithmetic=RULES)
    chip = small_chip(input_axons=3, arithmetic=RULES, weight_sharing=False, counts=False)
    with pytest.raises(CapacityError, match="do not split into parts that fit"):
        SplitFanIn().run(network, chip, WIDE)


def test_intervals_bursts_ranges_and_steps_back_survive_the_file(tmp_path: Path) -> None:
    network, x = dense(3)
    chip = small_chip(input_axons=18, arithmetic=RULES, weight_sharing=False)
    lif = network.populations[1]
    back = Pool(name="back", sources=(Source(lif.name, steps_back=1),), target=lif.name, origin=lif.name, shift=6)
    looped = replace(network, projections=(*network.projections, back))
    program = map_network(balance(SplitFanIn().run(looped, chip, WIDE), 7), chip, ORIGIN, ())
    check_program(program, arithmetic=False)
    save_program(program, tmp_path / "split.ncp")
    loaded = load_program(tmp_path / "split.ncp").network
    assert loaded.interval == program.network.interval > 1
    assert loaded.populations == program.network.populations
    assert [p.sources for p in loaded.projections] == [p.sources for p in program.network.projections]
    equal(program.network, loaded, x)


def test_programs_without_them_do_not_mention_them(tmp_path: Path) -> None:
    network, _ = dense(3)
    save_program(map_network(balance(network, 7), small_chip(arithmetic=RULES), ORIGIN, ()), tmp_path / "plain.ncp")
    with zipfile.ZipFile(tmp_path / "plain.ncp") as file:
        text = file.read("manifest.json").decode()
    assert not any(f'"{word}"' in text for word in ("interval", "steps_back", "approximate"))
