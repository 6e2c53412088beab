"""Cores that multiply, followed by hand on each chip that has them: what fires, what is counted, how long it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.ir.graph import Graph
from compiler.ir.ops import Input, Linear, Neuron, TimeMean
from compiler.pipeline import Options, compile_graph
from neurochip.chip.describe import describe
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, ChipError, UnsupportedError
from neurochip.network.network import InputSpec, Network, Population, ReadoutSpec
from neurochip.network.network import Neuron as Cells
from neurochip.network.projections import Dense, Encoder, Source
from neurochip.program.image import NEURON_CORE, PROCESSOR
from neurochip.report.energy import chip_bill
from neurochip.report.report import make_report
from neurochip.sim.engine import run_program
from tests.spiking_graphs import Model, tiny_spikformer
from tests.unit.test_chip_networks import program_of

MULTIPLY = ("tianjic", "spinnaker2", "loihi2")
VALUES = np.array([[10.0, 0.0, 255.0, 3.0]])
STEPS = 2


def values(chip: ChipSpec) -> Network:
    """Four values -> three neurons that fire at 100 -> the sum of their spikes."""
    unit = chip.arithmetic.threshold_shift
    late = 1 if chip.arithmetic.fires == "gt" else 0
    weight = np.array([[1, -1, 2], [5, 5, 5], [1, 0, -1], [0, 10, 100]], np.int8)

    def population(name: str, size: int, depth: int, neuron: Cells) -> Population:
        return Population(name=name, height=1, width=1, channels=size, neuron=neuron, origin=name, depth=depth)

    return Network(
        name="values",
        timesteps=STEPS,
        populations=(
            replace(population("x", 4, 0, Cells(kind="source")), coding="graded", high=255),
            population("cells", 3, 1, Cells(kind="lif", threshold=(100 - late) << unit)),
            population("out", 1, 2, Cells(kind="readout")),
        ),
        projections=(
            Dense(name="in", sources=(Source("x"),), target="cells", origin="cells", shift=unit, weight=weight),
            Dense(
                name="on", sources=(Source("cells"),), target="out", origin="out", shift=unit,
                weight=np.ones((3, 1), np.int8),
            ),
        ),
        input=InputSpec(shape=(4,), kind="analog", scale=1.0, low=0, high=255),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0,)),
        arithmetic=chip.arithmetic,
    )  # fmt: skip


@pytest.mark.parametrize("name", MULTIPLY)
def test_values_times_weights_charge_neurons(name: str) -> None:
    """10 + 255, -10 + 30 and 20 - 255 + 300 a step: the first fires twice, the third at 130."""
    chip = load_chip(name)
    program = program_of(values(chip), chip)
    reference = program.network.run(VALUES)
    assert reference.spikes["cells"][0, :, 0].tolist() == [[1, 0, 0], [1, 0, 1]]
    trace = run_program(program, VALUES)
    assert trace.logits.tolist() == reference.logits.tolist() == [[3.0 * (1 << chip.arithmetic.threshold_shift)]]
    assert trace.populations["x"].packets == 3 * STEPS, "a packet for each value that is not zero"
    layer = make_report(program, trace).layers[1]
    assert (layer.kind, layer.ac) == ("conv (analog)", 0)
    assert layer.mac == int(trace.cores.macs.sum())
    assert layer.ops_45nm_j == pytest.approx(layer.mac * 4.6e-12)


@pytest.mark.parametrize(("name", "macs"), [("tianjic", 3 * 3), ("loihi2", 3 * 3), ("spinnaker2", 4 * 3)])
def test_events_multiply_what_arrives_and_matrix_units_whole_matrices(name: str, macs: int) -> None:
    chip = load_chip(name)
    program = program_of(values(chip), chip)
    trace = run_program(program, VALUES)
    assert int(trace.cores.macs.sum()) == trace.projections["in"].ops == macs * STEPS
    assert trace.host_macs == trace.host_writes == 0


def test_ticks_of_a_graded_core_are_phases() -> None:
    chip = load_chip("tianjic")
    program = program_of(values(chip), chip)
    trace = run_program(program, VALUES)
    assert trace.tick_ns.tolist() == [[16_800.0] * 4], "T - 1 + 1 + depth 2"
    assert int((program.cores["kind"] == NEURON_CORE).sum()) == 1, "the readout is on the host"


def test_a_matrix_unit_takes_as_long_as_its_lanes_and_clock_say() -> None:
    """64 multiply-accumulates a cycle of 300 MHz, beside 667 ns a neuron and 67 ns a synaptic event."""
    chip = load_chip("spinnaker2")
    assert chip.costs().latency_ns["mac"] == chip.costs().latency_ns["processor_op"] == 1e3 / (64 * 300)
    program = program_of(values(chip), chip)
    trace = run_program(program, VALUES)
    spikes, neurons, ticks = 3, 4, 4
    expected = 24 / 19.2 + neurons * ticks * 667 + spikes * 67
    neural = program.cores["kind"] == NEURON_CORE
    assert trace.cores.busy_ns[neural].sum() == pytest.approx(expected)
    slow = slower_array(chip, lanes=16)
    trace = run_program(program_of(values(slow), slow), VALUES)
    assert trace.cores.busy_ns[neural].sum() == pytest.approx(expected + 24 * 3 / 19.2)


def slower_array(chip: ChipSpec, lanes: int) -> ChipSpec:
    data = json.loads(chip.to_json())
    data["core"]["software"]["mac_array"]["lanes"]["value"] = lanes
    return ChipSpec.model_validate(data)


def test_attention_on_a_matrix_unit_multiplies_whole_matrices() -> None:
    """2 N d^2 a head and step, N = 16 tokens, d = 4, whatever spikes; packets cost their interrupt beside."""
    graph, chip = tiny_spikformer(0), load_chip("spinnaker2")
    program = compile_graph(graph, chip, Options(attention="processor", placement="row-major"))
    trace = run_program(program, np.random.default_rng(0).uniform(-1, 1, (2, 2, 8, 8)))
    processors = program.cores["kind"] == PROCESSOR
    product = next(p for p in program.network.projections if p.kind == "product")
    assert int(trace.cores.processor_ops.sum()) == trace.projections[product.name].booked
    assert trace.projections[product.name].booked == 2 * graph.timesteps * 2 * (2 * 16 * 4 * 4)
    messages = (trace.cores.packets_in + trace.cores.packets_out)[processors]
    busy = trace.cores.processor_ops[processors] / 19.2 + messages * 333
    np.testing.assert_allclose(trace.cores.busy_ns[processors], busy)
    report = make_report(program, trace)
    attention = next(layer.attention for layer in report.layers if layer.attention is not None)
    assert attention.event_driven == trace.projections[product.name].ops < trace.projections[product.name].booked


def test_multiply_accumulates_are_billed_by_their_own_figures() -> None:
    chip = load_chip("tianjic")
    program = program_of(values(chip), chip)
    bill = chip_bill(program, run_program(program, VALUES))
    assert bill.kinds["macs"] is None, "not published, and said so"
    assert "mac.energy" in bill.not_published
    whole = program_of(values(chip), chip, "tianjic_all_in")
    kinds = chip_bill(whole, run_program(whole, VALUES)).kinds
    assert dict(kinds) == {"all_in": 0.0, "macs_all_in": pytest.approx(18 * 1.56e-12)}
    chip = load_chip("loihi2")
    kinds = chip_bill(other := program_of(values(chip), chip, "loihi2_all_in"), run_program(other, VALUES)).kinds
    assert dict(kinds) == {"all_in": pytest.approx(3 * 135e-12), "macs_all_in": None}


def wide(inputs: int, hidden: bool = True) -> Graph:
    m = Model(0, timesteps=1)
    x = m.add("input", Input(shape=(inputs,), low=0.0, high=1.0))
    y = m.add("lif", Neuron(tau=2.0), m.add("fc", Linear(weight=m.weight(5, inputs)), x))
    y = m.add("lif2", Neuron(tau=2.0), m.add("fc2", Linear(weight=m.weight(5, 5)), y)) if hidden else y
    return m.graph(m.add("mean", TimeMean(), m.add("head", Linear(weight=m.weight(3, 5)), y)))


def test_more_inputs_than_a_graded_core_has_axons_go_to_the_host() -> None:
    chip = load_chip("tianjic")
    assert not encoders(compile_graph(wide(256), chip, Options()).network)
    with pytest.raises((CapacityError, UnsupportedError), match="layer"):
        compile_graph(wide(600), chip, Options(encoder="core"))
    assert encoders(compile_graph(wide(600), chip, Options()).network)
    assert encoders(compile_graph(wide(256), chip, Options(encoder="host")).network)
    with pytest.raises(UnsupportedError, match="with both its ends on the host nothing is left for 'tianjic'"):
        compile_graph(wide(256, hidden=False), chip, Options(encoder="host"))


def encoders(network: Network) -> int:
    return sum(isinstance(p, Encoder) for p in network.projections)


def test_a_place_that_a_chip_lacks_is_refused_with_those_it_has() -> None:
    with pytest.raises(UnsupportedError, match="--encoder core: chip 'loihi' can take analog input on: host"):
        compile_graph(wide(8), load_chip("loihi"), Options(encoder="core"))


def test_figures_that_follow_from_the_matrix_unit_are_shown_with_their_source() -> None:
    rows = {row.key: row for row in describe(load_chip("spinnaker2"))}
    row = rows["profiles.spinnaker2_prototype.costs.mac.latency"]
    assert (row.value, row.source, row.note) == ("0.0521 ns", "hoeppner2021", "64 MACs per cycle at 300 MHz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"core": {"software": {"mac_array": None}}}, "embedded_processors.mac_array: needs the figures"),
        ({"embedded_processors": {"mac_array": None}}, "costs.processor_op: missing `latency`"),
        ({"spikes": {"payload": {"value": 0}}}, "encoder.where: 'core' needs payloads"),
    ],
)
def test_a_chip_that_lacks_what_it_names_is_no_description(change: dict[str, object], message: str) -> None:
    data = json.loads(load_chip("spinnaker2").to_json())

    def merge(into: dict[str, Any], new: dict[str, Any]) -> None:
        for key, value in new.items():
            if isinstance(value, dict):
                merge(into[key], value)
            else:
                into[key] = value

    merge(data, change)
    with pytest.raises((ChipError, ValueError), match=message):
        ChipSpec.model_validate(data)
