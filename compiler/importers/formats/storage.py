"""Tensor bytes in a file: storages, the views that tensors are of them, and the memory a file may ask for."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import CheckpointError

# Element types by their PyTorch name, as little-endian NumPy codes. bfloat16 is the upper half of a float32.
DTYPES: Final = MappingProxyType(
    {
        "float64": "<f8",
        "float32": "<f4",
        "float16": "<f2",
        "bfloat16": "<u2",
        "int64": "<i8",
        "int32": "<i4",
        "int16": "<i2",
        "int8": "|i1",
        "uint64": "<u8",
        "uint32": "<u4",
        "uint16": "<u2",
        "uint8": "|u1",
        "bool": "|u1",
    }
)
MAX_DIMENSIONS: Final = 32  # NumPy 1's limit


def itemsize(dtype: str) -> int:
    """Bytes of one element in the file."""
    return np.dtype(DTYPES[dtype]).itemsize


def _are_small(values: Any) -> bool:
    return len(values) <= 8 and all(type(value) is int and abs(value) < 1 << 128 for value in values)


def brief(value: object, limit: int = 80) -> str:
    """Text of a value from an untrusted file, short and free of control characters."""
    if isinstance(value, str):
        text = value[: limit + 1]
    elif (isinstance(value, int) and abs(value) < 1 << 128) or (type(value) in (tuple, list) and _are_small(value)):
        text = str(value)
    else:
        text = f"<{type(value).__name__}>"
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= limit else text[:limit] + "…"


@dataclass(slots=True, kw_only=True)
class Budget:
    """Memory that reading one file may take beyond the file's own mapping: 64 MiB plus 8 times its size.

    Bounds decompression, conversion, copies made by the pickle, and tensors that repeat their storage (stride 0,
    many views of one storage), which cost nothing here but everything in whatever copies them.
    """

    file_size: int
    spent: int = field(default=0, init=False)

    def charge(self, nbytes: int, what: str) -> None:
        """Count ``nbytes``; raises CheckpointError once the file asks for more than it may."""
        self.spent += nbytes
        limit = (64 << 20) + 8 * self.file_size
        if self.spent > limit:
            raise CheckpointError(
                f"{what} needs more memory than a file of {self.file_size} bytes may ask for ({limit} bytes, the sum "
                "of decompressed members, copies and tensors): an expanded tensor or a decompression bomb; "
                "save tensors with .contiguous() or .clone()"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """``length`` bytes of ``data`` from ``start``."""

    data: bytes | mmap.mmap
    start: int
    length: int

    def itself(self) -> Region:
        """This region: a ``Storage.fetch`` that has nothing to check."""
        return self

    def view(self) -> memoryview:
        """The bytes, without a copy."""
        return memoryview(self.data)[self.start : self.start + self.length]

    def release(self) -> None:
        """Tell the system that the mapped pages were copied and need not stay resident."""
        if isinstance(self.data, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            first = -(-self.start // mmap.PAGESIZE) * mmap.PAGESIZE
            length = self.start + self.length - first
            if length > 0:
                self.data.madvise(mmap.MADV_DONTNEED, first, length)


@dataclass(slots=True, kw_only=True, eq=False)
class Storage:
    """The untyped bytes that one or more tensors are views of.

    Attributes:
        key: its name in the file.
        nbytes: its size, which the file has been found to hold.
        fetch: finds and checks its bytes when they are needed; the legacy format gives it after the pickle.
        big_endian: byte order of multi-byte elements.
    """

    key: str
    nbytes: int
    fetch: Callable[[], Region] | None = None
    big_endian: bool = False
    _arrays: dict[str, NDArray[Any]] = field(default_factory=dict, init=False)

    def array(self, dtype: str, budget: Budget) -> NDArray[Any]:
        """All elements as a read-only 1-D array (bfloat16 as float32), the same object for every caller."""
        if dtype not in self._arrays:
            array = self._convert(dtype, budget)
            array.flags.writeable = False
            self._arrays[dtype] = array
        return self._arrays[dtype]

    def _convert(self, dtype: str, budget: Budget) -> NDArray[Any]:
        if self.fetch is None:
            raise CheckpointError(f"storage {brief(self.key)!r} has no data in the file; it is truncated")
        region = self.fetch()
        code = np.dtype(DTYPES[dtype])
        if self.big_endian:
            code = code.newbyteorder(">")
        count = self.nbytes // code.itemsize
        raw: NDArray[Any] = np.empty(0, code)
        if count:
            raw = np.frombuffer(region.view(), code, count)
        if dtype == "bfloat16":
            budget.charge(4 * count, f"bfloat16 storage {brief(self.key)!r}")
            wide = raw.astype(np.uint32)
            wide <<= 16
            region.release()
            return wide.view(np.float32)
        if dtype == "bool":
            if count and raw.max() > 1:
                raise CheckpointError(f"storage {brief(self.key)!r} of bool holds bytes other than 0 and 1")
            return raw.view(np.bool_)
        if raw.dtype.isnative and raw.flags.aligned:
            return raw.view(raw.dtype.newbyteorder("="))
        budget.charge(raw.nbytes, f"storage {brief(self.key)!r}")
        copy = raw.astype(code.newbyteorder("="))
        region.release()
        return copy


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorRef:
    """A tensor as the file describes it: a strided view of a storage; offset and stride count elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        count = self.storage.nbytes // itemsize(self.dtype)
        if len(self.shape) != len(self.stride) or len(self.shape) > MAX_DIMENSIONS:
            raise CheckpointError(f"{self}: expected as many strides as sizes, at most {MAX_DIMENSIONS}")
        if min(self.offset, *self.shape, *self.stride, 0) < 0:
            raise CheckpointError(f"{self}: sizes, strides and offset must not be negative")
        reach = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True)) + 1
        if 0 not in self.shape and reach > count:
            raise CheckpointError(
                f"{self} reaches element {brief(reach)} of storage {brief(self.storage.key)!r}, which has {count}; "
                "the file is corrupt or was made to deceive"
            )

    def __str__(self) -> str:
        return f"tensor of shape {brief(self.shape)}, strides {brief(self.stride)}, offset {brief(self.offset)}"

    def array(self, budget: Budget) -> NDArray[Any]:
        """The tensor as a read-only array that shares memory with the other views of its storage."""
        base = self.storage.array(self.dtype, budget)
        budget.charge(math.prod(self.shape) * base.itemsize, "a tensor")
        if 0 in self.shape:
            try:
                empty = np.empty(self.shape, base.dtype)
            except (ValueError, OverflowError) as error:
                raise CheckpointError(f"tensor of shape {brief(self.shape)}: {error}") from error
            empty.flags.writeable = False
            return empty
        strides = tuple(s * base.itemsize for s in self.stride)
        # A stride of a size-1 axis is never used, and may be any number.
        strides = tuple(s if n > 1 else base.itemsize for n, s in zip(self.shape, strides, strict=True))
        return np.lib.stride_tricks.as_strided(base[self.offset :], self.shape, strides, writeable=False)
