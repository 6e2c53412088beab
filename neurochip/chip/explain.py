"""Pydantic's findings in a chip file as one line each: where, what was expected, what was found, what to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from neurochip.chip.suggest import did_you_mean
from neurochip.chip.yaml_reader import Document, Path
from neurochip.errors import ChipError

MAX_PROBLEMS = 10


def explain(error: ValidationError, document: Document, name: str, schema: Mapping[str, Any]) -> ChipError:
    """A ``ChipError`` with one ``name:line: path: message`` line per finding, in file order, at most ten."""
    found: list[tuple[int, str]] = []
    for item in error.errors(include_url=False):
        listed = item.get("ctx", {}).get("problems")
        for path, message in listed or [_finding(item, schema)]:
            found.append((document.line(path), f"{_dotted(path)}: {message}" if path else message))
    found = sorted(dict.fromkeys(found))
    lines = [f"{name}:{line}: {message}" for line, message in found[:MAX_PROBLEMS]]
    if len(found) > MAX_PROBLEMS:
        lines.append(f"... and {len(found) - MAX_PROBLEMS} more")
    return ChipError("\n".join(lines))


def _finding(item: Any, schema: Mapping[str, Any]) -> tuple[Path, str]:
    kind, path, context = item["type"], tuple(item["loc"]), item.get("ctx", {})
    if path and path[-1] == "[key]":
        path = path[:-1]
        if kind != "literal_error":
            return path, f"{_EXPECTED.get(kind, item['msg']).format(**context)} as a key"
        return path, f"unknown key{_hint(str(path[-1]), _keys(schema, path[:-1]))}"
    if kind == "extra_forbidden":
        return path, f"unknown key{_hint(str(path[-1]), _keys(schema, path[:-1]))}"
    if kind == "missing":
        keys = ", ".join(_keys(schema, path))
        return path, f"missing{f'; it holds: {keys}' if keys else _purpose(schema, path)}"
    found = f"; found {_short(item['input'])}"
    if kind == "literal_error":
        allowed = _split_expected(context["expected"])
        return path, f"expected {_one_of(allowed)}{found}{did_you_mean(str(item['input'])[:60], allowed)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        keys = ", ".join(_keys(schema, path))
        return path, f"expected a mapping{f' with the keys {keys}' if keys else ''}{found}"
    if kind == "status":
        return path, str(item["msg"])
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else str(item["msg"])
    return path, f"{expected}{found}"


_EXPECTED = {
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text",
    "tuple_type": "expected a list",
    "greater_than_equal": "expected a number of at least {ge}",
    "less_than_equal": "expected a number of at most {le}",
    "finite_number": "expected a finite number",
    "too_short": "expected at least {min_length} entry",
    "too_long": "expected at most {max_length} entries",
    "string_too_short": "expected text, not empty",
    "string_too_long": "expected at most {max_length} characters",
    "string_pattern_mismatch": "expected a name that matches {pattern}",
}


def _hint(word: str, known: Sequence[str]) -> str:
    return f"{did_you_mean(word, known)}; allowed: {', '.join(known)}"


def _one_of(allowed: Sequence[str]) -> str:
    return allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"


def _split_expected(expected: str) -> list[str]:
    return [part.strip().strip("'") for part in expected.replace(" or ", ", ").split(",")]


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a mapping with the keys {', '.join(map(str, list(value)[:6]))}" if value else "an empty mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else str(value)
    return {"True": "true", "False": "false"}.get(text, text if len(text) <= 60 else f"{text[:57]}...")


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f"{'.' if text else ''}{step if step.isidentifier() else repr(step)}"
    return text


def _part(schema: Mapping[str, Any], path: Sequence[str | int]) -> Mapping[str, Any]:
    """The JSON schema of the value at ``path``; empty where the schema does not say."""
    here = _resolve(schema, schema)
    for step in path:
        if isinstance(step, int):
            prefix = here.get("prefixItems", ())
            here = prefix[step] if step < len(prefix) else here.get("items", {})
        else:
            named = [here.get("properties", {}).get(step), here.get("additionalProperties")]
            here = next(filter(None, [*named, *here.get("patternProperties", {}).values()]), {})
        here = _resolve(schema, here if isinstance(here, Mapping) else {})
    return here


def _resolve(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    while True:
        if "anyOf" in part:
            part = next(option for option in part["anyOf"] if option.get("type") != "null")
        elif "$ref" in part:
            part = schema["$defs"][part["$ref"].rsplit("/", 1)[1]]
        else:
            return part


def _keys(schema: Mapping[str, Any], path: Sequence[str | int]) -> list[str]:
    part = _part(schema, path)
    if "propertyNames" in part:
        return list(_resolve(schema, part["propertyNames"]).get("enum", ()))
    return sorted(part.get("properties", ()), key=lambda key: {"value": 0, "unit": 1}.get(key, 2))


def _purpose(schema: Mapping[str, Any], path: Sequence[str | int]) -> str:
    part = _part(schema, path)
    if "description" in part:
        return f"; it is {part['description']}"
    if "const" in part:
        return f"; the only value is {part['const']}"
    if "enum" in part:
        return f"; one of {', '.join(map(str, part['enum']))}"
    return ""
