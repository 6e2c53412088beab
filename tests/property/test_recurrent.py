"""Recurrent graphs on a chip: the network computes what the graph computes, and the simulator what the network does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Add, Conv2d, Delay, Feedback, Input, Linear, Neuron, Reshape, TimeMean
from compiler.ir.verify import verify
from compiler.lower.balance import balance
from compiler.lower.lower import lower_graph
from compiler.pipeline import Options, compile_graph, run_passes
from neurochip.chip.load import load_chip
from neurochip.errors import UnsupportedError
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from tests.small_chips import small_chip

LOIHI = load_chip("loihi")
SEEDS = st.integers(0, 10_000)


def recurrent(seed: int) -> Graph:
    """Spikes -> two layers, each of which may hear itself or the other one step before, and one delayed -> means."""
    rng = np.random.default_rng(seed)
    sizes, steps = rng.integers(3, 12, 3), int(rng.integers(1, 8))
    names = ("x", "lif1", "lif2")
    nodes = [Node("x", Input(shape=(int(sizes[0]),), integer=True, low=0, high=1))]
    backs = {1: [int(k) for k in rng.choice([1, 2], rng.integers(1, 3), replace=False)], 2: [2][: rng.integers(2)]}
    for layer in (1, 2):
        parts = []
        for back in backs[layer]:
            name, size = f"back{layer}{back}", int(sizes[back])
            nodes.append(
                Node(name, Feedback(source=names[back], shape=(size,), integer=True, low=0.0, high=1.0)),
            )
            nodes.append(Node(f"rec{layer}{back}", linear(rng, size, int(sizes[layer])), (name,)))
            parts.append(f"rec{layer}{back}")
        source = names[layer - 1]
        if layer == 2 and rng.random() < 0.4:
            nodes.append(Node("late", Delay(), (source,)))
            source = "late"
        nodes.append(Node(f"fc{layer}", linear(rng, int(sizes[layer - 1]), int(sizes[layer])), (source,)))
        nodes.append(Node(f"sum{layer}", Add(), (f"fc{layer}", *parts)) if parts else nodes.pop())
        last = nodes[-1].name
        tau = float(rng.choice([1.0, 1.5, 2.0, 3.0]))
        nodes.append(Node(names[layer], Neuron(tau=tau, threshold=1.0), (last,)))
    nodes += [Node("head", linear(rng, int(sizes[2]), 3), ("lif2",)), Node("out", TimeMean(), ("head",))]
    return verify(Graph("recurrent", tuple(nodes), ("out",), steps))


def linear(rng: np.random.Generator, inputs: int, outputs: int) -> Linear:
    return Linear(weight=1.5 * rng.normal(size=(outputs, inputs)), bias=0.2 * rng.normal(size=outputs))


def spikes_for(graph: Graph, seed: int) -> np.ndarray:
    shape = next(n.op.shape for n in graph.nodes if isinstance(n.op, Input))
    return (np.random.default_rng(seed).random((graph.timesteps, 3, *shape)) < 0.5).astype(np.float64)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_network_computes_what_the_quantised_graph_computes(seed: int) -> None:
    graph = recurrent(seed)
    x = spikes_for(graph, seed)
    quantised = run_passes(graph, LOIHI, 8)
    network = balance(lower_graph(quantised, LOIHI, 8), LOIHI.max_delay)
    run, found = quantised.run(x, record="spikes"), network.run(x)
    for name in ("lif1", "lif2"):
        assert np.array_equal(run.values[name], np.moveaxis(found.spikes[name][:, :, 0], 1, 0)), name
    np.testing.assert_allclose(found.logits, run.logits, rtol=1e-12, atol=1e-12)


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_the_simulator_runs_loops_exactly(seed: int) -> None:
    graph = recurrent(seed)
    x = spikes_for(graph, seed)
    program = compile_graph(graph, small_chip(neurons=5), Options(placement="hilbert"))
    check = Check(program.network, x)
    run_program(program, x, observe=check.observe)
    assert check.difference is None
    assert check.inputs == 3


def test_a_loop_through_two_layers_takes_two_ticks_a_step() -> None:
    """lif1 -> lif2 -> lif1 one step later: the pipeline cannot start a step before the loop is through."""
    found = []
    for seed in range(30):
        network = compile_graph(recurrent(seed), LOIHI, Options(placement="hilbert")).network
        loop = any(s.population == "lif2" and s.steps_back for p in network.incoming["lif1"] for s in p.sources)
        late = any(s.population == "lif1" and s.steps_back for p in network.incoming["lif2"] for s in p.sources)
        found.append((loop and not late, network.interval))
    assert set(found) == {(False, 1), (True, 2)}


def test_convolutions_come_back_too() -> None:
    rng = np.random.default_rng(0)
    nodes = (
        Node("x", Input(shape=(2, 5, 5), integer=True, low=0, high=1)),
        Node("back", Feedback(source="lif", shape=(4, 5, 5), integer=True, low=0.0, high=1.0)),
        Node("conv", Conv2d(weight=rng.normal(size=(4, 2, 3, 3)), padding=(1, 1)), ("x",)),
        Node("rec", Conv2d(weight=rng.normal(size=(4, 4, 3, 3)), padding=(1, 1)), ("back",)),
        Node("sum", Add(), ("conv", "rec")),
        Node("lif", Neuron(tau=2.0, threshold=1.0), ("sum",)),
        Node("flat", Reshape(shape=(100,)), ("lif",)),
        Node("head", Linear(weight=rng.normal(size=(3, 100))), ("flat",)),
        Node("out", TimeMean(), ("head",)),
    )
    graph = verify(Graph("recurrent", nodes, ("out",), 4))
    x = spikes_for(graph, 1)
    program = compile_graph(graph, LOIHI, Options(placement="hilbert"))
    np.testing.assert_allclose(program.network.run(x).logits, run_passes(graph, LOIHI, 8).run(x).logits, atol=1e-12)


def test_a_current_that_comes_back_is_refused() -> None:
    nodes = (
        Node("x", Input(shape=(4,), integer=True, low=0, high=1)),
        Node("back", Feedback(source="fc", shape=(4,))),
        Node("both", Add(), ("x", "back")),
        Node("fc", Linear(weight=np.eye(4)), ("both",)),
        Node("lif", Neuron(tau=2.0, threshold=1.0), ("fc",)),
        Node("head", Linear(weight=np.ones((2, 4))), ("lif",)),
        Node("out", TimeMean(), ("head",)),
    )
    with pytest.raises(UnsupportedError, match=r"'back'"):
        compile_graph(verify(Graph("loop", nodes, ("out",), 3)), LOIHI, Options())
