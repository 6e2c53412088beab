"""Constructors of plain values that pickles call by name: containers, bytes, paths, attribute records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from compiler.importers.formats.storage import Budget
from compiler.importers.formats.unpickle import dict_key

Arguments: TypeAlias = tuple[Any, ...]
Maker: TypeAlias = Callable[[Budget, Arguments], object]


class Record:
    """An instance of a class with attributes only (``argparse.Namespace``), as the values of its attributes."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[str, object] = {}


def charge_copy(budget: Budget, items: Any) -> None:
    """Count the copy of a container, or of text or bytes (at most four bytes a character)."""
    unit = 4 if type(items) in (str, bytes) else 100
    budget.charge(unit * len(items), "a value that the pickle copies")


def _dict(budget: Budget, args: Arguments) -> dict[object, object]:
    (items,) = args or ((),)
    charge_copy(budget, items)
    pairs = items.items() if type(items) is dict else items
    return {dict_key(key): value for key, value in pairs}


def _default_dict(budget: Budget, args: Arguments) -> dict[object, object]:
    return _dict(budget, args[1:])


def _items(budget: Budget, args: Arguments) -> Iterable[Any]:
    (items,) = args or ((),)
    if type(items) not in (list, tuple, set, frozenset, bytes):
        raise TypeError
    charge_copy(budget, items)
    return items  # type: ignore[no-any-return]


def _list(budget: Budget, args: Arguments) -> list[object]:
    return list(_items(budget, args))


def _tuple(budget: Budget, args: Arguments) -> tuple[object, ...]:
    return tuple(_items(budget, args))


def _set(budget: Budget, args: Arguments) -> set[object]:
    return {dict_key(item) for item in _items(budget, args)}


def _frozenset(budget: Budget, args: Arguments) -> frozenset[object]:
    return frozenset(_set(budget, args))


def _bytes(budget: Budget, args: Arguments) -> bytes:
    if args and type(args[0]) is str:
        return _encode(budget, args)
    return bytes(_items(budget, args))


def _encode(budget: Budget, args: Arguments) -> bytes:
    """``_codecs.encode(text, 'latin1')``: how protocols below 3 write bytes."""
    text, *coding = args
    if type(text) is not str or coding not in ([], ["latin1"], ["latin-1"], ["utf-8"], ["ascii"]):
        raise TypeError
    charge_copy(budget, text)
    return text.encode(*coding)


def _path(budget: Budget, args: Arguments) -> str:
    if any(type(part) is not str for part in args):
        raise TypeError
    budget.charge(4 * sum(map(len, args)), "a path")
    return "/".join(args).replace("//", "/")


def _record(_: Budget, args: Arguments) -> Record:
    if args:
        raise TypeError
    return Record()


PLAIN: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "collections.OrderedDict": _dict,
        "collections.Counter": _dict,
        "collections.defaultdict": _default_dict,
        "builtins.dict": _dict,
        "builtins.list": _list,
        "builtins.tuple": _tuple,
        "builtins.set": _set,
        "builtins.frozenset": _frozenset,
        "builtins.bytes": _bytes,
        "builtins.bytearray": _bytes,
        "_codecs.encode": _encode,
        "argparse.Namespace": _record,
        "types.SimpleNamespace": _record,
        "pathlib.Path": _path,
        "pathlib.PosixPath": _path,
        "pathlib.PurePosixPath": _path,
        "pathlib.WindowsPath": _path,
        "pathlib.PureWindowsPath": _path,
    }
)
