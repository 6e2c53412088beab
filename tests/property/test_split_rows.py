"""Sums with few input channels, or in groups: cut by the rows of their kernels, every spike as before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.legal import LEGAL, Choices
from compiler.legal.fan_in import needs, together
from compiler.legal.split_fan_in import SplitFanIn
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.errors import CapacityError, ProgramError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Conv, Dense, Gather, Pool, Projection, Source, narrowest
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from tests.crossbar_chips import crossbar_chip
from tests.crossbar_oracle import check_on_chip
from tests.exact import something_fires
from tests.property.test_simulator import ORIGIN
from tests.property.test_time import simulated
from tests.small_chips import small_chip

RULES = Arithmetic(fires="ge", soft_reset=True)
WIDE = Choices(weight_bits=8, max_interval=4096)
SEEDS = st.integers(0, 10_000)
KINDS = st.sampled_from(["few inputs", "stride", "groups", "depthwise", "pool", "whole image", "payloads"])


def layer(seed: int, kind: str, rules: Arithmetic, top: int = 3) -> tuple[Network, np.ndarray]:
    """Spikes of an image, one layer that reads it as ``kind`` says, and a head; T up to 3."""
    rng, unit = np.random.default_rng(seed), rules.threshold_shift
    channels = {"few inputs": 1, "stride": 2, "groups": 4, "depthwise": 3, "pool": 2}.get(kind, 1)
    side, timesteps = 6, int(rng.integers(1, 4))

    def conv(kernel: tuple[int, int], groups: int = 1, stride: int = 1) -> Conv:
        weight = narrowest(rng.integers(-top, top + 1, (*kernel, channels // groups, channels)))
        around = (kernel[0] // 2, kernel[1] // 2)
        return Conv(
            name="b.in", sources=(Source("a"),), target="b", origin="b", shift=unit, weight=weight,
            stride=(stride, stride), padding=around, groups=groups,
        )  # fmt: skip

    made: dict[str, tuple[Projection, tuple[int, int]]] = {
        "few inputs": (conv((5, 3)), (6, 6)),
        "payloads": (conv((5, 3)), (6, 6)),
        "stride": (conv((5, 3), stride=2), (3, 3)),
        "groups": (conv((5, 3), groups=2), (6, 6)),
        "depthwise": (conv((5, 5), groups=channels), (6, 6)),
        "pool": (
            Pool(name="b.in", sources=(Source("a"),), target="b", origin="b", shift=unit, kernel=(4, 4), stride=(2, 2)),
            (2, 2),
        ),
        "whole image": (
            Gather(
                name="b.in", sources=(Source("a"),), target="b", origin="b", shift=unit,
                weight=narrowest(rng.choice([-top, -1, 1, top], (1, 1))),
            ),
            (1, 1),
        ),
    }  # fmt: skip
    into, (height, width) = made[kind]
    lif = Neuron(kind="lif", threshold=int(rng.integers(1, 6)) << unit)
    populations = (
        Population(name="a", height=side, width=side, channels=channels, neuron=Neuron(kind="source"), origin="a"),
        Population(name="b", height=height, width=width, channels=channels, neuron=lif, origin="b"),
        Population(name="c", height=height, width=width, channels=2, neuron=Neuron(kind="readout"), origin="c"),
    )
    head = Dense(
        name="c.in", sources=(Source("b"),), target="c", origin="c", shift=unit,
        weight=narrowest(rng.integers(-top, top + 1, (channels, 2))),
    )  # fmt: skip
    network = Network(
        name="rows", timesteps=timesteps, populations=populations, projections=(into, head), arithmetic=rules,
        input=InputSpec(shape=(channels, side, side), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="c", scale=1.0, divisor=timesteps, bias=(0.0, 0.0)),
    )  # fmt: skip
    return network, (rng.random((timesteps, 2, channels, side, side)) < 0.5).astype(np.float64)


def equal(before: Network, after: Network, x: np.ndarray) -> None:
    expected, found = before.run(x), after.run(x)
    np.testing.assert_array_equal(expected.spikes["b"], found.spikes["b"])
    np.testing.assert_array_equal(expected.readout, found.readout)
    something_fires(bool(expected.spikes["b"].any()))


@given(SEEDS, KINDS)
@settings(max_examples=14, deadline=None)
def test_sums_cut_by_rows_keep_every_spike(seed: int, kind: str) -> None:
    network, x = layer(seed, kind, RULES)
    chip = small_chip(
        input_axons=14,
        arithmetic=RULES,
        weight_sharing=False,
        payload=8 if kind == "payloads" else 0,
        columns=8,
        rows=8,
    )
    after = SplitFanIn().run(network, chip, WIDE)
    validate_network(after, timed=False)
    assert any(isinstance(p, Conv) and p.rows is not None for p in after.projections)
    for population in (p for p in after.populations if p.neuron.kind != "source" and p.name != "c"):
        assert together(list(needs(after, population, chip, 8).values())).fit(chip)
    equal(network, after, x)


@pytest.mark.parametrize("kind", ["few inputs", "stride", "groups", "depthwise", "pool", "payloads"])
def test_the_simulator_does_the_same(kind: str) -> None:
    network, x = layer(5, kind, RULES)
    payload = 8 if kind == "payloads" else 0
    chip = small_chip(input_axons=16, arithmetic=RULES, weight_sharing=False, payload=payload, columns=8, rows=8)
    simulated(SplitFanIn().run(network, chip, WIDE), x, 7, chip)


@given(SEEDS, st.sampled_from(["few inputs", "groups", "pool"]))
@settings(max_examples=5, deadline=None)
def test_rows_on_a_crossbar_keep_every_spike_in_its_tick(seed: int, kind: str) -> None:
    chip, choices = (
        crossbar_chip(neurons=48, axons=40 if kind != "pool" else 12),
        Choices(weight_bits=3, max_interval=999),
    )
    before, x = layer(seed, kind, chip.arithmetic)
    network = replace(before, populations=(*before.populations[:-1], replace(before.populations[-1], home="host")))
    for item in LEGAL:
        network = item.run(network, chip, choices)
    assert any(isinstance(p, Conv) and p.rows is not None for p in network.projections)
    origin = replace(ORIGIN, profile="truenorth_parts", weight_bits=3)
    program = map_network(balance(network, chip.max_delay, exact=True), chip, origin, ())
    check_program(program)
    equal(before, program.network, x)
    check_on_chip(program, x)


def test_rows_survive_the_file(tmp_path) -> None:
    network, x = layer(1, "groups", RULES)
    chip = small_chip(input_axons=14, arithmetic=RULES, weight_sharing=False, columns=8, rows=8)
    program = map_network(balance(SplitFanIn().run(network, chip, WIDE), 7), chip, ORIGIN, ())
    save_program(program, tmp_path / "rows.ncp")
    again = load_program(tmp_path / "rows.ncp").network
    cut = [p.rows for p in again.projections if isinstance(p, Conv)]
    assert cut == [p.rows for p in program.network.projections if isinstance(p, Conv)]
    equal(network, again, x)


def test_each_accumulate_of_the_model_is_counted_once() -> None:
    network, _ = layer(2, "groups", RULES)
    chip = small_chip(input_axons=14, arithmetic=RULES, weight_sharing=False)
    pieces = [p for p in SplitFanIn().run(network, chip, WIDE).projections if isinstance(p, Conv) and p.counted]
    assert sorted(r for p in pieces for r in range(p.rows[0], p.rows[0] + len(p.weight))) == list(range(5))


def test_a_row_that_no_core_can_read_is_refused() -> None:
    network, _ = layer(3, "groups", RULES)
    chip = small_chip(input_axons=5, arithmetic=RULES, weight_sharing=False)
    with pytest.raises(CapacityError, match="do not split into parts that fit; use fewer channels or a smaller kernel"):
        SplitFanIn().run(network, chip, WIDE)


def test_rows_beyond_the_kernel_are_no_network() -> None:
    network, _ = layer(4, "few inputs", RULES)
    wrong = replace(network.projections[0], rows=(3, 7))
    with pytest.raises(ProgramError, match="expected some of a kernel's 7 rows, found 5 from 3 on"):
        validate_network(replace(network, projections=(wrong, *network.projections[1:])), timed=False)


def test_of_two_groups_that_fit_alone_but_not_together_one_is_summed_apart() -> None:
    network, x = layer(6, "groups", RULES)
    twice = replace(network.projections[0], name="b.in2")
    network = replace(network, projections=(*network.projections, twice))
    chip = small_chip(input_axons=40, arithmetic=RULES, weight_sharing=False)
    after = SplitFanIn().run(network, chip, WIDE)
    validate_network(after, timed=False)
    assert all(p.channels is None for p in after.projections if isinstance(p, Conv))
    equal(network, after, x)
