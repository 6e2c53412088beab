"""Ops of converted and language models, against values worked out by hand and against torch."""

from math import inf

import numpy as np
import pytest

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import (
    Accumulate,
    Affine,
    Broadcast,
    Clip,
    Concat,
    Delay,
    Embedding,
    Filter,
    Gelu,
    Increment,
    Input,
    IntegerNeuron,
    LayerNorm,
    LeakyMembrane,
    LeakyNeuron,
    MultiThresholdNeuron,
    Onset,
    Pad,
    Relu,
    Sigmoid,
    Silu,
    Slice,
    Softmax,
    Step,
    Tanh,
    TernaryNeuron,
    Wkv,
)
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

UNTIMED = TensorType((3,), timed=False)


def steps(op, *values):
    """The results of an op for one element, fed one value a step."""
    return op.reference(np.array(values, dtype=float).reshape(-1, 1, 1)).ravel().tolist()


class TestIntegerNeuron:
    @pytest.mark.parametrize(
        ("rounding", "expected"), [("even", [0, 2, 2, 4, 0]), ("up", [1, 2, 3, 4, 0]), ("down", [0, 1, 2, 4, 0])]
    )
    def test_halves_round_as_the_model_says(self, rounding, expected):
        assert steps(IntegerNeuron(rounding=rounding), 0.5, 1.5, 2.5, 9.0, -3.0) == expected

    def test_membrane_keeps_what_was_not_fired(self):
        # v: 0.4; 0.8 -> 1, left -0.2; 0.4
        assert steps(IntegerNeuron(decay=1.0), 0.4, 0.4, 0.6) == [0, 1, 0]

    def test_sinabs_lif_fires_several_spikes_of_its_threshold(self):
        # v: 0.5 * 5 = 2.5 -> 1 spike of 2, left 0.5; 0.25 + 4 = 4.25 -> 2, left 0.25
        neuron = IntegerNeuron(levels=None, rounding="down", decay=0.5, gain=0.5, quantum=2.0, subtract=2.0)
        assert steps(neuron, 5.0, 8.0, 0.0) == [1, 2, 0]
        assert neuron.infer(TensorType((3,))).high == inf

    def test_counts_are_spikes_of_the_run(self):
        nodes = (Node("x", Input(shape=(2,))), Node("n", IntegerNeuron(), ("x",)))
        run = Graph("g", nodes, ("n",), 1).run([[2.0, 1.0], [9.0, -1.0]])
        assert run.spikes["n"].tolist() == [[3, 4]]

    @pytest.mark.parametrize(
        ("neuron", "message"),
        [
            (IntegerNeuron(levels=0), "expected levels >= 1 or none, got 0"),
            (IntegerNeuron(rounding="odd"), "expected rounding to be 'even', 'up' or 'down', got 'odd'"),
            (IntegerNeuron(quantum=0.0), "expected a finite quantum > 0, got 0.0"),
            (IntegerNeuron(decay=2.0), r"expected decay in 0\.\.1 and a finite gain and subtract"),
        ],
    )
    def test_illegal_parameters_are_refused(self, neuron, message):
        with pytest.raises(GraphError, match=f"^{message}$"):
            neuron.infer(TensorType((3,)))


class TestMultiThresholdNeuron:
    neuron = MultiThresholdNeuron(positive=1.0, negative=0.5, levels=3)

    def test_the_largest_threshold_that_is_reached_fires_once(self):
        # thresholds 4, 2, 1 from 3.5, 1.5, 0.5 and -2, -1, -0.5 from -1.75, -0.75, -0.25
        assert steps(self.neuron, 3.5, 1.0, -0.4, -3.1) == [4.0, 1.0, -1.0, -2.0]

    def test_spikes_and_levels_are_counted(self):
        y = np.array([[[4.0, 0.0, -1.0]], [[1.0, 1.0, -0.5]]])
        assert self.neuron.spike_counts(y).sum() == 5
        assert self.neuron.level_counts(y).tolist() == [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 2, 1]]

    def test_thresholds_below_zero_can_fire_with_both_signs(self):
        # up: v >= 0.5 gives 1; down with -1: -v >= -0.5 gives +1
        assert steps(MultiThresholdNeuron(positive=1.0, negative=-1.0, levels=1), 0.5, 0.0) == [2.0, 1.0]

    def test_bounds_hold_the_largest_spikes(self):
        kind = self.neuron.infer(TensorType((3,)))
        assert (kind.low, kind.high, kind.integer) == (-2.0, 4.0, False)


class TestTernaryNeuron:
    def test_sum_of_spikes_becomes_the_rounded_input(self):
        assert steps(TernaryNeuron(threshold=0.5, low=-4, high=3), 1.3, 0, 0, 0) == [1, 1, 1, 0]
        assert steps(TernaryNeuron(threshold=0.5, low=-4, high=3), -0.6, 0, 0) == [-1, 0, 0]

    def test_range_is_never_left(self):
        assert steps(TernaryNeuron(threshold=1.0, low=0, high=2), 5.0, 0, 0, -9.0, 0, 0) == [1, 1, 0, -1, -1, 0]

    def test_spikes_of_both_signs_count(self):
        assert TernaryNeuron(threshold=1.0, low=-1, high=1).spike_counts(np.array([[[1.0, -1.0, 0.0]]])).sum() == 2

    def test_illegal_parameters_are_refused(self):
        with pytest.raises(GraphError, match="threshold other than 0"):
            TernaryNeuron(threshold=0.0, low=0, high=1).infer(TensorType((3,)))
        with pytest.raises(GraphError, match="low <= 0 <= high"):
            TernaryNeuron(threshold=1.0, low=1, high=2).infer(TensorType((3,)))


class TestLeakyNeuron:
    def test_resets_by_hand(self):
        # hard, v: 1.5 fires -> 0, 0.8, 0.4 + 0.8 = 1.2 fires
        assert steps(LeakyNeuron(decay=0.5), 1.5, 0.8, 0.8) == [1, 0, 1]
        # soft, v: 1.5 fires -> 0.5, 0.25 + 0.8 = 1.05 fires -> 0.05, 0.825
        assert steps(LeakyNeuron(decay=0.5, reset="soft"), 1.5, 0.8, 0.8) == [1, 1, 0]
        # delayed, v: 1.5 fires, 0.75 + 1.4 - 1 = 1.15 fires, 0.575 + 0.8 - 1 = 0.375
        delayed = {"decay": 0.5, "reset": "delayed"}
        assert steps(LeakyNeuron(**delayed), 1.5, 1.4, 0.8) == [1, 1, 0]
        np.testing.assert_allclose(steps(LeakyMembrane(**delayed), 1.5, 1.4, 0.8), [1.5, 1.15, 0.375])
        # lagging: 3.5 fires -> 2.5, still above: 2.5 - 1 = 1.5 fires, not charged again
        np.testing.assert_allclose(steps(LeakyMembrane(decay=1.0, reset="lagging"), 3.5, 0), [2.5, 1.5])
        assert steps(LeakyNeuron(decay=1.0, reset="none"), 1.5, 0, -1) == [1, 1, 0]
        assert steps(LeakyMembrane(decay=1.0, reset="blank"), 1.5, 7, 0.5) == [1.5, 0, 0.5]
        assert steps(LeakyMembrane(decay=1.0, reset="late"), 1.5, 0.5, 0.25) == [1.5, 0.5, 0.75]

    def test_decay_is_towards_rest_from_start(self):
        op = LeakyMembrane(decay=0.5, rest=-1.0, start=3.0, threshold=9.0, gain=2.0, floor=-0.5)
        assert steps(op, 0.0, 1.0, -9.0) == [1.0, 2.0, -0.5]

    def test_equality_and_constants_that_differ(self):
        op = LeakyNeuron(decay=np.array([0.0, 1.0]), threshold=np.array([1.0, 1.5]), fires="ge")
        x = np.ones((2, 1, 2))
        assert op.reference(x)[:, 0].tolist() == [[1, 0], [1, 1]]
        assert op.infer(TensorType((2,))).is_binary

    def test_illegal_parameters_are_refused(self):
        for op, message in [
            (
                LeakyNeuron(decay=0.5, reset="maybe"),
                "expected reset to be one of hard, late, soft, delayed, lagging, blank, none",
            ),
            (LeakyNeuron(decay=0.5, fires="never"), "expected fires to be 'ge' or 'gt'"),
            (LeakyNeuron(decay=np.ones(4)), r"expected decay of shape \(3,\) or with sizes of 1"),
            (LeakyNeuron(decay=0.5, gain=inf), "expected a finite gain"),
        ]:
            with pytest.raises(GraphError, match=message):
                op.infer(TensorType((3,)))


class TestTime:
    def test_sums_and_increments_by_hand(self):
        assert steps(Accumulate(), 1, 2, 4) == [1, 3, 7]
        assert steps(Accumulate(mean=True), 1, 2, 6) == [1, 1.5, 3]
        assert steps(Increment(), 1, 3, 7) == [1, 2, 4]
        assert steps(Increment(mean=True), 1, 1.5, 3) == [1, 2, 6]
        assert steps(Delay(), 5, 6, 7) == [0, 5, 6]
        assert steps(Filter(decay=0.5), 4, 1, 1) == [4, 3, 2.5]
        assert steps(Step(index=-2), 4, 5, 6) == [5]
        assert steps(Onset(offset=np.array([10.0])), 1, 2, 3) == [11, 2, 3]

    def test_increments_of_a_product_are_the_matrix_module_of_the_paper(self):
        rng = np.random.default_rng(0)
        a, b = rng.normal(size=(2, 5, 1, 3, 3))
        expected, sum_a, sum_b, sum_k = [], 0, 0, 0
        for t in range(5):
            k = a[t] @ b[t] + a[t] @ (sum_b + np.zeros((3, 3))) + (sum_a + np.zeros((3, 3))) @ b[t]
            sum_a, sum_b, sum_k = sum_a + a[t], sum_b + b[t], sum_k + k
            expected.append(k / t - sum_k / (t * (t + 1)) if t else k)
        means = (Accumulate(mean=True).reference(x) for x in (a, b))
        found = Increment(mean=True).reference(np.matmul(*means))
        np.testing.assert_allclose(found, np.array(expected), rtol=1e-12)

    def test_a_static_input_is_seen_in_every_step(self):
        nodes = (Node("x", Input(shape=(1,))), Node("y", Increment(), ("x",)), Node("z", Accumulate(), ("x",)))
        run = Graph("g", nodes, ("y", "z"), 3).run([[2.0]])
        assert run.outputs["y"].ravel().tolist() == [2, 0, 0]
        assert run.outputs["z"].ravel().tolist() == [2, 4, 6]

    @pytest.mark.parametrize(
        "op",
        [
            Accumulate(),
            Increment(),
            Delay(),
            Onset(offset=np.ones(1)),
            IntegerNeuron(),
            TernaryNeuron(threshold=1.0, low=0, high=1),
        ],
    )
    def test_values_without_steps_are_refused(self, op):
        with pytest.raises(GraphError, match="time step"):
            op.infer(UNTIMED)


class TestParts:
    x = np.arange(12.0).reshape(2, 1, 3, 2)

    def test_constants_stand_before_and_after(self):
        op = Concat(axis=0, before=np.array([[7, 8]], np.float32), after=np.array([[9, 9]], np.float32))
        y = op.reference(self.x)
        assert op.infer(TensorType((3, 2), integer=True, low=0, high=11)).shape == (5, 2)
        assert y[1, 0].tolist() == [[7, 8], [6, 7], [8, 9], [10, 11], [9, 9]]

    def test_a_static_value_joins_one_with_steps(self):
        y = Concat(axis=1).reference(self.x, self.x[:1])
        assert y[1, 0].tolist() == [[6, 7, 0, 1], [8, 9, 2, 3], [10, 11, 4, 5]]

    def test_slices(self):
        op = Slice(axis=0, start=0, stop=3, step=2)
        assert op.infer(TensorType.spikes((3, 2))) == TensorType.spikes((2, 2))
        assert op.reference(self.x)[0, 0].tolist() == [[0, 1], [4, 5]]

    def test_borders_and_repetitions(self):
        op = Pad(before=(1, 0), after=(0, 2), value=-1.0)
        assert op.infer(TensorType.spikes((3, 2))).shape == (4, 4)
        assert op.infer(TensorType.spikes((3, 2))).low == -1
        assert op.reference(self.x)[0, 0, :2].tolist() == [[-1, -1, -1, -1], [0, 1, -1, -1]]
        assert Broadcast(shape=(3, 4)).infer(TensorType((3, 1))).shape == (3, 4)
        assert Broadcast(shape=(3, 4)).reference(self.x[..., :1])[1, 0, 2].tolist() == [10, 10, 10, 10]
        with pytest.raises(GraphError, match=r"cannot repeat axes of size 1 of \(3, 2\) to get \(3, 4\)"):
            Broadcast(shape=(3, 4)).infer(TensorType((3, 2)))

    def test_misfits_are_refused(self):
        with pytest.raises(GraphError, match=r"equal sizes beside axis 0, got \(3, 2\), \(3, 4\)"):
            Concat().infer(TensorType((3, 2)), TensorType((3, 4)))
        with pytest.raises(GraphError, match="axis 2 is outside"):
            Concat(axis=2).infer(TensorType((3, 2)))
        with pytest.raises(GraphError, match="0 <= start < stop <= 3"):
            Slice(axis=0, start=1, stop=4).infer(TensorType((3, 2)))
        with pytest.raises(GraphError, match=r"gain of shape \(3, 2\) or with sizes of 1, got \(2,\)"):
            Affine(gain=np.ones(2)).infer(TensorType((3, 2)))


def test_affine_bounds_follow_the_signs_of_the_gains():
    kind = Affine(gain=np.array([2.0, -1.0]), offset=np.array([0.0, 5.0])).infer(TensorType((2,), low=-1, high=3))
    assert (kind.low, kind.high) == (-2.0, 6.0)
    assert Affine(gain=np.array([0.0, 1.0])).infer(TensorType((2,), low=0, high=inf)).low == 0


def test_embedding_takes_only_numbers_of_its_rows():
    table = Embedding(weight=np.array([[1.0, 2], [3, 4]], np.float32))
    assert table.reference(np.array([[[1.0, 0]]])).tolist() == [[[[3, 4], [1, 2]]]]
    assert str(table.infer(TensorType((2,), integer=True, low=0, high=1))) == "real{1..4}[2, 2]"
    for kind in (TensorType((2,), low=0, high=1), TensorType((2,), integer=True, low=0, high=2)):
        with pytest.raises(GraphError, match=r"expected whole numbers 0\.\.1"):
            table.infer(kind)


def test_wkv_is_the_weighted_mean_of_its_definition():
    rng = np.random.default_rng(1)
    k, v = rng.normal(size=(2, 6, 2, 3))
    op = Wkv(decay=rng.normal(size=3), first=rng.normal(size=3))
    found = op.reference(k, v)
    w = -np.exp(op.decay)
    for t in range(6):
        weights = [np.exp(k[i] + (t - 1 - i) * w) for i in range(t)] + [np.exp(op.first + k[t])]
        expected = sum(a * b for a, b in zip(weights, v[: t + 1], strict=True)) / sum(weights)
        np.testing.assert_allclose(found[t], expected, rtol=1e-12)
    assert np.isfinite(op.reference(1000 * k, v)).all()


def test_functions_equal_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(2).normal(scale=3, size=(2, 3, 4, 5))
    gamma, beta = np.random.default_rng(3).normal(size=(2, 4, 5))
    t, f = torch.tensor(x), torch.nn.functional
    pairs = [
        (Relu(), f.relu(t)),
        (Clip(low=-1.0, high=0.5), t.clamp(-1, 0.5)),
        (Gelu(), f.gelu(t)),
        (Gelu(approximate=True), f.gelu(t, approximate="tanh")),
        (Sigmoid(), torch.sigmoid(t)),
        (Silu(), f.silu(t)),
        (Tanh(), torch.tanh(t)),
        (Softmax(), t.softmax(-1)),
        (Softmax(axis=0), t.softmax(2)),
        (LayerNorm(gamma=gamma[0], beta=beta[0]), f.layer_norm(t, (5,), torch.tensor(gamma[0]), torch.tensor(beta[0]))),
        (LayerNorm(gamma=gamma, beta=beta), f.layer_norm(t, (4, 5), torch.tensor(gamma), torch.tensor(beta))),
    ]
    for op, expected in pairs:
        np.testing.assert_allclose(op.reference(x), expected.numpy(), rtol=1e-12, atol=1e-14, err_msg=op.mnemonic)
    assert np.isfinite(Sigmoid().reference(np.array([-1e4, 1e4]))).all()
