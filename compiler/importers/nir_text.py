"""Text of variable length in HDF5 files, read without the HDF5 library, which never returns from some damaged heaps.

An element is its length (4 bytes), the address of a global heap (8) and its number in there (4). A heap is ``GCOL``, a
version, its size, and objects: number (2), references (2), padding (4), size (8), data up to a multiple of 8.
Source: The HDF Group, "HDF5 File Format Specification Version 3.0", sections III.E and VIII.A.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from neurochip.errors import CheckpointError

ELEMENT: Final = struct.Struct("<IQI")
_HEAP: Final = struct.Struct("<4sB3xQ")
_OBJECT: Final = struct.Struct("<HH4xQ")
_LARGEST: Final = 1 << 28


class TextReader:
    """Reads the strings of one open file; each heap is parsed once."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self._heaps: dict[int, dict[int, bytes]] = {}

    def strings(self, offset: int, count: int, where: str) -> list[bytes]:
        """``count`` elements that start at ``offset``; raises CheckpointError if they do not lie in the file."""
        data = self._read(offset, count * ELEMENT.size, where)
        found = []
        for length, address, number in ELEMENT.iter_unpack(data):
            text = b"" if length == 0 else self._heap(address, where).get(number)
            if text is None or len(text) < length:
                raise CheckpointError(f"damaged NIR file: {where}: text that is not there")
            found.append(text[:length])
        return found

    def _heap(self, address: int, where: str) -> dict[int, bytes]:
        if address not in self._heaps:
            signature, version, size = _HEAP.unpack(self._read(address, _HEAP.size, where))
            if signature != b"GCOL" or version != 1:
                raise CheckpointError(f"damaged NIR file: {where}: no heap of texts at {address}")
            self._heaps[address] = _objects(self._read(address, size, where))
        return self._heaps[address]

    def _read(self, offset: int, size: int, where: str) -> bytes:
        if offset < 0 or size > _LARGEST or offset + size > self._size:
            raise CheckpointError(f"damaged NIR file: {where}: text outside of the file")
        self._stream.seek(offset)
        return self._stream.read(size)


def _objects(heap: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = _HEAP.size
    while at + _OBJECT.size <= len(heap):
        number, _, size = _OBJECT.unpack_from(heap, at)
        at += _OBJECT.size
        if number == 0 or size > len(heap) - at:  # the free rest
            break
        found[number] = heap[at : at + size]
        at += -(-size // 8) * 8
    return found
