"""Element by element: sums and constant factors."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import ClassVar

from compiler.ir.ops.base import Floats, Op, added, sole, sum_arrays
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Op):
    """The sum of two or more values of one shape. On spikes, a count (the SEW residual)."""

    mnemonic: ClassVar[str] = "add"

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) < 2:
            raise GraphError(f"expected at least 2 inputs, got {len(types)}")
        return added(types)

    def reference(self, *xs: Floats) -> Floats:
        return sum_arrays(xs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Op):
    """``y = factor * x``; whole numbers stay whole only if the factor is one."""

    mnemonic: ClassVar[str] = "scale"
    factor: float

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not isfinite(self.factor) or self.factor == 0:
            raise GraphError(f"expected a finite factor other than 0, got {self.factor}")
        low, high = sorted((x.low * self.factor, x.high * self.factor))
        whole = x.integer and float(self.factor).is_integer()
        return TensorType(x.shape, integer=whole, low=low, high=high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return x * self.factor
