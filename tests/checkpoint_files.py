"""Reading of checkpoint bytes as a user would, from a file."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from compiler.importers.checkpoint import Checkpoint, read_checkpoint
from neurochip.errors import CheckpointError

SIX = struct.pack("<6f", *range(6))


def read(tmp_path: Path, data: bytes, **options: bool) -> Checkpoint:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    return read_checkpoint(path, **options)


def refused(tmp_path: Path, data: bytes, message: str, **options: bool) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, data, **options)
