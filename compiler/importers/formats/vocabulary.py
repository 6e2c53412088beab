"""What the names in a PyTorch pickle mean here; every name that is not listed is refused."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from compiler.importers.formats.pickled_numpy import NUMPY, NumpyArray, NumpyDtype
from compiler.importers.formats.pickled_plain import PLAIN, Arguments, Maker, Record, charge_copy
from compiler.importers.formats.pickled_tensors import STORAGES, TENSORS, TypedStorage, name_of
from compiler.importers.formats.storage import DTYPES, Budget, Storage, brief, itemsize
from compiler.importers.formats.unpickle import Global, Machine
from neurochip.errors import CheckpointError

FindStorage: TypeAlias = Callable[[str, int], Storage]

RESAVE: Final = (
    "nothing was executed; where the file comes from, run torch.save(model.state_dict(), 'new.pt'), "
    "or torch.save({'model': model.state_dict(), 'args': vars(args)}, 'new.pt') to keep plain arguments"
)


class TorchVocabulary:
    """The names that pickles of checkpoints use; implements ``unpickle.Vocabulary``.

    ``find_storage(key, nbytes)`` gives the storage of a persistent id; the same key must give the same object.
    """

    def __init__(self, find_storage: FindStorage, budget: Budget) -> None:
        self._find_storage = find_storage
        self._budget = budget

    def find(self, module: str, name: str) -> object:
        """A name of the vocabulary, as an inert Global; raises CheckpointError for any other."""
        known = Global(_RENAMED.get(module, module), name)
        if "." not in name and f"{known.module}.{name}" in _KNOWN:
            return known
        raise CheckpointError(
            f"the pickle refers to {brief(f'{module}.{name}')!r}; only tensors, plain containers and "
            f"argparse.Namespace are read; {RESAVE}"
        )

    def call(self, function: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        """What a known constructor makes of ``args``; raises CheckpointError for any other call."""
        maker = _MAKERS.get(function.path) if type(function) is Global else None
        if maker is None or kwargs:
            raise CheckpointError(f"the pickle calls {name_of(function)}, which is not a constructor; {RESAVE}")
        try:
            return maker(self._budget, args)
        except (TypeError, ValueError, IndexError) as error:
            raise CheckpointError(f"{name_of(function)} is called with unknown arguments; {RESAVE}") from error

    def build(self, instance: object, state: object) -> None:
        """Set the state of an object that the pickle made; raises CheckpointError if it may have none."""
        if type(instance) is dict and type(state) is dict:
            return  # attributes of an OrderedDict: the _metadata of a state dict
        if type(instance) is Record:
            for part in state if type(state) is tuple else (state,):
                if part is not None:
                    self._set_attributes(instance, part)
        elif isinstance(instance, NumpyDtype | NumpyArray) and type(state) is tuple:
            instance.build(state)
        else:
            raise CheckpointError(f"the pickle gives a state to {brief(instance)}, which takes none; {RESAVE}")

    def _set_attributes(self, record: Record, attributes: object) -> None:
        if type(attributes) is not dict or any(type(key) is not str for key in attributes):
            raise CheckpointError(f"attributes that are {brief(attributes)}, expected a dict with text keys")
        charge_copy(self._budget, attributes)
        record.values.update(attributes)

    def persistent(self, pid: object) -> object:
        """``('storage', type, key, location, number of elements[, view])``."""
        if type(pid) is tuple and pid[:1] == ("module",):
            raise CheckpointError(f"this is a whole pickled model (nn.Module), not a state dict; {RESAVE}")
        if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage" or pid[5:] not in ((), (None,)):
            raise CheckpointError(f"a persistent id that is {brief(pid)}, expected the description of a storage")
        _, kind, key, _, count = pid[:5]
        if type(kind) is not Global or kind.path not in STORAGES:
            raise CheckpointError(f"a storage of type {name_of(kind)}; complex and quantised tensors are not read")
        if type(key) is not str or type(count) is not int or not 0 <= count < 1 << 60:
            raise CheckpointError(f"storage {brief(key)!r} of {brief(count)} elements, expected a name and a size")
        dtype = STORAGES[kind.path]
        return TypedStorage(self._find_storage(key, count * itemsize(dtype)), dtype)


_FAR_ENOUGH: Final = 1 << 16  # bytes behind the name of a module's class, where its attributes are


def load_pickle(data: bytes | mmap.mmap, vocabulary: TorchVocabulary, position: int = 0) -> tuple[object, int]:
    """The pickled value at ``position`` and the position behind it; says so if the pickle is a whole model."""
    machine = Machine(data, vocabulary, position=position)
    try:
        return machine.run(), machine.position
    except CheckpointError as error:
        end = machine.position + _FAR_ENOUGH
        if all(data.find(name, position, end) >= 0 for name in (b"_modules", b"_parameters", b"_buffers")):
            raise CheckpointError(f"this is a whole pickled model (nn.Module), not a state dict: {error}") from error
        raise


def _reconstructor(budget: Budget, args: Arguments) -> object:
    """``copyreg._reconstructor(cls, base, state)``: how protocols 0 and 1 make instances."""
    cls, _base, state = args
    maker = PLAIN.get(cls.path) if type(cls) is Global else None
    if maker is None:
        raise TypeError
    return maker(budget, () if state is None else (state,))


_RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "__builtin__": "builtins",
        "copy_reg": "copyreg",
        "numpy.core.multiarray": "numpy._core.multiarray",
        "numpy.core.numeric": "numpy._core.numeric",
        "pathlib._local": "pathlib",
    }
)
_MAKERS: Final[Mapping[str, Maker]] = MappingProxyType(
    {**PLAIN, **NUMPY, **TENSORS, "copyreg._reconstructor": _reconstructor}
)
# Names that are only arguments of the constructors, values, or storages refused with a message of their own.
_NAMES: Final = (
    "torch.Tensor",
    "numpy.ndarray",
    *(f"builtins.{name}" for name in ("object", "int", "float", "bool", "str")),
    *(f"torch.{dtype}" for dtype in (*DTYPES, "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")),
    *(f"torch.{name}Storage" for name in ("ComplexFloat", "ComplexDouble", "QInt8", "QUInt8", "QInt32")),
)
_KNOWN: Final = frozenset((*_MAKERS, *STORAGES, *_NAMES))
