"""Tensors in pickles, as ``torch/_utils.py`` and ``torch/_tensor.py`` write them: views of storages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from compiler.importers.formats.pickled_plain import Arguments, Maker
from compiler.importers.formats.storage import DTYPES, Budget, Storage, TensorRef, brief
from compiler.importers.formats.unpickle import Global
from neurochip.errors import CheckpointError

STORAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "torch.DoubleStorage": "float64",
        "torch.FloatStorage": "float32",
        "torch.HalfStorage": "float16",
        "torch.BFloat16Storage": "bfloat16",
        "torch.LongStorage": "int64",
        "torch.IntStorage": "int32",
        "torch.ShortStorage": "int16",
        "torch.CharStorage": "int8",
        "torch.ByteStorage": "uint8",
        "torch.BoolStorage": "bool",
        "torch.UntypedStorage": "uint8",
        "torch.storage.UntypedStorage": "uint8",
    }
)


class TypedStorage:
    """A storage with the element type that the pickle states for it."""

    __slots__ = ("dtype", "storage")

    def __init__(self, storage: Storage, dtype: str) -> None:
        self.storage, self.dtype = storage, dtype


def name_of(value: object) -> str:
    """How errors call a value that the pickle uses as a function or type."""
    return repr(brief(value.path)) if type(value) is Global else brief(value)


def _sizes(value: object) -> tuple[int, ...]:
    if type(value) is not tuple or not all(type(n) is int and abs(n) < 1 << 62 for n in value):
        raise CheckpointError(f"tensor sizes or strides that are {brief(value)}, expected a tuple of integers")
    return value


def _tensor(storage: object, offset: object, shape: object, stride: object, dtype: str | None = None) -> TensorRef:
    if type(storage) is not TypedStorage:
        raise CheckpointError(f"a tensor over {brief(storage)}, expected a storage")
    (start,) = _sizes((offset,))
    return TensorRef(
        storage=storage.storage,
        dtype=dtype or storage.dtype,
        offset=start,
        shape=_sizes(shape),
        stride=_sizes(stride),
    )


def _refuse_metadata(metadata: Iterable[object]) -> None:
    if any(metadata):
        raise CheckpointError("a lazily negated or conjugated tensor; save tensor.resolve_neg() instead")


def _rebuild_tensor(_: Budget, args: Arguments) -> TensorRef:
    storage, offset, shape, stride, *rest = args
    _refuse_metadata(rest[2:])  # after requires_grad and hooks
    return _tensor(storage, offset, shape, stride)


def _rebuild_tensor_v3(_: Budget, args: Arguments) -> TensorRef:
    storage, offset, shape, stride, _grad, _hooks, dtype, *metadata = args
    name = dtype.name if type(dtype) is Global and dtype.module == "torch" else ""
    if name not in DTYPES:
        raise CheckpointError(f"a tensor of type {name_of(dtype)}; {', '.join(DTYPES)} are read")
    _refuse_metadata(metadata)
    return _tensor(storage, offset, shape, stride, name)


def _rebuild_parameter(_: Budget, args: Arguments) -> TensorRef:
    if type(args[0]) is not TensorRef:
        raise CheckpointError(f"a parameter that is {brief(args[0])}, expected a tensor")
    return args[0]


def _rebuild_from_type(budget: Budget, args: Arguments) -> TensorRef:
    """A tensor with Python attributes, which are dropped."""
    function, kind, inner, _attributes = args
    maker = _MAKERS_OF_TENSORS.get(function.path) if type(function) is Global else None
    if maker is None or type(kind) is not Global or kind.path not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
        raise CheckpointError(f"a tensor subclass {name_of(kind)} made by {name_of(function)}; save a plain tensor")
    return maker(budget, tuple(inner))


def _size(_: Budget, args: Arguments) -> tuple[int, ...]:
    return _sizes(*args)


def _device(_: Budget, args: Arguments) -> str:
    return ":".join(brief(part) for part in args[:2])


_MAKERS_OF_TENSORS: Final = MappingProxyType(
    {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
        "torch.nn.parameter.Parameter": _rebuild_parameter,
    }
)
TENSORS: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        **_MAKERS_OF_TENSORS,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "torch.Size": _size,
        "torch.device": _device,
    }
)
