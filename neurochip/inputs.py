"""Input arrays and labels from .npy files, which are mapped, and .npz files. Nothing in a file is executed."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.atomic import reason
from neurochip.errors import InputError
from neurochip.program.archive import HEADER_FAULTS, content_kind

INPUT_KEYS = ("images", "x")
LABEL_KEYS = ("labels", "y")
MAX_UNPACKED_BYTES = 4 << 30
"""Largest array taken from an .npz file, which must be unpacked into memory; an .npy file may be of any size."""

_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
    *HEADER_FAULTS,
)


def load_input(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The input array of a file: an .npy file, or the only array of an .npz file, or its ``images`` or ``x``.

    Shape and values are checked when it meets a program. An array of an .npy file is a read-only view of the file.

    Raises:
        InputError: no such file, not of these formats, damaged, objects instead of numbers, or several arrays.
    """
    return _load(Path(path), INPUT_KEYS, "input")


def load_labels(path: str | os.PathLike[str]) -> NDArray[np.integer[Any]]:
    """The labels of a file, (B,) whole numbers: an .npy file, or the only array, ``labels`` or ``y`` of an .npz file.

    Raises:
        InputError: as ``load_input``, and for arrays that are not whole numbers or not one per input.
    """
    labels = _load(Path(path), LABEL_KEYS, "labels")
    if labels.ndim != 1:
        raise InputError(f"{path}: expected one label per input, shape (inputs,), found shape {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"{path}: expected whole-number labels, found dtype {labels.dtype}; save them with labels.astype('int64')"
        )
    return labels


def array_names(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Names of the arrays of an .npz file; none for any other file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy"))
    except (*_FAULTS, OSError):
        return ()


def load_array(path: str | os.PathLike[str], name: str) -> NDArray[Any]:
    """The array ``name`` of an .npz file. Raises InputError as ``load_input``."""
    if name not in array_names(path):
        raise InputError(f"{path}: expected an array {name!r}, found {', '.join(array_names(path)) or 'none'}")
    return _load(Path(path), (name,), "input")


def _load(path: Path, keys: tuple[str, ...], what: str) -> NDArray[Any]:
    try:
        if not path.is_file():
            raise InputError(f"{path}: expected a file of {what} (.npy or .npz), found {_missing(path)}")
        with open(path, "rb") as stream:
            head = stream.read(64)
        if head.startswith(b"\x93NUMPY"):
            return _from_npy(path)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _from_npz(path, keys)
    except OSError as error:
        raise InputError(f"{path}: cannot read the {what}: {reason(error)}") from None
    raise InputError(f"{path}: expected a file of {what} (.npy or .npz), found {content_kind(head)}; {_SAVE}")


_SAVE = "write it with numpy.save('x.npy', array)"


def _missing(path: Path) -> str:
    return "a folder" if path.is_dir() else "no such file"


def _from_npy(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _FAULTS as error:
        raise InputError(f"{path}: expected a whole .npy file of numbers: {_first_line(error)}; {_SAVE}") from None
    return array


def _from_npz(path: Path, keys: tuple[str, ...]) -> NDArray[Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {e.filename.removesuffix(".npy"): e for e in archive.infolist() if e.filename.endswith(".npy")}
            key = _choose(path, list(entries), keys)
            entry = entries[key]
            if entry.file_size > MAX_UNPACKED_BYTES:
                raise InputError(
                    f"{path}: array {key!r} says it unpacks to {entry.file_size:,} bytes, above the limit of "
                    f"{MAX_UNPACKED_BYTES:,}; save it with numpy.save as an .npy file, which is not loaded whole"
                )
            with archive.open(entry) as stream:
                _check_size(stream, entry.file_size)
            with archive.open(entry) as stream:
                array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
                return array
    except _FAULTS as error:
        raise InputError(f"{path}: expected a whole .npz file of numbers: {_first_line(error)}; {_SAVE}") from None


def _choose(path: Path, names: list[str], keys: tuple[str, ...]) -> str:
    for key in keys:
        if key in names:
            return key
    if len(names) == 1:
        return names[0]
    found = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"
    raise InputError(
        f"{path}: expected one array, or one named {' or '.join(map(repr, keys))}; found {len(names)}: {found}; "
        f"save it again as numpy.savez('x.npz', {keys[0]}=array)"
    )


def _check_size(stream: Any, size: int) -> None:
    """Compare the size that the .npy header declares with what the member holds, before numpy allocates it."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"unknown .npy version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    count = 1
    for length in shape:
        count *= length
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize > size:
        raise ValueError(f"shape {shape} of {dtype} is no array of {size} bytes of numbers")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
