"""Read the text form of a graph; ``compiler.ir.text`` describes it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Graph, Node, Setting
from compiler.ir.literals import DTYPES, dims
from compiler.ir.ops import OPS, Op
from compiler.ir.tokens import Token, TokenReader
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


def parse_graph(text: str, constants: Mapping[str, NDArray[Any]] | None = None) -> Graph:
    """The graph that ``text`` describes.

    Args:
        constants: arrays by hash, as ``graph_constants`` gives them.

    Raises GraphError with line and column for bad syntax, unknown ops, attributes, values or constants, attributes
    of a wrong kind, and types that do not follow from the inputs. ``verify`` checks what remains.
    """
    return _Parser(text, constants or {}).graph()


class _Parser:
    """Recursive descent over one text."""

    def __init__(self, text: str, constants: Mapping[str, NDArray[Any]]) -> None:
        self._reader = TokenReader(text)
        self._constants = constants
        self._types: dict[str, TensorType] = {}

    def graph(self) -> Graph:
        reader = self._reader
        reader.expect("graph")
        name = self._string("the graph's name in quotes")
        reader.expect("{")
        reader.expect("timesteps")
        reader.expect("=")
        timesteps = self._timesteps()
        settings, ignored, nodes = [], [], []
        while not reader.accept("return"):
            if reader.accept("setting"):
                settings.append(self._setting())
            elif reader.accept("ignored"):
                ignored.append(self._string("a tensor name in quotes"))
            else:
                nodes.append(self._node())
        outputs = [self._known_value()]
        while reader.accept(","):
            outputs.append(self._known_value())
        reader.expect("}")
        reader.take("end", "the end of the text")
        return Graph(name, tuple(nodes), tuple(outputs), timesteps, tuple(settings), tuple(ignored))

    def _timesteps(self) -> int:
        token = self._reader.take("number", "a number of steps")
        value = _number(token.text)
        if not isinstance(value, int) or value < 1:
            self._reader.fail(token.start, f"expected timesteps >= 1, got {token.text}")
        return value

    def _setting(self) -> Setting:
        reader = self._reader
        quoted = reader.token.kind == "string"
        name = self._string("a name") if quoted else reader.take("word", "the setting's name").text
        reader.expect("=")
        value = self._literal()
        reader.expect("from")
        return Setting(name, value, self._string("the setting's origin in quotes"))

    def _node(self) -> Node:
        reader = self._reader
        start = reader.token
        name = self._value_name("a node, 'setting', 'ignored' or 'return'")
        if name in self._types:
            reader.fail(start.start, f"value '{name}' is defined twice")
        declared = self._declared_type() if reader.accept(":") else None
        reader.expect("=")
        op_token = reader.take("word", "the name of an op")
        reader.expect("(")
        inputs = tuple(reader.listed(")", self._known_value))
        op = self._op(op_token)
        try:
            inferred = op.infer(*(self._types[value] for value in inputs))
        except GraphError as error:
            reader.fail(start.start, f"node '{name}' ({op.mnemonic}): {error}")
        if declared is not None and declared.text != str(inferred):
            reader.fail(declared.start, f"node '{name}' is declared {declared.text}, but the op makes {inferred}")
        self._types[name] = inferred
        return Node(name, op, inputs)

    def _declared_type(self) -> Token:
        """The text up to the ``=``, spaces normalised."""
        reader = self._reader
        start = end = reader.token.start
        while reader.token.text != "=":
            token = reader.skip()
            end = token.start + len(token.text)
        return Token("type", " ".join(reader.text[start:end].split()), start)

    def _value_name(self, what: str) -> str:
        token = self._reader.take("value", what)
        text = token.text[1:]
        return self._unquoted(text, token) if text.startswith('"') else text

    def _string(self, what: str) -> str:
        token = self._reader.take("string", what)
        return self._unquoted(token.text, token)

    def _unquoted(self, text: str, token: Token) -> str:
        try:
            return str(json.loads(text))
        except ValueError:
            self._reader.fail(token.start, f"this is no JSON string: {text}")

    def _known_value(self) -> str:
        start = self._reader.token.start
        name = self._value_name("a value such as %x")
        if name not in self._types:
            self._reader.fail(start, f"no earlier node makes '{name}'")
        return name

    def _op(self, token: Token) -> Op:
        kinds = {op.mnemonic: op for op in OPS}
        if token.text not in kinds:
            self._reader.fail(token.start, f"no op is called '{token.text}'; the ops are {', '.join(sorted(kinds))}")
        kind = kinds[token.text]
        given: dict[str, object] = {}
        if self._reader.accept("{"):
            self._reader.listed("}", lambda: self._attribute(kind, given))
        missing = [f.name for f in fields(kind) if f.default is MISSING and f.name not in given]
        if missing:
            self._reader.fail(token.start, f"{kind.mnemonic} needs the attribute '{missing[0]}'")
        return kind(**given)

    def _attribute(self, kind: type[Op], given: dict[str, object]) -> None:
        reader = self._reader
        token = reader.take("word", "the name of an attribute")
        annotations = {field.name: str(field.type) for field in fields(kind)}
        if token.text not in annotations:
            known = ", ".join(annotations) or "none"
            reader.fail(token.start, f"{kind.mnemonic} has no attribute '{token.text}'; it has {known}")
        if token.text in given:
            reader.fail(token.start, f"attribute '{token.text}' is given twice")
        reader.expect("=")
        start = reader.token
        value = self._literal()
        annotation = annotations[token.text]
        if "float" in annotation and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not fits(value, annotation):
            reader.fail(start.start, f"expected '{token.text}' to be {_meaning(annotation)}, got {start.text!r}")
        given[token.text] = value

    def _literal(self) -> object:
        reader = self._reader
        for word, value in (("none", None), ("true", True), ("false", False)):
            if reader.accept(word):
                return value
        if reader.accept("["):
            return tuple(reader.listed("]", self._literal))
        token = reader.token
        if token.kind == "word" and token.text in DTYPES:
            return self._array()
        if token.kind == "string":
            return self._string("a string")
        return _number(reader.take("number", "a value").text)

    def _array(self) -> NDArray[Any]:
        reader = self._reader
        start = reader.skip()
        reader.expect("[")
        shape = tuple(reader.listed("]", lambda: int(_number(reader.take("number", "a size").text))))
        if reader.token.kind == "hash":
            return self._constant(reader.skip(), start.text, shape)
        reader.expect("[")
        elements = reader.listed("]", self._literal)
        if len(elements) != prod(shape):
            reader.fail(start.start, f"expected {prod(shape)} elements for shape {shape}, got {len(elements)}")
        misfit = next((element for element in elements if not _is_element(element, DTYPES[start.text])), None)
        if misfit is not None:
            reader.fail(start.start, f"element {misfit} does not fit {start.text}")
        with np.errstate(over="ignore"):
            return np.array(elements, dtype=DTYPES[start.text]).reshape(shape)

    def _constant(self, token: Token, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        array = self._constants.get(token.text[1:])
        if array is None:
            self._reader.fail(token.start, f"no constant {token.text} was given")
        if array.shape != shape or array.dtype != DTYPES[dtype]:
            found = f"{array.dtype}[{dims(array.shape)}]"
            self._reader.fail(token.start, f"constant {token.text} is {found}, expected {dtype}[{dims(shape)}]")
        return array


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _is_element(value: object, dtype: np.dtype[Any]) -> bool:
    """Whether a parsed literal is a number that ``dtype`` can hold without changing its kind."""
    if dtype.kind == "b" or isinstance(value, bool):
        return dtype.kind == "b" and isinstance(value, bool)
    if dtype.kind == "f":
        return isinstance(value, int | float)
    bounds = np.iinfo(dtype)
    return isinstance(value, int) and bounds.min <= value <= bounds.max


def fits(value: object, annotation: str) -> bool:
    """Whether ``value`` may stand for a field annotated so in an op."""
    for part in annotation.split(" | "):
        if part.startswith("tuple"):
            whole = isinstance(value, tuple) and all(type(element) is int for element in value)
            found = isinstance(value, tuple) and whole and (part != "tuple[int, int]" or len(value) == 2)
        else:
            kinds = {"None": type(None), "int": int, "float": float, "bool": bool, "Weights": np.ndarray}
            found = type(value) is kinds.get(part, str)
        if found:
            return True
    return False


def _meaning(annotation: str) -> str:
    """An annotation in the words of the text form."""
    words = {"None": "none", "int": "a whole number", "float": "a number", "bool": "true or false"}
    words |= {"Weights": "an array such as f32[2] [0.5, 1.0]", "tuple[int, int]": "two sizes such as [3, 3]"}
    words |= {"tuple[int, ...]": "sizes such as [3, 32, 32]"}
    return " or ".join(words.get(part, "a string") for part in annotation.split(" | "))
