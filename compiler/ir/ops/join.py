"""Putting values side by side, and taking parts of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, is_integer, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concat(Op):
    """Values one behind the other along ``axis`` of ``shape``, constants ``before`` and ``after`` them.

    Attributes:
        before, after: arrays with as many axes as ``shape``; None = nothing.
    """

    mnemonic: ClassVar[str] = "concat"
    axis: int = 0
    before: Weights | None = None
    after: Weights | None = None

    def infer(self, *types: TensorType) -> TensorType:
        if not types:
            raise GraphError("expected at least 1 input, got 0")
        first = types[0]
        if not 0 <= self.axis < len(first.shape):
            raise GraphError(f"axis {self.axis} is outside an input of shape {first.shape}")
        constants = [array for array in (self.before, self.after) if array is not None]
        shapes = [x.shape for x in types] + [array.shape for array in constants]
        if len({_beside(shape, self.axis) for shape in shapes}) > 1:
            raise GraphError(f"expected equal sizes beside axis {self.axis}, got {', '.join(map(str, shapes))}")
        if len({x.timed for x in types}) > 1:
            raise GraphError("cannot join a value that has time steps and one that has none")
        lows = [x.low for x in types] + [float(array.min()) for array in constants]
        highs = [x.high for x in types] + [float(array.max()) for array in constants]
        length = sum(shape[self.axis] for shape in shapes)
        return TensorType(
            (*first.shape[: self.axis], length, *first.shape[self.axis + 1 :]),
            integer=all(x.integer for x in types) and all(map(is_integer, constants)),
            low=min(lows),
            high=max(highs),
            timed=first.timed,
        )

    def reference(self, *xs: Floats) -> Floats:
        steps = max(len(x) for x in xs)
        parts = [self._repeated(self.before, xs[0], steps), *xs, self._repeated(self.after, xs[0], steps)]
        whole = [np.broadcast_to(part, (steps, *part.shape[1:])) for part in parts if part is not None]
        return np.concatenate(whole, axis=self.axis + 2)

    @staticmethod
    def _repeated(array: Weights | None, x: Floats, steps: int) -> Floats | None:
        if array is None:
            return None
        return np.broadcast_to(array.astype(np.float64), (steps, x.shape[1], *array.shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Op):
    """More elements of one ``value`` around each axis of ``shape``.

    Attributes:
        before, after: how many for each axis.
    """

    mnemonic: ClassVar[str] = "pad"
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float = 0.0

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not len(self.before) == len(self.after) == len(x.shape) or min(*self.before, *self.after, 0) < 0:
            raise GraphError(f"expected two numbers >= 0 for each axis of {x.shape}, got {self.before}, {self.after}")
        shape = tuple(a + n + b for a, n, b in zip(self.before, x.shape, self.after, strict=True))
        if shape == x.shape:
            return x
        whole = x.integer and float(self.value).is_integer()
        return TensorType(shape, integer=whole, low=min(x.low, self.value), high=max(x.high, self.value), timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        widths = [(0, 0), (0, 0), *zip(self.before, self.after, strict=True)]
        return np.pad(x, widths, constant_values=self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast(Op):
    """Axes of size 1 repeated until the value has ``shape``."""

    mnemonic: ClassVar[str] = "broadcast"
    shape: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if len(self.shape) != len(x.shape) or any(
            n not in (1, m) or m < 1 for n, m in zip(x.shape, self.shape, strict=True)
        ):
            raise GraphError(f"cannot repeat axes of size 1 of {x.shape} to get {self.shape}")
        return x.with_shape(*self.shape)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.array(np.broadcast_to(x, (*x.shape[:2], *self.shape)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Op):
    """Elements start, start + step, ... before ``stop`` along ``axis`` of ``shape``."""

    mnemonic: ClassVar[str] = "slice"
    axis: int
    start: int
    stop: int
    step: int = 1

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not 0 <= self.axis < len(x.shape):
            raise GraphError(f"axis {self.axis} is outside an input of shape {x.shape}")
        size = x.shape[self.axis]
        if not (0 <= self.start < self.stop <= size and self.step >= 1):
            raise GraphError(
                f"expected 0 <= start < stop <= {size} and step >= 1, got {self.start}, {self.stop} and {self.step}"
            )
        length = len(range(self.start, self.stop, self.step))
        return x.with_shape(*x.shape[: self.axis], length, *x.shape[self.axis + 1 :])

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        index = [slice(None)] * x.ndim
        index[self.axis + 2] = slice(self.start, self.stop, self.step)
        part: Floats = x[tuple(index)]
        return part


def _beside(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])
