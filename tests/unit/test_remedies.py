"""Every kind of advice that ``check`` gives is followed: what it names compiles, and computes what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compiler.feasibility import accepted_changes, examine
from compiler.feasibility.split_heads import heads_of, split_heads
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import Linear
from compiler.pipeline import Options, compile_graph
from neurochip import api
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from tests.small_chips import small_chip
from tests.spiking_graphs import Model, data, tiny_spikformer
from tests.unit.test_feasibility import altered, figure

GRAPH = replace(tiny_spikformer(), settings=(Setting(name="num_heads", value=2, origin="default"),))
WIDE = small_chip(input_axons=800, columns=8, rows=8)
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "spikformer.pt"
Case = tuple[ChipSpec, Options]


def without_leak(chip: ChipSpec) -> ChipSpec:
    """``chip`` whose membranes keep what they hold."""
    rules = json.loads(chip.to_json())["neuron"]["arithmetic"] | {"leak": "none", "max_decay": 0}
    return altered(chip, neuron__arithmetic=rules)


def narrow() -> Case:
    """Cores whose memory holds a neuron's synapses of two bits only."""
    return small_chip(input_axons=800, columns=8, rows=8, words=20), Options()


def flat() -> Case:
    """Neurons without leak."""
    return without_leak(WIDE), Options()


def narrow_and_flat() -> Case:
    """Both."""
    return without_leak(narrow()[0]), Options()


def one_chip() -> Case:
    """A chip too small for the pairs of wide heads."""
    return altered(WIDE, attention=["coincidence"], boards__max_chips=figure("boards", "max_chips", 1)), Options()


def dear_method() -> Case:
    """The same chip, which could leave attention to its processors."""
    return altered(WIDE, boards__max_chips=figure("boards", "max_chips", 1)), Options(attention="coincidence")


@pytest.mark.parametrize(
    ("case", "advice"),
    [
        (narrow, "3-bit weights (--weight-bits 3)"),
        (flat, "one time step (T = 1):"),
        (narrow_and_flat, "one time step (T = 1) and 3-bit weights (--weight-bits 3)"),
        (one_chip, "attention heads split in 2: 4 heads (--set num_heads=4); another model: retrain it"),
        (dear_method, "attention by processor (--attention processor)"),
        (flat, "an approximation (--approximate leak)"),
        (flat, "another chip: loihi takes the model as it is"),
    ],
)
def test_what_the_advice_names_compiles_where_the_model_did_not(case: Callable[[], Case], advice: str) -> None:
    chip, options = case()
    with pytest.raises((UnsupportedError, CapacityError)):
        compile_graph(GRAPH, chip, options)
    found = list(accepted_changes(GRAPH, chip, options, [load_chip("loihi")] if "another chip" in advice else ()))
    (remedy,) = [each for each in found if each.text.startswith(advice)]
    placed = Options(
        weight_bits=remedy.options.weight_bits, attention=remedy.options.attention,
        approximate=remedy.options.approximate, placement="row-major",
    )  # fmt: skip
    program = compile_graph(remedy.graph, remedy.chip, placed)
    x = data(remedy.graph, seed=1, batch=2)["input"]
    assert api.simulate(program, x, check=True).exact


def test_split_heads_are_those_of_the_setting_that_the_advice_names() -> None:
    graph, twice = (api.load_model(DIGITS, settings={"num_heads": heads}) for heads in ("4", "8"))
    split = split_heads(graph, WIDE, 2)
    assert split is not None
    assert heads_of(split) == [8, 8]
    x = np.random.default_rng(0).random((3, *graph.inputs[0].op.shape))
    np.testing.assert_array_equal(split.run(x).logits, twice.run(x).logits)


def test_heads_that_do_not_divide_and_models_without_attention_have_no_such_advice() -> None:
    assert split_heads(GRAPH, WIDE, 8) is None
    m = Model(0)
    plain: Graph = m.graph(m.add("head", Linear(weight=m.weight(3, 4)), m.spikes(4)))
    assert split_heads(plain, WIDE, 2) is None


def test_neurons_that_reach_too_many_cores_get_repeaters_in_the_check_as_in_compiling() -> None:
    chip = small_chip(input_axons=800, output_axons=14, columns=12, rows=12)
    found = examine(GRAPH, chip, Options())
    program = compile_graph(GRAPH, chip, Options(placement="row-major"))
    assert any(p.name.endswith(".split") for p in program.network.populations)
    assert found.fits
    assert found.repeaters == sum(p.name.endswith(".split") for p in program.network.populations)
    assert found.cores == int((program.cores["kind"] == 0).sum())


def test_an_encoder_that_the_chip_lacks_is_refused_and_the_rest_is_checked() -> None:
    found = examine(GRAPH, WIDE, Options(encoder="core"))
    assert [refusal.stage for refusal in found.refusals] == ["encoder"]
    assert found.layers
