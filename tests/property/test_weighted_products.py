"""Dual spike self-attention: quantised graph, integer network and simulated processor are one computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Affine, Conv2d, Input, Linear, MatMul, Mean, Neuron, Op, Reshape, Slice, TimeMean, Transpose
from compiler.pipeline import Options, compile_graph
from neurochip.chip.load import load_chip
from neurochip.errors import ProgramError, UnsupportedError
from neurochip.network.projections import Gated, Matrix
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from neurochip.report.report import make_report
from neurochip.sim.engine import run_program
from neurochip.sim.sample import SampledCheck
from tests.exact import any_input, assert_exact


def dssa(*, heads: int, depth: int, grid: tuple[int, int], patch: int, steps: int, seed: int) -> Graph:
    """Spikes, a convolution, DSSA as SpikingResformer builds it, a head; weights at random."""
    rng, width = np.random.default_rng(seed), heads * depth
    rows, columns = grid
    coarse, tokens = (rows // patch) * (columns // patch), rows * columns
    lif = Neuron(tau=2.0, decay_input=True, threshold=1.0, fires="ge", reset="hard", v_reset=0.0)
    nodes: list[Node] = []

    def add(name: str, op: Op, *inputs: str) -> str:
        nodes.append(Node(name, op, inputs))
        return name

    def scale(size: int) -> Affine:
        return Affine(gain=1 / np.sqrt(rng.uniform(0.1, 0.5, (heads, 1, 1)) * size))

    x = add("input", Input(shape=(2, rows, columns), integer=True, low=0, high=1))
    x = add("conv", Conv2d(weight=rng.normal(0.3, 1.0, (width, 2, 1, 1)), bias=rng.uniform(2, 3, width)), x)
    spikes = add("in", lif, x)
    map_of = rng.normal(0.2, 1.0, (2 * width, width, patch, patch))
    y = add("W", Conv2d(weight=map_of, bias=rng.normal(0.1, 0.3, 2 * width), stride=(patch, patch)), spikes)
    y = add("y", Reshape(shape=(heads, 2 * depth, coarse)), y)
    y1, y2 = (add(f"y{i + 1}", Slice(axis=1, start=i * depth, stop=(i + 1) * depth), y) for i in (0, 1))
    s = add("s", Reshape(shape=(heads, depth, tokens)), spikes)
    a = add("matmul1", MatMul(transpose_a=True), y1, s)
    a = add("attn", lif, add("scale1", scale(depth), a))
    out = add("matmul2", MatMul(), y2, a)
    out = add("merged", Reshape(shape=(width, rows, columns)), add("scale2", scale(coarse), out))
    out = add("out", lif, out)
    out = add("proj", Conv2d(weight=rng.normal(0.2, 0.6, (width, width, 1, 1))), out)
    out = add("mean", Mean(axes=(1, 2)), add("last", lif, out))
    add("logits", TimeMean(), add("head", Linear(weight=rng.normal(0, 1, (3, width))), out))
    return Graph(name="dssa", nodes=tuple(nodes), outputs=("logits",), timesteps=steps)


SMALL = dssa(heads=2, depth=2, grid=(4, 4), patch=2, steps=2, seed=1)


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    st.integers(1, 3), st.integers(1, 3), st.sampled_from([(2, 2), (2, 4), (4, 4)]), st.sampled_from([1, 2]),
    st.integers(1, 3), st.integers(0, 1000),
)  # fmt: skip
def test_graph_network_and_simulator_agree(heads, depth, grid, patch, steps, seed):
    graph = dssa(heads=heads, depth=depth, grid=grid, patch=patch, steps=steps, seed=seed)
    program = assert_exact(graph, seed=seed)
    products = [p for p in program.network.populations if p.neuron.kind == "product"]
    assert len(products) == 2


def test_payloads_of_either_sign_arrive():
    program = assert_exact(SMALL, seed=3)
    run = program.network.run(any_input(SMALL, batch=4, seed=3))
    for name in ("matmul1", "matmul2"):
        assert program.network.by_name[name].signed
        assert run.spikes[name].min() < 0 < run.spikes[name].max()


def test_a_program_file_keeps_matrix_and_gates(tmp_path):
    program, x = compile_graph(SMALL, load_chip("loihi"), Options(placement="hilbert")), any_input(SMALL)
    save_program(program, tmp_path / "dssa.ncp")
    again = load_program(tmp_path / "dssa.ncp")
    assert [p.kind for p in again.network.projections] == [p.kind for p in program.network.projections]
    np.testing.assert_array_equal(run_program(again, x).logits, run_program(program, x).logits)


def test_accumulates_are_those_of_the_spikes():
    program, x = compile_graph(SMALL, load_chip("loihi"), Options(placement="hilbert")), any_input(SMALL)
    trace, run = run_program(program, x), program.network.run(x)
    network, width = program.network, 4
    for projection in network.projections:
        if not isinstance(projection, Matrix | Gated):
            continue
        spikes = int(run.spikes[projection.sources[0].population].sum())
        target = network.by_name[projection.target]
        row = width if isinstance(projection, Matrix) else target.channels // projection.heads
        assert trace.projections[projection.name].ops == spikes * row
    layers = {layer.name: layer for layer in make_report(program, trace).layers}
    counts = layers["matmul1"].attention
    assert counts is not None
    assert counts.event_driven == layers["matmul1"].ac > 0
    assert counts.effective <= counts.event_driven
    expected = sum(int(v).bit_count() for v in np.abs(run.spikes["matmul1"]).ravel())
    assert layers["matmul1"].packets >= expected > 0


@pytest.mark.parametrize(
    ("chip", "method"),
    [("attention_chip", "unit"), ("loihi", "coincidence"), ("loihi2", "graded"), ("spinnaker2", "graded"),
     ("darwin3", "coincidence")],
)  # fmt: skip
def test_every_method_computes_the_model(chip, method):
    program = assert_exact(SMALL, load_chip(chip), seed=3, attention=method)
    assert program.origin.attention == method


@pytest.mark.parametrize("chip", ["tianjic", "truenorth"])
def test_crossbars_compute_it_by_coincidence_in_one_step(chip):
    graph = dssa(heads=2, depth=2, grid=(2, 2), patch=2, steps=1, seed=1)
    assert assert_exact(graph, load_chip(chip), seed=3).origin.attention == "coincidence"


def test_learning_synapses_are_refused_with_the_reason():
    with pytest.raises(
        UnsupportedError, match=r"'matmul1'.*\(DSSA\).*a weighted sum is no count; use --attention processor or coinc"
    ):
        compile_graph(SMALL, load_chip("loihi"), Options(attention="plastic"))


def test_a_map_that_mixes_channels_and_positions_is_refused():
    order = replace(SMALL.by_name["y2"].op, start=1, stop=3)
    graph = SMALL.replace_nodes({"y2": [replace(SMALL.by_name["y2"], op=order)]})
    assert_exact(graph)  # any channels of the convolution will do
    by_rows = SMALL.replace_nodes(
        {
            "y": [Node("y", Reshape(shape=(2, 4, 4)), ("turned",))],
            "W": [SMALL.by_name["W"], Node("turned", Transpose(order=(1, 0, 2)), ("W",))],
        }
    )
    with pytest.raises(UnsupportedError, match=r"(?s)expected matrices of channels and positions.*\(DSSA\)"):
        compile_graph(by_rows, load_chip("loihi"), Options())


@pytest.mark.parametrize(
    ("name", "method"), [("loihi2", "processor"), ("attention_chip", "unit"), ("spinnaker2", "processor")]
)
def test_the_cheapest_method_is_chosen(name, method):
    assert assert_exact(SMALL, load_chip(name), seed=3).origin.attention == method


def test_a_sampled_check_recomputes_products():
    program, x = compile_graph(SMALL, load_chip("loihi"), Options(placement="hilbert")), any_input(SMALL)
    check = SampledCheck(program.network, x, positions=3)
    run_program(program, x, observe=check.observe)
    assert check.result()["exact"], check.difference


def broken(**changes):
    network = compile_graph(SMALL, load_chip("loihi"), Options(placement="hilbert")).network
    swapped = [replace(p, **changes[p.kind]) if p.kind in changes else p for p in network.projections]
    return replace(network, projections=tuple(p for p in swapped if p.kind not in changes.get("without", ())))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without": ("matrix",)}, "expected a product of one matrix and one gated projection"),
        ({"gated": {"heads": 3}}, "3 heads over 'channels' do not divide"),
        ({"gated": {"shift": 1}}, "of the same step for the matrix and for the gates, unshifted"),
        ({"matrix": {"bias": np.zeros(2, np.int32)}}, "expected 4 whole-number biases"),
        ({"matrix": {"weight": np.zeros((2, 2, 1, 4), np.int8)}}, r"expected weights \(kh, kw, 4, C\)"),
        ({"matrix": {"stride": (1, 1)}}, "channels of gates"),
    ],
)
def test_a_malformed_product_is_refused(changes, message):
    with pytest.raises(ProgramError, match=message):
        validate_network(broken(**changes))
