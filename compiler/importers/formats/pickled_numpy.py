"""NumPy scalars, types and arrays in pickles, as ``numpy/_core/multiarray`` writes them; real numbers and text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.importers.formats.pickled_plain import Arguments, Maker, charge_copy
from compiler.importers.formats.storage import MAX_DIMENSIONS, Budget, brief
from neurochip.errors import CheckpointError

_MAX_SIZE: Final = 1 << 62  # of an axis of an array without elements


class NumpyDtype:
    """``numpy.dtype`` under construction: the pickle gives its byte order after it is made."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    def build(self, state: tuple[Any, ...]) -> None:
        """Take the state ``(version, byte order, ...)``."""
        if state[1] not in ("<", ">", "|"):
            raise ValueError
        self.order = state[1]


class NumpyArray:
    """``numpy.ndarray`` under construction: the pickle gives its data after it is made."""

    __slots__ = ("array",)

    def __init__(self, array: NDArray[Any] | None = None) -> None:
        self.array = array

    def build(self, state: tuple[Any, ...]) -> None:
        """Take the state ``(version, shape, type, is Fortran order, bytes)``."""
        _, shape, dtype, fortran, raw = state
        self.array = _array(raw, dtype, shape, "F" if fortran else "C")


def _array(raw: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    if type(dtype) is not NumpyDtype or type(raw) is not bytes or type(shape) is not tuple:
        raise CheckpointError("a NumPy array that is not made of plain numbers; save it with numpy.savez instead")
    if len(shape) > MAX_DIMENSIONS or not all(type(n) is int and 0 <= n <= (len(raw) or _MAX_SIZE) for n in shape):
        raise CheckpointError(f"a NumPy array of shape {brief(shape)} over {len(raw)} bytes")
    kind = np.dtype(dtype.order + dtype.code)
    flat: NDArray[Any] = np.frombuffer(raw, kind) if raw else np.empty(0, kind)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _dtype(_: Budget, args: Arguments) -> NumpyDtype:
    code = args[0]
    if type(code) is not str or not re.fullmatch(r"b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,5}", code):
        raise CheckpointError(f"NumPy type {brief(code)!r}; real numbers, bool and text are read")
    return NumpyDtype(code)


def _scalar(budget: Budget, args: Arguments) -> object:
    dtype, raw = args
    charge_copy(budget, raw)
    return _array(raw, dtype, (1,), "C")[0].item()


def _empty_array(_: Budget, _args: Arguments) -> NumpyArray:
    return NumpyArray()


def _from_buffer(_: Budget, args: Arguments) -> NumpyArray:
    return NumpyArray(_array(*args))


NUMPY: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "numpy.dtype": _dtype,
        "numpy._core.multiarray.scalar": _scalar,
        "numpy._core.multiarray._reconstruct": _empty_array,
        "numpy._core.numeric._frombuffer": _from_buffer,
    }
)
