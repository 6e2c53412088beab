"""What the checkpoint reader finds in files of torch.save, without torch."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from compiler.importers.checkpoint import Checkpoint, read_checkpoint
from neurochip.errors import CheckpointError
from tests.torch_files import (
    dictionary,
    integer,
    named,
    namespace,
    storage,
    tensor,
    text,
    torch_legacy,
    torch_zip,
)

SIX = struct.pack("<6f", *range(6))


def read(tmp_path: Path, data: bytes, **options: bool) -> Checkpoint:
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    return read_checkpoint(path, **options)


def refused(tmp_path: Path, data: bytes, message: str, **options: bool) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, data, **options)


# Where the state dict is


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "model_state_dict", ""])
@pytest.mark.parametrize("prefix", ["", "module.", "module.module.", "_orig_mod.module."])
def test_state_dict_is_found_in_every_wrapper(tmp_path: Path, wrapper: str, prefix: str) -> None:
    state = named({f"{prefix}head.weight": tensor(), f"{prefix}head.bias": tensor(shape=(3,), stride=(1,))})
    value = named({wrapper: state, "epoch": integer(3)}) if wrapper else state
    checkpoint = read(tmp_path, torch_zip(value))
    assert list(checkpoint.tensors) == ["head.weight", "head.bias"]
    assert checkpoint.tensors["head.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert checkpoint.wrapper == wrapper
    assert checkpoint.other == (("epoch",) if wrapper else ())
    assert checkpoint.container == "torch zip"


def test_wrapper_inside_wrapper_is_opened(tmp_path: Path) -> None:
    checkpoint = read(tmp_path, torch_zip(dictionary(model=dictionary(state_dict=named({"a.b": tensor()})))))
    assert (checkpoint.wrapper, list(checkpoint.tensors)) == ("model.state_dict", ["a.b"])


def test_nested_dicts_are_flattened_and_infixes_kept(tmp_path: Path) -> None:
    inner = named({"0.module.1": tensor(), "list": b"](" + tensor() + tensor() + b"e"})
    checkpoint = read(tmp_path, torch_zip(dictionary(stem=inner, optimizer=dictionary(moment=tensor()))))
    assert list(checkpoint.tensors) == ["stem.0.module.1", "stem.list.0", "stem.list.1"]
    assert checkpoint.other == ("optimizer",)


def test_module_prefix_of_some_keys_only_is_kept(tmp_path: Path) -> None:
    checkpoint = read(tmp_path, torch_zip(named({"module.a": tensor(), "b": tensor()})))
    assert list(checkpoint.tensors) == ["module.a", "b"]


def test_tensors_beside_the_state_dict_are_not_weights(tmp_path: Path) -> None:
    value = dictionary(
        model=dictionary(w=tensor()), max_acc=tensor(shape=(), stride=()), optimizer=dictionary(m=tensor())
    )
    checkpoint = read(tmp_path, torch_zip(value))
    assert list(checkpoint.tensors) == ["w"]
    assert checkpoint.other == ("max_acc", "optimizer")


def test_values_in_the_state_dict_that_are_no_tensors_are_named(tmp_path: Path) -> None:
    checkpoint = read(tmp_path, torch_zip(dictionary(model=named({"w": tensor(), "_extra_state": text("x")}))))
    assert checkpoint.other == ("model._extra_state",)


def test_averaged_weights_are_taken_only_when_asked_for(tmp_path: Path) -> None:
    value = dictionary(
        state_dict=dictionary(w=tensor()), state_dict_ema=dictionary(w=tensor(offset=3, shape=(1,), stride=(1,)))
    )
    assert read(tmp_path, torch_zip(value)).wrapper == "state_dict"
    averaged = read(tmp_path, torch_zip(value), ema=True)
    assert averaged.wrapper == "state_dict_ema"
    assert averaged.tensors["w"].tolist() == [3.0]
    assert averaged.other == ("state_dict",)


def test_missing_averaged_weights_are_an_error_that_says_what_is_there(tmp_path: Path) -> None:
    value = torch_zip(dictionary(model=dictionary(w=tensor()), epoch=integer(1)))
    refused(tmp_path, value, r"EMA.*model_ema.*which holds model, epoch; load it without EMA", ema=True)
    only = torch_zip(dictionary(model_ema=dictionary(w=tensor())))
    refused(tmp_path, only, r"averaged \(EMA\) weights only, under 'model_ema'; ask for them with ema=True")


def test_two_state_dicts_are_not_guessed_between(tmp_path: Path) -> None:
    value = dictionary(model=dictionary(w=tensor()), net=dictionary(w=tensor()))
    refused(tmp_path, torch_zip(value), "several state dicts: model, net")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor(), r"holds one tensor of shape \(2, 3\), expected a state dict"),
        (b"](" + tensor() + b"e", "holds <list>"),
        (dictionary(epoch=integer(1)), "no tensors that could be weights; it holds epoch"),
        (b"}", "it holds nothing"),
        (named({"a.b": tensor(), "a": dictionary(b=tensor())}), "two tensors are named 'a.b'"),
    ],
)
def test_files_without_a_state_dict_say_what_they_hold(tmp_path: Path, value: bytes, message: str) -> None:
    refused(tmp_path, torch_zip(value), message)


# Arguments


def test_training_arguments_are_inert_plain_values(tmp_path: Path) -> None:
    entries = {
        "time_step": integer(4),
        "lr": b"G" + struct.pack(">d", 0.5),
        "device": b"ctorch\ndevice\n" + b"(" + text("cuda") + integer(0) + b"tR",
        "dtype": b"ctorch\nfloat32\n",
        "milestones": b"](K\x01K\x02e",
        "tags": b"\x8f(" + text("a") + b"\x90",
        "path": b"cpathlib\nPosixPath\n(" + text("/") + text("data") + b"tR",
        "nested": namespace({"x": b"N"}),
        "size": b"ctorch\nSize\n" + b"(K\x02K\x03t\x85R",
    }
    for arguments in (namespace(entries), named(entries)):
        checkpoint = read(tmp_path, torch_zip(dictionary(model=dictionary(w=tensor()), args=arguments)))
        assert checkpoint.args == {
            "time_step": 4,
            "lr": 0.5,
            "device": "cuda:0",
            "dtype": "torch.float32",
            "milestones": [1, 2],
            "tags": {"a"},
            "path": "/data",
            "nested": {"x": None},
            "size": (2, 3),
        }
        assert checkpoint.other == ()


def test_arguments_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    cycle = b"]q\x01(h\x01e"
    refused(tmp_path, torch_zip(dictionary(model=dictionary(w=tensor()), args=dictionary(a=cycle))), "cyclic")


def test_state_dict_that_repeats_itself_exponentially_is_refused(tmp_path: Path) -> None:
    laughs = b"]p0\n" + b"".join(f"0](g{i}\ng{i}\nep{i + 1}\n".encode() for i in range(30))
    refused(tmp_path, torch_zip(dictionary(model=dictionary(w=tensor(), x=laughs))), "made to deceive")


# Tensors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("DoubleStorage", "f8"),
        ("FloatStorage", "f4"),
        ("HalfStorage", "f2"),
        ("LongStorage", "i8"),
        ("IntStorage", "i4"),
        ("ShortStorage", "i2"),
        ("CharStorage", "i1"),
        ("ByteStorage", "u1"),
        ("BoolStorage", "?"),
    ],
)
@pytest.mark.parametrize("order", ["little", "big"])
def test_every_element_type_is_read_in_both_byte_orders(tmp_path: Path, kind: str, code: str, order: str) -> None:
    values = np.array([0, 1, 1, 0, 1, 1] if code == "?" else [0, 1, 2, 100, 50, 6], code)
    data = values.astype(values.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()
    checkpoint = read(tmp_path, torch_zip(dictionary(w=tensor(kind)), {"0": data}, byteorder=order.encode()))
    assert checkpoint.tensors["w"].dtype == values.dtype
    assert checkpoint.tensors["w"].dtype.isnative
    np.testing.assert_array_equal(checkpoint.tensors["w"], values.reshape(2, 3))


@pytest.mark.parametrize("order", ["<", ">"])
def test_bfloat16_becomes_float32_exactly(tmp_path: Path, order: str) -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    value = dictionary(w=tensor("BFloat16Storage", count=1 << 16, shape=(1 << 16,), stride=(1,)))
    name = b"little" if order == "<" else b"big"
    read_back = read(tmp_path, torch_zip(value, {"0": bits.astype(f"{order}u2").tobytes()}, byteorder=name)).tensors[
        "w"
    ]
    assert read_back.dtype == np.float32
    np.testing.assert_array_equal(read_back.view(np.uint32), bits.astype(np.uint32) << 16)


def test_views_of_one_storage_share_memory_and_are_read_only(tmp_path: Path) -> None:
    value = dictionary(
        a=tensor(),
        t=tensor(shape=(3, 2), stride=(1, 3)),
        column=tensor(offset=1, shape=(2,), stride=(3,)),
        expanded=tensor(shape=(4, 2), stride=(0, 1)),
        scalar=tensor(offset=5, shape=(), stride=()),
        odd=tensor(shape=(1, 2), stride=(10**9, 5)),
    )
    tensors = read(tmp_path, torch_zip(value)).tensors
    assert tensors["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["column"].tolist() == [1, 4]
    assert tensors["expanded"].tolist() == [[0, 1]] * 4
    assert tensors["scalar"].tolist() == 5.0
    assert tensors["odd"].tolist() == [[0, 5]]
    assert np.shares_memory(tensors["a"], tensors["t"])
    assert not any(array.flags.writeable for array in tensors.values())


def test_tensors_without_elements_are_read(tmp_path: Path) -> None:
    value = dictionary(z=tensor(count=0, shape=(0, 7), stride=(7, 1)))
    assert read(tmp_path, torch_zip(value, {"0": b""})).tensors["z"].shape == (0, 7)


@pytest.mark.parametrize(
    ("bent", "message"),
    [
        (
            tensor(shape=(3, 3)),
            r"shape \(3, 3\), strides \(3, 1\), offset 0 reaches element 9 of storage '0', which has 6",
        ),
        (tensor(offset=1), "reaches element 7"),
        (tensor(offset=-1), "must not be negative"),
        (tensor(stride=(-3, 1)), "must not be negative"),
        (tensor(shape=(-2, 3)), "must not be negative"),
        (tensor(stride=(3,)), "as many strides as sizes"),
        (tensor(shape=(1,) * 33, stride=(1,) * 33), "at most 32"),
        (tensor(shape=(2**62, 2**61), stride=(0, 0)), "sizes or strides"),
        (tensor(shape=(2**61, 2**61), stride=(0, 0)), "more memory"),
        (tensor(shape=(2**30,), stride=(0,)), r"more memory than a file of \d+ bytes may ask for.*\.contiguous"),
        (tensor(shape=(0, 2**61), stride=(1, 1)), "shape"),
        (tensor(count=7), "storage '0' should have 28 bytes, but has 24"),
        (tensor(count=-1), "expected a name and a size"),
        (tensor(count=2**80), "expected a name and a size"),
        (tensor(key="1"), "no member 'archive/data/1'"),
        (tensor(key="../version"), "no member"),
        (tensor("ComplexFloatStorage", count=3), "'torch.ComplexFloatStorage'; complex and quantised"),
        (tensor("BoolStorage", count=24, shape=(24,), stride=(1,)), "bytes other than 0 and 1"),
    ],
)
def test_impossible_tensors_are_refused(tmp_path: Path, bent: bytes, message: str) -> None:
    refused(tmp_path, torch_zip(dictionary(w=bent)), message)


def test_many_views_of_one_storage_are_counted_as_memory(tmp_path: Path) -> None:
    views = {f"w{i}": tensor(count=1 << 20, shape=(1 << 20,), stride=(1,)) for i in range(40)}
    refused(tmp_path, torch_zip(named(views), {"0": bytes(4 << 20)}), "more memory")


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


@pytest.mark.skipif(not hasattr(__import__("os"), "mkfifo"), reason="no pipes here")
def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_checkpoint(tmp_path / "pipe")


def test_reader_works_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(torch_zip(dictionary(model=dictionary(w=tensor()), args=namespace({}))))
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from compiler.importers.checkpoint import read_checkpoint\n"
        "print(read_checkpoint(sys.argv[1]).tensors['w'].sum())"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "model.pt")]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("15.0\n", "")


def test_summary_of_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    checkpoint = read(tmp_path, torch_zip(dictionary(model=dictionary(w=tensor()))))
    assert repr(checkpoint).endswith("model.pt', torch zip, 1 tensors, 24 bytes, wrapper='model', 0 args)")


def test_bare_storage_is_no_tensor(tmp_path: Path) -> None:
    refused(tmp_path, torch_zip(dictionary(s=storage())), "no tensors")
