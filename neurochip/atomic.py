"""Files that are either the old one or the new one, whole: written beside the target, flushed, renamed over it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new binary file that takes the place of ``path`` when the block ends without an exception.

    The data go to a hidden ``.<name>.<random>.tmp`` in the same folder, are flushed to the disk and then renamed, so a
    full disk, an exception or a killed process leaves the old file untouched; after an exception the temporary file is
    gone as well. A symbolic link keeps pointing where it does. Raises ``OSError``, also for a ``path`` that is a folder
    or a device, which a rename would destroy.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(21, "is a folder, not a file", str(path))
    if target.exists() and not target.is_file():
        raise OSError(22, "is a device or a pipe, not a regular file", str(path))
    temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(6)}.tmp"
    try:
        with open(temporary, "xb+") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8 in place of ``path`` (see ``replacing``); a device or a pipe is written to directly."""
    target = Path(path)
    if target.exists() and not target.is_file() and not target.is_dir():
        target.write_text(text, encoding="utf-8")
        return
    with replacing(target) as stream:
        stream.write(text.encode("utf-8"))


def reason(error: OSError) -> str:
    """The operating system's words for ``error``, in lower case, for use inside a sentence."""
    words = error.strerror or str(error) or type(error).__name__
    return words[:1].lower() + words[1:]


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can open folders (not on Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
