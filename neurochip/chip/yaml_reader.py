"""A small, safe YAML reader: plain data only, bounded size, and the line of every key.

Built on the parser's events, so that nothing is ever constructed from a tag, aliases cannot multiply without a bound,
and deep nesting cannot exhaust the stack. Scalars follow the YAML 1.2 core schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from neurochip.errors import ChipError

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 50_000

Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, object] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", ".INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass(frozen=True, slots=True)
class Document:
    """Plain data of a YAML mapping, and the line (from 1) on which each path starts."""

    data: dict[str, object]
    lines: dict[Path, int]

    def line(self, path: Iterable[str | int]) -> int:
        """Line of ``path``, or of its nearest parent that exists."""
        steps = tuple(path)
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, 1)


@dataclass(slots=True)
class _Node:
    """A value under construction: ``size`` counts itself and all below it, aliases expanded; lines are relative."""

    value: object
    line: int
    size: int = 1
    lines: dict[Path, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come yet."""

    node: _Node
    anchor: str | None
    key: str | None = None
    key_line: int = 0


def read_yaml(text: str, name: str) -> Document:
    """Parse one YAML document that is a mapping with text keys.

    Raises:
        ChipError: ``name:line:`` and what is wrong: syntax, tags, duplicate keys, aliases or nesting out of bounds,
            something other than a mapping at the top, more than one document.
    """
    root = _Builder(name).build(text)
    if root is None or not isinstance(root.value, dict):
        found = "nothing" if root is None or root.value is None else f"a {_kind(root.value)}"
        raise ChipError(f"{name}:1: expected a mapping of keys to values at the top of the file; found {found}")
    return Document(root.value, {(): 1, **root.lines})


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.open: list[_Open] = []
        self.anchors: dict[str, _Node] = {}
        self.root: _Node | None = None

    def fail(self, line: int, message: str) -> ChipError:
        return ChipError(f"{self.name}:{line}: {message}")

    def build(self, text: str) -> _Node | None:
        for event in self.events(text):
            self.take(event)
        return self.root

    def events(self, text: str) -> Iterator[object]:
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise self.fail(1 if mark is None else mark.line + 1, f"not valid YAML: {problem}") from None
        except ChipError:
            raise
        except Exception as error:  # the parser itself fails in many ways on malformed text
            raise self.fail(1, f"not valid YAML: the parser gave up ({type(error).__name__})") from None

    def take(self, event: object) -> None:
        kind = type(event).__name__
        line = getattr(getattr(event, "start_mark", None), "line", 0) + 1
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if kind == "DocumentStartEvent" and self.root is not None:
            raise self.fail(line, "expected one YAML document; found a second one after '---'")
        if kind == "AliasEvent":
            if anchor not in self.anchors:
                raise self.fail(line, f"unknown or unfinished anchor '*{anchor}'")
            self.add(self.anchors[anchor], line)
        elif tag is not None and kind in ("ScalarEvent", "SequenceStartEvent", "MappingStartEvent"):
            raise self.fail(line, f"tag '{tag}' is not allowed; a chip file holds plain values only")
        elif kind == "ScalarEvent":
            implicit = getattr(event, "implicit", (False, False))
            raw = self.text(str(getattr(event, "value", "")), line)
            self.finish(_Node(self.scalar(raw, line) if implicit[0] and not self.expects_key() else raw, line), anchor)
        elif kind in ("SequenceStartEvent", "MappingStartEvent"):
            if self.expects_key():
                raise self.fail(line, "a key must be text; found a list or mapping")
            if len(self.open) >= MAX_DEPTH:
                raise self.fail(line, f"nested deeper than {MAX_DEPTH} levels")
            self.open.append(_Open(_Node([] if kind == "SequenceStartEvent" else {}, line), anchor))
        elif kind in ("SequenceEndEvent", "MappingEndEvent"):
            done = self.open.pop()
            self.finish(done.node, done.anchor)

    def expects_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].node.value, dict) and self.open[-1].key is None

    def text(self, raw: str, line: int) -> str:
        try:
            raw.encode()
        except UnicodeEncodeError:
            raise self.fail(line, f"not a Unicode text: {raw!a}") from None
        return raw

    def scalar(self, raw: str, line: int) -> object:
        if raw in _CONSTANTS:
            return _CONSTANTS[raw]
        if len(raw) <= 100:
            if _INT.fullmatch(raw):
                return int(raw)
            if _BASED.fullmatch(raw):
                return int(raw, 0)
            if _FLOAT.fullmatch(raw):
                return float(raw)
        elif _FLOAT.fullmatch(raw):
            raise self.fail(line, f"a number of {len(raw)} digits is too long")
        return raw

    def finish(self, node: _Node, anchor: str | None) -> None:
        if anchor is not None:
            self.anchors[anchor] = node
        self.add(node, node.line)

    def add(self, node: _Node, line: int) -> None:
        if not self.open:
            self.root = node
            return
        top = self.open[-1]
        parent = top.node
        if isinstance(parent.value, list):
            step: str | int = len(parent.value)
            parent.value.append(node.value)
        elif isinstance(parent.value, dict):
            if top.key is None:
                self.open_key(top, parent.value, node, line)
                return
            step, line, top.key = top.key, top.key_line, None
            parent.value[step] = node.value
        parent.size += node.size
        if parent.size > MAX_NODES:
            raise self.fail(line, f"aliases expand to more than {MAX_NODES} values; write them out, or fewer of them")
        parent.lines[(step,)] = line
        for path, inner in node.lines.items():
            parent.lines[(step, *path)] = inner

    def open_key(self, top: _Open, mapping: dict[str, object], node: _Node, line: int) -> None:
        if not isinstance(node.value, str):
            raise self.fail(line, f"a key must be text; found a {_kind(node.value)}")
        if node.value in mapping:
            first = top.node.lines[(node.value,)]
            raise self.fail(line, f"duplicate key '{node.value}'; first given on line {first}")
        top.key, top.key_line = node.value, line


def _kind(value: object) -> str:
    names = {dict: "mapping", list: "list", str: "text", bool: "true/false value", int: "number", float: "number"}
    return names.get(type(value), "empty value")
