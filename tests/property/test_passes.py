"""Each pass keeps what a model computes: the same spikes and the same results on random small models."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.graph import Graph
from compiler.ir.ops import (
    Add,
    Attention,
    AvgPool,
    BatchNorm,
    Conv2d,
    Linear,
    MatMul,
    MaxPool,
    Mean,
    Neuron,
    QuantiseInput,
    Readout,
    Requantise,
    Reshape,
    Scale,
    TimeMean,
    Transpose,
)
from compiler.ir.text import graph_constants, parse_graph, print_graph
from compiler.ir.verify import verify
from compiler.passes import PASSES
from tests.spiking_graphs import Model, attention, data, target, tiny_spikformer

CHECK, FOLD_NORM, FUSE, FOLD_SCALES, RESIDUALS, MERGE, POOLING, READOUT, QUANTISE, REGISTERS = PASSES
BEFORE_QUANTISE = PASSES[:-2]
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def after(graph: Graph, *passes, to=None) -> Graph:
    """``graph`` after the passes; each result must verify and survive printing and parsing."""
    for each in passes:
        graph = verify(each.run(graph, to or target()))
        text = print_graph(graph)
        assert print_graph(parse_graph(text, graph_constants(graph))) == text
    return graph


def assert_same(before: Graph, result: Graph, seed: int) -> None:
    """Equal spikes of every neuron that both have, and equal outputs."""
    x = data(before, seed)
    a, b = before.run(x, record="spikes"), result.run(x, record="spikes")
    assert set(a.spikes) <= set(b.spikes)
    for name, values in a.values.items():
        np.testing.assert_array_equal(values, b.values[name].reshape(values.shape), err_msg=name)
    assert before.outputs == result.outputs
    for name, values in a.outputs.items():
        np.testing.assert_allclose(b.outputs[name], values, rtol=1e-9, atol=1e-12)


def fired(graph: Graph, seed: int) -> bool:
    """Some neurons fire: otherwise equality says little."""
    return any(counts.any() for counts in graph.run(data(graph, seed)).spikes.values())


# One pass each.


@given(seed=SEEDS, channel_first=st.booleans(), twice=st.booleans())
@few
def test_folding_batch_norms_keeps_spikes(seed, channel_first, twice):
    m = Model(seed)
    x = m.conv_bn_lif("stem", m.spikes(2, 4, 4), 6, 2)
    x = m.add("tokens", Transpose(order=(1, 2, 0)), x)
    x = m.add("linear", Linear(weight=m.weight(5, 6), bias=m.weight(5)), x)
    if channel_first:
        x = m.add("first", Transpose(order=(2, 0, 1)), x)
        x = m.add("flat", Reshape(shape=(5, 16)), x)
    x = m.norm("bn", x, 5, 0 if channel_first else -1)
    x = m.norm("bn2", x, 5, 0 if channel_first else 2) if twice else x
    graph = m.graph(m.add("out", Neuron(), x))
    folded = after(graph, FOLD_NORM)
    assert not folded.of_type(BatchNorm)
    assert_same(graph, folded, seed)


@given(
    seed=SEEDS,
    heads=st.sampled_from([1, 2, 3]),
    order=st.sampled_from(["(qk)sv", "q(kv)s"]),
    layout=st.sampled_from(["tokens", "channels", "image"]),
)
@few
def test_fusing_attention_keeps_every_integer(seed, heads, order, layout):
    m = Model(seed)
    tokens, width = 6, 2 * heads
    shape = {"tokens": (tokens, width), "channels": (width, tokens), "image": (width, 2, 3)}[layout]
    qkv = []
    for letter in "qkv":
        x = m.spikes(*shape, name=letter)
        if layout == "image":
            x = m.add(f"{letter}_flat", Reshape(shape=(width, tokens)), x)
        qkv.append(x if layout == "tokens" else m.add(f"{letter}_tokens", Transpose(order=(1, 0)), x))
    y = attention(m, "attn", qkv, (tokens, width, heads), 0.25, order)
    graph = m.graph(m.add("product", Scale(factor=1.0), y), m.add("lif", Neuron(threshold=0.5), y))
    fused = after(graph, FUSE)
    assert not fused.of_type(MatMul)
    assert [node.op.heads for node in fused.of_type(Attention)] == [heads]
    assert len(fused.of_type(Transpose)) == (0 if layout == "tokens" else 3)
    assert_same(graph, fused, seed)


@given(seed=SEEDS, depth=st.integers(1, 3))
@few
def test_heads_may_be_split_in_any_way_that_reshapes_and_transposes_can(seed, depth):
    m = Model(seed)
    tokens, heads = 4, 3
    names = [m.spikes(depth, tokens, heads, name=letter) for letter in "qkv"]
    q, k, v = (m.add(f"{x}_heads", Transpose(order=(2, 1, 0)), x) for x in names)
    y = m.add("qkv", MatMul(), m.add("qk", MatMul(transpose_b=True), q, k), v)
    graph = m.graph(m.add("out", Transpose(order=(1, 0, 2)), y))
    fused = after(graph, FUSE)
    assert len(fused.of_type(Attention)) == 1
    x = data(graph, seed)
    np.testing.assert_array_equal(fused.run(x).logits, graph.run(x).logits)


neurons = st.builds(
    Neuron,
    tau=st.sampled_from([None, 1.0, 2.0, 4.0]),
    decay_input=st.booleans(),
    threshold=st.sampled_from([0.5, 1.0, 1.5]),
    fires=st.sampled_from(["ge", "gt"]),
    v_reset=st.sampled_from([0.0, -0.25, 0.25]),
) | st.builds(Neuron, tau=st.sampled_from([None, 2.0]), decay_input=st.booleans(), reset=st.just("soft"))


@given(seed=SEEDS, first=neurons, second=neurons, third=neurons)
@settings(max_examples=60, deadline=None)
def test_folding_scales_keeps_spikes_exactly_for_dyadic_numbers(seed, first, second, third):
    m = Model(seed)
    x = m.add("quarter", Scale(factor=0.25), m.spikes(3, 4, high=5))
    x = m.add("first", first, m.add("flat", Reshape(shape=(12,)), x))
    x = m.add("linear", Linear(weight=m.dyadic(6, 12), bias=m.dyadic(6)), m.add("half", Scale(factor=-0.5), x))
    x = m.add("second", second, m.add("minus", Scale(factor=-2.0), x))
    x = m.add("last", Linear(weight=m.dyadic(4, 6)), x)
    x = m.add("eighth", Scale(factor=0.125), m.add("five", Scale(factor=4.0), x))
    x = m.add("third", third, x)
    graph = m.graph(m.add("rate", TimeMean(), x))
    folded = after(graph, FOLD_SCALES)
    assert not folded.of_type(Scale)
    for node in folded.of_type(Neuron):
        assert (node.op.decay_input, node.op.v_reset) == (False, 0.0)
    assert_same(graph, folded, seed)


def test_the_attention_neuron_of_spikformer_gets_threshold_8():
    folded = after(tiny_spikformer(), FOLD_NORM, FUSE, FOLD_SCALES)
    assert folded.node("b0.attn_lif").op.threshold == 8.0


@given(seed=SEEDS, twice=st.booleans())
@few
def test_lowering_residuals_keeps_spikes(seed, twice):
    m = Model(seed)
    x = m.spikes(4, 2, 2, high=2)
    x = m.add("add0", Add(), x, m.add("lif0", Neuron(tau=None, decay_input=False), x))
    x = m.add("tokens", Transpose(order=(1, 0)), m.add("flat", Reshape(shape=(4, 4)), x))
    for i in (1, 2):
        y = m.add(f"lif{i}", Neuron(), m.add(f"linear{i}", Linear(weight=m.weight(4, 4)), x))
        x = m.add(f"add{i}", Add(), x, y, y) if twice else m.add(f"add{i}", Add(), y, x)
    left = m.add("left", Linear(weight=m.weight(3, 4), bias=m.weight(3)), x)
    right = m.add("right", Linear(weight=m.weight(3, 4)), y)
    inner = m.add("inner", Add(), left, right)
    m.add("both", Neuron(), inner)
    m.add("more", Neuron(), m.add("outer", Add(), inner, m.add("again", Linear(weight=m.weight(3, 4)), y)))
    x = m.add("mean", TimeMean(), m.add("token_mean", Mean(axes=(0,)), x))
    graph = m.graph(m.add("head", Linear(weight=m.weight(2, 4)), x), "both", "more")
    lowered = after(graph, RESIDUALS)
    for node in lowered.of_type(Add):
        assert all(isinstance(reader.op, Neuron) for reader in lowered.consumers(node.name))
    assert len(lowered.node("left").inputs) == (6 if twice else 4)
    assert_same(graph, lowered, seed)


@given(seed=SEEDS, kernel=st.integers(1, 3), stride=st.integers(1, 2), padded=st.booleans())
@few
def test_lowering_pools_keeps_spikes(seed, kernel, stride, padded):
    geometry = {
        "kernel": (kernel, kernel),
        "stride": (stride, stride),
        "padding": (kernel // 2,) * 2 if padded else (0, 0),
    }
    m = Model(seed)
    x = m.add("maxpool", MaxPool(**geometry), m.spikes(2, 17, 17))
    x = m.add("lif", Neuron(decay_input=False, threshold=0.55), m.add("average", AvgPool(**geometry), x))
    shrunk = m.add("shrunk", AvgPool(**geometry), x)
    x = m.add("conv", Conv2d(weight=m.weight(3, 2, 1, 1), bias=m.weight(3), stride=(2, 2)), shrunk)
    x = m.add("out", Neuron(), x)
    rows = Graph("", tuple(m.nodes), ("out",), 4).types["out"].shape[1]
    x = m.add("all", AvgPool(kernel=(rows, rows), stride=(1, 1)), x)
    x = m.add("head", Linear(weight=m.weight(2, 3)), m.add("features", Reshape(shape=(3,)), x))
    graph = m.graph(m.add("result", TimeMean(), x))
    lowered = after(graph, POOLING)
    assert not lowered.of_type(MaxPool, AvgPool)
    x = data(graph, seed)
    np.testing.assert_array_equal(
        graph.run(x, record="values").values["maxpool"], lowered.run(x, record="values").values["maxpool"]
    )
    assert_same(graph, lowered, seed)
    assert_same(graph, after(lowered, READOUT), seed)


HEADS = {
    "mean N, mean T, head": ("n", "t", "h"),
    "mean T, mean N, head": ("t", "n", "h"),
    "mean N, head, mean T": ("n", "h", "t"),
    "head for each token, mean N, mean T": ("h", "n", "t"),
    "head for each token, mean T, mean N": ("h", "t", "n"),
    "flatten, head, mean T": ("f", "h", "t"),
    "mean T, flatten, head": ("t", "f", "h"),
    "mean N, mean T, no head": ("n", "t"),
    "flatten, mean T, no head": ("f", "t"),
}


@pytest.mark.parametrize("order", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("image", [False, True], ids=["tokens", "image"])
@pytest.mark.parametrize("residual", [False, True], ids=["one", "sum"])
def test_every_order_of_means_and_head_becomes_one_readout(order, image, residual):
    residual = residual and "h" in order  # a sum without a head is refused
    m = Model(3)
    channels, axes = 5, ((1, 2) if image else (0,))
    x = m.spikes(*((channels, 2, 3) if image else (6, channels)))
    x = m.add("sum", Add(), x, m.add("lif", Neuron(decay_input=False), x)) if residual else x
    features = channels
    for step in order:
        if step == "n":
            x = m.add("mean", Mean(axes=axes), x)
        elif step == "t":
            x = m.add("time", TimeMean(), x)
        elif step == "f":
            features = 6 * channels
            x = m.add("flatten", Reshape(shape=(features,)), x)
        else:
            if (
                image
                and m.nodes[-1].op.mnemonic != "mean"
                and order.index("h") < order.index("n" if "n" in order else "h")
            ):
                x, axes = m.add("channels_last", Transpose(order=(1, 2, 0)), x), (0, 1)
            x = m.add("head", Linear(weight=m.weight(4, features), bias=m.weight(4)), x)
    graph = m.graph(x)
    lowered = after(graph, RESIDUALS, READOUT)
    (readout,) = lowered.of_type(Readout)
    assert readout.name == graph.outputs[0]
    assert readout.op.divisor == (24 if "n" in order else 4)
    assert not lowered.of_type(Mean, TimeMean, Linear)
    assert_same(graph, lowered, 3)


# All of them.


@given(seed=SEEDS, analog=st.booleans(), order=st.sampled_from(["(qk)sv", "q(kv)s"]))
@settings(max_examples=12, deadline=None)
def test_all_passes_up_to_quantise_keep_every_spike_of_a_spikformer(seed, analog, order):
    graph = tiny_spikformer(seed, analog=analog, order=order, blocks=2)
    assert fired(graph, seed)
    current = graph
    for each in BEFORE_QUANTISE:
        current = after(current, each)
        assert_same(graph, current, seed)


@given(seed=SEEDS, analog=st.booleans(), bits=st.integers(2, 9), wide=st.booleans())
@settings(max_examples=15, deadline=None)
def test_after_quantise_every_value_is_a_whole_number_within_its_proven_bounds(seed, analog, bits, wide):
    to = target(bits, encoder_weight_bits=16 if wide else 8)
    graph = after(tiny_spikformer(seed, analog=analog), *PASSES, to=to)
    for node in graph.of_type(Conv2d, Linear, Readout):
        encoder = analog and node.name == "stem_conv"
        small = bits <= 8 if not encoder else not wide
        assert node.op.weight.dtype == (np.int8 if small else np.int16)
        if not encoder:
            assert to.weight_low <= node.op.weight.min()
            assert node.op.weight.max() <= to.weight_high
        if not isinstance(node.op, Readout) and node.op.bias is not None:
            assert node.op.bias.dtype == np.int32
    for node in graph.of_type(Neuron):
        assert node.op.threshold >= 1
        assert node.op.threshold.is_integer()
    register = 2 ** (to.arithmetic.bias_bits - 1) - 1
    for node in graph.of_type(Requantise):
        kind = graph.type_of(node)
        assert -register <= kind.low
        assert kind.high <= register
        assert node.op.multiplier < 2**15
        assert node.op.shift <= 30
    assert len(graph.of_type(QuantiseInput)) == analog
    assert_whole_within_bounds(graph, seed)


def assert_whole_within_bounds(graph, seed):
    values = graph.run(data(graph, seed), record="values").values
    real = {node.name for node in graph.nodes if node.op.mnemonic in ("input", "readout")}
    for name, array in values.items():
        if name not in real:
            kind = graph.types[name]
            assert kind.integer, name
            np.testing.assert_array_equal(array, np.rint(array), err_msg=name)
            assert kind.low <= array.min(), name
            assert array.max() <= kind.high, name


@given(seed=SEEDS)
@few
def test_dyadic_models_within_the_weight_range_are_quantised_without_any_change(seed):
    m = Model(seed)
    x = m.add("fc1", Linear(weight=m.dyadic(8, 6), bias=m.dyadic(8)), m.spikes(6))
    x = m.add("lif1", Neuron(decay_input=False), x)
    left, right = (m.add(name, Linear(weight=m.dyadic(8, 8)), x, x) for name in ("left", "right"))
    x = m.add("lif2", Neuron(tau=None, decay_input=False, threshold=1.25), m.add("sum", Add(), left, right))
    graph = m.graph(m.add("head", Readout(weight=m.dyadic(3, 8), bias=m.dyadic(3), divisor=4), x))
    assert_same(graph, after(graph, QUANTISE), seed)


def test_logits_stay_close_and_get_closer_with_more_weight_bits():
    errors = {bits: [] for bits in (4, 8, 12)}
    for seed in range(6):
        graph = tiny_spikformer(seed, analog=False, width=16)
        x = data(graph, seed, batch=8)
        float_logits = graph.run(x).logits
        for bits, found in errors.items():
            logits = after(graph, *PASSES, to=target(bits)).run(x).logits
            found.append(np.abs(logits - float_logits).mean() / float_logits.std())
    means = {bits: np.mean(found) for bits, found in errors.items()}
    assert means[12] < means[8] < means[4], means
    assert means[8] < 0.1, means
