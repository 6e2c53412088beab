"""Sliding windows over (C, H, W), shared by convolution and pooling."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compiler.ir.ops.base import Floats
from neurochip.errors import GraphError

Pair = tuple[int, int]


def window_grid(height: int, width: int, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Rows and columns of window positions; raises GraphError if the window is illegal or does not fit."""
    if min(kernel) < 1 or min(stride) < 1 or min(padding) < 0:
        raise GraphError(f"illegal window: kernel {kernel}, stride {stride}, padding {padding}")
    rows = (height + 2 * padding[0] - kernel[0]) // stride[0] + 1
    columns = (width + 2 * padding[1] - kernel[1]) // stride[1] + 1
    if rows < 1 or columns < 1:
        raise GraphError(f"kernel {kernel} with padding {padding} does not fit an input of {height} x {width}")
    return rows, columns


def pad(x: Floats, padding: Pair, value: float) -> Floats:
    """``x`` with its last two axes enlarged on both sides."""
    if padding == (0, 0):
        return x
    width = [(0, 0)] * (x.ndim - 2) + [(padding[0], padding[0]), (padding[1], padding[1])]
    return np.pad(x, width, constant_values=value)


def taps(x: Floats, grid: Pair, kernel: Pair, stride: Pair) -> Iterator[tuple[int, int, Floats]]:
    """For each (i, j) of the kernel the elements it meets in a padded ``x``: a view (..., rows, columns)."""
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i, i + stride[0] * (grid[0] - 1) + 1, stride[0])
            columns = slice(j, j + stride[1] * (grid[1] - 1) + 1, stride[1])
            yield i, j, x[..., rows, columns]
