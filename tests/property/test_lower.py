"""Random small models of every kind of connection: quantised graph, network and simulated program agree."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.ops import (
    Add,
    AndNot,
    AvgPool,
    Conv2d,
    Input,
    Linear,
    MaxPool,
    Mean,
    Mul,
    Neuron,
    Reshape,
    Sum,
    TimeMean,
    Transpose,
)
from compiler.lower.balance import balance
from compiler.lower.lower import lower_graph
from compiler.passes.lower_pooling import LowerPooling
from compiler.pipeline import run_passes
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.projections import MaxConv
from neurochip.program.file import load_program, save_program
from tests.exact import assert_exact
from tests.property.test_passes import after, assert_same
from tests.small_chips import small_chip
from tests.spiking_graphs import Model, target

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=8, deadline=None)
SMALL = small_chip(neurons=60, input_axons=1500, output_axons=3000, words=9000, columns=8, rows=8)
"""Cores so small that layers need several."""


def head(m, x, shape):
    """A readout of spikes of ``shape``."""
    size = int(np.prod(shape))
    x = m.add("flat_out", Reshape(shape=(size,)), x) if len(shape) > 1 else x
    return m.graph(m.add("head", Linear(weight=m.weight(3, size)), m.add("time", TimeMean(), x)))


def without_dendrites() -> ChipSpec:
    data = json.loads(load_chip("loihi").to_json())
    data["neuron"].pop("dendrites")
    return ChipSpec.model_validate(data)


@given(seed=SEEDS, timesteps=st.integers(1, 4), kind=st.sampled_from(["and", "and not"]), same=st.booleans())
@few
def test_logic_of_two_layers(seed, timesteps, kind, same):
    m = Model(seed, timesteps)
    x = m.spikes(3, 4, 5)
    a = m.add("a", Neuron(threshold=0.5), m.add("ca", Conv2d(weight=m.weight(4, 3, 3, 3), padding=(1, 1)), x))
    b = m.add("b", Neuron(threshold=0.5), m.add("cb", Conv2d(weight=m.weight(4, 3, 1, 1)), x))
    a = m.add("itself", Mul(), a, a) if same else a
    y = m.add("logic", Mul() if kind == "and" else AndNot(), a, b)
    assert_exact(head(m, y, (4, 4, 5)), SMALL, seed=seed)


@given(
    seed=SEEDS,
    timesteps=st.integers(1, 4),
    over=st.sampled_from(["tokens", "channels", "both"]),
    heads=st.sampled_from([1, 2, 3]),
    tau=st.sampled_from([None, 2.0, 1.7]),
)
@few
def test_a_mask_made_of_sums(seed, timesteps, over, heads, tau):
    """SDSA-1 (over tokens), QK token attention (over the channels of a head), and a sum over both."""
    m = Model(seed, timesteps)
    tokens, width = 6, 6
    x = m.add("flat", Reshape(shape=(3, tokens)), m.spikes(3, 2, 3))
    x = m.add("tokens", Transpose(order=(1, 0)), x)
    q, k = (
        m.add(f"{s}_lif", Neuron(threshold=0.6), m.add(f"{s}_fc", Linear(weight=m.weight(width, 3)), x)) for s in "qk"
    )
    q, k = (
        m.add(f"{s}_split", Reshape(shape=(tokens, heads, width // heads)), n)
        for s, n in zip("qk", (q, k), strict=True)
    )
    q, k = (m.add(f"{s}_heads", Transpose(order=(1, 0, 2)), n) for s, n in zip("qk", (q, k), strict=True))
    axes = {"tokens": (1,), "channels": (2,), "both": (1, 2)}[over]
    y = m.add("sum", Sum(axes=axes, keep=True), q)
    y = m.add("mask_lif", Neuron(tau=tau, threshold=0.9), y)
    y = m.add("masked", Mul(), k, y) if seed % 2 else m.add("masked", AndNot(), k, y)
    y = m.add("merge", Transpose(order=(1, 0, 2)), y)
    y = m.add(
        "proj_lif",
        Neuron(),
        m.add("proj", Linear(weight=m.weight(5, width)), m.add("merged", Reshape(shape=(tokens, width)), y)),
    )
    assert_exact(head(m, y, (tokens, 5)), SMALL, seed=seed)


@given(seed=SEEDS, timesteps=st.integers(1, 6), analog=st.booleans(), tau=st.sampled_from([None, 2.0, 4 / 3, 3.3]))
@few
def test_a_membrane_shortcut_with_its_averages_and_readout(seed, timesteps, analog, tau):
    m = Model(seed, timesteps)
    x = m.add("image", Input(shape=(3, 6, 6), low=-1, high=1)) if analog else m.spikes(3, 6, 6)
    lif = Neuron(tau=tau, threshold=0.7)
    stream = m.add("stem", Conv2d(weight=m.weight(4, 3, 3, 3), bias=m.weight(4), padding=(1, 1)), x)
    for i in range(2):
        y = m.add(f"fc{i}", Conv2d(weight=m.weight(4, 4, 1, 1), bias=m.weight(4)), m.add(f"lif{i}", lif, stream))
        stream = m.add(f"add{i}", Add(), stream, y)
    stream = m.add("last_lif", lif, stream)
    y = m.add("down", Conv2d(weight=m.weight(5, 4, 3, 3), bias=m.weight(5), padding=(1, 1)), stream)
    y = m.add("average", AvgPool(kernel=(2, 2), stride=(2, 2)), y)
    y = m.add("stage", Add(), y, m.add("short", Conv2d(weight=m.weight(5, 4, 1, 1), stride=(2, 2)), stream))
    y = m.add("stage2", Add(), y, m.add("fc3", Conv2d(weight=m.weight(5, 5, 1, 1)), m.add("lif3", lif, y)))
    mean = m.add("mean", Mean(axes=(1, 2)), y)
    logits = m.add("head", Linear(weight=m.weight(3, 5), bias=m.weight(3)), m.add("time", TimeMean(), mean))
    program = assert_exact(m.graph(logits), SMALL, seed=seed)
    counted = [p.counted for p in program.network.projections if p.origin == "stem"]
    assert counted == [True, False, False]


@given(
    seed=SEEDS, timesteps=st.integers(1, 3), analog=st.booleans(), stride=st.integers(1, 2), shared=st.booleans(),
    reach=st.sampled_from([0, 1]),
)  # fmt: skip
@few
def test_maxima_of_currents(seed, timesteps, analog, stride, shared, reach):
    m = Model(seed, timesteps)
    x = m.add("image", Input(shape=(2, 6, 6), low=-1, high=1)) if analog else m.spikes(2, 6, 6)
    weight = m.weight(4, 2, 2 * reach + 1, 2 * reach + 1)
    conv = m.add("conv", Conv2d(weight=weight, bias=m.weight(4), padding=(reach, reach)), x)
    pool = m.add("pool", MaxPool(kernel=(3, 3), stride=(stride, stride), padding=(1, 1)), conv)
    y = m.add("lif", Neuron(threshold=0.8), pool)
    rows = 6 // stride
    if shared and not analog:
        fc = m.add("fc", Conv2d(weight=m.weight(4, 4, 1, 1)), y)
        total = m.add("add", Add(), pool, fc)
        if seed % 2:
            y = m.add("lif2", Neuron(threshold=0.8), total)
        else:
            y, rows = m.add("gap_lif", Neuron(threshold=0.4), m.add("gap", Mean(axes=(1, 2)), total)), 1
    graph = head(m, y, (4, rows, rows) if rows > 1 else (4,))
    program = assert_exact(graph, load_chip("loihi"), seed=seed)
    joined = [p for p in program.network.projections if isinstance(p, MaxConv)]
    assert bool(joined) == (not analog and (timesteps > 1 or shared))


def test_spikes_that_lie_elsewhere_are_no_mask():
    m = Model(0, 2)
    a = m.add("a", Neuron(), m.add("ca", Conv2d(weight=m.weight(4, 3, 1, 1)), m.spikes(3, 4, 4)))
    y = m.add("masked", Mul(), a, m.add("turned", Transpose(order=(0, 2, 1)), a))
    with pytest.raises(UnsupportedError, match=r"^mul 'masked': operands on grids .* mask neurons of the same tokens"):
        assert_exact(head(m, y, (4, 4, 4)))
    m = Model(0, 2)
    x = m.spikes(3, 4, 4, high=2)
    with pytest.raises(UnsupportedError, match=r"^mul 'masked': expected binary spikes of one neuron layer as 'input'"):
        assert_exact(head(m, m.add("masked", Mul(), x, x), (3, 4, 4)))


def test_sums_over_parts_of_an_image_are_refused():
    m = Model(0, 2)
    x = m.add("rows", Sum(axes=(2,)), m.spikes(3, 4, 4))
    with pytest.raises(UnsupportedError, match=r"^node 'lif': sums over parts of a grid .* sum over whole axes"):
        assert_exact(head(m, m.add("lif", Neuron(), x), (3, 4)))


def test_with_one_step_a_maximum_before_neurons_is_an_or_of_spikes():
    for seed in range(8):
        m = Model(seed, 1)
        x = m.add("conv", Conv2d(weight=m.weight(4, 2, 3, 3), bias=m.weight(4), padding=(1, 1)), m.spikes(2, 6, 6))
        pool = m.add("pool", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)
        graph = m.graph(m.add("lif", Neuron(decay_input=False, threshold=0.8), pool))
        lowered = after(graph, LowerPooling(), to=target())
        assert not lowered.of_type(MaxPool)
        assert_same(graph, lowered, seed)


def test_without_dendrites_the_layer_and_the_remedy_are_named():
    m = Model(0, 2)
    pool = m.add(
        "pool",
        MaxPool(kernel=(2, 2), stride=(2, 2)),
        m.add("conv", Conv2d(weight=m.weight(4, 2, 1, 1)), m.spikes(2, 4, 4)),
    )
    graph = head(m, m.add("lif", Neuron(), pool), (4, 2, 2))
    with pytest.raises(UnsupportedError, match=r"^max_pool 'pool': takes the maximum .* choose a chip with neuron"):
        assert_exact(graph, without_dendrites())


def test_more_compartments_than_a_neuron_has_are_refused():
    m = Model(0, 2)
    conv = m.add("conv", Conv2d(weight=m.weight(2, 2, 1, 1)), m.spikes(2, 12, 12))
    pool = m.add("pool", MaxPool(kernel=(3, 3), stride=(1, 1)), conv)
    y = m.add("lif", Neuron(), m.add("gap", Mean(axes=(1, 2)), pool))
    data = json.loads(load_chip("loihi").to_json())
    data["neuron"]["dendrites"]["compartments"]["value"] = 1000
    graph, chip = head(m, y, (2,)), ChipSpec.model_validate(data)
    with pytest.raises(UnsupportedError, match=r"^layer 'lif': joins maxima of 'gap.conv2d' in 1001 compartments"):
        assert_exact(graph, chip)


def test_a_shared_current_is_stored_once(tmp_path):
    m = Model(1, 2)
    stem = m.add("stem", Conv2d(weight=m.weight(16, 2, 3, 3), padding=(1, 1)), m.spikes(2, 6, 6))
    y = m.add("fc", Conv2d(weight=m.weight(16, 16, 1, 1)), m.add("lif", Neuron(), stem))
    graph = head(m, m.add("lif2", Neuron(), m.add("add", Add(), stem, y)), (16, 6, 6))
    program = assert_exact(graph)
    twice = [p for p in program.network.projections if p.origin == "stem"]
    assert [p.name for p in twice] == ["stem.synapses", "stem.synapses@lif2"]
    assert twice[0].weight is twice[1].weight
    save_program(program, tmp_path / "x.ncp")
    loaded = [p for p in load_program(tmp_path / "x.ncp").network.projections if p.origin == "stem"]
    assert loaded[0].weight.base is loaded[1].weight.base or loaded[0].weight is loaded[1].weight


def test_images_of_a_batch_do_not_meet_on_a_chip():
    from compiler.ir.ops import SerialNeuron

    m = Model(3, 2)
    x = m.add("fc", Linear(weight=m.weight(5, 4)), m.spikes(4))
    graph = head(m, m.add("lif", SerialNeuron(), x), (5,))
    chip = load_chip("loihi")
    quantised = run_passes(graph, chip, 8)
    assert not quantised.of_type(SerialNeuron)
    assert_exact(graph)
    alone = graph.with_nodes([replace(n, op=Neuron()) if n.name == "lif" else n for n in graph.nodes])
    x = np.random.default_rng(0).binomial(1, 0.5, (2, 3, 4)).astype(float)
    network = balance(lower_graph(quantised, chip, 8), chip.max_delay)
    np.testing.assert_array_equal(network.run(x).logits, run_passes(alone, chip, 8).run(x).logits)
