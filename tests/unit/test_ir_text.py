"""The text form: exactly these words, and errors that point at the place."""

import numpy as np
import pytest

from compiler.ir.graph import Graph, Node, Setting
from compiler.ir.ops import Input, Linear, Neuron, TimeMean
from compiler.ir.text import graph_constants, parse_graph, print_graph
from neurochip.errors import GraphError

TEXT = """\
graph "mlp" {
  timesteps = 4
  setting T = 4 from "file"
  setting img_size = [8, 8] from "--set"
  ignored "norm1.weight"
  %x: int{0..3}[2] = input() {shape = [2], integer = true, low = 0.0, high = 3.0}
  %fc.0: int{-3..10}[2] = linear(%x) {weight = i8[2, 2] [1, 2, -1, 0], bias = i32[2] [1, 0]}
  %lif: spikes[2] = neuron(%fc.0) {tau = none, decay_input = true, threshold = 1.5, fires = "ge", \
reset = "hard", v_reset = 0.0}
  %"the result": real{0..1}[2] untimed = time_mean(%lif)
  return %"the result"
}
"""


def mlp():
    weight, bias = np.array([[1, 2], [-1, 0]], np.int8), np.array([1, 0], np.int32)
    return Graph(
        "mlp",
        (
            Node("x", Input(shape=(2,), integer=True, low=0, high=3)),
            Node("fc.0", Linear(weight=weight, bias=bias), ("x",)),
            Node("lif", Neuron(tau=None, threshold=1.5), ("fc.0",)),
            Node("the result", TimeMean(), ("lif",)),
        ),
        ("the result",),
        4,
        (Setting("T", 4, "file"), Setting("img_size", (8, 8), "--set")),
        ("norm1.weight",),
    )


def test_printed_text():
    assert print_graph(mlp()) == TEXT
    assert str(mlp()) == TEXT


def test_parsed_graph():
    graph = parse_graph(TEXT)
    assert print_graph(graph) == TEXT
    assert graph.settings == mlp().settings
    assert graph.ignored == ("norm1.weight",)
    assert graph.node("fc.0").op.weight.dtype == np.int8


def test_types_defaults_and_comments_are_optional():
    graph = parse_graph("""
        graph "short" {  // a comment
          timesteps = 1
          %x = input() {shape = [2]}
          %n = neuron(%x) {threshold = 2}
          return %n, %x
        }
    """)
    assert graph.outputs == ("n", "x")
    assert graph.node("n").op.threshold == 2.0
    assert graph.node("n").op.tau == 2.0


def test_large_arrays_are_kept_apart():
    weight = np.arange(65, dtype=np.float32).reshape(5, 13)
    graph = Graph("big", (Node("x", Input(shape=(13,))), Node("y", Linear(weight=weight), ("x",))), ("y",), 1)
    text = print_graph(graph)
    ((name, stored),) = graph_constants(graph).items()
    assert f"weight = f32[5, 13] #{name}, bias = none" in text
    assert stored is weight
    assert print_graph(parse_graph(text, {name: weight})) == text
    with pytest.raises(GraphError, match=rf"^line 4, column \d+: no constant #{name} was given$"):
        parse_graph(text)
    with pytest.raises(GraphError, match=rf"constant #{name} is float32\[13\], expected f32\[5, 13\]"):
        parse_graph(text, {name: weight[0]})


def test_the_hash_sees_dtype_shape_and_values():
    def name(array):
        op = Linear(weight=array)
        return next(iter(graph_constants(Graph("g", (Node("y", op),), ("y",), 1))))

    array = np.zeros((10, 10), np.float32)
    changed = array.copy()
    changed[0, 0] = 1
    arrays = [array, array.reshape(20, 5), array.astype(np.float64), changed]
    assert len({name(a) for a in arrays}) == 4
    assert name(np.asfortranarray(array)) == name(array)
    assert name(array.astype(">f4")) == name(array)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("linear(%x)", "linear(%z)", "line 7, column 34: no earlier node makes 'z'"),
        ("= linear(", "= dense(", "line 7, column 27: no op is called 'dense'; the ops are .*add, .*attention"),
        ("bias = i32", "bais = i32", "line 7, column 72: linear has no attribute 'bais'; it has weight, bias"),
        ("weight = i8[2, 2] [1, 2, -1, 0], ", "", "line 7, column 27: linear needs the attribute 'weight'"),
        ("[1, 2, -1, 0]", "[1, 2]", r"expected 4 elements for shape \(2, 2\), got 2"),
        ("[1, 2, -1, 0]", "[1, 2, -1, 300]", "element 300 does not fit i8"),
        ("[1, 2, -1, 0]", "[1, 2, -1, 0.5]", "element 0.5 does not fit i8"),
        ("norm1.weight", "norm1\\q", r"line 5, column 11: this is no JSON string"),
        ("shape = [2]", "shape = 2", r"expected 'shape' to be sizes such as \[3, 32, 32\], got '2'"),
        ("tau = none", 'tau = "two"', "expected 'tau' to be a number or none, got '\"two\"'"),
        ("decay_input = true", "decay_input = 1", "expected 'decay_input' to be true or false, got '1'"),
        ("threshold = 1.5", "threshold = 1.5, threshold = 2", "attribute 'threshold' is given twice"),
        ("%lif: spikes[2]", "%lif: spikes[3]", r"line 8, column 9: node 'lif' is declared spikes\[3\], but"),
        ("%lif: spikes", "%x: spikes", "line 8, column 3: value 'x' is defined twice"),
        ("neuron(%fc.0)", "neuron(%fc.0, %x)", r"line 8, column 3: node 'lif' \(neuron\): expected 1 input, got 2"),
        ("timesteps = 4", "timesteps = 0", "line 2, column 15: expected timesteps >= 1, got 0"),
        ("timesteps = 4", "steps = 4", "line 2, column 3: expected 'timesteps', got 'steps'"),
        ("return", "retrun", "line 10, column 3: expected a node, 'setting', 'ignored' or 'return', got 'retrun'"),
        ("}\n", "", "expected"),
        ('from "file"', "from file", "line 3, column 22: expected the setting's origin in quotes, got 'file'"),
        ("return", "@", "line 10, column 3: unexpected character '@'"),
        ("}\n", "} }", "expected the end of the text, got '}'"),
    ],
)
def test_errors_point_at_the_place(old, new, message):
    broken = TEXT[: TEXT.rindex("}\n")] + new if old == "}\n" else TEXT.replace(old, new)
    with pytest.raises(GraphError, match=message) as error:
        parse_graph(broken)
    assert str(error.value).startswith("line ")


def test_cut_off_text_is_an_error_at_every_length():
    for length in range(0, len(TEXT) - 2, 7):
        with pytest.raises(GraphError, match=r"^line "):
            parse_graph(TEXT[:length])
