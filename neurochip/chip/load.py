"""Chip files: find, read, check; every refusal says file, line, key and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from neurochip.chip.explain import explain
from neurochip.chip.spec import ChipSpec
from neurochip.chip.suggest import did_you_mean
from neurochip.chip.yaml_reader import MAX_BYTES, Document, read_yaml
from neurochip.errors import ChipError

# In a wheel the chip files are package data; in a source checkout they lie beside the packages.
_FOLDERS = (Path(__file__).parents[1] / "data" / "chips", Path(__file__).parents[2] / "chips")


def load_chip(path_or_name: str | Path) -> ChipSpec:
    """Read a chip description: a path, or the name of a shipped chip with or without ``.yaml``.

    An existing file wins over a shipped chip of the same name.

    Raises:
        ChipError: no such file or chip; not YAML, too large, or unsafe; or a key that is unknown, missing, of the
            wrong kind or unit, or without a valid source: one ``file:line: key: message`` line for each.
    """
    path = _find(path_or_name)
    return parse_chip(_read(path), str(path))


def parse_chip(text: str, name: str) -> ChipSpec:
    """Parse the text of a chip file; ``name`` stands for the file in messages. Raises ``ChipError``."""
    return check_chip(read_yaml(text, name), name)


def check_chip(document: Document, name: str) -> ChipSpec:
    """Check the data of a chip file; ``name`` stands for the file in messages. Raises ``ChipError``."""
    try:
        return ChipSpec.model_validate(document.data)
    except ValidationError as error:
        raise explain(error, document, name, chip_json_schema()) from None


def shipped_chips() -> list[str]:
    """Names of the chips that come with the package, sorted."""
    return sorted({path.stem for folder in _FOLDERS if folder.is_dir() for path in folder.glob("*.yaml")})


def chip_json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a chip file, for editors and checkers."""
    schema = ChipSpec.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    try:
        is_file, exists = path.is_file(), path.exists()
    except OSError as error:
        raise ChipError(f"{path}: cannot be read: {error.strerror}") from None
    if is_file:
        return path
    if exists:
        raise ChipError(f"{path}: expected a chip file; found a {'folder' if path.is_dir() else 'special file'}")
    shipped = shipped_chips()
    if path.parent == Path() and path.suffix in ("", ".yaml", ".yml") and path.stem in shipped:
        return next(file for folder in _FOLDERS if (file := folder / f"{path.stem}.yaml").is_file())
    raise ChipError(
        f"{path}: no such file, and no shipped chip of that name{did_you_mean(path.stem, shipped)}; "
        f"shipped chips: {', '.join(shipped)}"
    )


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ChipError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise ChipError(f"{path}: larger than {MAX_BYTES} bytes; a chip description is a few kilobytes of YAML")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ChipError(f"{path}:{line}: not UTF-8 text; save the chip file as UTF-8") from None
