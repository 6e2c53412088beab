"""A saved graph opens like a checkpoint and is the same graph; damaged and hostile files are refused."""

import io
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.importers import load_model
from compiler.importers.checkpoint import read_checkpoint
from compiler.importers.graph_file import save_graph
from compiler.ir.graph import Graph, Node, Setting
from compiler.ir.ops import Input, Linear, Neuron
from compiler.ir.text import print_graph
from neurochip.errors import CheckpointError
from tests.graphs import random_graph, random_input

WEIGHT = np.arange(100, dtype=np.float32).reshape(10, 10) / 50


def small():
    nodes = (
        Node("x", Input(shape=(10,))),
        Node("fc", Linear(weight=WEIGHT), ("x",)),
        Node("lif", Neuron(), ("fc",)),
    )
    return Graph("small", nodes, ("lif",), 4)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_a_saved_graph_is_the_same_graph(tmp_path_factory, seed):
    graph = random_graph(seed)
    path = tmp_path_factory.mktemp("graph") / "model.pt"
    save_graph(graph, path)
    back = load_model(path)
    assert print_graph(back) == print_graph(graph)
    x = random_input(graph, seed)
    for name, array in graph.run(x).outputs.items():
        np.testing.assert_array_equal(back.run(x).outputs[name], array)


def test_one_graph_gives_one_file_of_views(tmp_path):
    for name in ("a.pt", "b.pt"):
        save_graph(small(), tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    checkpoint = read_checkpoint(tmp_path / "a.pt")
    assert checkpoint.container == "graph"
    (weight,) = checkpoint.tensors.values()
    np.testing.assert_array_equal(weight, WEIGHT)
    assert not weight.flags.owndata


def test_the_range_of_the_input_can_be_said(tmp_path):
    save_graph(small(), tmp_path / "m.pt")
    graph = load_model(tmp_path / "m.pt", settings={"input.low": "0", "input_high": "1"})
    assert (graph.inputs[0].op.low, graph.inputs[0].op.high) == (0, 1)
    assert graph.settings[-2:] == (Setting("input_low", 0.0, "--set"), Setting("input_high", 1.0, "--set"))
    save_graph(graph, tmp_path / "again.pt")
    graph = load_model(tmp_path / "again.pt", settings={"input_high": "2"})
    assert (graph.inputs[0].op.low, graph.inputs[0].op.high) == (0, 2)
    assert [setting.name for setting in graph.settings].count("input_high") == 1
    with pytest.raises(CheckpointError, match=r"m\.pt: unknown setting 'T'; this model knows input_low, input_high"):
        load_model(tmp_path / "m.pt", settings={"T": "3"})
    with pytest.raises(CheckpointError, match="'input_low'"):
        load_model(tmp_path / "m.pt", settings={"input_low": "zero"})
    with pytest.raises(CheckpointError, match=r"expected input_low <= input_high, got 2.0 and 1.0"):
        load_model(tmp_path / "m.pt", settings={"input_low": "2", "input_high": "1"})


def repacked(path, **changes):
    """The file with members replaced (bytes), or left out (None)."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    for name, data in changes.items():
        key = next(member for member in members if name in member)
        members[key] = data
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            if data is not None:
                archive.writestr(name, data)
    return path


def npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    return buffer.getvalue()


HEADER = npy(np.zeros(1, np.float32))[:-4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph.txt": b"graph \xff"}, "is no UTF-8 text"),
        ({"graph.txt": None}, "has no member 'graph.txt'"),
        ({"graph.txt": b"graph"}, "not well-formed: line 1, column 6"),
        ({"graph.txt": b'graph "g" { timesteps = ' + b"[" * 100_000}, "not well-formed|nested too deeply"),
        (
            {"graph.txt": b'graph "g" {\n timesteps = 1\n setting x = ' + b"[" * 100_000},
            "nested too deeply|well-formed",
        ),
        ({".npy": None}, "no constant #"),
        ({".npy": b"\x93NUMPY\x01\x00"}, "is no array"),
        ({".npy": npy(WEIGHT[:5])}, "constant .* is float32"),
        ({".npy": npy(np.array([{}]))}, "expected the numbers of a plain array"),
        ({".npy": npy(np.zeros((10, 10), "S3"))}, "expected the numbers of a plain array"),
        ({".npy": HEADER.replace(b"(1,), }", b"(9999999999,), }".ljust(7))[:128]}, "expected the numbers|is no array"),
    ],
)
def test_damaged_files_are_refused(tmp_path, changes, message):
    save_graph(small(), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=message):
        load_model(repacked(tmp_path / "m.pt", **changes))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_flipped_byte_never_crashes(tmp_path_factory, place, change):
    path = tmp_path_factory.mktemp("flip") / "m.pt"
    save_graph(small(), path)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= change
    path.write_bytes(data)
    try:
        load_model(path)
    except CheckpointError:
        return


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be written: is a folder"):
        save_graph(small(), tmp_path)
