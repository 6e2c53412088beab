"""Chains of linear ops merged into one layer give the same spikes and results."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.ops import (
    Add,
    AvgPool,
    Conv2d,
    Linear,
    MaxPool,
    Mean,
    Neuron,
    Readout,
    Reshape,
    Sum,
    SumPool,
    TimeMean,
    Transpose,
)
from compiler.passes.lower_readout import LowerReadout
from compiler.passes.lower_residuals import LowerResiduals
from compiler.passes.merge_linear import MergeLinear
from tests.property.test_passes import after, assert_same
from tests.spiking_graphs import Model, data

SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=30, deadline=None)


def layers_read_spikes(graph):
    for node in graph.of_type(Conv2d, Linear):
        assert all(graph.types[name].is_counts for name in node.inputs), node.name


@given(
    seed=SEEDS,
    first=st.sampled_from([(1, 0, 1, 1), (1, 0, 2, 1), (3, 1, 1, 1), (3, 1, 2, 2), (2, 0, 1, 4)]),
    second=st.sampled_from(["conv1", "conv3", "strided", "depthwise", "grouped", "average", "sum"]),
    padded=st.booleans(),
    biased=st.booleans(),
)
@few
def test_two_convolutions_in_a_row_become_one(seed, first, second, padded, biased):
    m = Model(seed)
    kernel, padding, stride, groups = first
    padded = padded and kernel == 1 and not biased
    bias = m.weight(4) if biased else None
    op = Conv2d(
        weight=m.weight(4, 4 // groups, kernel, kernel), bias=bias, padding=(padding,) * 2, stride=(stride,) * 2,
        groups=groups,
    )  # fmt: skip
    x = m.add("first", op, m.spikes(4, 9, 9))
    around = {"padding": (1, 1) if padded else (0, 0)}
    kinds = {
        "conv1": Conv2d(weight=m.weight(3, 4, 1, 1), bias=m.weight(3)),
        "conv3": Conv2d(weight=m.weight(3, 4, 3, 3), bias=m.weight(3), **around),
        "strided": Conv2d(weight=m.weight(3, 4, 3, 3), stride=(2, 2), **around),
        "depthwise": Conv2d(weight=m.weight(4, 1, 3, 3), groups=4, **around),
        "grouped": Conv2d(weight=m.weight(6, 2, 3, 3), groups=2, **around),
        "average": AvgPool(kernel=(2, 2), stride=(2, 2), **around),
        "sum": SumPool(kernel=(3, 3), stride=(1, 1), **around),
    }
    x = m.add("second", kinds[second], x)
    graph = m.graph(m.add("out", Neuron(), x))
    merged = after(graph, MergeLinear())
    layers_read_spikes(merged)
    assert len(merged.nodes) == 3
    assert_same(graph, merged, seed)


@given(seed=SEEDS, ratio=st.integers(1, 2))
@few
def test_a_rep_conv_becomes_one_convolution(seed, ratio):
    m = Model(seed)
    x = m.add("pw", Conv2d(weight=m.weight(4 * ratio, 4, 1, 1)), m.spikes(4, 5, 6))
    x = m.add("dw", Conv2d(weight=m.weight(4 * ratio, 1, 3, 3), padding=(1, 1), groups=4 * ratio), x)
    x = m.add("last", Conv2d(weight=m.weight(4, 4 * ratio, 1, 1), bias=m.weight(4)), x)
    graph = m.graph(m.add("out", Neuron(), x))
    merged = after(graph, MergeLinear())
    (layer,) = merged.of_type(Conv2d)
    assert layer.op.weight.shape == (4, 4, 3, 3)
    assert_same(graph, merged, seed)


@given(seed=SEEDS, mean=st.booleans(), stride=st.integers(1, 3), tokens=st.booleans(), maximum=st.booleans())
@few
def test_means_of_membrane_shortcuts_reach_neurons_and_the_readout(seed, mean, stride, tokens, maximum):
    m = Model(seed)
    spikes = m.spikes(3, 6, 5)
    conv = Conv2d(weight=m.weight(4, 3, 3, 3), bias=m.weight(4), padding=(1, 1), stride=(stride, stride))
    stream = m.add("conv", conv, spikes)
    rows, columns = (6 - 1) // stride + 1, (5 - 1) // stride + 1
    y = m.add("lif", Neuron(), stream)
    y = m.add("pointwise", Conv2d(weight=m.weight(4, 4, 1, 1), bias=m.weight(4)), y)
    if maximum:
        pool = MaxPool(kernel=(3, 3), stride=(1, 1), padding=(1, 1))
        more = m.add("more", Conv2d(weight=m.weight(4, 3, 1, 1), stride=(stride, stride)), spikes)
        y = m.add("add0", Add(), y, m.add("max", pool, more))
    stream = m.add("add1", Add(), stream, y)
    axes = (1, 2)
    if tokens:
        stream = m.add("flat", Reshape(shape=(4, rows * columns)), stream)
        stream = m.add("tokens", Transpose(order=(1, 0)), stream)
        y = m.add("fc", Linear(weight=m.weight(4, 4), bias=m.weight(4)), m.add("lif2", Neuron(), stream))
        stream, axes = m.add("add2", Add(), stream, y), (0,)
    x = m.add("mean", Mean(axes=axes) if mean else Sum(axes=axes), stream)
    m.add("head_lif", Neuron(threshold=0.5), x)
    if not maximum:
        x = m.add("head", Linear(weight=m.weight(2, 4), bias=m.weight(2)), m.add("time", TimeMean(), x))
    graph = m.graph("head_lif", *([] if maximum else ["head"]))
    merged = after(graph, LowerResiduals(), MergeLinear())
    layers_read_spikes(merged)
    assert_same(graph, merged, seed)
    if not maximum:
        alone = merged.with_nodes(merged.nodes, ["head"]).without_dead_nodes()
        read = after(alone, LowerReadout())
        assert len(read.of_type(Readout)) == (3 if tokens else 2)
        np.testing.assert_allclose(read.run(data(alone)).logits, alone.run(data(alone)).logits, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_a_layer_that_others_read_stays(shared):
    m = Model(5)
    x = m.add("first", Conv2d(weight=m.weight(4, 2, 1, 1)), m.spikes(2, 4, 4))
    outputs = ["out"] + (["other"] if shared else [])
    if shared:
        m.add("other", Neuron(), x)
    m.add("out", Neuron(), m.add("second", Conv2d(weight=m.weight(3, 4, 1, 1)), x))
    graph = m.graph(*outputs)
    merged = after(graph, MergeLinear())
    assert ("first" in merged.by_name) == shared
    assert_same(graph, merged, 5)
