"""A strict reader of zip directories (PKWARE APPNOTE 6.3, zip64 included) over a mapped file.

``zipfile`` does not say where a member's bytes lie, nor bounds what a hostile directory costs.
"""

from __future__ import annotations

import itertools
import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from compiler.importers.formats.storage import Budget, Region, brief
from neurochip.errors import CheckpointError

MAX_MEMBERS: Final = 100_000
_STORED, _DEFLATED = 0, 8
_ENCRYPTED: Final = 0x0001 | 0x0040 | 0x2000
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of the archive: ``packed`` bytes at ``start``, ``size`` once decompressed."""

    name: str
    deflated: bool
    crc: int
    packed: int
    size: int
    header: int
    start: int

    @property
    def stop(self) -> int:
        """First byte behind the member's data."""
        return self.start + self.packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A zip file whose members have been found to lie apart from each other inside the file."""

    data: mmap.mmap
    members: dict[str, Member]
    has_checksums: bool

    def size(self, name: str) -> int:
        """Bytes of a member, decompressed; raises CheckpointError if it is missing."""
        if name not in self.members:
            raise CheckpointError(f"the archive has no member {brief(name)!r}; it is incomplete")
        return self.members[name].size

    def region(self, name: str, budget: Budget) -> Region:
        """The bytes of a member; raises CheckpointError if it is missing or its checksum differs."""
        self.size(name)
        member = self.members[name]
        region = Region(data=self.data, start=member.start, length=member.packed)
        if member.deflated:
            region = _inflate(member, region, budget)
        if self.has_checksums and zlib.crc32(region.view()) != member.crc:
            raise CheckpointError(f"member {brief(name)!r} is corrupt (its CRC-32 differs); copy the file again")
        return region

    def read(self, name: str, budget: Budget) -> bytes:
        """A copy of the bytes of a member."""
        return bytes(self.region(name, budget).view())


def _inflate(member: Member, packed: Region, budget: Budget) -> Region:
    budget.charge(member.size, f"member {brief(member.name)!r}, decompressed,")
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = decoder.decompress(packed.view(), member.size + 1)
    except zlib.error as error:
        raise CheckpointError(f"member {brief(member.name)!r} is corrupt: {error}") from error
    if len(data) != member.size:
        raise CheckpointError(
            f"member {brief(member.name)!r} does not decompress to the {member.size} bytes it declares"
        )
    return Region(data=data, start=0, length=len(data))


def read_archive(data: mmap.mmap) -> Archive:
    """Find and check the members of a zip file."""
    members: dict[str, Member] = {}
    for member in _entries(data, *_directory(data)):
        if member.name in members:
            raise CheckpointError(f"two members of the archive are named {brief(member.name)!r}")
        members[member.name] = member
    ordered = sorted(members.values(), key=lambda member: member.start)
    for before, after in itertools.pairwise(ordered):
        if after.header < before.stop:
            raise CheckpointError(f"members {brief(before.name)!r} and {brief(after.name)!r} of the archive overlap")
    # torch.serialization.set_crc32_options(False) writes zeros.
    has_checksums = any(member.crc for member in ordered)
    return Archive(data=data, members=members, has_checksums=has_checksums)


def _unpack(form: struct.Struct, signature: bytes, data: mmap.mmap, at: int, what: str) -> tuple[int, ...]:
    if not 0 <= at <= len(data) - form.size or data[at : at + 4] != signature:
        raise CheckpointError(f"the zip archive is corrupt: no {what} at byte {at}")
    return form.unpack_from(data, at)[1:]


def _directory(data: mmap.mmap) -> tuple[int, int, int]:
    """Offset and size of the central directory, and how many entries it has."""
    at = data.rfind(b"PK\5\6", max(0, len(data) - _END.size - 0xFFFF))
    if at < 0:
        raise CheckpointError("the zip archive has no directory at its end: the file is truncated; copy it again")
    _, _, _, count, size, offset, comment = _unpack(_END, b"PK\5\6", data, at, "end record")
    if at + _END.size + comment != len(data):
        raise CheckpointError("the zip archive does not end where its end record says; copy the file again")
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and data[locator : locator + 4] == b"PK\6\7":
        _, at, _ = _unpack(_END64_LOCATOR, b"PK\6\7", data, locator, "zip64 locator")
        *_, count, size, offset = _unpack(_END64, b"PK\6\6", data, at, "zip64 end record")
    if offset + size > at or count * _ENTRY.size > size:
        raise CheckpointError("the zip archive is corrupt: its directory does not lie inside the file")
    if count > MAX_MEMBERS:
        raise CheckpointError(f"the zip archive has {count} members; at most {MAX_MEMBERS} are read")
    return offset, size, count


def _entries(data: mmap.mmap, offset: int, size: int, count: int) -> Iterator[Member]:
    at = offset
    for _ in range(count):
        entry = _unpack(_ENTRY, b"PK\1\2", data, at, "directory entry")
        _, _, flags, method, _, _, crc, packed, full, name_size, extra_size, comment_size, _, _, _, header = entry
        name_at, at = at + _ENTRY.size, at + _ENTRY.size + name_size + extra_size + comment_size
        if at > offset + size:
            raise CheckpointError("the zip archive is corrupt: a directory entry reaches beyond the directory")
        raw_name = data[name_at : name_at + name_size]
        name = _checked_name(raw_name)
        extra = data[name_at + name_size : name_at + name_size + extra_size]
        full, packed, header = _wide(extra, full, packed, header)
        if flags & _ENCRYPTED:
            raise CheckpointError(f"member {brief(name)!r} is encrypted; decrypt the archive first")
        if method not in (_STORED, _DEFLATED) or (method == _STORED and packed != full):
            raise CheckpointError(f"member {brief(name)!r} has compression method {method}; torch.save stores members")
        local = _unpack(_LOCAL, b"PK\3\4", data, header, "local header")
        start = header + _LOCAL.size + local[-2] + local[-1]
        own_name = data[header + _LOCAL.size : header + _LOCAL.size + local[-2]]
        if own_name != raw_name or local[2] != method or start + packed > offset:
            raise CheckpointError(f"member {brief(name)!r}: its own header disagrees with the archive's directory")
        yield Member(
            name=name,
            deflated=method == _DEFLATED,
            crc=crc,
            packed=packed,
            size=full,
            header=header,
            start=start,
        )


def _checked_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError("a member of the archive has a name that is not UTF-8") from error
    if not name or name.startswith("/") or ".." in name.split("/") or re.search(r"\\|\0|^[A-Za-z]:", name):
        raise CheckpointError(f"a member of the archive is named {brief(name)!r}, which points outside of it; refused")
    return name


def _wide(extra: bytes, *fields: int) -> tuple[int, ...]:
    """Replace 32-bit fields that are saturated by those of the zip64 extra field (id 1), in its fixed order."""
    at, wide = 0, b""
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
            break
        at += 4 + length
    values = []
    for value in fields:
        if value == 0xFFFFFFFF:
            if len(wide) < 8:
                raise CheckpointError("the zip archive is corrupt: a zip64 field is missing")
            value, wide = int.from_bytes(wide[:8], "little"), wide[8:]
        values.append(value)
    return tuple(values)
