"""The two products of spiking self-attention as one op."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Attention, MatMul, Op, Reshape, Scale, Transpose
from compiler.passes.fuse_weighted import fused_weighted
from compiler.passes.rewrite import Index, called, chain_back, layout_nodes, moved, spliced
from compiler.passes.target import Target
from neurochip.errors import UnsupportedError

LINKS: tuple[type[Op], ...] = (Reshape, Transpose, Scale)
"""Ops that may stand between the neurons and the products, and behind them."""

REMEDY = "only spiking self-attention, q (k^T v) or (q k^T) v of spikes without softmax, can run on a chip"


@dataclass(frozen=True, slots=True)
class FuseAttention:
    """Replace q (k^T v) or (q k^T) v, with its splitting into heads, by ``Attention`` and one ``Scale``.

    A product of spikes with a convolution of spikes (DSSA) becomes a ``WeightedProduct``; see ``fuse_weighted``.

    Requires: q, k and v are whole numbers >= 0; every MatMul belongs to such a product, or is one of
        spikes with a convolution of spikes.
    Ensures: no MatMul remains; values are (N, D) at each ``Attention``, which has the name of the last product.
        The integers are equal in either order; outputs equal to rtol 1e-9, exactly for a dyadic scale.
        Head splitting is recognised by what it does to the numbers 0, 1, 2, ..., not by its axes.
    Source: Zhou et al. 2023, "Spikformer", arXiv:2209.15425, equation 6: both orders give the same result.
    """

    name: ClassVar[str] = "fuse-attention"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError for any other product of two run-time values."""
        while products := graph.of_type(MatMul):
            weighted = fused_weighted(graph, products[0])
            graph = _fused(graph, products[0]) if weighted is None else weighted
        return graph


@dataclass(frozen=True, slots=True, eq=False)
class _Matrix:
    """A stack of matrices: ``factor`` times the elements ``index`` (heads, rows, columns) of node ``base``."""

    base: Node
    index: Index
    factor: float

    @property
    def transposed(self) -> _Matrix:
        return _Matrix(self.base, self.index.swapaxes(1, 2), self.factor)


def _fused(graph: Graph, inner: Node) -> Graph:
    before, outer = _second_product(graph, inner)
    q, k, v = _operands_of_attention(graph, inner, outer)
    heads, tokens, depth = q.index.shape
    shape = (tokens, heads * depth)
    nodes: list[Node] = []
    operands = []
    for letter, matrix in zip("qkv", (q, k, v), strict=True):
        index = matrix.index.swapaxes(0, 1).reshape(shape)
        layout = layout_nodes(
            graph, matrix.base.name, index, f"{outer.name}.{letter}", graph.type_of(matrix.base).shape
        )
        nodes += layout
        operands.append(layout[-1].name if layout else matrix.base.name)
    nodes.append(Node(outer.name, Attention(heads=heads), tuple(operands)))

    behind = _links_behind(graph, outer)
    factor = q.factor * k.factor * v.factor
    index = np.arange(prod(shape)).reshape(tokens, heads, depth).swapaxes(0, 1)
    index = index.reshape(graph.type_of(outer).shape)
    for node in behind:
        if isinstance(node.op, Scale):
            factor *= node.op.factor
        else:
            index = moved(node.op, index)
    if factor != 1:
        scales = [node.name for node in (*before, *behind) if isinstance(node.op, Scale)]
        name = scales[-1] if scales else graph.fresh_name(f"{outer.name}.scale")
        nodes.append(Node(name, Scale(factor=factor), (outer.name,)))
    nodes += layout_nodes(graph, nodes[-1].name, index, outer.name, shape)
    result = (outer, *behind)[-1].name
    gone = {node.name for node in (inner, *before, *behind)}
    return spliced(graph, outer.name, nodes, gone, {result: nodes[-1].name})


def _second_product(graph: Graph, inner: Node) -> tuple[tuple[Node, ...], Node]:
    """The nodes behind ``inner``, and the product after them that multiplies its result by a third value."""
    behind = _links_behind(graph, inner)
    last = (inner, *behind)[-1]
    outer = graph.sole_consumer(last.name)
    if outer is None or not isinstance(outer.op, MatMul):
        found = [called(node) for node in graph.consumers(last.name)]
        raise UnsupportedError(
            f"{called(inner)}: expected a second product to be all that reads it, "
            f"found {', '.join(found) or 'the output'}; {REMEDY}"
        )
    return behind, outer


def _links_behind(graph: Graph, node: Node) -> tuple[Node, ...]:
    """The chain of scales and layout ops that is all that reads ``node``."""
    found: list[Node] = []
    follower = graph.sole_consumer(node.name)
    while follower is not None and isinstance(follower.op, LINKS):
        found.append(follower)
        follower = graph.sole_consumer(follower.name)
    return tuple(found)


def _operands_of_attention(graph: Graph, inner: Node, outer: Node) -> tuple[_Matrix, _Matrix, _Matrix]:
    """q, k and v as (heads, N, D / heads); raises UnsupportedError if they are no such things."""
    x, y, z = _three_factors(graph, inner, outer)
    matrices = (x, y.transposed, z)
    for letter, matrix in zip("qkv", matrices, strict=True):
        kind = graph.type_of(matrix.base)
        if not kind.is_counts:
            raise UnsupportedError(
                f"{called(outer)}: expected spikes (whole numbers >= 0) as {letter}, got {kind} "
                f"from {called(matrix.base)}; put a neuron behind it"
            )
    if len({matrix.index.shape for matrix in matrices}) > 1:
        shapes = ", ".join(str(matrix.index.shape) for matrix in matrices)
        raise UnsupportedError(
            f"{called(outer)}: expected q, k and v of one shape (heads, N, D / heads), got {shapes}; {REMEDY}"
        )
    return matrices


def _three_factors(graph: Graph, inner: Node, outer: Node) -> tuple[_Matrix, _Matrix, _Matrix]:
    """x, y, z with ``outer = x @ y @ z`` for each head."""
    assert isinstance(inner.op, MatMul)
    assert isinstance(outer.op, MatMul)
    a, b = _operands(graph, inner)
    first, second = _operands(graph, outer)
    if first.base.name == second.base.name:
        raise UnsupportedError(f"{called(outer)}: multiplies {called(inner)} by itself; {REMEDY}")
    is_first = first.base.name == inner.name
    pair, third = (first, second) if is_first else (second, first)
    plain = np.arange(pair.index.size).reshape(graph.type_of(inner).shape)
    plain = plain.reshape(-1, *plain.shape[-2:])
    if np.array_equal(pair.index, plain.swapaxes(1, 2)) and not np.array_equal(pair.index, plain):
        a, b = b.transposed, a.transposed
    elif not np.array_equal(pair.index, plain):
        raise UnsupportedError(f"{called(outer)}: rearranges the heads between its two products; {REMEDY}")
    scaled = _Matrix(a.base, a.index, a.factor * pair.factor)
    return (scaled, b, third) if is_first else (third, scaled, b)


def _operands(graph: Graph, product: Node) -> tuple[_Matrix, _Matrix]:
    """Both factors, as used after the transposes that the op itself does."""
    assert isinstance(product.op, MatMul)
    matrices = []
    for name, swap in zip(product.inputs, (product.op.transpose_a, product.op.transpose_b), strict=True):
        *links, base = chain_back(graph, name, LINKS)
        shape = graph.type_of(base).shape
        index: Index = np.arange(prod(shape)).reshape(shape)
        factor = 1.0
        for node in reversed(links):
            if isinstance(node.op, Scale):
                factor *= node.op.factor
            else:
                index = moved(node.op, index)
        matrix = _Matrix(base, index.reshape(-1, *index.shape[-2:]), factor)
        matrices.append(matrix.transposed if swap else matrix)
    return matrices[0], matrices[1]
