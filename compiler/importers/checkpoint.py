"""The safe reader of model files: tensors and plain values from ``torch.save`` and safetensors, executing nothing.

PyTorch is not needed. Tensors are views of the mapped file wherever its bytes allow; keep the file unchanged while they
are in use.
"""

from __future__ import annotations

import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compiler.importers.formats.foreign import describe_unknown, looks_like_pickle, refuse_foreign
from compiler.importers.formats.graph_archive import looks_like_graph, read_graph_archive
from compiler.importers.formats.safetensors import looks_like_safetensors, read_safetensors
from compiler.importers.formats.state_dict import plain_arguments, select
from compiler.importers.formats.storage import Budget
from compiler.importers.formats.torch_legacy import read_torch_legacy
from compiler.importers.formats.torch_zip import read_torch_zip
from neurochip.errors import CheckpointError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """What a model file holds.

    Attributes:
        path: the file.
        container: ``"torch zip"``, ``"torch legacy"``, ``"safetensors"`` or ``"graph"``.
        tensors: the state dict in the file's order, read-only arrays under dotted keys; bfloat16 as float32, other
            types as they are; tensors that share a storage share memory. ``module.`` and ``_orig_mod.`` in front of
            every key are stripped.
        args: the training arguments under ``args`` (safetensors: its metadata) as plain values.
        other: what else the file holds and is not used, by name.
        wrapper: where the state dict was found, such as ``"state_dict"``; empty if the file is the state dict.
        text: of a ``"graph"``, whose tensors are its constants; empty otherwise.
    """

    path: Path
    container: str
    tensors: dict[str, NDArray[Any]]
    args: dict[str, object]
    other: tuple[str, ...]
    wrapper: str
    text: str = ""

    def __repr__(self) -> str:
        size = sum(tensor.nbytes for tensor in self.tensors.values())
        return (
            f"Checkpoint({str(self.path)!r}, {self.container}, {len(self.tensors)} tensors, {size} bytes, "
            f"wrapper={self.wrapper!r}, {len(self.args)} args)"
        )


def read_checkpoint(path: str | os.PathLike[str], *, ema: bool = False) -> Checkpoint:
    """Read the tensors and arguments of a model file.

    Nothing in the file is executed or imported. Memory stays below the mapped file plus 64 MiB and 8 times its size,
    whatever the file says; float32 weights of a ``torch.save`` file take none.

    Args:
        path: a ``.pt``/``.pth``/``.tar`` file of ``torch.save`` (PyTorch 0.4 and later), or a safetensors file.
        ema: take the averaged weights (``state_dict_ema``, ``model_ema``) instead of the last ones.

    Raises:
        CheckpointError: the file cannot be opened, is no checkpoint, is corrupt, refers to anything that is not a
            tensor or plain value, or holds no state dict of the kind asked for.
    """
    file = Path(path)
    try:
        data = _map(file)
        return _read(file, data, ema)
    except CheckpointError as error:
        raise CheckpointError(f"{file}: {error}") from error


def _map(path: Path) -> mmap.mmap:
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError("not a regular file")
            if status.st_size == 0:
                raise CheckpointError("the file is empty; copy or save it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except IsADirectoryError as error:
        raise CheckpointError("this is a directory; give the .pt, .pth or .safetensors file in it") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CheckpointError(f"cannot be read: {reason}") from error


def _open_without_waiting(path: str, flags: int) -> int:
    """A pipe without a writer would wait for one for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read(path: Path, data: mmap.mmap, ema: bool) -> Checkpoint:
    budget = Budget(file_size=len(data))
    if looks_like_graph(data[:64]):
        text, constants = read_graph_archive(data, budget)
        return Checkpoint(path=path, container="graph", tensors=constants, args={}, other=(), wrapper="", text=text)
    container, tree, metadata = _parse(data, budget)
    selection = select(tree, ema=ema)
    return Checkpoint(
        path=path,
        container=container,
        tensors={name: tensor.array(budget) for name, tensor in selection.tensors.items()},
        args=metadata if metadata is not None else plain_arguments(selection.args, budget),
        other=selection.other,
        wrapper=selection.wrapper,
    )


def _parse(data: mmap.mmap, budget: Budget) -> tuple[str, object, dict[str, object] | None]:
    """The container's name, the saved value, and arguments that lie outside of it."""
    head = data[:4096]
    refuse_foreign(head)
    if head.startswith(b"PK\3\4"):
        return "torch zip", read_torch_zip(data, budget), None
    if looks_like_safetensors(head, len(data)):
        tensors, metadata = read_safetensors(data)
        return "safetensors", tensors, dict(metadata)
    if looks_like_pickle(head, data[-1:]):
        return "torch legacy", read_torch_legacy(data, budget), None
    raise CheckpointError(describe_unknown(head))
