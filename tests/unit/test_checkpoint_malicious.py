"""Reading a hostile file executes nothing: each test would leave a canary file behind if it did."""

from __future__ import annotations

import copyreg
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.importers.checkpoint import read_checkpoint
from neurochip.errors import CheckpointError
from tests.torch_files import MAGIC, dictionary, integer, namespace, tensor, text, torch_legacy, torch_zip

EXTENSION = 7021


def short(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def touch(canary: Path) -> str:
    return f"touch {canary}"


def commands(canary: Path) -> dict[str, bytes]:
    """Opcodes that run a command in an ordinary unpickler, by the way they reach it."""
    run, code = text(touch(canary)), text(f"open({str(canary)!r}, 'w').close()")
    system, evaluate = b"cos\nsystem\n", b"cbuiltins\neval\n"
    line = f"S{touch(canary)!r}\n".encode()
    stack_global = short("os") + short("system") + b"\x93"
    return {
        "REDUCE os.system": system + b"(" + run + b"tR",
        "REDUCE posix.system": b"cposix\nsystem\n(" + run + b"tR",
        "REDUCE builtins.eval": evaluate + b"(" + code + b"tR",
        "REDUCE __builtin__.exec": b"c__builtin__\nexec\n(" + code + b"tR",
        "STACK_GLOBAL": stack_global + b"(" + run + b"tR",
        "dotted STACK_GLOBAL": short("torch") + short("os.system") + b"\x93(" + run + b"tR",
        "name split in the module": short("torch._utils.os") + short("system") + b"\x93(" + run + b"tR",
        "INST": b"(" + run + b"ios\nsystem\n",
        "OBJ": b"(" + system + run + b"o",
        "NEWOBJ": b"csubprocess\nPopen\n((" + run + b"lt\x81",
        "NEWOBJ_EX": b"csubprocess\nPopen\n(" + run + b"t}" + text("shell") + b"\x88s\x92",
        "protocol 0": b"cos\nsystem\n(" + line + b"tR",
        "functools.partial": b"cfunctools\npartial\n(" + system + run + b"tR",
        "torch.load": b"ctorch\nload\n(" + text("x") + b"tR",
        "storage from bytes": b"ctorch.storage\n_load_from_bytes\n(B\x00\x00\x00\x00tR",
        "numpy.load": b"cnumpy\nload\n(" + text("x") + b"tR",
        "getattr": b"c__builtin__\ngetattr\n(" + text("x") + text("y") + b"tR",
        "whole class": b"c__main__\nNet\n)\x81}b",
    }


def places(attack: bytes) -> dict[str, bytes]:
    """Where in a checkpoint the opcodes may hide."""
    weights = tensor()
    return {
        "top": attack,
        "weights": dictionary(model=dictionary(w=attack)),
        "beside the weights": dictionary(model=dictionary(w=weights), extra=attack),
        "arguments": dictionary(model=dictionary(w=weights), args=namespace({"x": attack})),
        "BUILD state": dictionary(model=dictionary(w=weights), args=b"cargparse\nNamespace\n)\x81" + attack + b"b"),
        "OrderedDict state": b"ccollections\nOrderedDict\n)R("
        + text("w")
        + weights
        + b"u}"
        + text("m")
        + attack
        + b"sb",
        "dict key": dictionary(model=dictionary(w=weights)) + attack + b"Ns",
        "persistent id": dictionary(w=attack + b"Q"),
        "storage type": dictionary(w=b"(" + text("storage") + attack + text("0") + text("cpu") + integer(6) + b"tQ"),
        "popped again": attack + b"0" + dictionary(w=weights),
    }


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def refused(path: Path, data: bytes, canary: Path, message: str | None = None) -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    assert "nothing was executed" in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("way", list(commands(Path("x"))))
def test_no_way_to_call_a_function_works(tmp_path: Path, canary: Path, way: str) -> None:
    attack = commands(canary)[way]
    for value in places(attack).values():
        refused(tmp_path / "m.pt", torch_zip(value), canary)
        refused(tmp_path / "m.pt", torch_legacy(value, {"0": bytes(24)}), canary)


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("REDUCE os.system", "os.system"),
        ("REDUCE builtins.eval", "builtins.eval"),
        ("STACK_GLOBAL", "os.system"),
        ("dotted STACK_GLOBAL", "torch.os.system"),
        ("INST", "os.system"),
        ("whole class", "__main__.Net"),
    ],
)
def test_error_names_the_global_and_the_remedy(tmp_path: Path, canary: Path, way: str, name: str) -> None:
    message = rf"the pickle refers to '{name}'; .*nothing was executed; .*torch.save\(model.state_dict\(\), 'new.pt'\)"
    refused(tmp_path / "m.pt", torch_zip(dictionary(w=commands(canary)[way])), canary, message)


@pytest.mark.parametrize("part", range(5))
def test_every_pickle_of_the_legacy_container_is_guarded(tmp_path: Path, canary: Path, part: int) -> None:
    attack = b"\x80\x02" + commands(canary)["REDUCE os.system"] + b"."
    parts = [
        MAGIC,
        b"\x80\x02" + integer(1001) + b".",
        b"\x80\x02}.",
        b"\x80\x02" + dictionary(w=tensor()) + b".",
        b"](e.",
    ]
    parts[part] = attack
    refused(tmp_path / "m.pt", b"".join(parts), canary, "os.system")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_malicious_pickles_of_every_protocol_are_named(tmp_path: Path, canary: Path, protocol: int) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            import os

            return os.system, (touch(canary),)

    data = pickle.dumps(Attack(), protocol)
    refused(tmp_path / "m.pt", data, canary, r"'(posix|nt)\.system'")
    refused(tmp_path / "m.pt", torch_zip(data.removesuffix(b".")), canary, r"'(posix|nt)\.system'")


def test_extension_codes_of_copyreg_are_not_looked_up(tmp_path: Path, canary: Path) -> None:
    import os

    copyreg.add_extension(os.system.__module__, "system", EXTENSION)
    try:
        for opcode in (b"\x83" + struct.pack("<H", EXTENSION), b"\x84" + struct.pack("<i", EXTENSION)):
            attack = opcode + b"(" + text(touch(canary)) + b"tR"
            (tmp_path / "m.pt").write_bytes(torch_zip(dictionary(w=attack)))
            with pytest.raises(CheckpointError, match=f"extension code {EXTENSION} of copyreg.*refused"):
                read_checkpoint(tmp_path / "m.pt")
    finally:
        copyreg.remove_extension(os.system.__module__, "system", EXTENSION)
        copyreg.clear_extension_cache()
    assert not canary.exists()


@pytest.mark.parametrize(
    "callee",
    [b"K\x01", text("os.system"), b"}", b"]", b"N", tensor(), b"cargparse\nNamespace\n)R", b"ctorch\nfloat32\n"],
)
def test_values_of_the_file_cannot_be_called(tmp_path: Path, callee: bytes) -> None:
    for call in (b")R", b")\x81", b")}\x92"):
        (tmp_path / "m.pt").write_bytes(torch_zip(dictionary(w=callee + call)))
        with pytest.raises(CheckpointError, match="not a constructor; nothing was executed"):
            read_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor() + b"}b", "gives a state to <TensorRef>"),
        (b"K\x01}b", "gives a state to 1, which takes none"),
        (b"cargparse\nNamespace\n)\x81}K\x01K\x02sb", "expected a dict with text keys"),
        (b"cargparse\nNamespace\n)\x81](K\x01eb", "attributes that are"),
        (b"cargparse\nNamespace\n(K\x01t\x81", "unknown arguments"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nSize\n)}tR", "subclass"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\nctorch\nTensor\n)}tR", "made by"),
        (b"ctorch._utils\n_rebuild_parameter\n(K\x01\x88NtR", "a parameter that is 1"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n(K\x00K\x00))\x89}tR", "a tensor over 0, expected a storage"),
        (text("x") + b"Q", "persistent id that is x"),
        (b"(" + text("module") + b"NtQ", "whole pickled model"),
        (b"ccopy_reg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR", "os.system"),
        (b"cnumpy\ndtype\n(" + text("O8") + b"tR", "NumPy type 'O8'"),
        (b"]NNs", "cannot be a key|sets items of"),
        (b"K\x01K\x02a", "appends to 1"),
        (b"]](K\x01e\x90", "malformed|adds items"),
        (b"}(]]u", r"\[\] cannot be a key"),
        (b"}(" + integer(2**61 - 1) + b"Nu", "cannot be a key"),
        (b"\x80\x06", "pickle protocol 6"),
        (b"\x97", "out-of-band buffer"),
    ],
)
def test_opcodes_on_the_wrong_values_are_refused(tmp_path: Path, value: bytes, message: str) -> None:
    (tmp_path / "m.pt").write_bytes(torch_zip(dictionary(w=value)))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "m.pt")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"\x8b" + struct.pack("<i", 2**31 - 1), "an integer of 2147483647 bytes"),
        (b"\x8b" + struct.pack("<i", -5), "an integer of -5 bytes"),
        (b"L" + b"9" * 5000 + b"\n", "an integer of 5000 digits"),
        (b"\x95" + struct.pack("<Q", 2**60), "frame of 1152921504606846976 bytes"),
        (b"\x8e" + struct.pack("<Q", 2**63), "announces 9223372036854775808 bytes where fewer are left"),
        (b"B" + struct.pack("<I", 2**32 - 1), "announces 4294967295 bytes"),
        (b"T" + struct.pack("<i", -1), "announces -1 bytes"),
        (b"Nr" + struct.pack("<I", 2**32 - 1), "memo index 4294967295"),
        (b"Np99999999999999999999\n", "memo index"),
        (b"}" * 2_000_001, "more than 2000000 opcodes"),
    ],
)
def test_absurd_sizes_are_refused_before_they_are_allocated(tmp_path: Path, value: bytes, message: str) -> None:
    (tmp_path / "m.pt").write_bytes(torch_zip(value))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "m.pt")


def test_value_copied_over_and_over_is_refused(tmp_path: Path) -> None:
    long = b"X" + struct.pack("<I", 1 << 20) + b"a" * (1 << 20) + b"q\x00"
    copies = (b"c_codecs\nencode\n(h\x00" + text("latin1") + b"tR") * 200
    (tmp_path / "m.pt").write_bytes(torch_zip(b"](" + long + copies + b"e"))
    with pytest.raises(CheckpointError, match="copies needs more memory"):
        read_checkpoint(tmp_path / "m.pt")


def test_deeply_nested_values_neither_crash_nor_hang(tmp_path: Path) -> None:
    for nested in (b"]" * 300_000 + b"a" * 299_999, b"N" + b"\x85" * 300_000, b"(" * 300_000 + b"t" * 300_000):
        (tmp_path / "m.pt").write_bytes(torch_zip(dictionary(model=dictionary(w=tensor(), x=nested))))
        with pytest.raises(CheckpointError, match="nested more than 32 deep"):
            read_checkpoint(tmp_path / "m.pt")


def test_names_in_errors_carry_no_control_characters(tmp_path: Path) -> None:
    attack = short("\x1b[31mos") + short("sys\ntem\u202e" + "x" * 90) + b"\x93"
    (tmp_path / "m.pt").write_bytes(torch_zip(dictionary(w=attack)))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "m.pt")
    assert str(caught.value).isprintable()
    assert "\\x1b[31mos.sys\\ntem\\u202e" in str(caught.value).replace("\\\\", "\\")


def test_member_names_in_errors_carry_no_control_characters(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("\x1b]0;owned\x07", b"")
    (tmp_path / "m.pt").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "m.pt")
    assert str(caught.value).isprintable()
