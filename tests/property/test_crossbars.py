"""Small models on crossbar chips: graph, network, simulator and a chip laid out literally agree, spike for spike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.ops import Add, Conv2d, Input, Linear, Mean, Reshape, TimeMean, Transpose
from compiler.ir.ops import Neuron as NeuronOp
from compiler.legal.base import digit_values, possible_bases
from compiler.legal.place_biases import PlaceBiases
from compiler.pipeline import Options, compile_graph, run_passes
from neurochip.errors import NeurochipError
from neurochip.network.crossbar import crosspoints
from neurochip.network.network import Neuron
from neurochip.network.projections import Bias, Dense, Gather, Pool, Source
from neurochip.program.file import load_program, save_program
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from tests.crossbar_chips import crossbar_chip
from tests.crossbar_networks import FOUR_BITS, dense, lif, network
from tests.crossbar_oracle import check_on_chip
from tests.spiking_graphs import Model, data, tiny_spikformer

SEEDS = st.integers(0, 10_000)
CLASSES = 3


def small_model(seed: int, *, analog: bool = True) -> Model:
    """A stem, residual convolutions and token layers of random widths, T = 1, and a head; fan-ins fit 4-bit weights."""
    rng, m = np.random.default_rng(seed), Model(seed, timesteps=1)
    width, side = int(rng.integers(2, 6)), int(rng.integers(2, 4)) * 2
    kernel = int(rng.choice([1, 2]))
    width = min(width, 4) if kernel == 2 else width
    x = m.add("input", Input(shape=(2, side, side), low=-1, high=1)) if analog else m.spikes(2, side, side)
    x = m.conv_bn_lif("stem", x, width, 2) if analog else linear_conv(m, "stem", x, width, 2, 1)
    y = linear_conv(m, "a", x, width, width, 1)
    x = m.add("res", Add(), x, y) if rng.random() < 0.7 else y
    x = linear_conv(m, "b", x, width, width, kernel)
    n = (side // kernel) ** 2
    x = m.add("tokens", Transpose(order=(1, 0)), m.add("flatten", Reshape(shape=(width, n)), x))
    for i in range(int(rng.integers(1, 3))):
        hidden = int(rng.integers(2, 7))
        y = m.linear_bn_lif(f"f{i}", x, hidden, width)
        y = m.linear_bn_lif(f"g{i}", y, width, hidden)
        x = m.add(f"res{i}", Add(), x, y) if rng.random() < 0.7 else y
    x = m.add("time_mean", TimeMean(), m.add("token_mean", Mean(axes=(0,)), x))
    head = Linear(weight=m.weight(CLASSES, width), bias=m.weight(CLASSES))
    m.add("head", head, x)
    return m


def linear_conv(m: Model, name: str, x: str, outputs: int, inputs: int, kernel: int) -> str:
    weight = m.weight(outputs, inputs, kernel, kernel)
    x = m.add(f"{name}_conv", Conv2d(weight=weight, stride=(kernel, kernel)), x)
    return m.add(f"{name}_lif", NeuronOp(), m.norm(f"{name}_bn", x, outputs, 0))


def data_for(graph, seed: int, batch: int = 2) -> np.ndarray:
    op, rng = graph.inputs[0].op, np.random.default_rng(seed)
    if op.integer:
        return rng.integers(0, 2, (1, batch, *op.shape)).astype(float)
    return rng.uniform(-1, 1, (batch, *op.shape))


def check_exact(graph, chip, x, bits=None) -> int:
    """Compile, compare quantised graph, reference, simulator and literal chip; returns spikes on the literal chip."""
    program = compile_graph(graph, chip, Options(placement="hilbert", weight_bits=bits))
    check = Check(program.network, x)
    trace = run_program(program, x, observe=check.observe)
    assert check.difference is None
    quantised = run_passes(graph, chip, program.origin.weight_bits).run({graph.inputs[0].name: x})
    (logits,) = quantised.outputs.values()
    np.testing.assert_allclose(trace.logits, np.asarray(logits).reshape(trace.logits.shape), rtol=1e-9, atol=1e-9)
    return check_on_chip(program, x)


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.sampled_from([2, 3, 4]))
def test_graph_network_simulator_and_literal_crossbars_agree(seed: int, bits: int) -> None:
    graph = small_model(seed, analog=seed % 3 > 0).graph("head")
    check_exact(graph, crossbar_chip(64, 160), data_for(graph, seed), bits)


@settings(max_examples=8, deadline=None)
@given(SEEDS)
def test_neurons_without_leak_run_several_steps_with_biases_on_axons(seed: int) -> None:
    graph = small_model(seed, analog=seed % 3 > 0).graph("head")
    nodes = (replace(n, op=replace(n.op, tau=None)) if isinstance(n.op, NeuronOp) else n for n in graph.nodes)
    graph = replace(graph, nodes=tuple(nodes), timesteps=3)
    x = data_for(graph, seed)
    x = x if graph.inputs[0].op.low < 0 else np.repeat(x, 3, axis=0)
    check_exact(graph, crossbar_chip(64, 160), x, 4)


@settings(max_examples=6, deadline=None)
@given(SEEDS)
def test_narrow_cores_and_short_delays_take_splitters_and_relays(seed: int) -> None:
    """Cores so small that neurons need splitters behind them, delays so short that residuals need relays."""
    graph = small_model(seed).graph("head")
    chip = crossbar_chip(neurons=16, axons=160, max_delay=2)
    program = compile_graph(graph, chip, Options(placement="hilbert"))
    x = data_for(graph, seed)
    assert check_on_chip(program, x) >= 0
    assert max(p.copies for p in program.network.populations) > 1
    check = Check(program.network, x)
    run_program(program, x, observe=check.observe)
    assert check.difference is None


@settings(max_examples=5, deadline=None)
@given(SEEDS, st.sampled_from(["(qk)sv", "q(kv)s"]))
def test_spiking_transformers_with_attention_and_bursts_run_on_the_literal_chip(seed: int, order: str) -> None:
    """Eight channels of 3 x 3 windows need 288 axons: partial sums travel as bursts, neurons wait for the strobe."""
    graph = replace(tiny_spikformer(seed, analog=seed % 2 == 0, width=8, order=order), timesteps=1)
    assert check_exact(graph, crossbar_chip(256, 256), data(graph, seed, batch=2)["input"]) > 0


def test_some_small_model_has_splitters_and_some_a_relay() -> None:
    names = set()
    for seed in range(12):
        graph = small_model(seed).graph("head")
        program = compile_graph(graph, crossbar_chip(neurons=16, axons=160, max_delay=2), Options(placement="hilbert"))
        names |= {p.name for p in program.network.populations}
    assert any(name.endswith(".split") for name in names)
    assert any(".relay" in name or ".wait" in name for name in names)


def test_a_program_with_types_copies_and_host_layers_survives_its_file(tmp_path) -> None:
    graph = small_model(5).graph("head")
    program = compile_graph(graph, crossbar_chip(64, 160), Options(placement="hilbert"))
    save_program(program, tmp_path / "model.ncp")
    again = load_program(tmp_path / "model.ncp")
    x = data_for(graph, 1)
    assert np.array_equal(run_program(again, x).readout, run_program(program, x).readout)
    assert [p.copies for p in again.network.populations] == [p.copies for p in program.network.populations]


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_every_base_reaches_every_weight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    top = int(rng.choice([1, 2, 3, 7, 15, 127]))
    low = int(rng.choice([-top, 0, 1]))
    weights = [rng.integers(low, top + 1, (int(rng.integers(1, 9)), 4)) * int(rng.choice([1, 3])) for _ in range(2)]
    bases = possible_bases([(w, len(w)) for w in weights], 4, 255)
    assert bases or top == 127, "only wide weights times a factor can leave 9 bits"
    for weight in weights:
        for base in bases:
            rows = base.values[list(base.lines_of(weight))]
            assert np.array_equal((crosspoints(weight, rows) * rows[:, None]).sum(axis=0), weight)


def test_ternary_weights_take_two_lines_four_bits_four_and_a_sixteen_two_eights() -> None:
    ternary, four = np.array([[1, -1], [-1, 0], [0, 1]]), np.arange(-7, 8)[:, None]
    assert possible_bases([(ternary, 3)], 4, 255)[0].lines == (0, 1)
    (base,) = possible_bases([(four, 15)], 4, 255)
    assert base.values[:, 0].tolist() == [1, 2, 4, -8]
    assert base.lines == (0, 1, 2, 3)
    powers = [(np.full((1, 2), value), 8) for value in (1, 2, 4, 8, 16)]
    base = possible_bases(powers, 4, 255)[0]
    assert base.values[:, 0].tolist() == [1, 2, 4, 8]
    assert [len(base.lines_of(weight)) for weight, _ in powers] == [1, 1, 1, 1, 2]
    assert digit_values(7, 3) == ((1, 1), (2, 1), (4, 1))


def test_a_crosspoint_for_a_weight_that_no_line_reaches_is_an_error() -> None:
    with pytest.raises(ValueError, match="are no sums"):
        crosspoints(np.array([[5]]), np.array([[1], [2]]))


def test_counts_on_one_axon_are_refused_with_a_remedy() -> None:
    m = Model(0, timesteps=1)
    x = m.add("input", Input(shape=(2, 2, 2), integer=True, low=0, high=3))
    linear_conv(m, "a", x, 3, 2, 1)
    m.add("mean", Mean(axes=(1, 2)), "a_lif")
    m.add("head", Linear(weight=m.weight(2, 3)), m.add("time", TimeMean(), "mean"))
    with pytest.raises(NeurochipError, match="takes one a tick; encode the input in binary spikes"):
        compile_graph(m.graph("head"), crossbar_chip(), Options(placement="hilbert"))


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_inverted_neurons_fire_where_the_model_is_silent_and_change_nothing_else(seed: int) -> None:
    """A core without room for bias axons: every population's spikes are those before, inverted channels apart."""
    rng = np.random.default_rng(seed)
    n = [int(k) for k in rng.integers(1, 6, 4)]
    weights = [rng.integers(-7, 8, shape) for shape in ((n[0], n[1]), (n[1], n[2]), (n[0], n[2]))]
    populations = {"in": (n[0], Neuron(kind="source")), "a": (n[1], lif(3)), "b": (n[2], lif(4)), "c": (n[2], lif(2))}
    biases = [
        Bias(
            name=f"{name}.bias", sources=(), target=name, origin=name,
            weight=rng.integers(-9, 12, (1, k)).astype(np.int16), shifts=(0,),
        )
        for name, k in (("a", n[1]), ("b", n[2]), ("c", n[2]))
    ]  # fmt: skip
    readout = Gather(
        name="head.synapses", sources=(Source("b"), Source("c")), target="head", origin="head",
        weight=rng.integers(-7, 8, (n[2], 2)).astype(np.int8),
    )  # fmt: skip
    before = network(
        {**populations, "head": (2, Neuron(kind="readout"))},
        dense("a", weights[0].tolist(), "in"), dense("b", weights[1].tolist(), "a"), biases[0], biases[1],
        Dense(name="b.more", sources=(Source("in"),), target="b", origin="b", weight=weights[2].astype(np.int8)),
        Pool(name="c.synapses", sources=(Source("b"),), target="c", origin="c", weight=2), biases[2], readout,
    )  # fmt: skip
    chip = crossbar_chip(axons=max(4 * n[0], 4 * n[1] + 4 * n[0]), neurons=64)
    after = PlaceBiases().run(before, chip, FOUR_BITS)
    x = rng.integers(0, 2, (1, 3, *before.input.shape)).astype(float)
    was, now = before.run(x), after.run(x)
    for population in after.populations[:-1]:
        found = now.spikes[population.name].copy()
        found[..., list(population.inverted)] = 1 - found[..., list(population.inverted)]
        assert np.array_equal(found, was.spikes[population.name]), population.name
    assert np.array_equal(was.readout, now.readout)
