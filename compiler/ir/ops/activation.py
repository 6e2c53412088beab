"""Real-valued functions of one element: what artificial networks have and no chip takes as spikes."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, isinf
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

GELU_LOW = -0.1701
"""Just below the smallest values of GELU, -0.16997 at -0.7518, and of its approximation, -0.17004."""

SILU_LOW = -0.27847
"""Just below the smallest value of SiLU, -0.278465 at -1.27846."""

_ERF = np.vectorize(erf, otypes=[np.float64])


@dataclass(frozen=True, slots=True, kw_only=True)
class Relu(Op):
    """``y = max(x, 0)``."""

    mnemonic: ClassVar[str] = "relu"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        return TensorType(x.shape, integer=x.integer, low=max(x.low, 0), high=max(x.high, 0), timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.maximum(x, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip(Op):
    """``y = min(max(x, low), high)``."""

    mnemonic: ClassVar[str] = "clip"
    low: float
    high: float

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not self.low <= self.high:
            raise GraphError(f"expected low <= high, got {self.low} and {self.high}")
        whole = x.integer and all(float(bound).is_integer() or isinf(bound) for bound in (self.low, self.high))
        low, high = (min(max(bound, self.low), self.high) for bound in (x.low, x.high))
        return TensorType(x.shape, integer=whole, low=low, high=high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.clip(x, self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gelu(Op):
    """``y = x * Phi(x)`` with the normal distribution function, or its ``approximate`` form with tanh.

    Source: Hendrycks and Gimpel 2016, arXiv:1606.08415.
    """

    mnemonic: ClassVar[str] = "gelu"
    approximate: bool = False

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        return TensorType(x.shape, low=0 if x.low >= 0 else GELU_LOW, high=max(x.high, 0), timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        if self.approximate:
            inner: Floats = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
        else:
            inner = _ERF(x / np.sqrt(2))
        return 0.5 * x * (1 + inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid(Op):
    """``y = 1 / (1 + exp(-x))``."""

    mnemonic: ClassVar[str] = "sigmoid"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        return TensorType(x.shape, low=0, high=1, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return sigmoid(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Silu(Op):
    """``y = x / (1 + exp(-x))``."""

    mnemonic: ClassVar[str] = "silu"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        return TensorType(x.shape, low=0 if x.low >= 0 else SILU_LOW, high=max(x.high, 0), timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return x * sigmoid(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tanh(Op):
    """``y = tanh(x)``."""

    mnemonic: ClassVar[str] = "tanh"

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        return TensorType(x.shape, low=-1, high=1, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.tanh(x)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    y: Floats = np.where(x >= 0, 1, small) / (1 + small)
    return y
