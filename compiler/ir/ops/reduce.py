"""Means over positions and over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean(Op):
    """The mean over ``axes`` of ``shape`` (each >= 0), which disappear."""

    mnemonic: ClassVar[str] = "mean"
    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        inside = all(0 <= axis < len(x.shape) for axis in self.axes)
        if not self.axes or not inside or len(set(self.axes)) != len(self.axes):
            raise GraphError(f"expected distinct axes of an input of shape {x.shape}, got {self.axes}")
        shape = tuple(size for axis, size in enumerate(x.shape) if axis not in self.axes)
        return replace(x, shape=shape, integer=False)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        mean: Floats = x.mean(axis=tuple(axis + 2 for axis in self.axes))
        return mean


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeMean(Op):
    """The mean over all steps; the result is untimed."""

    mnemonic: ClassVar[str] = "time_mean"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not x.timed:
            raise GraphError("expected a value with time steps, got one after a mean over time")
        return replace(x, integer=False, timed=False)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        mean: Floats = x.mean(axis=0, keepdims=True)
        return mean
