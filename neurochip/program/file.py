"""A program as one file, ``.ncp``: the same program always gives the same bytes, and loading verifies them all.

``manifest.json`` holds everything but arrays; tables and weights are ``.npy`` members, a weight array that several
projections share is stored once. The container is described in ``archive.py``.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.atomic import reason, replacing
from neurochip.chip.spec import ChipSpec
from neurochip.errors import ProgramError
from neurochip.network.network import Network
from neurochip.program.archive import MANIFEST, Archive, Member, write_archive
from neurochip.program.codec import decode, encode
from neurochip.program.image import Layer, Origin, Program, Table
from neurochip.program.validate import TABLES, validate_program

FORMAT = "neurochip program"
VERSION = 2
"""Raised whenever an older reader would misread the file. Version 1 held a table of routes beside the others."""

_FACTS: dict[str, Any] = {
    "origin": Origin,
    "chip": ChipSpec,
    "network": Network,
    "layers": tuple[Layer, ...],
    "placement_costs": dict[str, float],
    "lower_bound_cores": int,
}


def save_program(program: Program, path: str | os.PathLike[str]) -> None:
    """Write ``program`` to ``path``; the file there is either the old one or the new one, whole.

    Weights are stored as they are, so the file is their size plus about 12 bytes a tile, port, synapse block or core.

    Raises:
        ProgramError: the program is not well formed, or the file cannot be written (full disk, no permission, ...);
            the old file is untouched and no temporary file stays behind.
    """
    validate_program(program)
    manifest, members = _pack(program)
    try:
        with replacing(path) as stream:
            write_archive(stream, manifest, members)
    except OSError as error:
        raise ProgramError(
            f"{path}: cannot write the program: {reason(error)}; nothing there was changed; "
            "free some space, or choose another place with -o"
        ) from error


def load_program(path: str | os.PathLike[str]) -> Program:
    """Read and verify a program file. Its arrays are read-only; nothing in the file is ever executed.

    Raises:
        ProgramError: not a program file, of a newer version, truncated, damaged by even one bit, or with tables,
            weights or names that do not fit together.
    """
    try:
        with Archive(path) as archive:
            data = _manifest(archive)
            archive.verify()
            return _checked(archive, data)
    except OSError as error:
        raise ProgramError(f"{path}: cannot read the program: {reason(error)}; copy it again") from None


def is_program(path: str | os.PathLike[str]) -> bool:
    """Whether the file at ``path`` starts as program files do; says nothing about its health."""
    with open(path, "rb") as stream:
        head = stream.read(30 + len(MANIFEST))
    return head.startswith(b"PK\x03\x04") and head.endswith(MANIFEST.encode())


_REMEDY = "compile the model again with this version: neurochip compile MODEL.pt --chip CHIP -o PROGRAM.ncp"


def _pack(program: Program) -> tuple[bytes, list[Member]]:
    members: dict[str, Member] = {}
    names: dict[tuple[str, tuple[int, ...], str], str] = {}

    def store(array: NDArray[np.generic]) -> str:
        member = Member.of(f"weights/{len(names):05d}.npy", array)
        name = names.setdefault((member.array.dtype.str, member.array.shape, member.digest), member.name)
        members.setdefault(name, member)
        return name

    facts = {key: encode(getattr(program, key), hint, store) for key, hint in _FACTS.items()}
    for name in TABLES:
        members[f"tables/{name}.npy"] = Member.of(f"tables/{name}.npy", _narrow(getattr(program, name)))
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "chip_sha256": program.chip.digest,
        "members": {name: member.digest for name, member in members.items()},
        "program": facts,
    }
    try:
        text = json.dumps(manifest, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8"), list(members.values())
    except ValueError as error:
        raise ProgramError(f"the program holds a value that cannot be saved: {error}") from error


def _manifest(archive: Archive) -> dict[str, Any]:
    try:
        data = json.loads(archive.manifest)
    except (ValueError, RecursionError) as error:
        raise archive.damaged(f"a {MANIFEST} that is no JSON ({error})") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT or type(data.get("version")) is not int:
        raise archive.damaged(f"a {MANIFEST} that is not of format {FORMAT!r}")
    if data["version"] > VERSION:
        raise ProgramError(
            f"{archive.path}: expected format version {VERSION} or older, found {data['version']}: the file comes from "
            "a newer neurochip; upgrade with: pip install --upgrade neurochip, or compile the model again with this one"
        )
    if data["version"] < 1 or set(data) != {"format", "version", "chip_sha256", "members", "program"}:
        raise archive.damaged(f"a {MANIFEST} with unexpected entries ({', '.join(map(str, data))})")
    return data


def _checked(archive: Archive, data: dict[str, Any]) -> Program:
    try:
        program = _unpack(archive, data)
        validate_program(program)
        if data["version"] == 1:
            _same_routes(archive, data, program)
    except ProgramError as error:
        text, path = str(error), str(archive.path)
        raise ProgramError(text if text.startswith(path) else f"{path}: {text}; {_REMEDY}") from None
    return program


def _unpack(archive: Archive, data: dict[str, Any]) -> Program:
    digests, facts = data["members"], data["program"]
    if not isinstance(digests, dict) or list(archive.entries) != [MANIFEST, *digests]:
        raise archive.damaged("other members than the manifest lists")
    if not isinstance(facts, dict) or set(facts) != set(_FACTS):
        raise archive.damaged(f"a {MANIFEST} whose program does not have the entries {', '.join(_FACTS)}")
    arrays = {name: archive.array(name, digest) for name, digest in digests.items()}

    def fetch(name: str) -> NDArray[np.generic]:
        if name not in arrays:
            raise ProgramError(f"expected a member {name!r}, found none of that name")
        return arrays[name]

    values = {key: decode(facts[key], hint, fetch, key) for key, hint in _FACTS.items()}
    if values["chip"].digest != data["chip_sha256"]:
        raise ProgramError("the chip description does not match its SHA-256")
    for name, dtype in TABLES.items():
        values[name] = _widen(name, fetch(f"tables/{name}.npy"), dtype)
    return Program(**values)


def _same_routes(archive: Archive, data: dict[str, Any], program: Program) -> None:
    """Raises ``ProgramError`` unless a file of version 1 lists as many routes as follow from its tiles and ports."""
    name = "tables/routes.npy"
    listed, follow = archive.array(name, data["members"].get(name, "")).size, program.routing.n_routes
    if listed != follow:
        raise ProgramError(f"expected the {follow:,} routes that follow from tiles and ports, found {listed:,}")


def _narrow(table: Table) -> Table:
    """The same rows in the narrowest whole-number types that hold each column."""
    columns = []
    for name in table.dtype.names or ():
        low, high = int(table[name].min(initial=0)), int(table[name].max(initial=0))
        columns.append((name, next(t for t in ("|i1", "<i2", "<i4") if _holds(t, low, high))))
    return table.astype(np.dtype(columns))


def _holds(dtype: str, low: int, high: int) -> bool:
    limits = np.iinfo(dtype)
    return bool(limits.min <= low and high <= limits.max)


def _widen(name: str, stored: NDArray[Any], dtype: np.dtype[np.void]) -> Table:
    kinds = {stored.dtype[i].str for i in range(len(stored.dtype.names or ()))}
    if stored.dtype.names != dtype.names or not kinds <= {"|i1", "<i2", "<i4"} or stored.ndim != 1:
        raise ProgramError(f"table {name!r}: expected rows of {dtype.names}, found {stored.dtype} {stored.shape}")
    table = stored.astype(dtype)
    table.setflags(write=False)
    return table
