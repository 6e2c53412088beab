"""Ops of ours that NIR has no primitive for: nodes of type ``neurochip.op``, which no other reader knows.

Such a node holds ``op`` (the mnemonic), ``attributes`` (a JSON object of numbers, text and sizes), ``arrays`` (a group
of data sets) and ``inputs`` (a JSON list of the nodes it reads, in order, repeated where an op reads a value twice;
the edges say the same without order).
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from compiler.importers.nir_file import NirNode
from compiler.ir.ops import OPS, Input, Op
from compiler.ir.parser import fits
from neurochip.errors import CheckpointError

EXTENSION = "neurochip.op"


def read_op(node: NirNode, name: str) -> Op:
    """The op of an extension node; raises CheckpointError for unknown ops, attributes and values of a wrong kind."""
    where = f"node '{name}' ({EXTENSION})"
    kinds = {op.mnemonic: op for op in OPS if op is not Input}
    mnemonic = node.values.get("op")
    kind = kinds.get(mnemonic) if isinstance(mnemonic, str) else None
    if kind is None:
        raise CheckpointError(f"{where}: no op is called {mnemonic!r}; a newer version may know it")
    attributes = _json(node.values.get("attributes", "{}"), where, dict)
    arrays = node.values.get("arrays", {})
    given = {**attributes}
    if isinstance(arrays, dict):
        given |= {key: np.asarray(value) for key, value in arrays.items()}
    known = {f.name: f for f in fields(kind)}
    for key, value in given.items():
        if isinstance(value, list):
            value = given[key] = tuple(value)
        annotation = str(known[key].type) if key in known else ""
        read = 0.0 if type(value) is int and "float" in annotation else value  # a whole number will do
        if key not in known or not fits(read, annotation):
            raise CheckpointError(f"{where}: op '{mnemonic}' takes no {key} = {str(value)[:60]!r}")
    missing = [f.name for f in known.values() if f.default is MISSING and f.name not in given]
    if missing:
        raise CheckpointError(f"{where}: op '{mnemonic}' needs '{missing[0]}'")
    return kind(**given)


def read_inputs(node: NirNode, name: str) -> tuple[str, ...]:
    """The nodes that an extension node reads, in order."""
    names = _json(node.values.get("inputs", "[]"), f"node '{name}' ({EXTENSION})", list)
    return tuple(str(n) for n in names)


def _json(text: object, where: str, kind: type) -> Any:
    try:
        value = json.loads(text if isinstance(text, str) else "")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise CheckpointError(f"{where}: expected JSON, found {str(text)[:60]!r}")
    return value
