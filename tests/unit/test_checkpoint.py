"""What the checkpoint reader finds in files of torch.save, without torch."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoint_files import read, refused
from tests.torch_files import (
    dictionary,
    integer,
    named,
    namespace,
    storage,
    tensor,
    text,
    torch_zip,
)

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
