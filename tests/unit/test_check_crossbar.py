"""The checker of crossbars finds every kind of damage, and the reports of a crossbar program add up."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from compiler.mapping.check import check_program
from compiler.pipeline import Options, compile_graph
from neurochip.chip.load import load_chip
from neurochip.errors import ProgramError
from neurochip.network.projections import Bias, Dense
from neurochip.program.image import Program
from neurochip.report.energy import run_counts
from neurochip.report.layers import layer_counts
from neurochip.report.report import make_report
from neurochip.sim.engine import run_program
from tests.crossbar_chips import crossbar_chip
from tests.property.test_crossbars import data_for, small_model

SEED = 5


@pytest.fixture(scope="module")
def program() -> Program:
    graph = small_model(SEED).graph("head")
    return compile_graph(graph, crossbar_chip(64, 160), Options(placement="hilbert"))


def problem(program: Program) -> str:
    with pytest.raises(ProgramError) as caught:
        check_program(program)
    return str(caught.value)


def changed(program: Program, name: str, **values: object) -> Program:
    """``program`` with other attributes of one projection or population."""
    network = program.network
    return replace(
        program,
        network=replace(
            network,
            projections=tuple(replace(p, **values) if p.name == name else p for p in network.projections),
            populations=tuple(replace(p, **values) if p.name == name else p for p in network.populations),
        ),
    )


def some_dense(program: Program) -> Dense:
    return next(p for p in program.network.projections if isinstance(p, Dense) and len(p.sources[0].types) == 4)


def test_a_compiled_program_passes(program: Program) -> None:
    check_program(program)


def test_a_weight_that_the_lines_do_not_reach_is_found(program: Program) -> None:
    dense = some_dense(program)
    base = dense.base.copy()
    base[:] = np.sign(base) * 6
    assert "a weight is no sum of the lines" in problem(changed(program, dense.name, base=base))


def test_two_weights_for_one_axon_type_are_found(program: Program) -> None:
    dense = some_dense(program)
    doubled = dense.base.copy()
    doubled[1] = 16
    (source,) = dense.sources
    types = (source.types[0], source.types[0], *source.types[2:])
    text = problem(changed(program, dense.name, base=doubled, sources=(replace(source, types=types),)))
    assert "a neuron has two weights for axon type" in text


def test_a_type_the_core_does_not_have_is_found(program: Program) -> None:
    dense = some_dense(program)
    (source,) = dense.sources
    text = problem(changed(program, dense.name, sources=(replace(source, types=(*source.types[:3], 4)),)))
    assert "expected some of 0 to 3" in text


def test_a_weight_beyond_its_register_is_found(program: Program) -> None:
    dense = some_dense(program)
    base = dense.base.copy()
    base[0, 0] = 256
    assert "beyond 9 bits" in problem(changed(program, dense.name, base=base))


def test_neurons_with_more_destinations_than_copies_are_found(program: Program) -> None:
    copied = max(program.network.populations, key=lambda p: p.copies)
    assert copied.copies > 1
    text = problem(changed(program, copied.name, copies=copied.copies - 1))
    assert "axons, it reaches" in text
    assert "neurons recounted" in text


def test_a_threshold_that_silence_reaches_is_found(program: Program) -> None:
    bias = next(p for p in program.network.projections if isinstance(p, Bias) and p.place == "threshold")
    threshold = program.network.by_name[bias.target].neuron.threshold
    weight = np.full_like(bias.weight, threshold)
    assert "thresholds of" in problem(changed(program, bias.name, weight=weight))


def test_a_bias_beyond_its_register_is_found() -> None:
    graph = small_model(SEED).graph("head")
    program = compile_graph(graph, load_chip("spinnaker"), Options(placement="hilbert"))
    biases = [p for p in program.network.projections if isinstance(p, Bias)]
    assert {p.place for p in biases} == {"register"}
    wide = replace(biases[0], shifts=(20,))
    projections = tuple(wide if p is biases[0] else p for p in program.network.projections)
    assert "in registers of 17 bits" in problem(
        replace(program, network=replace(program.network, projections=projections))
    )


def test_a_readout_on_a_core_is_found(program: Program) -> None:
    assert "expected the readout on the host" in problem(
        changed(program, program.network.readout.population, home="core")
    )


def test_counts_of_a_crossbar_run_split_by_layer_and_core(program: Program) -> None:
    x = data_for(small_model(SEED).graph("head"), 1)
    trace = run_program(program, x)
    total = run_counts(program, trace)
    for field in fields(total):
        layers = sum(getattr(layer_counts(program, trace, p), field.name) for p in program.network.populations)
        assert layers == getattr(total, field.name), field.name
    host = make_report(program, trace).to_dict()["host"]
    assert host["accumulates"] > 0
    assert host["macs"] > 0
    assert host["words_written"] == 0
    assert host["packets_from_chip"] > 0


def test_synaptic_events_are_crosspoints_that_meet_a_spike(program: Program) -> None:
    """Counted again: every spike on an axon times the crosspoints of its row."""
    from neurochip.network.crossbar import crosspoints, raw_weight

    x = data_for(small_model(SEED).graph("head"), 1)
    trace, spikes = run_program(program, x), program.network.run(x).spikes
    for p in program.network.projections:
        if not isinstance(p, Dense):
            continue
        target = program.network.by_name[p.target]
        row = crosspoints(raw_weight(p, target.channels), p.base).sum(axis=(0, 2))
        expected = int((spikes[p.sources[0].population] * row).sum()) * target.copies
        assert trace.projections[p.name].booked == expected
