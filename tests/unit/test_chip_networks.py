"""Every chip that has ticks runs a network small enough to follow by hand: its comparison, its cores, its clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.legal import LEGAL, Choices
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from compiler.mapping.tile import tile_network
from neurochip.chip.load import load_chip, shipped_chips
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Dense, Pool, Source
from neurochip.network.reference import update
from neurochip.program.image import Origin, Program
from neurochip.report.energy import chip_bill
from neurochip.sim.engine import run_program

CHIPS = {name: chip for name in shipped_chips() if (chip := load_chip(name)).refusal is None}
STEPS = 4
every_chip = pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)


def counters(chip: ChipSpec, neurons: int = 3, readers: int = 2, timesteps: int = STEPS) -> Network:
    """Spikes -> ``neurons`` that fire at the third spike -> ``readers`` sums of all of them."""
    unit = chip.arithmetic.threshold_shift

    def population(name: str, size: int, depth: int, neuron: Neuron) -> Population:
        return Population(name=name, height=1, width=1, channels=size, neuron=neuron, origin=name, depth=depth)

    third = (3 if chip.arithmetic.fires == "ge" else 2) << unit
    return Network(
        name="counters",
        timesteps=timesteps,
        populations=(
            population("input", neurons, 0, Neuron(kind="source")),
            population("cells", neurons, 1, Neuron(kind="lif", threshold=third)),
            population("out", readers, 2, Neuron(kind="readout")),
        ),
        projections=(
            Pool(name="in", sources=(Source("input", 1),), target="cells", origin="cells", shift=unit),
            Dense(
                name="on", sources=(Source("cells", 1),), target="out", origin="out", shift=unit,
                weight=np.ones((neurons, readers), np.int8),
            ),
        ),
        input=InputSpec(shape=(neurons,), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0,) * readers),
        arithmetic=chip.arithmetic,
    )  # fmt: skip


def program_of(network: Network, chip: ChipSpec, profile: str | None = None) -> Program:
    """Legalised, balanced, mapped and checked."""
    choices = Choices(weight_bits=chip.default_weight_bits)
    for item in LEGAL:
        network = item.run(network, chip, choices)
    origin = Origin(
        model="hand", model_sha256="", family="hand", compiler_version="0", weight_bits=choices.weight_bits,
        attention="none", placement="row-major", profile=profile or chip.default_profile, seed=0, settings=(),
        ignored=(),
    )  # fmt: skip
    program = map_network(balance(network, chip.max_delay), chip, origin, ())
    check_program(program)
    return program


@every_chip
def test_the_third_spike_fires_and_clears(chip: ChipSpec) -> None:
    x = np.ones((STEPS, 1, 3))
    x[1, 0, 2] = 0
    program = program_of(counters(chip), chip)
    reference = program.network.run(x)
    assert reference.spikes["cells"][0, :, 0].tolist() == [[0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert reference.logits.tolist() == [[3.0 * unit(chip)] * 2]
    assert run_program(program, x).logits.tolist() == reference.logits.tolist()


@every_chip
def test_a_core_holds_as_many_neurons_as_its_file_says(chip: ChipSpec) -> None:
    most = chip.limits.neurons
    for extra, one in ((0, True), (1, False)):
        network = counters(chip, most + extra, 1)
        relay = replace(network, projections=network.projections[:1], populations=network.populations[:2])
        tiling = tile_network(relay, chip, chip.default_weight_bits)["cells"]
        assert (tiling.n_tiles == 1) is one
        assert tiling.demand["neurons"] <= most


@every_chip
def test_ticks_last_as_the_chip_says(chip: ChipSpec) -> None:
    trace = run_program(program_of(counters(chip), chip), np.ones((STEPS, 2, 3)))
    assert trace.overruns == 0
    if chip.time.kind == "fixed":
        assert chip.time.tick is not None
        assert set(trace.tick_ns.ravel().tolist()) == {chip.time.tick.base}
    else:
        assert trace.tick_ns.min() >= chip.costs().barrier_ns(1, 1) > 0


def test_a_tick_too_short_for_its_work_is_an_overrun() -> None:
    """128 spikes on 128 synapses each are 16384 events of 100 ns: 1.6 ms of work in a tick of 1 ms."""
    chip = CHIPS["spinnaker"]
    program = program_of(counters(chip, 128, 128), chip)
    quiet, busy = np.zeros((STEPS, 1, 128)), np.ones((STEPS, 1, 128))
    assert run_program(program, quiet).overruns == 0
    trace = run_program(program, busy)
    assert trace.overruns == 1
    assert trace.tick_ns.max() > 16_384 * 100
    assert sorted(trace.tick_ns.ravel().tolist())[:-1] == [1e6] * (trace.tick_ns.size - 1)


@pytest.mark.parametrize(
    ("name", "profile", "pj"),
    [("truenorth", "truenorth_all_in", 26.0), ("tianjic", "tianjic_all_in", 1.54), ("loihi2", "loihi2_all_in", 135.0)],
)
def test_an_all_in_figure_is_the_whole_bill(name: str, profile: str, pj: float) -> None:
    program = program_of(counters(CHIPS[name]), CHIPS[name], profile)
    trace = run_program(program, np.ones((STEPS, 1, 3)))
    events = int((trace.cores.ops_dense + trace.cores.ops_conv + trace.cores.ops_sparse).sum())
    bill = chip_bill(program, trace)
    assert events > 0
    assert dict(bill.kinds) == {"all_in": pytest.approx(events * pj * 1e-12)}


def test_a_chip_without_published_energies_bills_none_but_its_static_power() -> None:
    program = program_of(counters(CHIPS["loihi2"]), CHIPS["loihi2"])
    trace = run_program(program, np.ones((STEPS, 1, 3)))
    bill = chip_bill(program, trace)
    assert bill.kinds["static"] == pytest.approx(1.0 * trace.tick_ns.sum() * 1e-9)
    assert {kind for kind, joules in bill.kinds.items() if joules} == {"static"}
    assert {"synapses", "neurons"} <= {kind for kind, joules in bill.kinds.items() if joules is None}


@every_chip
def test_a_bill_has_no_line_for_what_a_chip_does_not_have(chip: ChipSpec) -> None:
    program = program_of(counters(chip), chip)
    lines = chip_bill(program, run_program(program, np.ones((STEPS, 1, 3)))).kinds
    assert ("processor_ops" in lines) == bool(chip.processors)
    assert ("unit_ops" in lines) == (chip.attention_unit is not None)
    assert {"synapses", "neurons", "static"} <= set(lines)


def unit(chip: ChipSpec) -> int:
    """Raw units of one spike."""
    return 1 << chip.arithmetic.threshold_shift


@pytest.mark.parametrize(
    ("name", "decay", "inputs", "membranes"),
    [
        # the linear leak follows the input and passes zero: 0+5-3, 2+0-3, -1+0+3, 2-1
        ("truenorth", 3, [5, 0, 0, -1], [2, -1, 2, -2]),
        ("tianjic", 3, [5, 0, 0, -1], [2, 0, 0, 0]),
        # half of the membrane goes, toward zero, before the input comes
        ("loihi", 2048, [5, 0, -8, 0], [5, 2, -7, -3]),
        ("loihi2", 2048, [5, 0, -8, 0], [5, 2, -7, -3]),
        ("darwin", 128, [5, 0, -8, 0], [5, 2, -7, -3]),
        # a shift rounds down: -7 / 2 is -4
        ("spinnaker", 32768, [5, 0, -8, 0], [5, 2, -7, -4]),
        ("spinnaker2", 32768, [5, 0, -8, 0], [5, 2, -7, -4]),
    ],
)
def test_membranes_leak_by_the_chips_rule(name: str, decay: int, inputs: list[int], membranes: list[int]) -> None:
    rules, v, seen = CHIPS[name].arithmetic, np.zeros(1, np.int64), []
    for x in inputs:
        _, v, _ = update(Neuron(kind="lif", decay=decay, threshold=1000), rules, v, np.array([x]))
        seen.append(int(v[0]))
    assert seen == membranes
