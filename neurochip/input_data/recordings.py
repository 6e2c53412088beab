"""Files of event cameras: .npz and HDF5 with arrays x, y, p, t, and AEDAT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.atomic import reason
from neurochip.errors import InputError, MissingExtraError
from neurochip.input_data.aedat import read_aedat2, read_aedat3
from neurochip.input_data.events import Events, checked_events
from neurochip.inputs import array_names, load_array

COLUMNS = ("x", "y", "p", "t")
HDF5 = b"\x89HDF\r\n\x1a\n"
AEDAT = b"#!AER-DAT"
MAX_BYTES = 4 << 30
"""Largest column taken from an HDF5 file."""

_FAULTS = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError)


def is_recording(path: Path) -> bool:
    """Whether a file holds events: AEDAT or HDF5 by its first bytes, or .npz with all of x, y, p and t."""
    head = _head(path)
    if head.startswith((HDF5, AEDAT)):
        return True
    return head.startswith(b"PK\x03\x04") and set(COLUMNS) <= set(array_names(path))


def read_recording(path: Path, shape: tuple[int, ...]) -> Events:
    """The events of a file: .npz with arrays x, y, p, t; HDF5 with them at its top or under ``events``; AEDAT 2 to 4.

    AEDAT 2 says too little: its addresses are read as those of a DVS128, so only for models of 128 x 128.
    Nothing in a file is executed. Raises InputError, MissingExtraError.
    """
    head = _head(path)
    if head.startswith(AEDAT):
        return checked_events(str(path), _aedat(path, head, shape))
    if head.startswith(HDF5):
        return checked_events(str(path), _hdf5(path))
    missing = [name for name in COLUMNS if name not in array_names(path)]
    if missing:
        raise InputError(f"{path}: expected arrays x, y, p and t of events; {', '.join(missing)} missing")
    return checked_events(str(path), {name: load_array(path, name) for name in COLUMNS})


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with open(path, "rb") as stream:
            return stream.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from None


def _hdf5(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("reading HDF5 recordings", "events") from None
    try:
        with h5py.File(path, "r") as file:
            group = file["events"] if isinstance(file.get("events"), h5py.Group) else file
            missing = [name for name in COLUMNS if not isinstance(group.get(name), h5py.Dataset)]
            if missing:
                raise InputError(
                    f"{path}: expected data sets x, y, p and t, at the top or under 'events'; {', '.join(missing)} "
                    "missing (a model in NIR is no input: give it to neurochip compile)"
                )
            return {name: _column(path, group, name) for name in COLUMNS}
    except _FAULTS as error:
        raise InputError(f"{path}: damaged HDF5 file: {(str(error) or type(error).__name__).splitlines()[0]}") from None


def _column(path: Path, group: Any, name: str) -> NDArray[Any]:
    import h5py

    item = group[name]
    plan = item.id.get_create_plist()
    outside = plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count()
    if outside or not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {name} is stored outside of the file, which is never followed")
    size = int(item.size or 0) * item.dtype.itemsize
    if item.dtype.kind not in "fiub" or size > min(MAX_BYTES, 1024 + 1100 * item.id.get_storage_size()):
        raise InputError(f"{path}: {name}: expected numbers, found {item.dtype} that claim {size:,} bytes")
    return np.asarray(item[()])


def _aedat(path: Path, head: bytes, shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    version = head[len(AEDAT) : len(AEDAT) + 1]
    if version == b"2" and shape[-2:] != (128, 128):
        raise InputError(
            f"{path}: AEDAT 2 does not tell its camera and is read as a DVS128, but the model takes {shape}; "
            "save the events as .npz with arrays x, y, p, t"
        )
    if version in (b"2", b"3"):
        try:
            return read_aedat2(path) if version == b"2" else read_aedat3(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {reason(error)}") from None
    if version == b"4":
        return _aedat4(path)
    raise InputError(f"{path}: AEDAT version {version!r}; 2, 3 and 4 can be read")


def _aedat4(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import aedat
    except ImportError:
        raise MissingExtraError("reading AEDAT 4 recordings", "events") from None
    try:
        decoder = aedat.Decoder(str(path))
        streams = [number for number, stream in decoder.id_to_stream().items() if stream["type"] == "events"]
        if not streams:
            raise InputError(f"{path}: this AEDAT 4 file has no stream of events")
        packets = [packet["events"] for packet in decoder if packet["stream_id"] == min(streams)]
        names = packets[0].dtype.names if packets else ()
        polarity = "p" if "p" in names else "on"
        keys = {"x": "x", "y": "y", "p": polarity, "t": "t"}
        return {
            to: np.concatenate([packet[key] for packet in packets] or [np.zeros(0, int)]) for to, key in keys.items()
        }
    except _FAULTS as error:
        raise InputError(
            f"{path}: damaged AEDAT file: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from None
