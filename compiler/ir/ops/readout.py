"""Non-firing integrators that hold the result."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, added, check_array, sum_arrays
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readout(Op):
    """``y[o] = (scale * sum over steps and positions of (weight x)[o]) / divisor + bias[o]``, untimed.

    The mean over time, the mean over positions and the linear head in one, with the divisors kept apart. Several
    inputs are added first.

    Attributes:
        weight: (O, I); float32 on import, int8 after ``quantise``; I counts the elements of the axes that are
            not ``positions``, in row-major order.
        bias: (O,) float or None, in units of the result.
        divisor: e.g. T * N, exact.
        scale: value of one unit of ``weight``; 1 before ``quantise``.
        positions: axes of ``shape`` that are summed over, e.g. (0,) of (N, D) or (1, 2) of (C, H, W).
    """

    mnemonic: ClassVar[str] = "readout"
    per_step: ClassVar[bool] = True
    weight: Weights
    bias: Weights | None = None
    divisor: int = 1
    scale: float = 1.0
    positions: tuple[int, ...] = ()

    def infer(self, *types: TensorType) -> TensorType:
        x = added(types)
        if not x.timed:
            raise GraphError("expected a value with time steps, got one after a mean over time")
        if self.weight.ndim != 2:
            raise GraphError(f"expected weight of shape (O, I), got {self.weight.shape}")
        if len(set(self.positions)) != len(self.positions):
            raise GraphError(f"expected distinct positions, got {self.positions}")
        if not all(0 <= axis < len(x.shape) for axis in self.positions):
            raise GraphError(f"expected positions to be axes of an input of shape {x.shape}, got {self.positions}")
        features = prod(size for axis, size in enumerate(x.shape) if axis not in self.positions)
        outputs, inputs = self.weight.shape
        check_array("bias", self.bias, (outputs,))
        if features != inputs:
            raise GraphError(
                f"expected {inputs} features beside positions {self.positions}, got {features} in {x.shape}"
            )
        if self.divisor < 1:
            raise GraphError(f"expected a divisor >= 1, got {self.divisor}")
        return TensorType((outputs,), timed=False)

    def reference(self, *xs: Floats) -> Floats:
        x = sum_arrays(xs)
        counts = x.sum(axis=(0, *(axis + 2 for axis in self.positions)))
        total = counts.reshape(len(counts), -1) @ self.weight.astype(np.float64).T
        y = (total * self.scale) / self.divisor
        if self.bias is not None:
            y = y + self.bias
        result: Floats = y[None]
        return result

    def dense_macs(self, *types: TensorType) -> int:
        """Of the linear head alone, once an image, as in the model that was trained."""
        return int(self.weight.size)
