"""A graph in one file: a zip of its text form and of the constants that the text names by hash, as ``.npy``.

Layout: the empty member ``neurochip-graph`` first, so that the kind of file shows in its first bytes; ``graph.txt``;
``constants/<hash>.npy``. All members are stored, with fixed dates: one graph always gives the same bytes.
"""

from __future__ import annotations

import io
import mmap
import zipfile
from math import prod
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from compiler.importers.formats.archive import Archive, read_archive
from compiler.importers.formats.storage import Budget, brief
from compiler.ir.literals import DTYPES
from neurochip.errors import CheckpointError
from neurochip.program.archive import HEADER_FAULTS

MARK: Final = "neurochip-graph"
TEXT: Final = "graph.txt"
FOLDER: Final = "constants/"
_NAME_AT: Final = 30
"""Where the name of the first member of a zip file stands (PKWARE APPNOTE 6.3, 4.3.7)."""


def looks_like_graph(head: bytes) -> bool:
    """Whether the first bytes of a zip file are those of a saved graph."""
    return head[_NAME_AT : _NAME_AT + len(MARK)] == MARK.encode()


def write_graph_archive(stream: BinaryIO, text: str, constants: dict[str, NDArray[Any]]) -> None:
    """Write a graph's text and constants into an empty stream. Raises OSError."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(MARK), b"")
        archive.writestr(_entry(TEXT), text.encode())
        for name, array in constants.items():
            buffer = io.BytesIO()
            plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
            np.lib.format.write_array(buffer, plain, version=(1, 0), allow_pickle=False)
            archive.writestr(_entry(f"{FOLDER}{name}.npy"), buffer.getvalue())


def read_graph_archive(data: mmap.mmap, budget: Budget) -> tuple[str, dict[str, NDArray[Any]]]:
    """A graph's text and constants; arrays are views of the mapped file.

    Raises CheckpointError for a corrupt archive, text that is no UTF-8, and members that are no plain arrays.
    """
    archive = read_archive(data)
    try:
        text = archive.read(TEXT, budget).decode()
    except UnicodeDecodeError:
        raise CheckpointError(f"member '{TEXT}' is no UTF-8 text; save the graph again") from None
    names = [name for name in archive.members if name.startswith(FOLDER) and name.endswith(".npy")]
    return text, {name[len(FOLDER) : -len(".npy")]: _array(archive, name, budget) for name in names}


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))


def _array(archive: Archive, name: str, budget: Budget) -> NDArray[Any]:
    view = archive.region(name, budget).view()
    header = io.BytesIO(bytes(view[:4096]))
    try:
        if np.lib.format.read_magic(header) != (1, 0):
            raise ValueError("expected version 1.0 of the format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(header)
    except HEADER_FAULTS as error:
        raise CheckpointError(
            f"member {brief(name)!r} is no array: {brief(str(error))}; save the graph again"
        ) from None
    start, size = header.tell(), prod(shape) * dtype.itemsize
    if by_columns or dtype not in DTYPES.values() or min(shape, default=0) < 0 or size != len(view) - start:
        raise CheckpointError(
            f"member {brief(name)!r}: expected the numbers of a plain array, found {len(view) - start} bytes "
            f"for {brief(str(dtype))} of shape {brief(str(shape))}; save the graph again"
        )
    array = np.frombuffer(view, dtype=dtype, offset=start).reshape(shape)
    array.flags.writeable = False
    return array
