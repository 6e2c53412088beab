"""Masks and sums of spikes, checked against values worked out by hand."""

from math import inf

import numpy as np
import pytest

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import AndNot, Input, Mul, Neuron, SerialNeuron, Sum
from compiler.ir.text import parse_graph, print_graph
from compiler.ir.types import TensorType
from compiler.ir.verify import verify
from neurochip.errors import GraphError

SPIKES = TensorType.spikes((4, 6))


def values(array):
    """(T = 1, B = 1, *shape)."""
    return np.array(array, dtype=float)[None, None]


def test_mul_of_spikes_is_and_and_repeats_axes_of_size_one():
    k, row = values([[1, 0, 1], [1, 1, 0]]), values([[1, 0, 1]])
    assert Mul().reference(k, row)[0, 0].tolist() == [[1, 0, 1], [1, 0, 0]]
    assert Mul().infer(SPIKES, TensorType.spikes((1, 6))) == SPIKES
    assert Mul().infer(TensorType.spikes((4, 1)), TensorType.spikes((1, 6))) == SPIKES


def test_mul_bounds_counts_and_reals():
    signed = TensorType((4, 6), integer=True, low=-2, high=3)
    assert Mul().infer(signed, TensorType.spikes((4, 6), 5)) == TensorType((4, 6), integer=True, low=-10, high=15)
    real = Mul().infer(TensorType((4, 6)), SPIKES)
    assert (real.integer, real.low, real.high) == (False, -inf, inf)


def test_and_not_keeps_what_the_second_input_does_not_veto():
    x, s = values([1, 1, 0, 0]), values([0, 1, 0, 1])
    assert AndNot().reference(x, s).ravel().tolist() == [1, 0, 0, 0]
    assert AndNot().infer(SPIKES, SPIKES) == SPIKES
    real = AndNot().infer(TensorType((4, 6), low=2.0, high=3.0), SPIKES)
    assert (real.integer, real.low, real.high) == (False, 0, 3.0)


def test_sum_counts_spikes_and_may_keep_its_axes():
    x = values([[1, 0, 1], [1, 1, 0]])
    assert Sum(axes=(0,)).reference(x)[0, 0].tolist() == [2, 1, 1]
    assert Sum(axes=(1,), keep=True).reference(x)[0, 0].tolist() == [[2], [2]]
    assert Sum(axes=(0,), keep=True).infer(SPIKES) == TensorType.spikes((1, 6), 4)
    assert Sum(axes=(0, 1)).infer(SPIKES) == TensorType.spikes((), 24)


@pytest.mark.parametrize(
    ("op", "types", "message"),
    [
        (Mul(), (SPIKES,), "expected 2 inputs, got 1"),
        (Mul(), (SPIKES, TensorType((4, 5))), "expected equal shapes, or sizes of 1 to repeat, got .* and "),
        (Mul(), (SPIKES, TensorType((6,))), "expected equal shapes, or sizes of 1 to repeat, got .* and "),
        (Mul(), (SPIKES, TensorType((4, 6), timed=False)), "cannot multiply a value that has time steps and one"),
        (AndNot(), (SPIKES, TensorType.spikes((4, 6), 2)), "expected the second input to be binary spikes, got int"),
        (Sum(axes=()), (SPIKES,), "expected distinct axes of an input of shape"),
        (Sum(axes=(2,)), (SPIKES,), "expected distinct axes of an input of shape"),
    ],
)
def test_misfits_are_refused(op, types, message):
    with pytest.raises(GraphError, match=f"^{message}"):
        op.infer(*types)


def test_the_text_form_holds_masks():
    graph = Graph(
        "mask",
        (
            Node("q", Input(shape=(4, 6), integer=True, low=0, high=1)),
            Node("count", Sum(axes=(0,), keep=True), ("q",)),
            Node("masked", Mul(), ("q", "count")),
            Node("left", AndNot(), ("masked", "q")),
        ),
        ("left",),
        2,
    )
    text = print_graph(verify(graph))
    assert "%count: int{0..4}[1, 6] = sum(%q) {axes = [0], keep = true}" in text
    assert "%masked: int{0..4}[4, 6] = mul(%q, %count)" in text
    assert print_graph(parse_graph(text)) == text


def test_serial_neurons_take_the_images_of_a_batch_for_further_steps():
    x = np.array([[1.0, 1.5], [0.5, 2.0]])[..., None]  # T = 2, B = 2; in order 1, 1.5, 0.5, 2
    # v: 0.5, 0.5 + 1/2 = 1 fires and resets, 0.25, 0.25 + 1.75/2 = 1.125 fires
    assert SerialNeuron().reference(x).ravel().tolist() == [0, 1, 0, 1]
    assert Neuron().reference(x).ravel().tolist() == [0, 0, 0, 1]
    alone = x[:, :1]
    np.testing.assert_array_equal(SerialNeuron().reference(alone), Neuron().reference(alone))
    assert SerialNeuron().infer(TensorType((3,))).is_binary


def test_a_batch_with_serial_neurons_is_not_cut(monkeypatch):
    monkeypatch.setattr("compiler.ir.run.VALUE_BYTES", 1)
    nodes = (Node("x", Input(shape=(1,))), Node("s", SerialNeuron(), ("x",)))
    run = verify(Graph("serial", nodes, ("s",), 2)).run(np.array([[[1.0], [1.5]], [[0.5], [2.0]]]))
    assert run.spikes["s"].tolist() == [[0, 1], [0, 1]]
