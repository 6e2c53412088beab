"""The text form loses nothing, and types tell the truth, whatever the graph."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.literals import INLINE_ELEMENTS
from compiler.ir.ops import OPS
from compiler.ir.text import graph_constants, parse_graph, print_graph
from compiler.ir.verify import verify
from tests.graphs import contains, random_graph, random_input

seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=60)
@given(seeds)
def test_text_survives_a_round_trip(seed):
    graph = random_graph(seed)
    text = print_graph(graph)
    back = verify(parse_graph(text, graph_constants(graph)))
    assert print_graph(back) == text
    assert back.settings == graph.settings
    assert back.types == graph.types


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_a_parsed_graph_computes_the_same_numbers(seed):
    graph = random_graph(seed)
    back = parse_graph(print_graph(graph), graph_constants(graph))
    x = random_input(graph, seed)
    first, second = graph.run(x), back.run(x)
    for name in graph.outputs:
        np.testing.assert_array_equal(first.outputs[name], second.outputs[name])


@settings(deadline=None, max_examples=80)
@given(seeds)
def test_every_value_lies_in_its_inferred_domain(seed):
    graph = random_graph(seed)
    values = graph.run(random_input(graph, seed), record="values").values
    for name, kind in graph.types.items():
        assert values[name].shape[2:] == kind.shape
        assert len(values[name]) in (1, graph.timesteps)
        assert contains(kind, values[name]), f"{name}: {kind}"


@settings(deadline=None, max_examples=40)
@given(seeds)
def test_a_static_image_equals_its_repetition(seed):
    graph = random_graph(seed)
    x = random_input(graph, seed)
    x = x if x.ndim == len(graph.inputs[0].op.shape) + 1 else x[0]
    once, repeated = graph.run(x), graph.run(np.stack([x] * graph.timesteps))
    for name in graph.outputs:
        np.testing.assert_allclose(once.outputs[name], repeated.outputs[name], rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["f2", "f4", "f8"]),
    st.lists(st.floats(allow_nan=False), max_size=INLINE_ELEMENTS),
)
def test_inline_floats_keep_every_bit(dtype, numbers):
    from compiler.ir.literals import format_array

    with np.errstate(over="ignore"):
        array = np.array(numbers, dtype=np.float64).astype(dtype)
    head, _, elements = format_array(array).partition("] [")
    assert head == f"{dtype[0]}{8 * int(dtype[1])}[{len(array)}"
    with np.errstate(over="ignore"):
        back = np.array([float(text) for text in elements[:-1].split(", ") if text]).astype(dtype)
    assert back.tobytes() == array.tobytes()


def test_random_graphs_cover_every_op():
    seen = {type(node.op) for seed in range(250) for node in random_graph(seed).nodes}
    assert seen == set(OPS)
