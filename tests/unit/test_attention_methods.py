"""Attention methods: neurons counted before they are made, gates, refusals, the choice by cost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.legal.attention import AttentionMethods
from compiler.legal.choose_attention import Estimate, choose_attention, estimates, print_estimates
from compiler.legal.expansions import Coding, Expansion, Order, Shape, expansions, matrix_product_neurons, naive_neurons
from compiler.legal.gates import Gate, gate_registers, weights_of
from compiler.legal.target import Choices
from compiler.mapping.check import check_program
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, ProgramError, UnsupportedError
from neurochip.network.axes import source_offsets
from neurochip.network.network import Network
from neurochip.network.projections import Dense, Einsum, Source
from neurochip.network.reference import connected, update
from neurochip.network.text import print_network
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from tests.attention_networks import METHODS, Sizes, able_chip, attention_network, lowered, mapped

SHAPES = [
    Shape(height=1, width=n, heads=h, depth=d)
    for n in (1, 2, 3, 4, 9, 16, 64, 196)
    for h in (1, 4)
    for d in (1, 2, 8, 64)
]
ABLE = able_chip()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_expansions_never_need_more_neurons_than_the_naive_one(shape: Shape) -> None:
    best = expansions(shape, ("digits",), 62)[0]
    assert best.neurons <= naive_neurons(shape)
    if min(shape.tokens, shape.depth) >= 8:
        assert best.neurons < naive_neurons(shape) * 0.6


@pytest.mark.parametrize("shape", [s for s in SHAPES if s.tokens > 1], ids=str)
def test_bursts_need_fewer_neurons_than_two_matrix_products_of_single_spikes(shape: Shape) -> None:
    assert expansions(shape, ("burst",), 62)[0].neurons < matrix_product_neurons(shape)


def test_matrix_products_count_what_the_tool_makes() -> None:
    """16 tokens of 8 channels: 16 x 8 x 16 + 16 x 16 x 8 ANDs, 16 x 16 + 16 x 8 sums."""
    assert matrix_product_neurons(Shape(height=4, width=4, heads=1, depth=8)) == 2048 + 2048 + 256 + 128


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 8])
def test_levels_are_chosen_where_delays_are_short_and_hold_every_count(depth: int) -> None:
    data = json.loads(ABLE.to_json())
    data["delays"]["max"]["value"] = 1
    short = ChipSpec.model_validate(data)
    for tokens in (2, 5, 8):
        network, x = attention_network(Sizes(height=1, width=tokens, depth=depth, timesteps=2), short, seed=depth)
        after = lowered(network, short, "coincidence")
        assert np.array_equal(after.run(x).spikes["y"], network.run(x).spikes["y"])
        if min(tokens, depth) > 4:
            assert "attention.levels" in after.by_name


@pytest.mark.parametrize("coding", ["digits", "levels", "burst", "graded"])
@pytest.mark.parametrize("order", ["tokens", "channels", "direct"])
def test_an_expansion_makes_the_neurons_it_announces(
    order: Order, coding: Coding, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = Sizes(height=1, width=3, heads=2, depth=4)
    shape = Shape(height=1, width=3, heads=2, depth=4)
    plan = Expansion(shape=shape, order=order, coding=coding, max_delay=7)
    monkeypatch.setattr("compiler.legal.attention.plans_of", lambda *_: [plan])
    network, x = attention_network(sizes, ABLE)
    after = lowered(network, ABLE, "coincidence")
    made = sum(p.size for p in after.populations) - sum(p.size for p in network.populations) + 3 * 8
    assert made == plan.neurons
    assert np.array_equal(after.run(x).readout, network.run(x).readout)
    assert after.interval == plan.interval


def test_relays_of_short_delays_are_part_of_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = Sizes(height=1, width=4, depth=7)
    data = json.loads(ABLE.to_json())
    data["delays"]["max"]["value"] = 2
    short = ChipSpec.model_validate(data)
    network, _ = attention_network(sizes, short)
    plan = expansions(Shape(height=1, width=4, heads=1, depth=7), ("digits",), 2)[0]
    assert plan.relays > 0
    monkeypatch.setattr("compiler.legal.attention.plans_of", lambda *_: [plan])
    after = lowered(network, short, "coincidence")
    ands = [p for p in after.populations if "relay" in p.name and ("pairs" in p.name or "masked" in p.name)]
    assert sum(p.size for p in ands) == plan.relays


@pytest.mark.parametrize("name", ["loihi", "loihi2", "attention_chip", "truenorth"])
@pytest.mark.parametrize(("threshold", "high"), [(1, 5), (2, 2), (3, 3), (4, 7), (64, 127), (128, 196)])
@pytest.mark.parametrize("timesteps", [1, 6])
def test_gates_fire_when_their_sum_reaches_the_threshold_and_forget_it_otherwise(
    name: str, threshold: int, high: int, timesteps: int
) -> None:
    chip, rng = load_chip(name), np.random.default_rng(0)
    gate = Gate(name="g", threshold=threshold, low=0, high=high, timesteps=timesteps)
    if chip.arithmetic.leak == "linear" and timesteps > 1 and threshold > 2:
        with pytest.raises(UnsupportedError, match=f"forgets sums below {threshold} between steps .* use T = 1"):
            gate_registers(gate, chip.arithmetic, chip.weight_format())
        return
    neuron, shift = gate_registers(gate, chip.arithmetic, chip.weight_format())
    membrane = np.zeros(400, np.int64)
    for _ in range(timesteps):
        sums = rng.integers(0, high + 1, 400)
        fired, membrane, _ = update(neuron, chip.arithmetic, membrane, sums << shift)
        assert np.array_equal(fired, sums >= threshold)


@pytest.mark.parametrize("name", ["loihi", "truenorth"])
@pytest.mark.parametrize("value", [1, -4, 7, 64, 100, 128, 255])
def test_synapses_add_up_to_the_value_asked_for(name: str, value: int) -> None:
    weights = load_chip(name).weight_format()
    found = weights_of(value, weights.shift_low, weights)
    assert sum(weight << shift for weight, shift in found) == value << weights.shift_low
    assert all(abs(weight) <= weights.high and shift <= weights.shift_high for weight, shift in found)


@pytest.mark.parametrize("method", METHODS)
def test_programs_of_every_method_pass_the_checker_and_survive_their_file(method: str, tmp_path) -> None:
    network, _ = attention_network(Sizes(height=2, width=3, heads=2, depth=3, timesteps=2), ABLE)
    program = mapped(lowered(network, ABLE, method), ABLE, method)
    check_program(program)
    save_program(program, tmp_path / "a.ncp")
    assert print_network(load_program(tmp_path / "a.ncp").network) == print_network(program.network)


def refused(network: Network, chip: ChipSpec, method: str, **choices: Any) -> str:
    with pytest.raises((UnsupportedError, CapacityError)) as error:
        AttentionMethods().run(network, chip, Choices(weight_bits=8, attention=method, **choices))
    return str(error.value)


def changed(**parts: object) -> ChipSpec:
    data = json.loads(ABLE.to_json())
    for path, value in parts.items():
        *at, last = path.split("__")
        part = data
        for name in at:
            part = part[name]
        part[last] = value
    return ChipSpec.model_validate(data)


def test_refusals_name_the_layer_the_reason_and_a_remedy() -> None:
    network, _ = attention_network(Sizes(), ABLE)
    plain = changed(attention=["coincidence"], learning=None, attention_unit=None, embedded_processors=None)
    mute = able_chip(payload=0)
    assert "layer 'attention': the synapses of 'able' cannot learn" in refused(network, plain, "plastic")
    assert "layer 'attention': 'able' has no attention units" in refused(network, plain, "unit")
    assert "needs an embedded processor, 'able' has none" in refused(network, plain, "processor")
    assert "carry no payload; use another --attention" in refused(network, mute, "graded")
    assert "has no attention method that this model can use" in refused(network, plain, "none")


def test_capacity_is_checked_before_any_neuron_is_made() -> None:
    network, _ = attention_network(Sizes(height=4, width=4, depth=8), ABLE)
    tiny = changed(boards__max_chips={**json.loads(ABLE.to_json())["boards"]["max_chips"], "value": 1},
                   core__neurons={**json.loads(ABLE.to_json())["core"]["neurons"], "value": 8})  # fmt: skip
    text = refused(network, tiny, "coincidence")
    plan = expansions(Shape(height=4, width=4, heads=1, depth=8), ("digits",), 7)[0]
    assert f"attention by coincidence takes {plan.neurons:,} neurons at least (order" in text
    assert "beside 560 of other layers; the largest 'able' system has 1,024" in text
    units = changed(attention_unit__operands={**json.loads(ABLE.to_json())["attention_unit"]["operands"], "value": 100})
    assert "a head of 16 tokens x 8 channels needs 384 bits of operands, a unit of 'able' has 100" in refused(
        network, units, "unit"
    )


def test_learning_is_refused_if_its_ticks_are_too_many() -> None:
    network, _ = attention_network(Sizes(height=2, width=8), ABLE)
    text = refused(network, ABLE, "plastic", max_interval=32)
    assert "learning 16 tokens one by one and reading them takes 33 ticks a step, at most 32 are allowed" in text


def test_readers_that_weigh_products_keep_processors_and_refuse_neurons() -> None:
    network, _ = attention_network(Sizes(), ABLE)
    dense = Dense(
        name="y.w", sources=(Source("attention"),), target="y", origin="y", weight=np.ones((2, 2), np.int8), shift=6
    )
    weighed = replace(network, projections=tuple(dense if p.name == "y.w" else p for p in network.projections))
    assert "'y.w' adds or weighs products first; use --attention processor or unit" in refused(
        weighed, ABLE, "coincidence"
    )
    AttentionMethods().run(weighed, ABLE, Choices(weight_bits=8, attention="unit"))


def test_learning_takes_two_ticks_a_token_and_one_to_clear() -> None:
    network, _ = attention_network(Sizes(height=2, width=3), ABLE)
    after = lowered(network, ABLE, "plastic")
    assert after.interval == 13
    assert after.by_name["y"].depth - after.by_name["q"].depth == 13


def estimate(method: str, neurons: int, interval: int = 1, step_j: float | None = None) -> Estimate:
    return Estimate(method=method, neurons=neurons, interval=interval, step_j=step_j)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([estimate("coincidence", 100), estimate("processor", 0)], "processor"),
        ([estimate("plastic", 0, 33), estimate("unit", 0)], "unit"),
        ([estimate("coincidence", 100, 1, 1e-6), estimate("plastic", 0, 33, 2e-6)], "coincidence"),
        ([estimate("coincidence", 100, 1, 1e-6), estimate("plastic", 0, 33, None)], "plastic"),
        ([Estimate(method="processor", refusal="no"), estimate("coincidence", 100)], "coincidence"),
    ],
)
def test_auto_takes_the_cheapest_method_that_works(found: list[Estimate], expected: str) -> None:
    network, _ = attention_network(Sizes(), ABLE)
    assert choose_attention("auto", network, tuple(found)) == expected
    assert f"-> {expected}" in print_estimates(tuple(found), expected)


def test_auto_says_why_nothing_works() -> None:
    network, _ = attention_network(Sizes(), ABLE)
    with pytest.raises(UnsupportedError, match="no attention method of the chip works:\n  - unit: too small"):
        choose_attention("auto", network, (Estimate(method="unit", refusal="too small"),))


def test_shipped_chips_choose_by_their_own_prices() -> None:
    expected = {"loihi": "processor", "attention_chip": "unit", "truenorth": "coincidence"}
    for name, method in expected.items():
        chip = load_chip(name)
        network, _ = attention_network(Sizes(height=4, width=4, depth=8), chip)
        choices = Choices(weight_bits=chip.default_weight_bits, attention="auto")
        assert choose_attention("auto", network, estimates(network, chip, choices, chip.costs())) == method


EQUATIONS = [
    ("a,b,hc", "ab,st,hc"),
    ("ab,st,he", "a,b,he"),
    ("s,t,he", "st,e,hc"),
    ("ab,e,hc", "a,b,he"),
    ("st,e,hc", ",e,hc"),
]


@pytest.mark.parametrize("axes", EQUATIONS)
def test_offsets_of_index_connections_are_those_of_the_reference(axes: tuple[str, str]) -> None:
    letters = {"a": 2, "b": 3, "s": 2, "t": 3, "h": 2, "c": 4, "e": 4}
    sizes = tuple((letter, size) for letter, size in letters.items() if letter in "".join(axes))
    synapses = Einsum(name="e", sources=(Source("x"),), target="y", origin="y", axes=axes, sizes=sizes)
    shape = [int(np.prod([letters[x] for x in group])) for group in axes[0].split(",")]
    x = np.random.default_rng(0).integers(0, 4, (2, *shape))
    rows, columns, channels, own = source_offsets(synapses)
    index = rows[:, None, None, None] + columns[:, None, None] + channels[:, None] + own
    assert len(own) == synapses.fan_in
    assert np.array_equal(connected(x, synapses), x.reshape(2, -1)[:, index].sum(axis=-1))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"axes": ("a,b,hc", "a,b")}, "expected rows,columns,channels of letters"),
        ({"axes": ("a,b,hh", "ab,st,hc")}, "expected rows,columns,channels of letters"),
        ({"sizes": (("a", 1),)}, "expected rows,columns,channels of letters"),
        ({"weight": 0}, "expected a weight other than 0"),
    ],
)
def test_faulty_index_connections_are_named(fault: dict[str, object], said: str) -> None:
    network, _ = attention_network(Sizes(width=3, depth=3), ABLE)
    after = lowered(network, ABLE, "coincidence")
    first = next(p for p in after.projections if isinstance(p, Einsum))
    broken = replace(after, projections=tuple(replace(p, **fault) if p is first else p for p in after.projections))
    with pytest.raises(ProgramError, match=said):
        validate_network(broken)


def test_the_checker_sees_a_port_that_misses_what_a_tile_reads_by_index() -> None:
    chip = able_chip(neurons=16)
    network, _ = attention_network(Sizes(width=3, depth=3), chip)
    program = mapped(lowered(network, chip, "coincidence"), chip, "coincidence")
    number = next(i for i, p in enumerate(program.network.projections) if isinstance(p, Einsum) and p.fan_in == 1)
    rows = np.flatnonzero(program.synapses["projection"] == number)
    port = next(program.synapses["port"][row] for row in rows if program.ports["c1"][program.synapses["port"][row]] > 1)
    program.ports["c1"][port] -= 1
    with pytest.raises(ProgramError, match="does not cover all that tile"):
        check_program(program)
