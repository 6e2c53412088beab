"""What each op means, checked against values worked out by hand."""

from math import inf

import numpy as np
import pytest

from compiler.ir.ops import (
    Add,
    Attention,
    AvgPool,
    BatchNorm,
    Conv2d,
    Input,
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
    SumPool,
    TimeMean,
    Transpose,
)
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

SPIKES = TensorType.spikes((4, 6))
IMAGE = TensorType.spikes((2, 4, 4))


def values(*rows):
    """(T, B = 1, n) from one row a step."""
    return np.array(rows, dtype=float)[:, None, :]


def fire(neuron, *currents):
    return neuron.reference(values(*[[x] for x in currents])).ravel().tolist()


class TestNeuron:
    def test_lif_with_decayed_input_follows_the_equation(self):
        # v: 0.8, then 0.8 + (1.2 - 0.8)/2 = 1.0 fires and resets, 0.75, 0.375
        assert fire(Neuron(), 1.6, 1.2, 1.5, 0.0) == [0, 1, 0, 0]

    def test_lif_without_decayed_input_adds_the_whole_current(self):
        # v: 0.6, 0.6 - 0.3 + 0.7 = 1.0 fires, 0.9
        assert fire(Neuron(decay_input=False), 0.6, 0.7, 0.9) == [0, 1, 0]

    def test_if_never_leaks(self):
        assert fire(Neuron(tau=None), 0.25, 0.25, 0.25, 0.25, 0.25) == [0, 0, 0, 1, 0]

    def test_tau_one_has_no_memory(self):
        assert fire(Neuron(tau=1.0), 0.9, 0.9, 1.0, 0.9) == [0, 0, 1, 0]

    def test_equality_fires_only_under_ge(self):
        assert fire(Neuron(tau=None, fires="ge"), 1.0) == [1]
        assert fire(Neuron(tau=None, fires="gt"), 1.0) == [0]

    def test_soft_reset_keeps_the_excess(self):
        assert fire(Neuron(tau=None, reset="soft"), 1.75, 0.25, 0.5, 0.5) == [1, 1, 0, 1]

    def test_hard_reset_starts_from_and_decays_to_v_reset(self):
        # v0 = -1: -1 + (1 - (-1 + 1))/2 = -0.5, then -0.5 + (4 - 0.5)/2 = 1.25 fires, then -1 + 1 = 0
        assert fire(Neuron(v_reset=-1.0), 1.0, 4.0, 2.0) == [0, 1, 0]

    def test_result_is_binary_whatever_comes_in(self):
        assert Neuron().infer(TensorType((3,))).is_binary

    @pytest.mark.parametrize(
        ("neuron", "message"),
        [
            (Neuron(tau=0.5), "expected tau >= 1 or none, got 0.5"),
            (Neuron(threshold=inf), "expected a finite threshold and v_reset, got inf and 0.0"),
            (Neuron(fires="maybe"), "expected fires to be 'ge' or 'gt', got 'maybe'"),
            (Neuron(reset="never"), "expected reset to be 'hard' or 'soft', got 'never'"),
            (Neuron(reset="soft", v_reset=0.5), "expected v_reset 0 with a soft reset, got 0.5"),
        ],
    )
    def test_illegal_parameters_are_refused(self, neuron, message):
        with pytest.raises(GraphError, match=f"^{message}$"):
            neuron.infer(SPIKES)

    def test_a_neuron_after_the_time_mean_is_refused(self):
        with pytest.raises(GraphError, match="a neuron needs a value for every time step"):
            Neuron().infer(TensorType((3,), timed=False))


class TestLinear:
    op = Linear(weight=np.array([[1, -2], [3, 0]], np.int8), bias=np.array([10, -1], np.int32))

    def test_multiplies_adds_inputs_and_bias(self):
        x = values([1, 2])
        np.testing.assert_array_equal(self.op.reference(x, x).ravel(), [2 - 8 + 10, 6 - 1])

    def test_integer_bounds_use_the_signs_of_the_weights(self):
        y = self.op.infer(TensorType.spikes((5, 2), high=3))
        assert (y.shape, y.integer, y.low, y.high) == ((5, 2), True, -1, 13)

    def test_float_weights_make_real_values(self):
        assert str(Linear(weight=np.ones((3, 6), np.float32)).infer(SPIKES)) == "real[4, 3]"

    def test_unbounded_inputs_do_not_make_nan_bounds(self):
        y = self.op.infer(TensorType((2,), integer=True, low=0, high=inf))
        assert (y.low, y.high) == (-inf, inf)

    def test_macs_are_positions_times_weights(self):
        assert Linear(weight=np.ones((3, 6))).dense_macs(SPIKES) == 4 * 18

    def test_wrong_width_is_refused(self):
        with pytest.raises(GraphError, match=r"^expected an input of shape \(\.\.\., 2\), got \(4, 6\)$"):
            self.op.infer(SPIKES)


class TestConv2d:
    def test_padding_and_stride_by_hand(self):
        op = Conv2d(weight=np.ones((1, 1, 3, 3), np.int8), stride=(2, 2), padding=(1, 1))
        x = np.arange(1.0, 10).reshape(1, 1, 1, 3, 3)
        np.testing.assert_array_equal(op.reference(x)[0, 0, 0], [[12, 16], [24, 28]])

    def test_integer_bounds_allow_for_padded_zeros(self):
        op = Conv2d(weight=np.full((1, 2, 3, 3), -1, np.int8), padding=(1, 1))
        y = op.infer(TensorType((2, 4, 4), integer=True, low=1, high=2))
        assert (y.low, y.high) == (-36, 0)

    def test_macs_count_the_padding(self):
        op = Conv2d(weight=np.ones((8, 2, 3, 3)), padding=(1, 1))
        assert op.dense_macs(IMAGE) == 16 * 8 * 2 * 9

    @pytest.mark.parametrize(
        ("op", "message"),
        [
            (Conv2d(weight=np.ones((4, 3, 3, 3))), r"expected an input of shape \(3, H, W\), got \(2, 4, 4\)"),
            (Conv2d(weight=np.ones((4, 2, 5, 5))), r"kernel \(5, 5\) with padding \(0, 0\) does not fit"),
            (Conv2d(weight=np.ones((4, 2, 1, 1)), stride=(0, 1)), "illegal window"),
            (Conv2d(weight=np.ones((3, 1, 1, 1)), groups=2), "expected groups to divide 3 output channels, got 2"),
            (Conv2d(weight=np.ones((3, 2))), "expected weight of shape"),
            (Conv2d(weight=np.ones((3, 2, 1, 1)), bias=np.ones(2)), r"expected bias of shape \(3,\), got \(2,\)"),
        ],
    )
    def test_misfits_are_refused(self, op, message):
        with pytest.raises(GraphError, match=message):
            op.infer(IMAGE)


class TestPools:
    x = np.arange(16.0).reshape(1, 1, 1, 4, 4)

    def test_max(self):
        op = MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1))
        np.testing.assert_array_equal(op.reference(self.x)[0, 0, 0], [[5, 7], [13, 15]])
        assert op.infer(IMAGE) == TensorType.spikes((2, 2, 2))

    def test_max_ignores_padding_even_if_all_are_negative(self):
        op = MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1))
        assert op.reference(self.x - 100).max() == -85

    def test_sum_counts_spikes(self):
        op = SumPool(kernel=(2, 2), stride=(2, 2))
        np.testing.assert_array_equal(op.reference(self.x)[0, 0, 0], [[10, 18], [42, 50]])
        assert op.infer(IMAGE) == TensorType.spikes((2, 2, 2), high=4)

    def test_average_divides_by_the_kernel_also_at_the_border(self):
        op = AvgPool(kernel=(2, 2), stride=(2, 2), padding=(1, 1))
        assert op.reference(self.x)[0, 0, 0, 0, 1] == (1 + 2) / 4
        assert str(op.infer(IMAGE)) == "real{0..1}[2, 3, 3]"

    def test_padding_beyond_half_the_kernel_is_refused(self):
        with pytest.raises(GraphError, match="expected padding of at most half the kernel"):
            MaxPool(kernel=(2, 2), stride=(1, 1), padding=(2, 2)).infer(IMAGE)


class TestElementwise:
    def test_adding_spikes_makes_counts(self):
        assert Add().infer(SPIKES, SPIKES, SPIKES) == TensorType.spikes((4, 6), high=3)

    def test_adding_other_shapes_is_refused(self):
        with pytest.raises(GraphError, match=r"shapes must be equal; got \(4, 6\) and \(6,\)"):
            Add().infer(SPIKES, TensorType((6,)))

    def test_mixing_timed_and_untimed_is_refused(self):
        with pytest.raises(GraphError, match="cannot add a value that has time steps and one that has none"):
            Add().infer(SPIKES, TensorType((4, 6), timed=False))

    def test_scale_keeps_whole_numbers_only_for_whole_factors(self):
        assert Scale(factor=-2.0).infer(SPIKES) == TensorType((4, 6), integer=True, low=-2, high=0)
        assert str(Scale(factor=0.125).infer(SPIKES)) == "real{0..0.125}[4, 6]"

    def test_batch_norm_by_hand(self):
        arrays = {"gamma": [2.0], "beta": [1.0], "mean": [3.0], "var": [4.0]}
        op = BatchNorm(**{name: np.array(a) for name, a in arrays.items()}, eps=0.0)
        assert op.reference(np.full((1, 1, 1, 2), 5.0)).ravel().tolist() == [3.0, 3.0]

    def test_batch_norm_of_a_constant_channel_is_refused(self):
        zero = np.zeros(6)
        with pytest.raises(GraphError, match="expected var"):
            BatchNorm(gamma=zero, beta=zero, mean=zero, var=zero, eps=0.0, axis=1).infer(SPIKES)


class TestShapes:
    x = np.arange(6.0).reshape(1, 1, 2, 3)

    def test_reshape_and_transpose_leave_time_and_batch_alone(self):
        assert Reshape(shape=(6,)).reference(self.x).shape == (1, 1, 6)
        y = Transpose(order=(1, 0)).reference(self.x)
        assert y[0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]
        assert Transpose(order=(1, 0)).infer(SPIKES).shape == (6, 4)

    def test_misfits_are_refused(self):
        with pytest.raises(GraphError, match=r"cannot reshape \(4, 6\) \(24 elements\) to \(5,\) \(5\)"):
            Reshape(shape=(5,)).infer(SPIKES)
        with pytest.raises(GraphError, match="expected order to permute the 2 axes"):
            Transpose(order=(0, 0)).infer(SPIKES)
        with pytest.raises(GraphError, match="expected distinct axes"):
            Mean(axes=(2,)).infer(SPIKES)

    def test_means(self):
        assert Mean(axes=(0,)).reference(self.x)[0, 0].tolist() == [1.5, 2.5, 3.5]
        two_steps = np.concatenate([self.x, self.x + 2])
        assert TimeMean().reference(two_steps)[0, 0, 0].tolist() == [1, 2, 3]
        assert str(TimeMean().infer(SPIKES)) == "real{0..1}[4, 6] untimed"

    def test_a_second_time_mean_is_refused(self):
        with pytest.raises(GraphError, match="after a mean over time"):
            TimeMean().infer(TensorType((3,), timed=False))


class TestAttention:
    def test_both_orders_agree_with_the_plain_product(self):
        rng = np.random.default_rng(0)
        for tokens, width in ((16, 8), (3, 32)):
            q, k, v = rng.integers(0, 3, (3, 2, 5, tokens, width)).astype(float)
            expected = np.zeros_like(q)
            for head in range(2):
                part = slice(head * width // 2, (head + 1) * width // 2)
                scores = np.einsum("tbnc,tbmc->tbnm", q[..., part], k[..., part])
                expected[..., part] = np.einsum("tbnm,tbmc->tbnc", scores, v[..., part])
            np.testing.assert_array_equal(Attention(heads=2).reference(q, k, v), expected)

    def test_bound_and_macs(self):
        y = Attention(heads=2).infer(SPIKES, SPIKES, SPIKES)
        assert (y.integer, y.low, y.high) == (True, 0, 4 * 3)
        assert Attention(heads=2).dense_macs(SPIKES, SPIKES, SPIKES) == 2 * 4 * 6 * 3

    def test_misfits_are_refused(self):
        with pytest.raises(GraphError, match="expected heads to divide the width 6, got 4"):
            Attention(heads=4).infer(SPIKES, SPIKES, SPIKES)
        with pytest.raises(GraphError, match=r"expected spikes or counts, got real\[4, 6\]"):
            Attention(heads=1).infer(SPIKES, SPIKES, TensorType((4, 6)))
        with pytest.raises(GraphError, match=r"expected 3 inputs \(q, k, v\), got 2"):
            Attention(heads=1).infer(SPIKES, SPIKES)

    def test_matmul_bounds_counts_by_the_inner_size(self):
        y = MatMul(transpose_b=True).infer(TensorType.spikes((2, 4, 6), 2), TensorType.spikes((2, 5, 6), 3))
        assert y == TensorType.spikes((2, 4, 5), 36)
        with pytest.raises(GraphError, match=r"expected equal inner sizes, got 6 of \(4, 6\) and 4 of \(4, 6\)"):
            MatMul().infer(SPIKES, SPIKES)


class TestQuantised:
    def test_input_rounds_half_to_even_and_clips(self):
        op = QuantiseInput(scale=0.5, low=-2, high=3)
        assert op.reference(values([0.25, 0.75, -9, 9])).ravel().tolist() == [0, 2, -2, 3]
        assert str(op.infer(TensorType((4,)))) == "int{-2..3}[4]"

    def test_requantise_rounds_half_upwards(self):
        op = Requantise(multiplier=3, shift=2)
        assert op.reference(values([2, -2, 1, 5])).ravel().tolist() == [2, -1, 1, 4]
        assert str(op.infer(TensorType((4,), integer=True, low=-2, high=5))) == "int{-1..4}[4]"

    def test_requantise_beyond_exact_floats_is_refused(self):
        with pytest.raises(GraphError, match="where float64 stops being exact"):
            Requantise(multiplier=2**30, shift=30).infer(TensorType((1,), integer=True, low=0, high=2**24))

    def test_readout_is_mean_mean_linear(self):
        weight, bias = np.array([[1.0, 2.0]]), np.array([0.5])
        x = np.array([[[[1, 0], [0, 1]]], [[[1, 1], [0, 0]]]], dtype=float)  # T 2, B 1, N 2, D 2
        op = Readout(weight=weight, bias=bias, divisor=4, scale=2.0, positions=(0,))
        assert op.reference(x).ravel().tolist() == [(2.0 * (2 * 1 + 2 * 2)) / 4 + 0.5]
        assert str(op.infer(TensorType.spikes((2, 2)))) == "real[1] untimed"
        with pytest.raises(GraphError, match="expected 2 features beside positions"):
            op.infer(SPIKES)


def test_input_domain_is_checked():
    with pytest.raises(GraphError, match="expected low <= high, got 1 and 0"):
        Input(shape=(3,), low=1, high=0).infer()
    with pytest.raises(GraphError, match="expected positive sizes"):
        Input(shape=(0, 3)).infer()


@pytest.mark.parametrize("op", [Scale(factor=2.0), Neuron(), TimeMean(), Reshape(shape=(24,))])
def test_unary_ops_refuse_two_inputs(op):
    with pytest.raises(GraphError, match=r"^expected 1 input, got 2$"):
        op.infer(SPIKES, SPIKES)
