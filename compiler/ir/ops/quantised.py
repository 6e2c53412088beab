"""Integer arithmetic of the first layer, which sees the analog input."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isfinite
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

EXACT = 2**53
"""Whole numbers up to this size are exact in float64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantiseInput(Op):
    """``y = clip(round(x / scale), low, high)``; ties go to the even number.

    Attributes:
        scale: the size of one step, in units of the input, > 0.
        low, high: smallest and largest integer.
    """

    mnemonic: ClassVar[str] = "quantise_input"
    scale: float
    low: int
    high: int

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not (isfinite(self.scale) and self.scale > 0):
            raise GraphError(f"expected a finite scale > 0, got {self.scale}")
        if self.low > self.high:
            raise GraphError(f"expected low <= high, got {self.low} and {self.high}")
        return TensorType(x.shape, integer=True, low=self.low, high=self.high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.clip(np.rint(x / self.scale), self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requantise(Op):
    """``y = floor((x * multiplier + 2^(shift - 1)) / 2^shift)``: x times multiplier / 2^shift, ties upwards.

    Attributes:
        multiplier: integer >= 1; shift: integer >= 1.
    """

    mnemonic: ClassVar[str] = "requantise"
    multiplier: int
    shift: int

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not x.integer:
            raise GraphError(f"expected whole numbers, got {x}")
        if self.multiplier < 1 or self.shift < 1:
            raise GraphError(f"expected multiplier >= 1 and shift >= 1, got {self.multiplier} and {self.shift}")
        half = 2 ** (self.shift - 1)
        if max(abs(x.low), abs(x.high)) * self.multiplier + half > EXACT:
            raise GraphError(f"{x} times {self.multiplier} can exceed 2^53, where float64 stops being exact")
        low, high = (floor((int(bound) * self.multiplier + half) // 2**self.shift) for bound in (x.low, x.high))
        return TensorType(x.shape, integer=True, low=low, high=high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.floor((x * self.multiplier + 2.0 ** (self.shift - 1)) / 2.0**self.shift)
