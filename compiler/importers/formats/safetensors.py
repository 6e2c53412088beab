"""safetensors files: the length of a JSON header (uint64), the header, then the tensors, row-major, little-endian."""

from __future__ import annotations

import json
import math
import mmap
from types import MappingProxyType
from typing import Any, Final

from compiler.importers.formats.storage import MAX_DIMENSIONS, Region, Storage, TensorRef, brief, itemsize
from neurochip.errors import CheckpointError

MAX_HEADER: Final = 16 << 20  # 100 000 tensors take about 12 MB
_DTYPES: Final = MappingProxyType(
    {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "I64": "int64",
        "I32": "int32",
        "I16": "int16",
        "I8": "int8",
        "U64": "uint64",
        "U32": "uint32",
        "U16": "uint16",
        "U8": "uint8",
        "BOOL": "bool",
    }
)


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that begins with ``head`` (at least 9 bytes) has a safetensors header."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def read_safetensors(data: mmap.mmap) -> tuple[dict[str, TensorRef], dict[str, str]]:
    """The tensors by name and the metadata of a file; every byte of its data belongs to exactly one tensor."""
    length = int.from_bytes(data[:8], "little")
    if length > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError(
            f"the safetensors header is said to have {length} bytes; the file is truncated or corrupt"
        )
    header = _parse(data[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    if type(metadata) is not dict or any(type(value) is not str for value in metadata.values()):
        raise CheckpointError("the __metadata__ of the safetensors header is not a map from text to text")
    spans: list[tuple[int, int, str]] = []
    tensors: dict[str, TensorRef] = {}
    for name, entry in header.items():
        begin, end, dtype, shape = _entry(name, entry)
        spans.append((begin, end, name))
        region = Region(data=data, start=8 + length + begin, length=end - begin)
        storage = Storage(key=name, nbytes=end - begin, fetch=region.itself)
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        tensors[name] = TensorRef(storage=storage, dtype=dtype, offset=0, shape=shape, stride=strides)
    _check_cover(sorted(spans), len(data) - 8 - length)
    return tensors, metadata


def _parse(raw: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise CheckpointError("the safetensors header names something twice")
        return result

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"the safetensors header is not JSON: {type(error).__name__}") from error
    if type(header) is not dict:
        raise CheckpointError("the safetensors header is not a JSON object")
    return header


def _entry(name: str, entry: object) -> tuple[int, int, str, tuple[int, ...]]:
    where = f"tensor {brief(name)!r} of the safetensors header"
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where} must have dtype, shape and data_offsets and nothing else")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if type(code) is not str or code not in _DTYPES:
        raise CheckpointError(f"{where} has type {brief(code)!r}; {', '.join(_DTYPES)} are read")
    for numbers in (shape, offsets):
        if type(numbers) is not list or not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers):
            raise CheckpointError(f"{where} has {brief(numbers)} for a shape or offsets, expected whole numbers")
    if len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        raise CheckpointError(f"{where} has {len(shape)} axes and {len(offsets)} offsets, expected at most 32 and 2")
    size = itemsize(_DTYPES[code])
    if offsets[1] - offsets[0] != math.prod(shape) * size:
        raise CheckpointError(
            f"{where}: shape {brief(shape)} of {size}-byte elements does not fill offsets {brief(offsets)}"
        )
    return offsets[0], offsets[1], _DTYPES[code], tuple(shape)


def _check_cover(spans: list[tuple[int, int, str]], size: int) -> None:
    """The format wants no holes and no overlaps: both hide data from other readers."""
    at = 0
    for begin, end, name in spans:
        if begin != at:
            problem = "overlaps another tensor" if begin < at else "leaves a hole before it"
            raise CheckpointError(f"tensor {brief(name)!r} of the safetensors file {problem} at byte {begin}")
        at = end
    if at != size:
        raise CheckpointError(f"the tensors of the safetensors file take {at} bytes, but it has {size}; truncated?")
