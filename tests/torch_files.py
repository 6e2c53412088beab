"""Files of ``torch.save`` put together by hand, so that tests can bend them and need no torch."""

from __future__ import annotations

import io
import struct
import zipfile

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa85019") + b"."


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def integers(*values: int) -> bytes:
    return b"(" + b"".join(map(integer, values)) + b"t"


def dictionary(**entries: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def named(entries: dict[str, bytes]) -> bytes:
    return dictionary(**entries)


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 6) -> bytes:
    return b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + integer(count) + b"tQ"


def tensor(
    kind: str = "FloatStorage",
    key: str = "0",
    count: int = 6,
    offset: int = 0,
    shape: tuple[int, ...] = (2, 3),
    stride: tuple[int, ...] = (3, 1),
) -> bytes:
    arguments = storage(kind, key, count) + integer(offset) + integers(*shape) + integers(*stride)
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89" + hooks + b"tR"


def namespace(entries: dict[str, bytes]) -> bytes:
    return b"cargparse\nNamespace\n)\x81" + named(entries) + b"b"


def torch_zip(
    value: bytes,
    storages: dict[str, bytes] | None = None,
    *,
    byteorder: bytes | None = b"little",
    compression: int = zipfile.ZIP_STORED,
    extra: dict[str, bytes] | None = None,
) -> bytes:
    """The bytes of a file whose pickled value is made by the opcodes ``value``."""
    if storages is None:
        storages = {"0": struct.pack("<6f", *range(6))}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + value + b".")
        if byteorder is not None:
            archive.writestr("archive/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", b"3\n")
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return buffer.getvalue()


def torch_legacy(value: bytes, storages: dict[str, bytes], itemsize: int = 4) -> bytes:
    """The same in the container that PyTorch wrote before 1.6."""
    keys = b"](" + b"".join(map(text, storages)) + b"e"
    pickles = [integer(1001), dictionary(little_endian=b"\x88"), value, keys]
    body = b"".join(b"\x80\x02" + part + b"." for part in pickles)
    tail = b"".join(struct.pack("<q", len(data) // itemsize) + data for data in storages.values())
    return MAGIC + body + tail
