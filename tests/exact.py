"""One model on one chip: quantised graph, integer network and simulated program must be one computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, currently_in_test_context

from compiler.ir.graph import Graph
from compiler.ir.ops import Input
from compiler.pipeline import Options, compile_graph, run_passes
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.program.image import Program
from neurochip.report.layers import is_graded
from neurochip.report.report import make_report
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program


def ranged(graph: Graph, low: float = -3.0, high: float = 3.0) -> Graph:
    """``graph`` whose analog inputs have a range."""
    nodes = [
        replace(node, op=replace(node.op, low=low, high=high))
        if isinstance(node.op, Input) and not node.op.integer
        else node
        for node in graph.nodes
    ]
    return graph.with_nodes(nodes)


def any_input(graph: Graph, batch: int = 2, seed: int = 0) -> np.ndarray:
    """Images in the range of the input, or spikes of every step."""
    op, rng = graph.inputs[0].op, np.random.default_rng(seed)
    if op.integer:
        return rng.binomial(1, 0.4, (graph.timesteps, batch, *op.shape)).astype(float)
    return rng.uniform(op.low, op.high, (batch, *op.shape))


def something_fires(fired: bool) -> None:
    """Fail a test that shows nothing; a silent draw of a property test is discarded, and if all are, that fails."""
    if currently_in_test_context():
        assume(fired)
    assert fired, "nothing fires: the test shows nothing"


def assert_exact(
    graph: Graph, chip: ChipSpec | None = None, x: np.ndarray | None = None, seed: int = 0, **options: object
) -> Program:
    """Compile ``graph`` and compare, on ``x`` or random input: all logits, each spike of the simulator with the
    network's, and the spikes of every neuron layer, step and image with the quantised graph's. Returns the program.
    ``options``: of ``Options``.
    """
    chip = load_chip("loihi") if chip is None else chip
    x = any_input(graph, seed=seed) if x is None else x
    program = compile_graph(graph, chip, Options(placement="hilbert", **options))
    sources = [p for p in program.network.populations if p.neuron.kind == "source"]
    place = "core" if any(p.coding == "graded" for p in sources) else "host"
    quantised = run_passes(graph, chip, program.origin.weight_bits, encoder=place)
    check = Check(program.network, x)
    trace = run_program(program, x, observe=check.observe)
    assert check.difference is None
    expected, network = quantised.run(x), program.network.run(x)
    assert (trace.wraps, trace.clips) == (0, network.clips)
    np.testing.assert_allclose(trace.logits, expected.logits, rtol=1e-12, atol=1e-12)
    for name, counts in expected.spikes.items():
        np.testing.assert_array_equal(network.spikes[name].sum(axis=(2, 3)), counts.T, err_msg=name)
    something_fires(any(counts.any() for counts in expected.spikes.values()))
    graded = (p for p in program.network.projections if p.counted and is_graded(program.network, p))
    multiplied = sum(trace.projections[p.name].ops for p in graded)
    assert sum(layer.mac for layer in make_report(program, trace).layers) == trace.host_macs + multiplied
    return program
