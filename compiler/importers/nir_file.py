"""NIR files as plain values: a tree of nodes read from HDF5 with h5py, executing nothing and following no links out.

Only what NIR's own writer makes is accepted: hard links, contiguous or chunked arrays of numbers, text, and filters
that HDF5 brings itself. External files, virtual data sets, soft links, plug-in filters and objects are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from compiler.importers.nir_text import TextReader
from neurochip.errors import CheckpointError, MissingExtraError

SIGNATURE: Final = b"\x89HDF\r\n\x1a\n"
"""First bytes of every HDF5 file."""

MAX_DEPTH: Final = 8
"""Graphs inside graphs, at most."""

MAX_NODES: Final = 100_000
MAX_TEXT: Final = 1 << 20
MAX_BYTES: Final = 16 << 30
"""Largest sum of all arrays of a file, unpacked."""

EXPANSION: Final = 1100
"""Deflate packs at most 1032 to 1 (RFC 1951); an array that claims more than this is no array."""

FILTERS: Final = frozenset({1, 2, 3, 4, 32000})
"""Deflate, shuffle, checksum, szip and h5py's LZF; any other would load a plug-in from the disk."""

FAULTS: Final = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError)
"""What h5py raises on damaged files."""

Value = Any
"""A number, text, or an array of either."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NirNode:
    """One node of a NIR file, or a graph of them.

    Attributes:
        kind: NIR's name of the primitive, such as ``LIF``; ``NIRGraph`` has ``nodes`` and ``edges``.
        values: its parameters by NIR's names, arrays as they were written.
        metadata: what its writer added, arrays left out.
    """

    kind: str
    values: Mapping[str, Value]
    metadata: Mapping[str, Value] = field(default_factory=dict)
    nodes: Mapping[str, NirNode] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()


def is_hdf5(path: str | Path) -> bool:
    """Whether a file begins like HDF5; False also if it cannot be read."""
    try:
        if not Path(path).is_file():
            return False
        with open(path, "rb") as stream:
            return stream.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def read_nir_file(path: str | Path) -> NirNode:
    """The top graph of a NIR file.

    Raises CheckpointError for a file that is damaged, is no NIR file, or holds what NIR's writer never writes;
    MissingExtraError without h5py.
    """
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("reading NIR files", "nir") from None
    try:
        with open(path, "rb") as stream, h5py.File(path, "r") as file:
            if _link(file, "node") is None:
                keys = ", ".join(sorted(file)[:6]) or "nothing"
                raise CheckpointError(f"an HDF5 file, but not of NIR: expected a group 'node', found {keys}")
            text = TextReader(stream, Path(path).stat().st_size)
            if file.id.get_create_plist().get_sizes() != (8, 8) or file.userblock_size:
                raise CheckpointError("an HDF5 file with addresses that NIR's writer never uses; write it again")
            top = _Reader(text).node(_member(file, "node"), "the top graph", 0)
    except FAULTS as error:
        raise CheckpointError(f"damaged NIR file: {_first_line(error)}") from None
    except RecursionError:
        raise CheckpointError("damaged NIR file: groups inside groups without end") from None
    if top.kind != "NIRGraph":
        raise CheckpointError(f"expected a NIRGraph at the top of the file, found {top.kind!r}")
    return top


class _Reader:
    """Counts what it has taken from one file."""

    def __init__(self, text: TextReader) -> None:
        self._nodes, self._bytes, self._strings = 0, 0, text

    def node(self, group: Any, where: str, depth: int) -> NirNode:
        import h5py

        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise CheckpointError(f"more than {MAX_NODES:,} nodes, or graphs {MAX_DEPTH} deep in graphs: no NIR file")
        if not isinstance(group, h5py.Group):
            raise CheckpointError(f"{where}: expected a group, found an array")
        values: dict[str, Value] = {}
        metadata: dict[str, Value] = {}
        nodes: dict[str, NirNode] = {}
        for key, item in _members(group):
            if not isinstance(item, h5py.Group):
                values[key] = self.value(item, f"{where}, {key}")
            elif key == "nodes":
                nodes = {name: self.node(child, f"node '{name}'", depth + 1) for name, child in _members(item)}
            else:
                inner = {name: self.value(child, f"{where}, {key}") for name, child in _members(item)}
                if key == "metadata":
                    metadata = {name: v for name, v in inner.items() if isinstance(v, str | int | float)}
                else:
                    values[key] = inner
        kind = values.pop("type", None)
        if not isinstance(kind, str):
            raise CheckpointError(f"{where}: expected text under 'type', found {kind!r}")
        edges = _edges(values.pop("edges", np.zeros((0, 2))), where) if kind == "NIRGraph" else ()
        return NirNode(kind=kind, values=values, metadata=metadata, nodes=nodes, edges=edges)

    def value(self, item: Any, where: str) -> Value:
        import h5py

        if not isinstance(item, h5py.Dataset):
            raise CheckpointError(f"{where}: expected a value, found a group")
        plan = item.id.get_create_plist()
        filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
        if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count() or filters - FILTERS:
            raise CheckpointError(f"{where}: stored outside of the file or through a plug-in, which is never followed")
        text = h5py.check_string_dtype(item.dtype) is not None
        if item.shape is None or not (text or item.dtype.kind in "fiub"):
            raise CheckpointError(f"{where}: expected numbers or text, found {item.dtype} of shape {item.shape}")
        size = int(item.size) * int(item.dtype.itemsize)
        self._bytes += size
        if size > 1024 + EXPANSION * item.id.get_storage_size() or self._bytes > MAX_BYTES:
            raise CheckpointError(f"{where}: claims {size:,} bytes, more than the file can hold")
        return self._text(item, where) if text else _number(item[()])

    def _text(self, item: Any, where: str) -> Value:
        import h5py

        if h5py.check_string_dtype(item.dtype).length is not None:
            return _decoded(item[()], where)
        if item.id.get_create_plist().get_layout() != h5py.h5d.CONTIGUOUS or item.id.get_offset() is None:
            if item.size == 0:
                return np.zeros(item.shape, object)
            raise CheckpointError(f"{where}: text in a layout that NIR's writer never uses; write the file again")
        found = self._strings.strings(item.id.get_offset(), item.size, where)
        return _decoded(np.array(found, dtype=object).reshape(item.shape) if item.shape else found[0], where)


def _number(value: Any) -> Value:
    return value.item() if isinstance(value, np.generic) else value


def _decoded(value: Any, where: str) -> Value:
    if isinstance(value, np.ndarray):
        return np.array([_decoded(v, where) for v in value.ravel()], dtype=object).reshape(value.shape)
    raw = value.encode("utf-8") if isinstance(value, str) else bytes(value)
    if len(raw) > MAX_TEXT:
        raise CheckpointError(f"{where}: text of {len(raw):,} bytes")
    return raw.rstrip(b"\0").decode("utf-8")


def _edges(value: Value, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, np.ndarray) or (value.size and (value.ndim != 2 or value.shape[1] != 2)):
        raise CheckpointError(f"{where}: expected edges as pairs of names")
    return tuple((str(a), str(b)) for a, b in value.reshape(-1, 2))


def _members(group: Any) -> Iterator[tuple[str, Any]]:
    for key in group:
        yield str(key), _member(group, key)


def _member(group: Any, key: str) -> Any:
    import h5py

    if not isinstance(_link(group, key), h5py.HardLink):
        raise CheckpointError(f"'{key}' is a link to elsewhere, which is never followed")
    return group[key]


def _link(group: Any, key: str) -> Any:
    return group.get(key, getlink=True) if key in group else None


def _first_line(error: Exception) -> str:
    return printable((str(error) or type(error).__name__).splitlines()[0])


def printable(error: object) -> str:
    """The text of an error without what a file's names could do to a terminal."""
    return "".join(c if c.isprintable() else "?" for c in str(error))[:1000]
