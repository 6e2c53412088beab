"""Pooling over windows of (C, H, W)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, expect_rank, sole
from compiler.ir.ops.window import Pair, pad, taps, window_grid
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Op):
    """Base of the pools. ``kernel``, ``stride`` and ``padding`` are (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)

    @property
    def window(self) -> int:
        """Elements of one window, padding included."""
        return self.kernel[0] * self.kernel[1]

    def pooled(self, x: TensorType) -> tuple[int, int, int]:
        """(C, rows, columns) of the result."""
        channels, height, width = expect_rank(x, "C, H, W")
        return (channels, *window_grid(height, width, self.kernel, self.stride, self.padding))

    def window_sum(self, x: Floats) -> Floats:
        """Sum over each window; padding adds 0."""
        grid = self._grid(x)
        total = np.zeros((*x.shape[:-2], *grid))
        for _, _, elements in taps(pad(x, self.padding, 0.0), grid, self.kernel, self.stride):
            total += elements
        return total

    def sum_interval(self, x: TensorType) -> tuple[float, float]:
        """Bounds of a window's sum."""
        if self.padding == (0, 0):
            return self.window * x.low, self.window * x.high
        return self.window * min(x.low, 0), self.window * max(x.high, 0)

    def _grid(self, x: Floats) -> Pair:
        return window_grid(x.shape[-2], x.shape[-1], self.kernel, self.stride, self.padding)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool(Pool):
    """The largest element of each window; padding never wins. On spikes, a logical OR."""

    mnemonic: ClassVar[str] = "max_pool"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        shape = self.pooled(x)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel, strict=True)):
            raise GraphError(f"expected padding of at most half the kernel {self.kernel}, got {self.padding}")
        return replace(x, shape=shape)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        grid = self._grid(x)
        largest = np.full((*x.shape[:-2], *grid), -inf)
        for _, _, elements in taps(pad(x, self.padding, -inf), grid, self.kernel, self.stride):
            np.maximum(largest, elements, out=largest)
        return largest


@dataclass(frozen=True, slots=True, kw_only=True)
class SumPool(Pool):
    """The sum of each window."""

    mnemonic: ClassVar[str] = "sum_pool"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        low, high = self.sum_interval(x)
        return replace(x, shape=self.pooled(x), low=low, high=high)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return self.window_sum(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class AvgPool(Pool):
    """The sum of each window divided by the size of the kernel: padding counts as zeros."""

    mnemonic: ClassVar[str] = "avg_pool"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        low, high = self.sum_interval(x)
        return TensorType(self.pooled(x), low=low / self.window, high=high / self.window, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return self.window_sum(x) / self.window
