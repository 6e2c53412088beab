"""Frozen dataclasses <-> plain JSON values, driven by their annotations; arrays become references to members."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from neurochip.errors import ProgramError
from neurochip.network.projections import PROJECTIONS, STORED_IF_SET, Projection

Store = Callable[[NDArray[np.generic]], str]
"""Takes an array, keeps it, returns the name of the member that holds it."""

Fetch = Callable[[str], NDArray[np.generic]]
"""Member name -> array; raises ``ProgramError`` for an unknown name."""


@cache
def field_types(cls: type) -> dict[str, Any]:
    """Field name -> resolved annotation of a dataclass."""
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}


@cache
def unstored(cls: type) -> dict[str, Any]:
    """Fields of a dataclass that files leave out at their default, and that default."""
    found = {f.name: f.default for f in fields(cls) if dict(f.metadata) == STORED_IF_SET}
    return {name: default for name, default in found.items() if default is not MISSING}


def encode(value: Any, hint: Any, store: Store) -> Any:
    """``value`` of type ``hint`` as JSON data: dicts, lists, str, int, float, bool, None. Floats keep every bit."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Projection:
        return {"kind": value.kind, **encode(value, type(value), store)}
    if origin is np.ndarray:
        return store(_stored(value, array_dtypes(hint)))
    if origin is Literal or hint in (str, bool):
        return value
    if hint is int:
        return operator.index(value)
    if hint is float:
        return float(value)
    if origin is tuple:
        return [encode(v, h, store) for v, h in zip(value, _element_types(args, len(value)), strict=True)]
    if origin is dict:
        return {str(k): encode(v, args[1], store) for k, v in value.items()}
    if origin in (Union, types.UnionType):
        return None if value is None else encode(value, _not_none(args), store)
    if issubclass(hint, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    plain = unstored(hint)
    names = (name for name in field_types(hint) if name not in plain or _differ(getattr(value, name), plain[name]))
    return {name: encode(getattr(value, name), field_types(hint)[name], store) for name in names}


def _differ(value: Any, default: Any) -> bool:
    return value is not default and (isinstance(value, np.ndarray) or bool(value != default))


def decode(data: Any, hint: Any, fetch: Fetch, where: str) -> Any:
    """The inverse of ``encode``. Raises ``ProgramError`` naming ``where`` if ``data`` is not exactly a ``hint``."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Projection:
        return _decode_projection(data, fetch, where)
    if origin is np.ndarray:
        return _decode_array(data, hint, fetch, where)
    if origin is Literal:
        return data if data in args and type(data) is str else _refuse(where, f"one of {', '.join(args)}", data)
    if hint is float:
        return float(data) if type(data) in (int, float) else _refuse(where, "a number", data)
    if hint in (str, bool, int):
        return data if type(data) is hint else _refuse(where, hint.__name__, data)
    if origin is tuple:
        kinds = _element_types(args, len(_expect(data, list, where)))
        if len(kinds) != len(data):
            _refuse(where, f"{len(kinds)} values", data)
        return tuple(decode(v, h, fetch, f"{where}[{i}]") for i, (v, h) in enumerate(zip(data, kinds, strict=True)))
    if origin is dict:
        return {k: decode(v, args[1], fetch, f"{where}.{k}") for k, v in _expect(data, dict, where).items()}
    if origin in (Union, types.UnionType):
        return None if data is None else decode(data, _not_none(args), fetch, where)
    if issubclass(hint, BaseModel):
        return _decode_model(data, hint, where)
    return _decode_dataclass(data, hint, fetch, where)


def array_dtypes(hint: Any) -> tuple[np.dtype[np.generic], ...]:
    """The dtypes that an ``NDArray[...]`` annotation names, one or several."""
    (kind,) = get_args(get_args(hint)[1])
    return tuple(np.dtype(each) for each in get_args(kind) or (kind,))


def _stored(value: NDArray[np.generic], dtypes: tuple[np.dtype[np.generic], ...]) -> NDArray[np.generic]:
    """``value`` in its own dtype if that is one of ``dtypes``, else in the first of them that loses nothing."""
    array = np.asarray(value)
    if array.dtype in dtypes:
        return array
    fitting = (made for made in (array.astype(each) for each in dtypes) if np.array_equal(made, array))
    found = next(fitting, None)
    if found is None:
        raise ProgramError(f"an array of {array.dtype} does not fit {' or '.join(map(str, dtypes))}")
    return found


def _decode_dataclass(data: Any, cls: type, fetch: Fetch, where: str) -> Any:
    known = field_types(cls)
    if set(_expect(data, dict, where)) | set(unstored(cls)) != set(known):
        odd = sorted((set(data) | set(unstored(cls))) ^ set(known))
        raise ProgramError(f"{where}: expected the entries {', '.join(known)}; missing or unknown: {', '.join(odd)}")
    stated = {name: hint for name, hint in known.items() if name in data}
    return cls(**{name: decode(data[name], hint, fetch, f"{where}.{name}") for name, hint in stated.items()})


def _decode_projection(data: Any, fetch: Fetch, where: str) -> Any:
    classes = {cls.kind: cls for cls in PROJECTIONS}
    kind = _expect(data, dict, where).get("kind")
    if type(kind) is not str or kind not in classes:
        _refuse(f"{where}.kind", f"one of {', '.join(classes)}", kind)
    return _decode_dataclass({k: v for k, v in data.items() if k != "kind"}, classes[kind], fetch, where)


def _decode_array(data: Any, hint: Any, fetch: Fetch, where: str) -> NDArray[np.generic]:
    array, dtypes = fetch(_expect(data, str, where)), array_dtypes(hint)
    if array.dtype not in dtypes:
        _refuse(where, f"an array of {' or '.join(map(str, dtypes))}", f"{array.dtype} in {data}")
    return array


def _decode_model(data: Any, model: type[BaseModel], where: str) -> BaseModel:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        spot = ".".join(map(str, (where, *first["loc"])))
        raise ProgramError(f"{spot}: {first['msg']}") from None


def _element_types(args: tuple[Any, ...], length: int) -> tuple[Any, ...]:
    return (args[0],) * length if args[1:] == (Ellipsis,) else args


def _not_none(args: tuple[Any, ...]) -> Any:
    return next(a for a in args if a is not type(None))


def _expect(data: Any, kind: type, where: str) -> Any:
    return data if type(data) is kind else _refuse(where, f"a {kind.__name__}", data)


def _refuse(where: str, expected: str, found: object) -> Any:
    text = repr(found)
    raise ProgramError(f"{where}: expected {expected}, found {text if len(text) < 60 else text[:57] + '...'}")
