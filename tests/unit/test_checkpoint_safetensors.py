"""The safetensors reader: what it reads, and that headers which lie are refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from compiler.importers.checkpoint import Checkpoint, read_checkpoint
from neurochip.errors import CheckpointError

CODES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


def container(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype: str, shape: list[Any], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def read(directory: Path, data: bytes, **options: bool) -> Checkpoint:
    path = directory / "model.safetensors"
    path.write_bytes(data)
    return read_checkpoint(path, **options)


def arrays() -> st.SearchStrategy[np.ndarray]:
    shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    return st.sampled_from(list(CODES.values())).flatmap(lambda code: npst.arrays(np.dtype(code), shapes))


@settings(deadline=None, max_examples=50)
@given(state=st.dictionaries(st.text("abc.0", min_size=1, max_size=6), arrays(), min_size=1, max_size=5))
def test_every_array_comes_back(tmp_path_factory: pytest.TempPathFactory, state: dict[str, np.ndarray]) -> None:
    header, data = {}, b""
    for name, array in state.items():
        code = next(code for code, kind in CODES.items() if np.dtype(kind) == array.dtype)
        header[name] = entry(code, list(array.shape), len(data), len(data) + array.nbytes)
        data += array.tobytes()
    checkpoint = read(tmp_path_factory.getbasetemp(), container(header, data))
    assert checkpoint.container == "safetensors"
    assert list(checkpoint.tensors) == list(state)
    for name, array in state.items():
        ours = checkpoint.tensors[name]
        assert (ours.dtype, ours.shape, ours.tobytes()) == (array.dtype, array.shape, array.tobytes())
        assert not ours.flags.writeable
        assert ours.flags.aligned


def test_bfloat16_metadata_and_prefix(tmp_path: Path) -> None:
    header = {"__metadata__": {"format": "pt"}, "module.w": entry("BF16", [2], 0, 4)}
    checkpoint = read(tmp_path, container(header, struct.pack("<2H", 0x3F80, 0xC040)))
    assert checkpoint.tensors["w"].tolist() == [1.0, -3.0]
    assert checkpoint.args == {"format": "pt"}
    assert (checkpoint.wrapper, checkpoint.other) == ("", ())


def test_averaged_weights_are_not_in_a_flat_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"EMA.*holds w; load it without EMA"):
        read(tmp_path, container({"w": entry("U8", [1], 0, 1)}, b"x"), ema=True)


@pytest.mark.parametrize(
    ("header", "data", "message"),
    [
        (b"{", b"", "not JSON"),
        (b"{" * 5000, b"", "not JSON"),
        (b'{"a":' * 100_000, b"", "not JSON: RecursionError"),
        (b'{"w":1,"w":2}', b"", "names something twice"),
        ({"w": 1}, b"", "must have dtype, shape and data_offsets"),
        ({"w": entry("U8", [1], 0, 1) | {"x": 1}}, b"a", "and nothing else"),
        ({"w": entry("C64", [1], 0, 8)}, bytes(8), "has type 'C64'; F64, F32"),
        ({"w": entry("F8_E4M3", [1], 0, 1)}, bytes(1), "has type 'F8_E4M3'"),
        ({"w": entry("F32", [3], 0, 8)}, bytes(8), r"shape \[3\] of 4-byte elements does not fill offsets \[0, 8\]"),
        ({"w": entry("F32", [-1], 0, 4)}, bytes(4), "expected whole numbers"),
        ({"w": entry("F32", [True], 0, 4)}, bytes(4), "expected whole numbers"),
        ({"w": entry("F32", [1.0], 0, 4)}, bytes(4), "expected whole numbers"),
        ({"w": entry("F32", [2**70], 0, 4)}, bytes(4), "expected whole numbers"),
        ({"w": entry("F32", [1] * 33, 0, 4)}, bytes(4), "33 axes"),
        ({"w": entry("F32", [2**60], 0, 2**62)}, bytes(4), "expected whole numbers"),
        ({"w": entry("F32", [2**50], 0, 2**52)}, bytes(4), "4503599627370496 bytes, but it has 4; truncated"),
        (
            {"w": entry("U8", [2], 0, 2), "v": entry("U8", [2], 1, 3)},
            bytes(3),
            "'v'.*overlaps another tensor at byte 1",
        ),
        ({"w": entry("U8", [1], 1, 2)}, bytes(2), "leaves a hole before it at byte 1"),
        ({"w": entry("U8", [1], 0, 1)}, bytes(2), "take 1 bytes, but it has 2"),
        ({"w": entry("BOOL", [1], 0, 1)}, b"\x02", "bytes other than 0 and 1"),
        ({"__metadata__": {"a": 1}, "w": entry("U8", [1], 0, 1)}, b"x", "not a map from text to text"),
        ({}, b"", "no tensors"),
    ],
)
def test_headers_that_lie_are_refused(tmp_path: Path, header: object, data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, container(header, data))


def test_header_longer_than_allowed_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="header is said to have 16777217 bytes"):
        read(tmp_path, container(b"{" + b" " * (16 << 20)))
