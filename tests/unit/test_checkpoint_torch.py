"""The checkpoint reader gives what torch.load(weights_only=True) gives, on files that torch writes."""

from __future__ import annotations

import argparse
import io
import zipfile
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.importers.checkpoint import Checkpoint, read_checkpoint
from neurochip.errors import CheckpointError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
NEW_DTYPES = ("uint16", "uint32", "uint64")


def save(path: Path, value: object, **options: Any) -> Checkpoint:
    torch.save(value, path, **options)
    return read_checkpoint(path)


def same(theirs: Any, ours: np.ndarray) -> None:
    expected = theirs.detach().float() if theirs.dtype == torch.bfloat16 else theirs.detach()
    expected = expected.numpy()
    assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape)
    assert ours.tobytes() == expected.tobytes()  # bit for bit, NaN included


@st.composite
def states(draw: st.DrawFn) -> dict[str, Any]:
    """Nested state dicts whose tensors are views of a few storages."""
    pool = []
    for _ in range(draw(st.integers(1, 3))):
        dtype, size = getattr(torch, draw(st.sampled_from(DTYPES + NEW_DTYPES))), draw(st.integers(0, 40))
        raw = torch.frombuffer(
            bytearray(draw(st.binary(min_size=8 * size + 8, max_size=8 * size + 8))), dtype=torch.uint8
        )
        base = raw[:size] % 2 == 1 if dtype == torch.bool else raw.view(dtype)[:size].clone()
        pool.append(base)

    def view(base: Any) -> Any:
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        stride = [draw(st.integers(0, 6)) for _ in shape]
        reach = sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) + 1
        if 0 in shape or reach <= len(base):
            last = 0 if 0 in shape else len(base) - reach
            return base.as_strided(shape, stride, draw(st.integers(0, last)))
        return base

    leaf = st.sampled_from(pool).map(view)
    names = st.text("abcdefg_0é", min_size=1, max_size=5)
    tree = st.recursive(leaf, lambda inner: st.dictionaries(names, inner, max_size=4), max_leaves=8)
    return draw(st.dictionaries(names, tree, max_size=5)) | {"always": pool[0]}


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, part in value.items() for k, v in flat(part, f"{path}.{key}" if path else key).items()}
    return {path: value}


@settings(deadline=None, max_examples=60)
@given(state=states(), wrapper=st.sampled_from(["", "model", "state_dict"]), legacy=st.booleans())
def test_any_state_dict_reads_as_torch_reads_it(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any], wrapper: str, legacy: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "state.pt"
    options = {"_use_new_zipfile_serialization": False} if legacy else {}
    checkpoint = save(path, {wrapper: state, "epoch": 1} if wrapper else state, **options)
    loaded = {wrapper: state}
    if not legacy:  # torch cannot read the unsigned types back from its legacy container
        loaded = torch.load(path, weights_only=True)
    expected = flat(loaded[wrapper] if wrapper or legacy else loaded)
    assert list(checkpoint.tensors) == list(expected)
    for name, theirs in expected.items():
        same(theirs, checkpoint.tensors[name])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("legacy", [True, False])
def test_every_pickle_protocol_is_read(tmp_path: Path, protocol: int, legacy: bool) -> None:
    state = OrderedDict(a=torch.arange(6.0).view(2, 3).T, b=torch.tensor(3, dtype=torch.int64))
    args = argparse.Namespace(
        lr=1e-3, big=2**70, raw=b"\xff\0", none=None, flags=(True, False), s={1}, f=frozenset("x")
    )
    value = {"model": state, "args": args, "epoch": 2}
    options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": not legacy}
    checkpoint = save(tmp_path / "m.pt", value, **options)
    same(state["a"], checkpoint.tensors["a"])
    same(state["b"], checkpoint.tensors["b"])
    assert checkpoint.args == vars(args)
    assert checkpoint.other == ("epoch",)


def test_legacy_file_of_protocol_one_is_read(tmp_path: Path) -> None:
    options = {"pickle_protocol": 1, "_use_new_zipfile_serialization": False}
    args = argparse.Namespace(lr=0.1)
    assert save(tmp_path / "m.pt", {"model": {"a": torch.ones(2)}, "args": args}, **options).args == {"lr": 0.1}


def test_state_dict_of_a_module_with_its_optimizer_and_scheduler_is_read(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten())
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2, 4, 4)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 3])
    wrapped = torch.nn.DataParallel(model)
    value = {
        "net": wrapped.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "counts": Counter("aab"),
        "grouped": defaultdict(list, a=[1]),
        "rng": torch.get_rng_state(),
        "metric": np.float64(71.25),
        "history": np.arange(6).reshape(2, 3).T,
    }
    checkpoint = save(tmp_path / "m.pth", value)
    assert list(checkpoint.tensors) == list(model.state_dict())
    for name, theirs in model.state_dict().items():
        same(theirs, checkpoint.tensors[name])
    assert checkpoint.other == tuple(value)[1:]


def test_parameters_and_tensors_with_attributes_are_read(tmp_path: Path) -> None:
    parameter = torch.nn.Parameter(torch.arange(3.0))
    marked = torch.nn.Parameter(torch.arange(4.0), requires_grad=False)
    marked.note = "x"
    tensor = torch.arange(5.0)
    tensor.note = [1]
    value = {"p": parameter, "m": marked, "t": tensor, "b": torch.nn.Buffer(torch.ones(2))}
    checkpoint = save(tmp_path / "m.pt", value)
    for name, theirs in value.items():
        same(theirs, checkpoint.tensors[name])


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_values_in_arguments_become_plain(tmp_path: Path, protocol: int) -> None:
    args = {
        "f": np.float32(0.5),
        "i": np.int64(-3),
        "b": np.bool_(True),
        "s": np.str_("åb"),
        "big": np.array(3, ">i2")[()],
        "a": np.arange(6, dtype=np.int16).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3)),
        "path": PurePosixPath("/data/x"),
        "bytes": bytearray(b"ab\xff"),
    }
    ours = save(tmp_path / "m.pt", {"model": {"w": torch.ones(1)}, "args": args}, pickle_protocol=protocol).args
    plain = {"f": 0.5, "i": -3, "b": True, "s": "åb", "big": 3, "path": "/data/x", "bytes": b"ab\xff"}
    assert {key: ours[key] for key in plain} == plain
    assert all(type(ours[key]) is type(plain[key]) for key in plain)
    for key in ("a", "fortran", "empty"):
        np.testing.assert_array_equal(ours[key], args[key])


def test_checksums_switched_off_in_torch_are_accepted(tmp_path: Path) -> None:
    if not hasattr(torch.serialization, "set_crc32_options"):
        pytest.skip("this torch always writes checksums")
    torch.serialization.set_crc32_options(False)
    try:
        checkpoint = save(tmp_path / "m.pt", {"a": torch.ones(3)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert checkpoint.tensors["a"].tolist() == [1, 1, 1]


def test_tensors_in_the_file_are_not_copied(tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "m.pt", {"a": torch.ones(3), "b": torch.ones(5, dtype=torch.float16)})
    for array in checkpoint.tensors.values():
        base = array
        while isinstance(base, np.ndarray):
            base = base.base
        assert not hasattr(base, "dtype")
        assert array.__array_interface__["data"][0] % 64 == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: {"a": torch.ones(2, dtype=torch.complex64)}, "ComplexFloatStorage"),
        (lambda: {"a": torch.ones(2).to(torch.float8_e4m3fn)}, "torch.float8_e4m3fn"),
        (lambda: {"a": torch.ones(2)._neg_view()}, "resolve_neg"),
        (lambda: {"a": torch.ones(2, 2).to_sparse()}, "torch._utils._rebuild_sparse_tensor"),
        (lambda: {"a": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, "_rebuild_qtensor"),
        (lambda: {"a": torch.ones(2, device="meta")}, "_rebuild_meta_tensor"),
        (lambda: {"model": {"a": torch.ones(1)}, "fn": np.sin}, "numpy"),
        (lambda: {"model": {"a": torch.ones(1)}, "args": argparse.Namespace(init=print)}, "'__builtin__.print'"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_values_that_are_not_read_are_named(tmp_path: Path, value: Callable[[], object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        save(tmp_path / "m.pt", value())


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.filterwarnings("ignore")
def test_whole_pickled_model_is_refused_with_the_remedy(tmp_path: Path, legacy: bool) -> None:
    with pytest.raises(CheckpointError, match=r"whole pickled model \(nn.Module\).*'torch.nn.*state_dict\(\)"):
        save(tmp_path / "m.pt", torch.nn.Linear(2, 2), _use_new_zipfile_serialization=not legacy)


@pytest.mark.filterwarnings("ignore")
def test_torchscript_program_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(2)).save(str(tmp_path / "m.pt"))
    with pytest.raises(CheckpointError, match=r"TorchScript.*torch.jit.load"):
        read_checkpoint(tmp_path / "m.pt")


@pytest.mark.filterwarnings("ignore")
def test_exported_program_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "m.pt2")
    with pytest.raises(CheckpointError, match=r"exported program.*torch.export.load"):
        read_checkpoint(tmp_path / "m.pt2")


def test_file_written_on_a_big_endian_machine_reads_as_torch_reads_it(tmp_path: Path) -> None:
    state = {"a": torch.arange(4.0), "b": torch.arange(3, dtype=torch.int16), "c": torch.arange(3.0).bfloat16()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(tmp_path / "m.pt", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                size = list(state.values())[int(name.rpartition("/")[2])].element_size()
                data = np.frombuffer(data, f"u{size}").byteswap().tobytes()
            target.writestr(name, data)
    loaded = torch.load(tmp_path / "m.pt", weights_only=True)
    checkpoint = read_checkpoint(tmp_path / "m.pt")
    for name, theirs in loaded.items():
        same(theirs, checkpoint.tensors[name])
        same(state[name], checkpoint.tensors[name])
