"""The check before compiling finds what compiling refuses, all of it, and names changes that are really accepted."""

from __future__ import annotations

import json

import pytest

from compiler.feasibility import examine, remedies
from compiler.pipeline import Options, compile_graph
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from tests.small_chips import small_chip
from tests.spiking_graphs import tiny_spikformer

CHIP = small_chip(input_axons=800, columns=8, rows=8)


def altered(chip: ChipSpec, name: str = "altered", **values: object) -> ChipSpec:
    """``chip`` with other values at dotted paths (``__`` for dots)."""
    data = json.loads(chip.to_json()) | {"name": name}
    for path, value in values.items():
        *steps, last = path.split("__")
        part = data
        for step in steps:
            part = part[step]
        part[last] = value
    return ChipSpec.model_validate(data)


def figure(section: str, key: str, value: int) -> dict[str, object]:
    """A figure of the chip with another value."""
    return {**json.loads(CHIP.to_json())[section][key], "value": value}


def test_a_model_that_compiles_fits_and_takes_the_cores_that_compiling_finds():
    graph = tiny_spikformer()
    found = examine(graph, CHIP, Options())
    program = compile_graph(graph, CHIP, Options(placement="row-major"))
    assert found.fits
    assert found.cores == int((program.cores["kind"] == 0).sum())
    assert found.chips == program.n_chips
    assert (found.ticks, found.interval) == (program.network.ticks, 1)
    assert found.neurons == sum(p.size for p in program.network.populations)
    assert 0 < found.longest_delay <= CHIP.max_delay
    shares = [use.share for use in found.layers]
    assert shares == sorted(shares, reverse=True)
    assert 0 < shares[0] <= 1
    assert json.dumps(found.to_dict())


def test_currents_are_as_wide_as_the_checker_of_programs_allows():
    widths = {use.population: use.current_bits for use in examine(tiny_spikformer(), CHIP, Options()).layers}
    assert widths
    assert all(1 < bits <= CHIP.arithmetic.current_bits for bits in widths.values())


def test_every_layer_that_no_core_holds_is_named_not_only_the_first():
    tight = small_chip(input_axons=800, output_axons=2, columns=8, rows=8)
    found = examine(tiny_spikformer(), tight, Options())
    assert not found.fits
    assert {refusal.stage for refusal in found.refusals} == {"tiling"}
    assert len(found.refusals) >= 3
    assert len({refusal.message for refusal in found.refusals}) == len(found.refusals)


def test_too_few_cores_are_refused_with_the_number_needed():
    few = altered(small_chip(input_axons=800), boards__max_chips=figure("boards", "max_chips", 1))
    found = examine(tiny_spikformer(), few, Options())
    assert [refusal.stage for refusal in found.refusals] == ["capacity"]
    assert found.cores > found.available == 12


def test_a_width_the_chip_lacks_is_refused_and_the_rest_is_checked_with_its_own():
    found = examine(tiny_spikformer(), CHIP, Options(weight_bits=9, attention="unit"))
    assert [refusal.stage for refusal in found.refusals] == ["weights", "attention"]
    assert found.weight_bits == CHIP.default_weight_bits
    assert found.layers


def test_one_time_step_is_found_where_the_chip_has_no_leak():
    rules = json.loads(CHIP.to_json())["neuron"]["arithmetic"] | {"leak": "none", "max_decay": 0}
    flat = altered(CHIP, neuron__arithmetic=rules)
    found = examine(tiny_spikformer(), flat, Options())
    assert "its leak is exponential" in found.refusals[0].message
    helps = list(remedies(tiny_spikformer(), flat, Options(), [CHIP, load_chip("brainscales2")]))
    assert any(fix.startswith("one time step (T = 1)") for fix in helps)
    assert [fix for fix in helps if fix.startswith("another chip")] == [
        f"another chip: {CHIP.name} takes the model as it is"
    ]


def test_continuous_time_is_refused_with_the_reason_by_check_and_by_compile():
    chip = load_chip("brainscales2")
    found = examine(tiny_spikformer(), chip, Options())
    assert [refusal.stage for refusal in found.refusals] == ["chip"]
    assert "computes in continuous time" in found.refusals[0].message
    with pytest.raises(UnsupportedError, match="there is no tick to simulate and no integer to reproduce"):
        compile_graph(tiny_spikformer(), chip, Options())
    assert not any(fix.startswith("one time") for fix in remedies(tiny_spikformer(), chip, Options()))
