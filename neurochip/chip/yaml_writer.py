"""Plain data as YAML text in the layout of the shipped chip files: one figure a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]*( [A-Za-z0-9_]+)*")
_RESERVED = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


def write_yaml(data: Mapping[str, object]) -> str:
    """YAML text that ``read_yaml`` reads back as equal data; mappings with text keys, lists, scalars."""
    return "".join(f"{line}\n" for line in _block(data, 0)) or "{}\n"


def _block(data: Mapping[str, object], depth: int) -> Iterator[str]:
    for key, value in data.items():
        yield from _entry(f"{'  ' * depth}{_scalar(key)}:", value, depth)


def _entry(head: str, value: object, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping) and value and not _is_leaf(value):
        yield head
        yield from _block(value, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        yield head
        for item in value:
            yield f"{'  ' * (depth + 1)}- {_flow(item)}"
    else:
        yield f"{head} {_flow(value)}"


def _is_leaf(value: Mapping[str, object]) -> bool:
    return "value" in value and not any(isinstance(item, Mapping) for item in value.values())


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    return '"' + "".join(map(_escape, value)) + '"'


def _escape(char: str) -> str:
    if char in '\\"':
        return f"\\{char}"
    return char if " " <= char <= "~" else f"\\U{ord(char):08x}"
