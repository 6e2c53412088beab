"""Graphs as files that ``load_model`` reads like any checkpoint, without the framework they were traced with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

from compiler.importers.checkpoint import Checkpoint
from compiler.importers.formats.graph_archive import write_graph_archive
from compiler.importers.options import Option, Options
from compiler.ir.graph import Graph
from compiler.ir.ops import Input, Op
from compiler.ir.text import graph_constants, parse_graph, print_graph
from compiler.ir.verify import verify
from neurochip.atomic import reason, replacing
from neurochip.errors import CheckpointError, GraphError

RANGE = (
    Option(name="input_low", kind="number", default=-inf, spellings=("input.low",), meaning="smallest input"),
    Option(name="input_high", kind="number", default=inf, spellings=("input.high",), meaning="largest input"),
)
"""What can be said about a saved graph, because a traced module does not tell it."""


def read_graph(checkpoint: Checkpoint, settings: Mapping[str, str] | None = None) -> Graph:
    """The graph of a file of ``save_graph``.

    Args:
        settings: of ``RANGE``; what belongs to the network itself was decided when it was traced.

    Raises CheckpointError for text that is no well-formed graph of the file's constants, and for other settings.
    """
    told = [setting for setting in Options(RANGE, {}, settings).settings if setting.origin != "default"]
    try:
        graph = verify(parse_graph(checkpoint.text, checkpoint.tensors))
    except RecursionError:
        raise CheckpointError("the text of the saved graph is nested too deeply; save it again") from None
    except GraphError as error:
        raise CheckpointError(f"the saved graph is not well-formed: {error}") from None
    ends = {setting.name.removeprefix("input_"): setting.value for setting in told}
    changes = {node.name: [replace(node, op=_ranged(node.op, ends))] for node in graph.inputs}
    kept = tuple(setting for setting in graph.settings if setting.name not in {setting.name for setting in told})
    return verify(replace(graph.replace_nodes(changes), settings=(*kept, *told))) if told else graph


def _ranged(op: Op, ends: Mapping[str, Any]) -> Op:
    assert isinstance(op, Input)
    low, high = ends.get("low", op.low), ends.get("high", op.high)
    if low > high:
        raise CheckpointError(f"expected input_low <= input_high, got {low} and {high}")
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
