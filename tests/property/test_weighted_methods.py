"""DSSA by every method: the same integers as the lowered network, and refusals that say why."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compiler.legal.attention import AttentionMethods
from compiler.legal.choose_attention import estimates, step_events
from compiler.legal.target import Choices
from compiler.legal.weighted import neurons_of, weighted_site
from compiler.mapping.check import check_program
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, ProgramError, UnsupportedError
from neurochip.network.network import Network
from neurochip.network.projections import Conv, Gated, Matrix
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from neurochip.report.energy import chip_bill
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from tests.attention_networks import WeightedSizes, able_chip, lowered, mapped, weighted_network
from tests.exact import something_fires

METHODS = ("processor", "unit", "coincidence", "graded")
ABLE, SMALL = able_chip(payload=16), WeightedSizes(heads=2, depth=2, timesteps=2)
SIZES = st.builds(
    WeightedSizes, height=st.integers(1, 3), width=st.integers(2, 3), heads=st.integers(1, 2), depth=st.integers(1, 2),
    kernel=st.integers(1, 2), stride=st.integers(1, 2), padding=st.integers(0, 1),
    over=st.sampled_from(["channels", "positions"]), timesteps=st.integers(1, 3), bias=st.booleans(),
    largest=st.sampled_from([1, 3, 40]),
).filter(lambda s: min(s.height, s.width) + 2 * s.padding >= s.kernel)  # fmt: skip


@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    SIZES,
    st.sampled_from(METHODS),
    st.sampled_from([ABLE, load_chip("darwin3"), load_chip("loihi2")]),
    st.integers(0, 99),
)
def test_every_method_gives_the_same_spikes(sizes, method, chip, seed):
    if method not in chip.attention_methods:
        method = chip.attention_methods[0]
    network, x = weighted_network(sizes, chip, seed)
    validate_network(network, timed=False)
    expected = network.run(x)
    something_fires(bool(expected.spikes["y"].any()))
    program = mapped(lowered(network, chip, method), chip, method)
    check_program(program)
    found = program.network.run(x)
    assert (found.wraps, found.saturations) == (0, 0)
    assert_array_equal(found.spikes["y"], expected.spikes["y"])
    check = Check(program.network, x)
    trace = run_program(program, x, observe=check.observe)
    assert check.difference is None
    assert trace.saturations == 0


@pytest.mark.parametrize("method", METHODS)
def test_programs_of_every_method_survive_their_file(method, tmp_path):
    network, x = weighted_network(SMALL, ABLE)
    program = mapped(lowered(network, ABLE, method), ABLE, method)
    save_program(program, tmp_path / "dssa.ncp")
    again = load_program(tmp_path / "dssa.ncp")
    assert_array_equal(run_program(again, x).logits, run_program(program, x).logits)


@pytest.mark.parametrize("method", ["coincidence", "graded"])
def test_an_expansion_makes_the_neurons_it_announces(method):
    network, _ = weighted_network(SMALL, ABLE)
    after = AttentionMethods().run(network, ABLE, Choices(weight_bits=8, attention=method))
    product = network.by_name["dssa"]
    made = sum(p.size for p in after.populations) - sum(p.size for p in network.populations) + product.size
    assert made == neurons_of(weighted_site(network, product), method)
    convolutions = [p for p in after.projections if isinstance(p, Conv)]
    assert sum(p.counted for p in convolutions) == 1  # each accumulate of the model once
    assert len(convolutions) == made // (made // len(convolutions))


def test_parts_that_cannot_occur_are_not_made():
    network, _ = weighted_network(SMALL, ABLE)
    matrix = next(p for p in network.projections if isinstance(p, Matrix))
    positive = _with(network, matrix, weight=np.abs(matrix.weight), bias=np.abs(matrix.bias))
    after = lowered(positive, ABLE, "graded")
    assert {p.name for p in after.populations if p.origin == "dssa"} == {"dssa.plus", "dssa.plus.masked"}
    nothing = _with(network, matrix, weight=0 * matrix.weight, bias=0 * matrix.bias)
    assert "dssa.plus.masked0" in lowered(nothing, ABLE, "coincidence").by_name


def _with(network: Network, part: Matrix | Gated, **changes: object) -> Network:
    return replace(network, projections=tuple(replace(p, **changes) if p is part else p for p in network.projections))


def test_a_unit_sends_signed_integers_where_a_payload_holds_them():
    network, x = weighted_network(SMALL, ABLE, seed=1)
    wide, narrow = (lowered(network, chip, "unit").by_name["dssa"] for chip in (ABLE, able_chip(payload=8)))
    assert (wide.coding, wide.signed, narrow.coding) == ("graded", True, "spikes")
    program = mapped(lowered(network, ABLE, "unit"), ABLE, "unit")
    run = program.network.run(x)
    assert run.spikes["dssa"].min() < 0 < run.spikes["dssa"].max()
    trace = run_program(program, x)
    sent = int((run.spikes["dssa"] != 0).sum())
    assert trace.populations["dssa"].packets == sent > 0


def test_a_unit_reads_each_weight_beside_its_sum():
    network, x = weighted_network(SMALL, ABLE)
    traces = {m: (p := mapped(lowered(network, ABLE, m), ABLE, m), run_program(p, x)) for m in ("unit", "processor")}
    program, trace = traces["unit"]
    weighed, gated = (trace.projections[name] for name in ("dssa.matrix", "dssa.gated"))
    assert (weighed.booked, gated.booked) == (2 * weighed.ops, gated.ops)
    assert weighed.ops == traces["processor"][1].projections["dssa.matrix"].ops > 0
    bill = chip_bill(program, trace)
    price = ABLE.costs().energy_pj["unit_op"]
    assert bill.kinds["unit_ops"] == pytest.approx((weighed.booked + gated.ops) * price * 1e-12)


def test_sums_wider_than_an_accumulator_take_two():
    network, x = weighted_network(SMALL, narrow := changed(attention_unit__accumulator__value=6))
    after = lowered(network, narrow, "unit")
    matrix, gated = (next(p for p in after.projections if isinstance(p, kind)) for kind in (Matrix, Gated))
    assert (matrix.words, matrix.operations, gated.words, gated.operations) == (2, 3, 2, 2)
    program = mapped(after, narrow, "unit")
    check_program(program)
    trace = run_program(program, x)
    assert_array_equal(trace.logits, network.run(x).logits)
    assert trace.projections["dssa.gated"].booked == 2 * trace.projections["dssa.gated"].ops > 0
    single = tuple(replace(p, words=1) if isinstance(p, Gated) else p for p in program.network.projections)
    with pytest.raises(ProgramError, match="a unit's sums hold 31"):
        check_program(replace(program, network=replace(program.network, projections=single)))
    with pytest.raises(ProgramError, match="expected sums of 1 to 2 words on a unit, else of 1, found 3"):
        validate_network(_with(after, matrix, words=3), timed=False)


def changed(**parts: object) -> ChipSpec:
    data = json.loads(ABLE.to_json())
    for path, value in parts.items():
        *at, last = path.split("__")
        part = data
        for name in at:
            part = part[name]
        if value is None:
            del part[last]
        else:
            part[last] = value
    return ChipSpec.model_validate(data)


def refused(chip: ChipSpec, method: str, sizes: WeightedSizes = SMALL, **choices: Any) -> str:
    network, _ = weighted_network(sizes, chip)
    with pytest.raises((UnsupportedError, CapacityError)) as error:
        AttentionMethods().run(network, chip, Choices(weight_bits=8, attention=method, **choices))
    return str(error.value)


def test_refusals_name_the_layer_the_reason_and_a_remedy():
    assert "layer 'dssa': dual spike self-attention (DSSA)" in refused(ABLE, "plastic")
    assert "a weighted sum is no count; use --attention processor or unit" in refused(ABLE, "plastic")
    bare = changed(attention=["coincidence"], attention_unit=None, embedded_processors=None)
    assert "none that is embedded; use --attention coincidence" in refused(bare, "processor")
    assert "no attention units" in refused(bare, "unit")
    assert "its attention units hold no weights" in refused(changed(attention_unit__weights=None), "unit")
    assert "spikes carry no payload; use --attention processor" in refused(able_chip(payload=0), "graded")
    assert "a payload has 4 bits" in refused(able_chip(payload=4), "graded")
    small = {"value": 4, "unit": "bits", "source": "neurochip", "status": "assumed", "note": "a test"}
    for what in ("operands", "sums", "weights"):
        assert f"bits of {what}, a unit of 'able' has 4;" in refused(
            changed(**{f"attention_unit__{what}": small}), "unit"
        )
    wide = WeightedSizes(height=4, width=4, depth=64, kernel=4, largest=127)
    tiny = changed(attention_unit__accumulator__value=8)
    assert "accumulators of a unit of 'able' hold 32767; quantise to fewer bits" in refused(tiny, "unit", wide)
    few = changed(boards__max_chips__value=1, core__neurons__value=1)
    assert "takes 816 neurons beside" in refused(few, "graded", WeightedSizes(heads=2, depth=3, height=4, width=4))
    tight = json.loads(load_chip("darwin3").to_json())
    tight["neuron"]["arithmetic"] |= {"current_bits": 9, "membrane_bits": 9, "threshold_bits": 8}
    assert "hold 255; quantise to fewer bits" in refused(
        ChipSpec.model_validate(tight), "coincidence", WeightedSizes(largest=127)
    )


def test_prices_of_expansions_include_their_convolutions():
    network, _ = weighted_network(SMALL, ABLE)
    found = {e.method: e for e in estimates(network, ABLE, Choices(weight_bits=8), ABLE.costs())}
    assert found["plastic"].refusal
    assert found["coincidence"].neurons > found["graded"].neurons > found["unit"].neurons == 0
    after = AttentionMethods().run(network, ABLE, Choices(weight_bits=8, attention="graded"))
    made = frozenset(p.name for p in after.populations) - set(network.by_name)
    assert step_events(after, made)["synaptic_op_conv"] > 0
    assert "synaptic_op_conv" not in step_events(after)
    unit = AttentionMethods().run(network, ABLE, Choices(weight_bits=8, attention="unit"))
    assert step_events(unit)["unit_op"] > 0
    assert "processor_op" not in step_events(unit)


def test_methods_of_matrix_and_gates_must_agree():
    network, _ = weighted_network(SMALL, ABLE)
    gated = next(p for p in network.projections if isinstance(p, Gated))
    with pytest.raises(ProgramError, match="one method of matrix and gates, found 'processor' and 'unit'"):
        validate_network(_with(network, gated, method="unit"), timed=False)
