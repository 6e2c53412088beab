"""What the passes cannot lower is refused by name, with the reason and a remedy."""

import numpy as np

from compiler.ir.ops import (
    Add,
    Attention,
    AvgPool,
    Conv2d,
    LayerNorm,
    MatMul,
    MaxPool,
    Mean,
    Neuron,
    Readout,
    Reshape,
    Scale,
    Sigmoid,
    TimeMean,
    Transpose,
)
from tests.refusals import BY_NAME, CANONICAL, NORM, assert_refused, conv, linear
from tests.spiking_graphs import Model, target


class TestFoldBatchNorm:
    remedy = "give the batch norm a convolution or linear layer of its own, or leave it out and train again"

    def test_a_norm_of_spikes(self):
        m = Model()
        graph = m.graph(m.add("bn", NORM, m.add("lif", Neuron(), m.spikes(2, 3))))
        assert_refused(
            "fold-batch-norm",
            graph,
            f"batch_norm 'bn': expected to follow a conv2d or linear layer, found neuron 'lif'; {self.remedy}",
        )

    def test_a_producer_that_something_else_reads(self):
        m = Model()
        x = m.add("fc", linear(2, 3), m.spikes(2, 3))
        m.add("lif", Neuron(), x)
        graph = m.graph(m.add("bn", NORM, x), "lif")
        assert_refused(
            "fold-batch-norm",
            graph,
            "batch_norm 'bn': cannot be folded into linear 'fc', whose result is also read by neuron 'lif'; "
            + self.remedy,
        )

    def test_a_norm_over_positions(self):
        m = Model()
        graph = m.graph(m.add("bn", NORM, m.add("fc", linear(4, 3), m.spikes(2, 3))))
        assert_refused(
            "fold-batch-norm",
            graph,
            "batch_norm 'bn': normalises axis 0, which is not the output channel of linear 'fc'; "
            "normalise its output channels instead",
        )


class TestFuseAttention:
    remedy = "only spiking self-attention, q (k^T v) or (q k^T) v of spikes without softmax, can run on a chip"

    def test_a_product_alone(self):
        m = Model()
        x = m.spikes(2, 3)
        graph = m.graph(m.add("lif", Neuron(), m.add("qk", MatMul(transpose_b=True), x, x)))
        assert_refused(
            "fuse-attention",
            graph,
            f"matmul 'qk': expected a second product to be all that reads it, found neuron 'lif'; {self.remedy}",
        )

    def test_real_operands(self):
        m = Model()
        x = m.spikes(2, 3)
        v = m.add("v", linear(3, 3), x)
        y = m.add("qkv", MatMul(), m.add("qk", MatMul(transpose_b=True), x, x), v)
        assert_refused(
            "fuse-attention",
            m.graph(y),
            "matmul 'qkv': expected spikes (whole numbers >= 0) as v, got real[2, 3] from linear 'v'; "
            "put a neuron behind it",
        )

    def test_cross_attention(self):
        m = Model()
        q, kv = m.spikes(2, 3), m.spikes(5, 3, name="other")
        y = m.add("qkv", MatMul(), m.add("qk", MatMul(transpose_b=True), q, kv), kv)
        assert_refused(
            "fuse-attention",
            m.graph(y),
            "matmul 'qkv': expected q, k and v of one shape (heads, N, D / heads), got (1, 2, 3), (1, 5, 3), "
            f"(1, 5, 3); {self.remedy}",
        )

    def test_an_attention_map_times_itself(self):
        m = Model()
        x = m.spikes(3, 3)
        qk = m.add("qk", MatMul(transpose_b=True), x, x)
        assert_refused(
            "fuse-attention",
            m.graph(m.add("square", MatMul(), qk, qk)),
            f"matmul 'square': multiplies matmul 'qk' by itself; {self.remedy}",
        )

    def test_heads_that_change_between_the_products(self):
        m = Model()
        x = m.spikes(2, 3, 3)
        qk = m.add("qk", MatMul(transpose_b=True), x, x)
        turned = m.add("turned", Reshape(shape=(2, 3, 3)), m.add("mixed", Transpose(order=(1, 0, 2)), qk))
        assert_refused(
            "fuse-attention",
            m.graph(m.add("qkv", MatMul(), turned, x)),
            f"matmul 'qkv': rearranges the heads between its two products; {self.remedy}",
        )


class TestFoldScales:
    def test_a_negative_factor_on_an_attention(self):
        m = Model()
        x = m.spikes(2, 4)
        y = m.add("scale", Scale(factor=-0.5), m.add("attention", Attention(heads=2), x, x, x))
        assert_refused(
            "fold-scales",
            m.graph(m.add("lif", Neuron(), y)),
            "scale 'scale': the factor -0.5 can go into thresholds (if > 0) or into the weights of a conv2d or linear "
            "layer, but it stands between attention 'attention' and neuron 'lif'; scale the weights of a layer before "
            "training, or put a neuron or a weight layer next to it",
        )


class TestLowerResiduals:
    def currents(self):
        m = Model()
        x = m.spikes(2, 4)
        total = m.add("shortcut", Add(), m.add("a", linear(4, 4), x), m.add("b", linear(4, 4), x))
        return m, total

    def test_a_pool_of_a_sum(self):
        m = Model()
        x = m.spikes(2, 4, 4)
        pool = MaxPool(kernel=(2, 2), stride=(2, 2))
        assert_refused(
            "lower-residuals",
            m.graph(m.add("pool", pool, m.add("twice", Add(), x, x))),
            "add 'twice': its sum int{0..2}[2, 4, 4] feeds max_pool 'pool', which cannot take the addends one by one; "
            "put a neuron between them, or add behind it",
        )

    def test_a_sum_as_the_result(self):
        m = Model()
        x = m.spikes(4)
        assert_refused(
            "lower-residuals",
            m.graph(m.add("mean", TimeMean(), m.add("shortcut", Add(), x, x))),
            "add 'shortcut': its sum is the output of the model; "
            "put a weight layer behind it, or add up its addends outside",
        )


class TestCheckOps:
    def test_functions_of_real_values(self):
        m = Model()
        x = m.add("fc", linear(4, 4), m.spikes(3, 4))
        norm = LayerNorm(gamma=np.ones(4), beta=np.zeros(4), eps=1e-5)
        x = m.add("gate", Sigmoid(), m.add("last", norm, m.add("first", norm, x)))
        assert_refused(
            "check-ops",
            m.graph(m.add("lif", Neuron(), x)),
            "layer_norm 'first': no chip takes it as spikes, nor any of: 2 layer_norm, 1 sigmoid; train a model with "
            "binary neurons between its weight layers instead",
        )


class TestMergeLinear:
    def test_a_border_that_one_layer_would_see_otherwise(self):
        m = Model()
        x = m.add("first", conv(3, 2, 3, padding=(1, 1)), m.spikes(2, 6, 6))
        assert_refused(
            "merge-linear",
            m.graph(m.add("lif", Neuron(), m.add("second", conv(4, 3, 3, padding=(1, 1)), x))),
            "conv2d 'second': follows conv2d 'first' without a neuron between them, and its padding shows zeros where "
            "one merged layer would see what conv2d 'first' gives beyond the border; leave out the padding, or put a "
            "neuron between them",
        )


class TestLowerPooling:
    def test_the_maximum_of_counts(self):
        m = Model()
        x = m.spikes(2, 4, 4, high=2)
        assert_refused(
            "lower-pooling",
            m.graph(m.add("pool", MaxPool(kernel=(2, 2), stride=(2, 2)), x)),
            "max_pool 'pool': the maximum of binary spikes is an OR population, but input 'input' gives "
            "int{0..2}[2, 4, 4]; pool each addend before they are added",
        )

    def test_the_maximum_of_currents(self):
        m = Model()
        x = m.add("conv", Conv2d(weight=m.weight(3, 2, 1, 1)), m.spikes(2, 4, 4))
        assert_refused(
            "lower-pooling",
            m.graph(m.add("lif", Neuron(), m.add("pool", MaxPool(kernel=(2, 2), stride=(2, 2)), x))),
            "max_pool 'pool': takes the maximum of real currents of conv2d 'conv', and neither T = 1 makes it an OR of "
            "spikes nor has this chip dendrites that join by their maximum; choose a chip with neuron.dendrites, T = 1 "
            "with neurons right behind the pool, or move the pool behind the neuron, which gives other results: train "
            "again",
        )

    def test_the_maximum_of_tokens(self):
        m = Model()
        x = m.add("fc", linear(4, 4), m.spikes(2, 3, 4))
        assert_refused(
            "lower-pooling",
            m.graph(m.add("lif", Neuron(), m.add("pool", MaxPool(kernel=(2, 2), stride=(2, 2)), x))),
            "max_pool 'pool': the maximum of binary spikes is an OR population, but linear 'fc' gives real[2, 3, 4]; "
            "pool the results of one convolution",
        )

    def test_averages_before_a_kernel_of_3(self):
        m = Model()
        x = m.add("pool", AvgPool(kernel=(2, 2), stride=(2, 2)), m.spikes(2, 8, 8))
        x = m.add("conv", Conv2d(weight=m.weight(3, 2, 3, 3), padding=(1, 1)), x)
        assert_refused(
            "lower-pooling",
            m.graph(m.add("lif", Neuron(), x)),
            "avg_pool 'pool': averages of spikes are no spikes, and it feeds conv2d 'conv'; put a neuron behind the "
            "pool, or use a convolution with a stride in its place",
        )


class TestLowerReadout:
    remedy = "end the model in a mean over time and one linear layer, in any order"

    def refused(self, graph, message):
        assert_refused("lower-readout", graph, message)

    def test_a_result_that_is_no_vector(self):
        m = Model()
        self.refused(
            m.graph(m.add("mean", TimeMean(), m.spikes(2, 3))),
            f"output 'mean': expected a vector with one number for each class, got shape (2, 3); {self.remedy}",
        )

    def test_a_result_for_each_step(self):
        m = Model()
        self.refused(
            m.graph(m.add("head", linear(2, 3), m.spikes(3))),
            f"output 'head': expected one mean over time, found 0; {self.remedy}",
        )

    def test_real_values(self):
        m = Model()
        x = m.add("fc", linear(3, 3), m.spikes(3))
        self.refused(
            m.graph(m.add("head", linear(2, 3), m.add("mean", TimeMean(), x))),
            "output 'head': averages linear 'fc', which gives real[3]; only spikes can be read out: "
            "put a neuron before the head",
        )

    def test_reordered_classes(self):
        m = Model()
        x = m.add("head", linear(4, 3), m.add("mean", TimeMean(), m.spikes(3)))
        x = m.add("turned", Transpose(order=(1, 0)), m.add("square", Reshape(shape=(2, 2)), x))
        self.refused(
            m.graph(m.add("flat", Reshape(shape=(4,)), x)),
            f"output 'flat': reorders the outputs of linear 'head'; {self.remedy}",
        )

    def test_addends_that_are_averaged_differently(self):
        m = Model()
        a = m.add("a", TimeMean(), m.add("a_mean", Mean(axes=(0,)), m.spikes(2, 3)))
        b = m.add("b", TimeMean(), m.add("b_mean", Mean(axes=(0,)), m.spikes(4, 3, name="other")))
        self.refused(
            m.graph(m.add("head", linear(2, 3), a, b)),
            f"output 'head': its addends are averaged in different ways; {self.remedy}",
        )

    def test_a_mean_inside_the_model(self):
        m = Model()
        x = m.add("lif", CANONICAL, m.add("mean", Mean(axes=(0,)), m.spikes(2, 3)))
        self.refused(
            m.graph(m.add("rates", TimeMean(), x)),
            "mean 'mean': a mean belongs to the readout at the end of the model, but this one feeds neuron 'lif'; "
            "put a neuron behind a pool in its place",
        )


def test_a_readout_in_place_is_kept():
    m = Model()
    op = Readout(weight=np.eye(3), divisor=4)
    graph = m.graph(m.add("head", op, m.spikes(3)))
    assert BY_NAME["lower-readout"].run(graph, target()).node("head").op is op
