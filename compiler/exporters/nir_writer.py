"""Graphs as files of the neuromorphic intermediate representation (NIR), which other frameworks read.

What NIR has no primitive for becomes an extension node (``compiler.importers.nir_extension``), at which every other
reader stops; what NIR cannot say of a neuron (soft reset, firing at the threshold) is metadata, which others ignore.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from compiler.exporters.nir_nodes import NirTree, emit
from compiler.ir.graph import Graph
from compiler.ir.ops import Affine, AvgPool, BatchNorm, Conv2d, Linear, Mean, Op, Reshape, Scale, Sum, SumPool, TimeMean
from compiler.ir.verify import verify
from neurochip.atomic import replacing
from neurochip.errors import GraphError, MissingExtraError

VERSION = "1.0"
"""Of the NIR format; readers do not depend on it."""

LINEAR_IN_TIME: tuple[type[Op], ...] = (
    Linear, Conv2d, Scale, Reshape, BatchNorm, Affine, Mean, Sum, SumPool, AvgPool, TimeMean,
)  # fmt: skip
"""Ops f with f(mean over time of x) = mean over time of f(x)."""


def save_nir(graph: Graph, path: str | os.PathLike[str], *, dt: float = 1e-4) -> tuple[str, ...]:
    """Write a float Graph as a NIR file; ``load_model`` reads it back to a graph of equal runs.

    A mean over time at the end becomes metadata of the outputs, as NIR's outputs have one value a step.

    Args:
        dt: seconds that a step stands for; 1e-4 is what most frameworks that read NIR assume.

    Returns:
        What other readers will not see or refuse, one sentence each; empty if the file is plain NIR.

    Raises GraphError for a malformed graph or dt, MissingExtraError without h5py, OSError if it cannot be written.
    """
    if not (isfinite(dt) and dt > 0):
        raise GraphError(f"save_nir: expected dt in seconds above 0, got {dt}")
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("writing NIR files", "nir") from None
    verify(graph)
    stepped, averaged = _without_last_mean(graph)
    tree = NirTree(stepped, dt)
    for node in stepped.nodes:
        emit(tree, node)
    tree.close_loops()
    for number, name in enumerate(stepped.outputs):
        readout = "mean" if number in averaged else "steps"
        tree.output(number, name, readout)
    metadata = {
        "name": graph.name,
        "T": graph.timesteps,
        "dt": dt,
        "settings": json.dumps([[s.name, s.value, s.origin] for s in graph.settings], default=str),
    }
    top = {"type": "NIRGraph", "nodes": tree.nodes, "edges": _edges(tree), "metadata": metadata}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _write(file, {"version": VERSION, "node": top})
    with replacing(path) as stream:
        stream.write(buffer.getvalue())
    return tuple(tree.notes)


def _without_last_mean(graph: Graph) -> tuple[Graph, frozenset[int]]:
    """The graph with its means over time moved behind the outputs, and the numbers of the outputs they belong to.

    The graph as it is, if something that is not linear in time follows a mean.
    """
    untimed = [node for node in graph.nodes if not graph.types[node.name].timed]
    if not untimed or not all(isinstance(node.op, LINEAR_IN_TIME) for node in untimed):
        return graph, frozenset()
    means = {node.name: node.inputs[0] for node in untimed if isinstance(node.op, TimeMean)}

    def behind(name: str) -> str:
        return behind(means[name]) if name in means else name

    nodes = [
        replace(node, inputs=tuple(behind(name) for name in node.inputs))
        for node in graph.nodes
        if node.name not in means
    ]
    averaged = frozenset(i for i, name in enumerate(graph.outputs) if not graph.types[name].timed)
    return graph.with_nodes(nodes, [behind(name) for name in graph.outputs]), averaged


def _edges(tree: NirTree) -> Any:
    import h5py

    pairs = [[source, target] for source, target in tree.edges]
    return np.array(pairs, dtype=h5py.string_dtype()) if pairs else np.zeros((0, 2), dtype=h5py.string_dtype())


def _write(group: Any, values: dict[str, Any]) -> None:
    import h5py

    for key, value in values.items():
        if isinstance(value, dict):
            if value or key != "metadata":
                _write(group.create_group(key), value)
        elif isinstance(value, str):
            group.create_dataset(key, data=value, dtype=h5py.string_dtype())
        elif isinstance(value, np.ndarray) and value.ndim and value.size and value.dtype != object:
            group.create_dataset(key, data=value, compression="gzip")
        else:
            group.create_dataset(key, data=value)
