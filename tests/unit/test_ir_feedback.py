"""Recurrent graphs: what comes back is the step before, whatever lies in the loop."""

import numpy as np
import pytest

import neurochip
from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Add, Delay, Feedback, Input, Linear, Neuron, TimeMean
from compiler.ir.parser import parse_graph
from compiler.ir.text import graph_constants, print_graph
from compiler.ir.verify import verify
from compiler.pipeline import Options, compile_graph, run_passes
from neurochip.errors import GraphError

RNG = np.random.default_rng(2)
WEIGHT = RNG.normal(size=(4, 4))
RECURRENT = 1.5 * RNG.normal(size=(4, 4))
T = 12


def recurrent(**feedback):
    """A neuron that hears, through a matrix, what it fired in the step before."""
    back = {"source": "lif", "shape": (4,), "integer": True, "low": 0.0, "high": 1.0, **feedback}
    nodes = (
        Node("x", Input(shape=(4,), low=-4, high=4)),
        Node("back", Feedback(**back)),
        Node("fc", Linear(weight=WEIGHT), ("x",)),
        Node("rec", Linear(weight=RECURRENT, bias=np.full(4, 0.25)), ("back",)),
        Node("sum", Add(), ("fc", "rec")),
        Node("lif", Neuron(tau=2.0, threshold=1.0), ("sum",)),
        Node("out", TimeMean(), ("lif",)),
    )
    return Graph("recurrent", nodes, ("out",), T)


def by_hand(x):
    v, z, fired = np.zeros(x.shape[1:]), np.zeros(x.shape[1:]), []
    for step in x:
        v = v + (step @ WEIGHT.T + (z @ RECURRENT.T + 0.25) - v) / 2
        z = (v >= 1).astype(float)
        v = np.where(z > 0, 0.0, v)
        fired.append(z)
    return np.array(fired)


def test_a_recurrent_neuron_equals_its_equation():
    x = RNG.uniform(-4, 4, (T, 3, 4))
    expected = by_hand(x)
    run = verify(recurrent()).run(x, record="spikes")
    np.testing.assert_array_equal(run.values["lif"], expected)
    assert 10 < expected.sum() < 120
    np.testing.assert_array_equal(run.logits, expected.mean(0))
    still = np.repeat(x[:1], T, 0)
    np.testing.assert_array_equal(recurrent().run(x[0]).logits, by_hand(still).mean(0))


def test_feedback_of_feedback_is_a_delay_of_two_steps():
    nodes = (
        Node("x", Input(shape=(2,))),
        Node("one", Feedback(source="x", shape=(2,))),
        Node("two", Feedback(source="one", shape=(2,))),
        Node("late", Delay(), ("x",)),
        Node("later", Delay(), ("late",)),
    )
    graph = verify(Graph("delays", nodes, ("two", "later"), 5))
    run = graph.run(RNG.normal(size=(5, 2, 2)))
    np.testing.assert_array_equal(run.outputs["two"], run.outputs["later"])


def test_text_keeps_loops_and_what_they_need():
    graph = recurrent()
    text = print_graph(graph)
    back = verify(parse_graph(text, graph_constants(graph)))
    assert print_graph(back) == text
    assert {node.name for node in graph.without_dead_nodes().nodes} == {node.name for node in graph.nodes}
    assert [node.name for node in graph.consumers("lif")] == ["back", "out"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "nobody"}, "its source 'nobody' is no node"),
        ({"shape": (3,)}, "node 'rec'"),
        ({"high": 0.5}, "expected a source"),
        ({"low": 0.5}, "expected bounds around 0"),
        ({"source": "out"}, "with steps"),
    ],
)
def test_misfits_are_refused(change, message):
    with pytest.raises(GraphError, match=message):
        verify(recurrent(**change))


def test_a_loop_compiles_and_computes_what_its_quantised_graph_does():
    chip = neurochip.load_chip("loihi")
    x = RNG.uniform(-4, 4, (T, 3, 4))
    graph = recurrent()
    program = compile_graph(graph, chip, Options(placement="hilbert"))
    assert any(s.steps_back == 1 for p in program.network.projections for s in p.sources)
    np.testing.assert_allclose(program.network.run(x).logits, run_passes(graph, chip, 8).run(x).logits, atol=1e-12)
