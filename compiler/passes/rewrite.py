"""Questions and edits that several passes share: chains of ops, layouts as index arrays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Op, Reshape, Transpose

Index = NDArray[np.int64]
"""The shape of a value; each element is the row-major number of the element of another value that it shows."""

LAYOUT: tuple[type[Op], ...] = (Reshape, Transpose)
"""Ops that only move elements."""


def chain_back(graph: Graph, name: str, ops: tuple[type[Op], ...]) -> tuple[Node, ...]:
    """The unary nodes of kinds ``ops`` that lead to ``name``, last one first, then the node they start from."""
    node = graph.node(name)
    found = [node]
    while isinstance(node.op, ops):
        node = graph.producer(node)
        found.append(node)
    return tuple(found)


def base_of(graph: Graph, name: str) -> Node:
    """The node whose elements ``name`` shows in another layout."""
    return chain_back(graph, name, LAYOUT)[-1]


def readers(graph: Graph, name: str, through: tuple[type[Op], ...] = LAYOUT) -> Iterator[Node | None]:
    """Nodes that read a value, directly or through ops of kinds ``through``; None where it is an output."""
    if name in graph.outputs:
        yield None
    for node in graph.consumers(name):
        if isinstance(node.op, through):
            yield from readers(graph, node.name, through)
        else:
            yield node


def layout_index(graph: Graph, base: Node, name: str) -> Index:
    """Which element of ``base`` each element of ``name`` is; found by running the layout ops on numbers."""
    kind = graph.type_of(base)
    index: Index = np.arange(kind.size).reshape(kind.shape)
    chain = chain_back(graph, name, LAYOUT)
    names = [node.name for node in chain]
    for node in reversed(chain[: names.index(base.name)]):
        index = moved(node.op, index)
    return index


def moved(op: Op, index: Index) -> Index:
    """A layout op on an array without time and batch axes."""
    if isinstance(op, Reshape):
        return index.reshape(op.shape)
    if isinstance(op, Transpose):
        return index.transpose(op.order)
    raise TypeError(f"{op.mnemonic} computes; it is no layout")


def layout_nodes(graph: Graph, source: str, index: Index, stem: str, shape: tuple[int, ...]) -> tuple[Node, ...]:
    """At most three nodes that show ``source`` of ``shape`` as ``index``; the last one is the result.

    ``index`` must come from reshapes and transposes, so it is a mixed-radix counter: its digits, sorted by
    stride, are the axes of a reshape of ``source``, and a transpose puts them into the order of ``index``.
    """
    sizes, strides = digits(index.ravel())
    by_stride = sorted(range(len(sizes)), key=lambda i: -strides[i])
    split = tuple(sizes[i] for i in by_stride)
    order = tuple(by_stride.index(i) for i in range(len(sizes)))
    ops: list[Op] = []
    if order == tuple(range(len(order))):
        ops += [Reshape(shape=index.shape)] if index.shape != shape else []
    else:
        ops += [Reshape(shape=split)] if split != shape else []
        ops.append(Transpose(order=order))
        ops += [Reshape(shape=index.shape)] if tuple(sizes) != index.shape else []
    nodes: list[Node] = []
    for op in ops:
        name = f"{stem}.{op.mnemonic}"
        name = f"{name}.out" if any(node.name == name for node in nodes) else name
        nodes.append(Node(graph.fresh_name(name), op, (nodes[-1].name if nodes else source,)))
    return tuple(nodes)


def digits(flat: Index) -> tuple[list[int], list[int]]:
    """Sizes and strides, outermost first, with ``flat[i] = sum of stride * digit`` over the digits of i."""
    sizes: list[int] = []
    strides: list[int] = []
    while len(flat) > 1:
        stride = int(flat[1] - flat[0])
        breaks = np.flatnonzero(np.diff(flat) != stride)
        size = int(breaks[0]) + 1 if len(breaks) else len(flat)
        blocks = flat.reshape(-1, size)
        if stride < 1 or not np.array_equal(blocks, blocks[:, :1] + stride * np.arange(size)):
            raise ValueError("the index does not come from reshapes and transposes")
        sizes.insert(0, size)
        strides.insert(0, stride)
        flat = blocks[:, 0]
    return sizes or [1], strides or [1]


def without_idle_layouts(graph: Graph) -> Graph:
    """Without layout ops that cancel out, such as a transpose and its inverse."""
    renames: dict[str, str] = {}
    for node in graph.of_type(*LAYOUT):
        base = base_of(graph, node.name)
        kind = graph.type_of(base)
        if graph.type_of(node).shape == kind.shape and node.name not in graph.outputs:
            index = layout_index(graph, base, node.name)
            if np.array_equal(index.ravel(), np.arange(prod(kind.shape))):
                renames[node.name] = base.name
    return graph.rewire(renames).without_dead_nodes() if renames else graph


def spliced(graph: Graph, at: str, new: Sequence[Node], gone: Collection[str], renames: Mapping[str, str]) -> Graph:
    """``new`` in the place of node ``at``, without ``gone``; only old nodes and outputs follow ``renames``."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name == at:
            nodes += new
        elif node.name not in gone:
            nodes.append(replace(node, inputs=tuple(renames.get(name, name) for name in node.inputs)))
    return graph.with_nodes(nodes, [renames.get(name, name) for name in graph.outputs]).without_dead_nodes()


def with_op(node: Node, op: Op) -> Node:
    """The same node with another op."""
    return replace(node, op=op)


def called(node: Node) -> str:
    """How messages name a node: ``conv2d 'stem.conv'``."""
    return f"{node.op.mnemonic} '{node.name}'"
