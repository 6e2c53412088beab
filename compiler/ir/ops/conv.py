"""Convolutional synapses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import (
    Floats,
    Op,
    Weights,
    added,
    check_array,
    expect_rank,
    is_integer,
    sum_arrays,
    weighted_interval,
)
from compiler.ir.ops.window import Pair, pad, taps, window_grid
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

COLUMN_BYTES = 64 * 2**20
"""Most memory that one unfolded block of images may take."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv2d(Op):
    """Cross-correlation with zero padding on (C, H, W); several inputs are added first.

    ``y[o, r, c] = sum_{i, a, b} weight[o, i, a, b] * x[g(o) + i, r * stride + a - padding, ...] + bias[o]``
    where g(o) is the first input channel of the group of output channel o.

    Attributes:
        weight: (O, I/groups, kh, kw); float32 on import, int8 after ``quantise``.
        bias: (O,) or None; float32 on import, int32 after ``quantise``.
        stride, padding: (rows, columns).
    """

    mnemonic: ClassVar[str] = "conv2d"
    weight: Weights
    bias: Weights | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def kernel(self) -> Pair:
        """(kh, kw)."""
        return self.weight.shape[2], self.weight.shape[3]

    def infer(self, *types: TensorType) -> TensorType:
        x = added(types)
        if self.weight.ndim != 4:
            raise GraphError(f"expected weight of shape (O, I/groups, kh, kw), got {self.weight.shape}")
        outputs, per_group = self.weight.shape[:2]
        check_array("bias", self.bias, (outputs,))
        if self.groups < 1 or outputs % self.groups:
            raise GraphError(f"expected groups to divide {outputs} output channels, got {self.groups}")
        channels, height, width = expect_rank(x, "C, H, W")
        if channels != per_group * self.groups:
            raise GraphError(f"expected an input of shape ({per_group * self.groups}, H, W), got {x.shape}")
        shape = (outputs, *window_grid(height, width, self.kernel, self.stride, self.padding))
        if not (x.integer and is_integer(self.weight) and is_integer(self.bias)):
            return TensorType(shape, timed=x.timed)
        # Padded zeros, and windows that see fewer elements than the kernel has.
        low, high = (x.low, x.high) if self.padding == (0, 0) else (min(x.low, 0), max(x.high, 0))
        low, high = weighted_interval(self.weight.reshape(outputs, -1), self.bias, low, high)
        return TensorType(shape, integer=True, low=low, high=high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        x = sum_arrays(xs)
        steps, batch, channels, height, width = x.shape
        grid = window_grid(height, width, self.kernel, self.stride, self.padding)
        images = x.reshape(steps * batch, channels, height, width)
        y = np.empty((steps * batch, len(self.weight), *grid))
        unfolded = 8 * channels * self.kernel[0] * self.kernel[1] * grid[0] * grid[1]
        block = max(1, COLUMN_BYTES // unfolded)
        for start in range(0, len(images), block):
            part = slice(start, start + block)
            y[part] = self._convolve(pad(images[part], self.padding, 0.0), grid)
        if self.bias is not None:
            y += self.bias[:, None, None]
        return y.reshape(steps, batch, *y.shape[1:])

    def _convolve(self, padded: Floats, grid: Pair) -> Floats:
        """(n, C, H + 2p, W + 2p) -> (n, O, rows, columns), without bias."""
        weight = self.weight.astype(np.float64)
        outputs, per_group, kh, kw = weight.shape
        n, channels = padded.shape[:2]
        if per_group == 1 and outputs == channels:
            y = np.zeros((n, outputs, *grid))
            for i, j, x in taps(padded, grid, (kh, kw), self.stride):
                y += x * weight[:, 0, i, j, None, None]
            return y
        columns = np.empty((n, channels, kh, kw, *grid))
        for i, j, x in taps(padded, grid, (kh, kw), self.stride):
            columns[:, :, i, j] = x
        positions = grid[0] * grid[1]
        rows = weight.reshape(self.groups, outputs // self.groups, per_group * kh * kw)
        y = rows @ columns.reshape(n, self.groups, per_group * kh * kw, positions)
        return y.reshape(n, outputs, *grid)

    def dense_macs(self, *types: TensorType) -> int:
        _, rows, columns = self.infer(*types).shape
        return rows * columns * self.weight.size
