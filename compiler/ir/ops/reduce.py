"""Sums and means over positions and over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum(Op):
    """The sum over ``axes`` of ``shape`` (each >= 0), which disappear, or stay with size 1 under ``keep``.

    Source: Yao et al. 2023, "Spike-driven Transformer", arXiv:2307.01694, equation 11 (sum over each column).
    """

    mnemonic: ClassVar[str] = "sum"
    axes: tuple[int, ...]
    keep: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        _check_axes(self.axes, x)
        count = prod(x.shape[axis] for axis in self.axes)
        shape = [1 if axis in self.axes else size for axis, size in enumerate(x.shape)]
        if not self.keep:
            shape = [size for axis, size in enumerate(shape) if axis not in self.axes]
        return replace(x, shape=tuple(shape), low=count * x.low, high=count * x.high)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        total: Floats = x.sum(axis=tuple(axis + 2 for axis in self.axes), keepdims=self.keep)
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean(Op):
    """The mean over ``axes`` of ``shape`` (each >= 0), which disappear."""

    mnemonic: ClassVar[str] = "mean"
    axes: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        _check_axes(self.axes, x)
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


def _check_axes(axes: tuple[int, ...], x: TensorType) -> None:
    inside = all(0 <= axis < len(x.shape) for axis in axes)
    if not axes or not inside or len(set(axes)) != len(axes):
        raise GraphError(f"expected distinct axes of an input of shape {x.shape}, got {axes}")
