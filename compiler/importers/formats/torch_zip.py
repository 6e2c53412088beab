"""The zip container of ``torch.save`` since 1.6: ``<name>/data.pkl`` and ``<name>/data/<key>`` for each storage."""

from __future__ import annotations

import mmap
from collections.abc import Collection
from functools import partial

from compiler.importers.formats.archive import Archive, read_archive
from compiler.importers.formats.storage import Budget, Storage, brief
from compiler.importers.formats.vocabulary import TorchVocabulary, load_pickle
from neurochip.errors import CheckpointError


def read_torch_zip(data: mmap.mmap, budget: Budget) -> object:
    """The pickled value of a ``torch.save`` archive, tensors as ``TensorRef``."""
    archive = read_archive(data)
    folder = _folder(archive.members)
    big_endian = _is_big_endian(archive, folder, budget)
    storages: dict[str, Storage] = {}

    def find_storage(key: str, nbytes: int) -> Storage:
        name = f"{folder}data/{key}"
        size = archive.size(name)
        if size != nbytes:
            raise CheckpointError(f"storage {brief(key)!r} should have {nbytes} bytes, but has {size} in the archive")
        if key not in storages:
            fetch = partial(archive.region, name, budget)
            storages[key] = Storage(key=key, nbytes=nbytes, fetch=fetch, big_endian=big_endian)
        return storages[key]

    pickled = archive.read(f"{folder}data.pkl", budget)
    return load_pickle(pickled, TorchVocabulary(find_storage, budget))[0]


def _folder(names: Collection[str]) -> str:
    """The prefix of the members of a checkpoint; refuses the other archives that PyTorch users have."""
    if any("/code/" in name or name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(
            "this is a TorchScript program (torch.jit.save), not a checkpoint; "
            "from torch.jit.load(path) run torch.save(module.state_dict(), 'new.pt')"
        )
    endings = ("archive_format", "serialized_exported_program.json", "serialized_state_dict.pt")
    if any(name.rpartition("/")[2] in endings for name in names):
        raise CheckpointError(
            "this is an exported program (torch.export.save, .pt2), not a checkpoint; "
            "from torch.export.load(path) run torch.save(program.state_dict, 'new.pt'), "
            "or trace the module that was exported (docs/tracing.md)"
        )
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError("this is a NumPy archive (.npz), not a checkpoint; it may be input data")
    folders = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise CheckpointError(
            f"this zip archive has {len(folders)} members named data.pkl, expected one as torch.save writes it; "
            f"it holds {', '.join(brief(name, 40) for name in list(names)[:5]) or 'nothing'}"
        )
    return folders[0]


def _is_big_endian(archive: Archive, folder: str, budget: Budget) -> bool:
    name = f"{folder}byteorder"
    if name not in archive.members:
        return False
    order = archive.read(name, budget)[:16]
    if order not in (b"little", b"big"):
        raise CheckpointError(f"byte order {brief(order.decode('latin-1'))!r} in the archive, expected little or big")
    return order == b"big"
