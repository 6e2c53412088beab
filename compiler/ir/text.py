"""Graphs as text: one line a node, for people, golden tests and ``--print-after``.

::

    graph "mlp" {
      timesteps = 4
      setting T = 4 from "file"
      ignored "norm1.weight"
      %x: real[16, 64] = input() {shape = [16, 64], integer = false, low = -inf, high = inf}
      %q: real[16, 64] = linear(%x) {weight = i8[64, 64] #1a2b3c4d5e6f, bias = none}
      return %q
    }

Types may be left out; attributes with a default, too. ``//`` starts a comment. Arrays of up to 64 elements are
written in row-major order, ``f32[2] [0.5, 1.0]``, larger ones by hash; ``graph_constants`` holds their values.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Graph, Node
from compiler.ir.literals import INLINE_ELEMENTS, constant_hash, format_value
from compiler.ir.ops.base import Op
from compiler.ir.parser import parse_graph
from compiler.ir.tokens import BARE_VALUE, BARE_WORD

__all__ = ["graph_constants", "parse_graph", "print_graph"]


def print_graph(graph: Graph) -> str:
    """The text form; ``parse_graph(text, graph_constants(graph))`` gives the graph back, and the same text again."""
    lines = [f"graph {json.dumps(graph.name)} {{", f"  timesteps = {graph.timesteps}"]
    for setting in graph.settings:
        name = _quoted_unless(BARE_WORD, setting.name)
        lines.append(f"  setting {name} = {format_value(setting.value)} from {json.dumps(setting.origin)}")
    lines += [f"  ignored {json.dumps(name)}" for name in graph.ignored]
    lines += [f"  {print_node(node, str(graph.types[node.name]))}" for node in graph.nodes]
    lines += [f"  return {', '.join(map(_value, graph.outputs))}", "}"]
    return "\n".join(lines) + "\n"


def print_node(node: Node, type_text: str) -> str:
    """``%name: type = mnemonic(%input, ...) {attribute = value, ...}``."""
    inputs = ", ".join(map(_value, node.inputs))
    attributes = ", ".join(f"{name} = {text}" for name, text in _attributes(node.op))
    call = f"{_value(node.name)}: {type_text} = {node.op.mnemonic}({inputs})"
    return f"{call} {{{attributes}}}" if attributes else call


def graph_constants(graph: Graph) -> dict[str, NDArray[Any]]:
    """By hash, the arrays that ``print_graph`` does not write out."""
    found: dict[str, NDArray[Any]] = {}
    for node in graph.nodes:
        for field in fields(node.op):
            value = getattr(node.op, field.name)
            if isinstance(value, np.ndarray) and value.size > INLINE_ELEMENTS:
                found[constant_hash(value)] = value
    return found


def _attributes(op: Op) -> list[tuple[str, str]]:
    found = []
    for field in fields(op):
        value = getattr(op, field.name)
        # A whole number given for a float reads the same after a round trip.
        if "float" in str(field.type) and isinstance(value, int):
            value = float(value)
        found.append((field.name, format_value(value)))
    return found


def _value(name: str) -> str:
    return f"%{_quoted_unless(BARE_VALUE, name)}"


def _quoted_unless(pattern: str, name: str) -> str:
    return name if re.fullmatch(pattern, name) else json.dumps(name)
