"""AEDAT 2 and 3: a header of lines, then events of eight bytes.

Sources: iniVation's descriptions of AEDAT 2.0 (addresses of the DVS128) and AEDAT 3.1 (packets, polarity events).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import InputError

_PACKET: Final = struct.Struct("<hhiiiiii")
"""Type, source, size of an event, offset of its time, overflows of the clock, capacity, number, valid ones."""

_POLARITY: Final = 1
_END: Final = b"#!END-HEADER\r\n"

Columns = dict[str, NDArray[Any]]


def read_aedat2(path: Path) -> Columns:
    """Events of a DVS128: address and microseconds, big-endian; x in bits 8 to 14, y in 1 to 7, p in 0.

    Raises InputError for a file that ends within an event, OSError if it cannot be read.
    """
    data = path.read_bytes()
    start = 0
    while data[start : start + 1] == b"#":
        end = data.find(b"\n", start)
        start = end + 1 if end >= 0 else len(data)
    if (len(data) - start) % 8:
        raise InputError(f"{path}: damaged AEDAT file: {len(data) - start} bytes after the header are no whole events")
    address, time = np.frombuffer(data, ">u4", offset=start).astype(np.int64).reshape(-1, 2).T
    return {"x": address >> 8 & 0x7F, "y": address >> 1 & 0x7F, "p": address & 1, "t": time}


def read_aedat3(path: Path) -> Columns:
    """Valid polarity events of all packets; packets of other events (frames, inertia) are passed over.

    Raises InputError for a damaged file, OSError if it cannot be read.
    """
    with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.find(_END)
        if start < 0:
            raise InputError(f"{path}: damaged AEDAT file: expected the line #!END-HEADER")
        at, found = start + len(_END), []
        while at < len(data):
            if len(data) - at < _PACKET.size:
                raise InputError(f"{path}: damaged AEDAT file: it ends within the header of a packet")
            kind, _, size, _, overflow, capacity, number, _ = _PACKET.unpack_from(data, at)
            at += _PACKET.size
            if size < 0 or not 0 <= number <= capacity or size * capacity > len(data) - at:
                raise InputError(f"{path}: damaged AEDAT file: a packet of {capacity} events of {size} bytes at {at}")
            if kind == _POLARITY:
                if size != 8:
                    raise InputError(f"{path}: damaged AEDAT file: polarity events of {size} bytes, not 8")
                events = np.frombuffer(data[at : at + 8 * number], "<u4").astype(np.int64).reshape(-1, 2)
                found.append(np.column_stack([events[:, 0], events[:, 1] + (overflow << 31)]))
            at += size * capacity
    word, time = np.concatenate([*found, np.zeros((0, 2), np.int64)]).T
    valid = (word & 1).astype(bool)
    columns = {"x": word >> 17 & 0x7FFF, "y": word >> 2 & 0x7FFF, "p": word >> 1 & 1, "t": time}
    return {name: values[valid] for name, values in columns.items()}
