"""The container of an ``.ncp`` file: a zip of stored members, sealed by a digest of the whole file.

Layout: ``manifest.json`` first, then the ``.npy`` members in the order the manifest lists them with their SHA-256. All
members are stored, none compressed: members can never be larger than the file (no zip bombs), and the bytes do not
depend on the version of a compression library. The archive comment, the last bytes of the file, is the SHA-256 of
everything before it, so that damage to the zip structure itself is found as well.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from neurochip.atomic import reason
from neurochip.errors import ProgramError

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 28
_DATE = (1980, 1, 1, 0, 0, 0)
_SEAL_BYTES = 64
_HEADER_BYTES = 4096
_ZIP_FAULTS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


HEADER_FAULTS = (
    ValueError, TypeError, LookupError, AttributeError, OverflowError, EOFError, RecursionError, MemoryError,
    SyntaxError, tokenize.TokenError,
)  # fmt: skip
"""What NumPy raises on .npy headers that were damaged or made to deceive."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Member:
    """One array on its way into the file: ``header`` is the .npy preamble, ``digest`` the SHA-256 (hex) of both."""

    name: str
    header: bytes
    array: NDArray[Any]
    digest: str

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> Member:
        """Wrap ``array``, made contiguous and little-endian."""
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, np.lib.format.header_data_from_array_1_0(plain))
        digest = hashlib.sha256(buffer.getvalue())
        digest.update(_data(plain))
        return cls(name=name, header=buffer.getvalue(), array=plain, digest=digest.hexdigest())


def write_archive(stream: BinaryIO, manifest: bytes, members: list[Member]) -> None:
    """Write the sealed zip into ``stream``, which is empty and open for reading and writing. Raises ``OSError``."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = b"0" * _SEAL_BYTES
        with archive.open(_entry(MANIFEST), "w") as out:
            out.write(manifest)
        for member in members:
            large = member.array.nbytes > 1 << 30
            with archive.open(_entry(member.name), "w", force_zip64=large) as out:
                out.write(member.header)
                out.write(_data(member.array))
    end = stream.seek(0, os.SEEK_END) - _SEAL_BYTES
    seal = _digest_of(stream, end)
    stream.seek(end)
    stream.write(seal)


class Archive:
    """An ``.ncp`` file open for reading. Everything it returns was checked against the file's own digests.

    Use as a context manager; ``manifest`` holds the raw bytes before any check but their size, because a file of a
    newer version must be able to say so; ``verify`` checks the seal.

    Raises:
        ProgramError: missing, unreadable, not a program file at all, or a broken zip structure.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):
                raise ProgramError(f"{self.path}: expected a program file (.ncp), found a folder or a device")
            self._stream: BinaryIO = open(self.path, "rb")  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise ProgramError(f"{self.path}: cannot open the program: {reason(error)}; check the path") from None
        try:
            self._open()
        except BaseException:
            self._stream.close()
            raise

    def _open(self) -> None:
        self.size = os.fstat(self._stream.fileno()).st_size
        head = self._stream.read(64)
        if not head.startswith(b"PK\x03\x04"):
            raise ProgramError(f"{self.path}: expected a program file (.ncp), found {content_kind(head)}; {_RECOMPILE}")
        try:
            self._zip = zipfile.ZipFile(self._stream)
            entries = self._zip.infolist()
        except _ZIP_FAULTS as error:
            raise self.damaged(f"no readable zip directory ({error})") from None
        self.entries = {entry.filename: entry for entry in entries}
        if MANIFEST not in self.entries:
            raise ProgramError(f"{self.path}: expected a program file (.ncp), found {_zip_kind(list(self.entries))}")
        if len(self.entries) != len(entries):
            raise self.damaged("two members of one name")
        self._check_bounds(entries)
        self.manifest = self.read(MANIFEST)

    def _check_bounds(self, entries: list[zipfile.ZipInfo]) -> None:
        for entry in entries:
            if (
                entry.compress_type != zipfile.ZIP_STORED
                or entry.compress_size != entry.file_size
                or entry.flag_bits & 1
            ):
                raise ProgramError(
                    f"{self.path}: member {entry.filename!r} is compressed or encrypted ({entry.compress_size:,} -> "
                    f"{entry.file_size:,} bytes); program files hold stored members only, so this one was made or "
                    f"repacked by another tool; {_RECOMPILE}"
                )
        if sum(entry.file_size for entry in entries) > self.size:
            raise self.damaged("members that claim more bytes than the file has")
        if self.entries[MANIFEST].file_size > MAX_MANIFEST_BYTES:
            raise self.damaged(f"a manifest above {MAX_MANIFEST_BYTES:,} bytes")

    def verify(self) -> None:
        """Compare the whole file with its seal. Raises ``ProgramError`` if a single bit differs."""
        end = self.size - _SEAL_BYTES
        self._stream.seek(max(end, 0))
        if end < 0 or self._stream.read() != _digest_of(self._stream, end):
            raise self.damaged("content that does not match the file's SHA-256 seal")

    def read(self, name: str) -> bytes:
        """The bytes of a member. Raises ``ProgramError`` if it is not there or its checksum is wrong."""
        if name not in self.entries:
            raise self.damaged(f"no member {name!r}")
        try:
            return self._zip.read(name)
        except (*_ZIP_FAULTS, OSError) as error:
            raise self.damaged(f"an unreadable member {name!r} ({error})") from None

    def array(self, name: str, digest: str) -> NDArray[Any]:
        """The read-only array of a ``.npy`` member with this SHA-256. Raises ``ProgramError``."""
        data = self.read(name)
        if hashlib.sha256(data).hexdigest() != digest:
            raise self.damaged(f"a member {name!r} that does not match its SHA-256")
        try:
            return _parse_npy(data)
        except HEADER_FAULTS as error:
            raise self.damaged(f"a member {name!r} that is no plain .npy array ({error})") from None

    def damaged(self, found: str) -> ProgramError:
        """The error for a file that was a program once, or pretends to be."""
        return ProgramError(f"{self.path}: the program file is damaged or incomplete: found {found}; {_RECOMPILE}")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._stream.close()


_RECOMPILE = "copy it again from where it came, or make it with: neurochip compile MODEL.pt --chip CHIP -o PROGRAM.ncp"


def content_kind(head: bytes) -> str:
    """What a file that is not a zip seems to be, from its first bytes, as words for an error message."""
    if not head:
        return "an empty file"
    if head.startswith(b"\x80") and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a pickle (an old PyTorch checkpoint?)"
    if head.startswith(b"\x93NUMPY"):
        return "a NumPy array"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file"
    text = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return f"text starting {head[:24].decode('utf-8', 'replace')!r}" if text else f"bytes starting {head[:8].hex(' ')}"


def _zip_kind(names: list[str]) -> str:
    if any(name.endswith("data.pkl") for name in names):
        return "a PyTorch checkpoint; compile it first: neurochip compile MODEL.pt --chip CHIP -o PROGRAM.ncp"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy .npz file; give it to: neurochip simulate PROGRAM.ncp --input FILE.npz"
    return f"a zip archive without a {MANIFEST}; {_RECOMPILE}"


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system = 3  # otherwise it names the system the file was written on
    entry.external_attr = 0o644 << 16
    return entry


def _data(array: NDArray[Any]) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _digest_of(stream: BinaryIO, end: int) -> bytes:
    """SHA-256 of the first ``end`` bytes, as ``_SEAL_BYTES`` hex digits."""
    stream.seek(0)
    digest, left = hashlib.sha256(), end
    while left > 0 and (block := stream.read(min(left, 1 << 20))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


def _parse_npy(data: bytes) -> NDArray[Any]:
    """A read-only view of ``data``. Raises ``ValueError`` unless it is a C-ordered array of exactly that size."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("expected .npy version 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
    count = 1
    for length in shape:
        count *= length
    if fortran or dtype.hasobject or dtype.itemsize == 0 or min(shape, default=0) < 0:
        raise ValueError("expected a C-ordered array of numbers")
    if count * dtype.itemsize != len(data) - stream.tell():
        raise ValueError(f"shape {shape} of {dtype} does not fit {len(data) - stream.tell()} bytes")
    if count == 0:
        empty = np.zeros(shape, dtype)
        empty.setflags(write=False)
        return empty
    return np.frombuffer(data, dtype, count, stream.tell()).reshape(shape)
