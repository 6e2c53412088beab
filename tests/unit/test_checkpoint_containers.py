"""Containers of torch.save, whole, damaged and foreign: each is read or gets its own error."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from compiler.importers.checkpoint import read_checkpoint
from neurochip.errors import CheckpointError
from tests.checkpoint_files import SIX, read, refused
from tests.torch_files import (
    dictionary,
    tensor,
    torch_legacy,
    torch_zip,
)

# The containers


def test_legacy_container_is_read(tmp_path: Path) -> None:
    value = dictionary(model=dictionary(a=tensor(), b=tensor(key="1", count=2, shape=(2,), stride=(1,))))
    checkpoint = read(tmp_path, torch_legacy(value, {"1": struct.pack("<2f", 8, 9), "0": SIX}))
    assert checkpoint.container == "torch legacy"
    assert checkpoint.tensors["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert checkpoint.tensors["b"].tolist() == [8, 9]
    assert checkpoint.tensors["a"].flags.aligned
    assert not checkpoint.tensors["a"].flags.writeable


@pytest.mark.parametrize(
    ("storages", "message"),
    [({"0": SIX[:-4]}, "truncated or corrupt"), ({}, "list of storages"), ({"0": SIX, "1": SIX}, "list of storages")],
)
def test_legacy_container_with_other_storages_is_refused(
    tmp_path: Path, storages: dict[str, bytes], message: str
) -> None:
    refused(tmp_path, torch_legacy(dictionary(a=tensor()), storages), message)


def test_compressed_members_are_read(tmp_path: Path) -> None:
    data = torch_zip(dictionary(w=tensor()), compression=zipfile.ZIP_DEFLATED)
    assert read(tmp_path, data).tensors["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_decompression_bomb_is_refused(tmp_path: Path) -> None:
    zeros = tensor(count=25 << 20, shape=(25 << 20,), stride=(1,))
    data = torch_zip(dictionary(w=zeros), {"0": bytes(100 << 20)}, compression=zipfile.ZIP_DEFLATED)
    refused(tmp_path, data, "member 'archive/data/0', decompressed, needs more memory")


def test_changed_byte_in_a_tensor_is_noticed(tmp_path: Path) -> None:
    data = torch_zip(dictionary(w=tensor()))
    refused(tmp_path, data.replace(SIX, bytes(24)), r"'archive/data/0' is corrupt \(its CRC-32 differs\)")


def test_checksums_that_were_switched_off_are_not_compared(tmp_path: Path) -> None:
    data = bytearray(torch_zip(dictionary(w=tensor())))
    at = -1
    while (at := data.find(b"PK\1\2", at + 1)) >= 0:
        data[at + 16 : at + 20] = bytes(4)
    assert read(tmp_path, bytes(data)).tensors["w"].shape == (2, 3)


def test_truncated_archive_says_so(tmp_path: Path) -> None:
    refused(tmp_path, torch_zip(dictionary(w=tensor()))[:-30], "truncated; copy it again|file is truncated")


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\x", "C:/x"])
def test_members_that_point_outside_are_refused(tmp_path: Path, name: str) -> None:
    refused(tmp_path, torch_zip(dictionary(w=tensor()), extra={name: b""}), "points outside of it; refused")


def test_duplicate_members_are_refused(tmp_path: Path) -> None:
    data = torch_zip(dictionary(w=tensor()), extra={"archive/versiom": b"4\n"})
    refused(tmp_path, data.replace(b"versiom", b"version"), "two members of the archive are named 'archive/version'")


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    data = bytearray(torch_zip(dictionary(w=tensor())))
    data[data.find(b"PK\1\2") + 8] |= 1
    refused(tmp_path, bytes(data), "'archive/data.pkl' is encrypted")


def test_header_that_disagrees_with_the_directory_is_refused(tmp_path: Path) -> None:
    data = bytearray(torch_zip(dictionary(w=tensor())))
    data[data.find(b"archive/version") + 8] ^= 1
    refused(tmp_path, bytes(data), "its own header disagrees")


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    data = bytearray(torch_zip(dictionary(w=tensor())))
    at = data.rfind(b"PK\1\2", 0, data.rfind(b"PK\1\2")) + 20  # the storage's entry: let it take the next header too
    data[at : at + 8] = struct.pack("<2L", 60, 60)
    refused(tmp_path, bytes(data), "'archive/data/0' and 'archive/version' of the archive overlap")


def test_unknown_byte_order_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, torch_zip(dictionary(w=tensor()), byteorder=b"mixed"), "byte order 'mixed'")


# Files that are no checkpoints


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer.*git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x93NUMPY\x01\x00", r"NumPy array \(.npy\)"),
        (b"\x1f\x8b\x08rest", "gunzip"),
        (bytes(257) + b"ustar" + bytes(300), "tar archive"),
        (b"<!DOCTYPE html><html>Not found", "web page"),
        (b"state dict of my model\n", "this is a text file"),
        ("Schwellenwert für Pulse\n".encode() * 400, "this is a text file"),
        (b'{"weight": [1, 2]}', "this is a text file"),
        (bytes(range(256)), "unknown file format"),
        (b"PK\5\6" + bytes(18), "empty zip"),
        (b"\x80\x04\x95\x03\x00\x00\x00\x00\x00\x00\x00}\x94.", "plain pickle"),
        (b"(dp0\nS'a'\np1\nI1\ns.", "plain pickle"),
        (b"\x80\x02", "ends without a STOP"),
        (b"\x80\x02\xff", "malformed pickle at byte 3, opcode 0xff"),
    ],
)
def test_other_files_each_get_their_own_error(tmp_path: Path, data: bytes, message: str) -> None:
    refused(tmp_path, data, message)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"archive/code/__torch__.py": b""}, "TorchScript"),
        ({"archive/archive_format": b"pt2"}, "exported program"),
        ({"other/data.pkl": b""}, "2 members named data.pkl"),
    ],
)
def test_other_archives_of_pytorch_get_their_own_error(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    refused(tmp_path, torch_zip(dictionary(w=tensor()), extra=members), message)


def test_numpy_archive_and_other_zips_get_their_own_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(3))
    with pytest.raises(CheckpointError, match=r"NumPy archive \(.npz\)"):
        read_checkpoint(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("readme.md", "hello")
    with pytest.raises(CheckpointError, match=r"0 members named data.pkl.*it holds readme.md"):
        read_checkpoint(tmp_path / "y.zip")


def test_paths_that_are_no_files_get_their_own_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="this is a directory"):
        read_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"absent\.pt: cannot be read: No such file"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint("nul\0byte")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes among its files")
def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checkpoint(tmp_path / "pipe")
