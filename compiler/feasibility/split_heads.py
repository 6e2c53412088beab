"""More attention heads, each narrower, as a change of the graph."""

from __future__ import annotations

from dataclasses import replace

from compiler.ir.graph import Graph
from compiler.ir.ops import Attention
from compiler.passes import PASSES, Target
from compiler.passes.fuse_attention import FuseAttention
from neurochip.chip.spec import ChipSpec

FACTORS = (2, 4, 8)
"""Into how many a head may be split."""


def split_heads(graph: Graph, chip: ChipSpec, factor: int) -> Graph | None:
    """``graph`` with every spiking self-attention of ``factor`` times as many heads, with the same weights.

    It is another model, as each head adds up over fewer channels: it must be trained, or its accuracy measured.
    None where there is no such attention, or a head's width is no multiple of ``factor``.
    Raises UnsupportedError for graphs that the passes up to ``fuse-attention`` refuse.
    """
    weights = chip.weight_format(None)
    target = Target(arithmetic=chip.arithmetic, weight_low=weights.low, weight_high=weights.high)
    for item in PASSES:
        graph = item.run(graph, target)
        if isinstance(item, FuseAttention):
            break
    nodes, split = [], False
    for node in graph.nodes:
        if isinstance(node.op, Attention):
            width = graph.input_types(node)[0].shape[-1] // node.op.heads
            if width % factor:
                return None
            node, split = replace(node, op=replace(node.op, heads=node.op.heads * factor)), True
        nodes.append(node)
    return graph.with_nodes(nodes) if split else None


def heads_of(graph: Graph) -> list[int]:
    """Heads of each spiking self-attention of a graph after ``fuse-attention``."""
    return [node.op.heads for node in graph.nodes if isinstance(node.op, Attention)]
