"""Damaged model files: always a CheckpointError or a result, never anything else, and in bounded memory."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.importers.checkpoint import read_checkpoint
from neurochip.errors import CheckpointError
from tests.torch_files import dictionary, integer, namespace, tensor, text, torch_legacy, torch_zip

ROUNDS = 400
PEAK = 16 << 20  # a damaged file of 2 kB asks for no more
OPCODES = (
    b"(.01234569NIJKLMQRSTUVXBCGFabcdeghijlopqrstu}])\x80\x81\x82\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x93\x94\x95"
)


def body() -> bytes:
    numpy_scalar = (
        b"cnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\n("
        + text("f8")
        + b"\x89\x88tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x08\0\0\0\0\0\0\0AtR"
    )
    args = namespace(
        {
            "lr": b"G?\x00\x00\x00\x00\x00\x00\x00",
            "tags": b"](K\x01\x85e",
            "acc": numpy_scalar.replace(b"U\x08", b"C\x08"),
        }
    )
    state = dictionary(
        a=tensor(),
        b=tensor("HalfStorage", "1", 4, shape=(2, 2), stride=(1, 2)),
        c=tensor("BFloat16Storage", "2", 2, shape=(2,), stride=(1,)),
    )
    return dictionary(model=state, args=args, epoch=integer(3))


def seeds() -> dict[str, bytes]:
    storages = {"0": struct.pack("<6f", *range(6)), "1": bytes(8), "2": bytes(4)}
    entries = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"a": "b"}}
    header = json.dumps(entries).encode()
    return {
        "zip": torch_zip(body(), storages),
        "legacy": torch_legacy(dictionary(model=dictionary(a=tensor())), {"0": storages["0"]}),
        "safetensors": struct.pack("<Q", len(header)) + header + bytes(8),
    }


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice(OPCODES)


def cut(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 40)]


def repeat(data: bytearray, rng: random.Random) -> None:
    at, to = rng.randrange(len(data)), rng.randrange(len(data))
    data[to:to] = data[at : at + rng.randrange(1, 40)]


def saturate(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80"])


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (flip, overwrite, cut, repeat, saturate)


def without_checksums(data: bytearray) -> None:
    """Make a zip archive look like one whose checksums were switched off, so that damage reaches the parsers."""
    at = -1
    while (at := data.find(b"PK\1\2", at + 1)) >= 0:
        data[at + 16 : at + 20] = bytes(4)


def outcome(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        assert str(error).removeprefix(str(path)).isprintable()  # noqa: PT017
        return "refused"
    return "read"


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    seed, rng = seeds()[kind], random.Random(zlib.crc32(kind.encode()))
    assert outcome(tmp_path / "whole.pt", seed) == "read"
    seen = set()
    tracemalloc.start()
    try:
        for round_ in range(ROUNDS):
            data = bytearray(seed)
            for _ in range(rng.choice((1, 1, 2, 4))):
                rng.choice(MUTATIONS)(data, rng)
            without_checksums(data)
            seen.add(outcome(tmp_path / f"{round_ % 2}.pt", bytes(data)))
        assert tracemalloc.get_traced_memory()[1] < PEAK
    finally:
        tracemalloc.stop()
    assert seen == {"read", "refused"}


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_file_cut_at_any_byte_is_refused(tmp_path: Path, kind: str) -> None:
    seed = seeds()[kind]
    for length in range(0, len(seed), 7):
        assert outcome(tmp_path / "cut.pt", seed[:length]) == "refused"


def test_mutated_pickles_are_read_or_refused(tmp_path: Path) -> None:
    """The archive around stays whole, so every round reaches the pickle machine."""
    rng, seen = random.Random(7), set()
    storages = {"0": struct.pack("<6f", *range(6)), "1": bytes(8), "2": bytes(4)}
    for _ in range(2 * ROUNDS):
        value = bytearray(body())
        for _ in range(rng.choice((1, 2, 3))):
            rng.choice(MUTATIONS)(value, rng)
        seen.add(outcome(tmp_path / "m.pt", torch_zip(bytes(value), storages)))
    assert seen == {"read", "refused"}
