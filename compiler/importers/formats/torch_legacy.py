"""The container of ``torch.save`` before PyTorch 1.6: five pickles, then the storages one after the other.

The pickles are a magic number, a version, facts about the system, the value, and the keys of the storages in the order
in which their element count (int64) and their little-endian bytes follow; see ``torch.serialization._legacy_save``.
"""

from __future__ import annotations

import mmap
from typing import Final

from compiler.importers.formats.storage import Budget, Region, Storage, brief
from compiler.importers.formats.vocabulary import RESAVE, TorchVocabulary, load_pickle
from neurochip.errors import CheckpointError

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001


def read_torch_legacy(data: mmap.mmap, budget: Budget) -> object:
    """The pickled value of a legacy checkpoint, tensors as ``TensorRef``; refuses any other pickle."""
    storages: dict[str, Storage] = {}

    def find_storage(key: str, nbytes: int) -> Storage:
        storage = storages.setdefault(key, Storage(key=key, nbytes=nbytes))
        if storage.nbytes != nbytes:
            raise CheckpointError(f"storage {brief(key)!r} is declared with {storage.nbytes} and with {nbytes} bytes")
        return storage

    vocabulary = TorchVocabulary(find_storage, budget)
    at = 0
    values: list[object] = []
    for _ in range(5):
        value, at = load_pickle(data, vocabulary, at)
        values.append(value)
        if values[0] != _MAGIC:
            raise CheckpointError(f"this is a plain pickle, not a file of torch.save: {RESAVE}")
    _, version, _, tree, keys = values
    if version != _VERSION:
        raise CheckpointError(f"legacy torch.save format of version {brief(version)}, expected {_VERSION}")
    if type(keys) is not list or len(keys) != len(storages) or any(type(key) is not str for key in keys):
        raise CheckpointError("the list of storages at the end of the legacy checkpoint does not match its tensors")
    for key in keys:
        at = _locate(data, at, storages.get(key))
    return tree


def _locate(data: mmap.mmap, at: int, storage: Storage | None) -> int:
    """Tell a storage where its bytes lie; returns the position behind them."""
    if storage is None or storage.fetch is not None:
        raise CheckpointError("the list of storages at the end of the legacy checkpoint does not match its tensors")
    count = int.from_bytes(data[at : at + 8], "little", signed=True)
    at += 8
    # The count is in elements, whose size the tensors tell.
    fits = at + storage.nbytes <= len(data)
    if not fits or storage.nbytes not in (count, 2 * count, 4 * count, 8 * count):
        raise CheckpointError(f"storage {brief(storage.key)!r} of {storage.nbytes} bytes is truncated or corrupt")
    storage.fetch = Region(data=data, start=at, length=storage.nbytes).itself
    return at + storage.nbytes
