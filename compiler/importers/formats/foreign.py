"""Files that people mistake for checkpoints, each with the error that helps."""

from __future__ import annotations

import re
from typing import Final

from neurochip.errors import CheckpointError

# First bytes, what the file is, what to do.
_SIGNATURES: Final = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself", "run: git lfs pull"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "load it with its own framework and torch.save the state dict"),
    (b"\x93NUMPY", "a NumPy array (.npy)", "it may be input data; a model is a .pt, .pth or .safetensors file"),
    (b"\x1f\x8b", "a gzip file", "decompress it first: gunzip"),
    (b"BZh", "a bzip2 file", "decompress it first: bunzip2"),
    (b"\xfd7zXZ\0", "an xz file", "decompress it first: unxz"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "decompress it first: unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"GGUF", "a GGUF file", "save the model's state dict with torch.save or safetensors"),
    (b"PK\5\6", "an empty zip archive", "copy or save the checkpoint again"),
)
_TAR_MAGIC_AT: Final = 257
_LEGACY_MAGIC_1: Final = b"L119547037146038801333356L\n"  # the magic number of torch.save in pickle protocol 1
_OLD_PICKLE: Final = re.compile(
    rb"\(*(?:c[A-Za-z_][\w.]*\n[A-Za-z_]\w*\n|S['\"][^\n]*['\"]\n|[dlt]p\d+\n)|[\]})]q", re.DOTALL
)


def refuse_foreign(head: bytes) -> None:
    """Raise CheckpointError if ``head``, the first bytes of a file, belong to a known other kind of file."""
    for signature, what, remedy in _SIGNATURES:
        if head.startswith(signature):
            raise CheckpointError(f"this is {what}; {remedy}")
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        raise CheckpointError(
            "this is a tar archive; unpack it, or if PyTorch 0.1 wrote it, save it again with torch.save"
        )


def looks_like_pickle(head: bytes, last: bytes) -> bool:
    """Whether a file that begins with ``head`` and ends with ``last`` is a pickle, of protocol 0 or 1 by its looks."""
    return head.startswith((b"\x80", _LEGACY_MAGIC_1)) or (last == b"." and _OLD_PICKLE.match(head) is not None)


def describe_unknown(head: bytes) -> str:
    """The error for a file that is none of the known kinds."""
    try:
        text = head.decode("utf-8", "strict").lstrip().lower()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8").lower() if error.start > len(head) - 4 else ""
    if text.startswith(("<!doctype", "<html", "<?xml")):
        return "this is a web page, probably an error instead of the download; download the file again"
    if text and not re.search(r"[\0-\x08\x0e-\x1f]", text):
        return "this is a text file; a model is a .pt, .pth or .safetensors file"
    return "unknown file format, expected a file of torch.save (zip or legacy) or safetensors"
