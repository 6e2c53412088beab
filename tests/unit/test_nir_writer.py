"""NIR files that are written here: read by NIR's own reader, refused by it where they must be, compiled here."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("h5py")
nir = pytest.importorskip("nir")

import neurochip  # noqa: E402
from compiler.exporters import save_nir  # noqa: E402
from compiler.ir.graph import Graph, Node, Setting  # noqa: E402
from compiler.ir.ops import (  # noqa: E402
    Add,
    AndNot,
    Attention,
    AvgPool,
    Conv2d,
    Input,
    Linear,
    MaxPool,
    Mul,
    Neuron,
    Reshape,
    TimeMean,
)
from neurochip.errors import GraphError, MissingExtraError  # noqa: E402

RNG = np.random.default_rng(3)
GT = {"threshold": 1.0, "fires": "gt"}


def network(neuron):
    """Convolution, pools, residual operations on spikes, a readout over time."""
    weight = RNG.normal(size=(4, 2, 3, 3)).astype(np.float32)
    nodes = (
        Node("input", Input(shape=(2, 8, 8), integer=True, low=0, high=1)),
        Node("conv", Conv2d(weight=weight, bias=RNG.normal(size=4).astype(np.float32), padding=(1, 1)), ("input",)),
        Node("lif", neuron, ("conv",)),
        Node("pool", MaxPool(kernel=(2, 2), stride=(2, 2)), ("lif",)),
        Node("conv2", Conv2d(weight=RNG.normal(size=(4, 4, 1, 1)).astype(np.float32)), ("pool",)),
        Node("lif2", neuron, ("conv2",)),
        Node("both", Mul(), ("pool", "lif2")),
        Node("only", AndNot(), ("pool", "lif2")),
        Node("sum", Add(), ("both", "only", "both")),
        Node("mean", AvgPool(kernel=(2, 2), stride=(2, 2)), ("sum",)),
        Node("flat", Reshape(shape=(16,)), ("mean",)),
        Node("time", TimeMean(), ("flat",)),
        Node("head", Linear(weight=RNG.normal(size=(3, 16)).astype(np.float32)), ("time",)),
    )
    return Graph("net", nodes, ("head",), 4, (Setting("T", 4, "file"), Setting("tau", 2.0, "--set")))


def test_plain_graphs_are_plain_nir_that_its_own_reader_takes(tmp_path):
    graph = network(Neuron(tau=2.0, **GT))
    assert neurochip.save_nir(graph, tmp_path / "x.nir") == ()
    other = nir.read(tmp_path / "x.nir", type_check=True)
    lif = other.nodes["lif"]
    assert (lif.tau == 2e-4).all()
    assert (lif.r == 1).all()
    assert lif.input_type["input"].tolist() == [4, 8, 8]
    back = neurochip.load_model(tmp_path / "x.nir")
    x = RNG.integers(0, 2, (4, 5, 2, 8, 8))
    np.testing.assert_allclose(back.run(x).logits, graph.run(x).logits, rtol=1e-12)
    origins = {s.name: s.origin for s in back.settings}
    assert (back.name, origins["T"], origins["dt"], origins["tau"]) == ("net", "file", "file", "--set")


def test_what_other_readers_do_not_see_is_said(tmp_path):
    graph = network(Neuron(tau=None, decay_input=False, reset="soft", fires="ge"))
    notes = save_nir(graph, tmp_path / "x.nir")
    assert len(notes) == 4
    assert "'lif': its soft reset is metadata" in notes[0]
    assert neurochip.load_model(tmp_path / "x.nir").node("lif").op == graph.node("lif").op


def test_attention_is_refused_loudly_by_other_readers(tmp_path):
    nodes = (
        Node("input", Input(shape=(4, 6), integer=True, low=0, high=1)),
        Node("attention", Attention(heads=2), ("input", "input", "input")),
    )
    (note,) = save_nir(Graph("a", nodes, ("attention",), 2), tmp_path / "x.nir")
    assert "only neurochip reads it" in note
    with pytest.raises((AssertionError, KeyError)):
        nir.read(tmp_path / "x.nir")
    assert neurochip.load_model(tmp_path / "x.nir").node("attention").op == Attention(heads=2)


def test_the_same_graph_gives_the_same_bytes_and_names_survive(tmp_path):
    nodes = (Node("a/b", Input(shape=(3,))), Node("..", Linear(weight=np.eye(3)), ("a/b",)))
    graph = Graph("a", nodes, ("..",), 2)
    for name in "xy":
        save_nir(graph, tmp_path / f"{name}.nir")
    assert (tmp_path / "x.nir").read_bytes() == (tmp_path / "y.nir").read_bytes()
    assert [node.name for node in neurochip.load_model(tmp_path / "x.nir").nodes] == ["a/b", ".."]


def test_a_bad_step_and_a_missing_package_are_named(tmp_path, monkeypatch):
    graph = network(Neuron(**GT))
    with pytest.raises(GraphError, match="expected dt in seconds above 0, got -1"):
        save_nir(graph, tmp_path / "x.nir", dt=-1)
    save_nir(graph, tmp_path / "x.nir")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (lambda: save_nir(graph, tmp_path / "y.nir"), lambda: neurochip.load_model(tmp_path / "x.nir")):
        with pytest.raises(MissingExtraError, match=r"neurochip\[nir\]"):
            use()


def test_a_model_of_another_tool_compiles_and_simulates_exactly(tmp_path):
    lif = {"tau": np.full(12, 2e-4), "r": np.full(12, 2.0), "v_leak": np.zeros(12), "v_threshold": np.ones(12)}
    parts = [nir.Input(np.array([20])), nir.Affine(RNG.normal(size=(12, 20)) / 4, RNG.normal(size=12) / 4)]
    parts += [nir.LIF(**lif), nir.Linear(RNG.normal(size=(5, 12))), nir.Output(np.array([5]))]
    nir.write(tmp_path / "x.nir", nir.NIRGraph.from_list(*parts))
    settings = {"T": "8", "dt": "1e-4", "input": "spikes"}
    program = neurochip.compile(tmp_path / "x.nir", "loihi", settings=settings)
    x = RNG.random((8, 6, 20)) < 0.3
    result = neurochip.simulate(program, x, check=True)
    assert result.exact
    assert result.report.to_dict()["spikes"]
    float_logits = neurochip.load_model(tmp_path / "x.nir", settings=settings).run(x).logits
    assert np.corrcoef(result.logits.ravel(), float_logits.ravel())[0, 1] > 0.97
