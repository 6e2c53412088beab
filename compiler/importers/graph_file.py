"""Graphs as files that ``load_model`` reads like any checkpoint, without the framework they were traced with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from compiler.importers.checkpoint import Checkpoint
from compiler.importers.formats.graph_archive import write_graph_archive
from compiler.ir.graph import Graph
from compiler.ir.ops import Input, Op
from compiler.ir.text import graph_constants, parse_graph, print_graph
from compiler.ir.verify import verify
from neurochip.atomic import reason, replacing
from neurochip.errors import CheckpointError, GraphError


def read_graph(checkpoint: Checkpoint, settings: Mapping[str, str] | None = None) -> Graph:
    """The graph of a file of ``save_graph``.

    Args:
        settings: ``input_low`` and ``input_high``, the range of the input, which a traced module does not tell.

    Raises CheckpointError for text that is no well-formed graph of the file's constants, and for other settings.
    """
    settings = settings or {}
    unknown = [name for name in settings if name not in ("input_low", "input_high")]
    if unknown:
        raise CheckpointError(
            f"setting '{unknown[0]}': a saved graph has only input_low and input_high; for others trace it again"
        )
    try:
        graph = verify(parse_graph(checkpoint.text, checkpoint.tensors))
    except RecursionError:
        raise CheckpointError("the text of the saved graph is nested too deeply; save it again") from None
    except GraphError as error:
        raise CheckpointError(f"the saved graph is not well-formed: {error}") from None
    changes = {node.name: [replace(node, op=_ranged(node.op, settings))] for node in graph.inputs}
    return verify(graph.replace_nodes(changes)) if settings else graph


def _ranged(op: Op, settings: Mapping[str, str]) -> Op:
    assert isinstance(op, Input)
    try:
        low, high = (float(settings.get(f"input_{end}", getattr(op, end))) for end in ("low", "high"))
    except ValueError:
        raise CheckpointError(f"expected numbers for input_low and input_high, got {dict(settings)}") from None
    return replace(op, low=low, high=high)


def save_graph(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write ``graph`` to ``path``; the old file stays whole if that fails.

    Raises GraphError if the graph is malformed, CheckpointError if the file cannot be written.
    """
    text, constants = print_graph(verify(graph)), graph_constants(graph)
    try:
        with replacing(path) as stream:
            write_graph_archive(stream, text, constants)
    except OSError as error:
        raise CheckpointError(f"{os.fspath(path)}: cannot be written: {reason(error)}") from error
