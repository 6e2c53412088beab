"""Fully connected synapses."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import (
    Floats,
    Op,
    Weights,
    added,
    check_array,
    is_integer,
    sum_arrays,
    weighted_interval,
)
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear(Op):
    """``y[..., o] = sum_i weight[o, i] * x[..., i] + bias[o]`` on the last axis; several inputs are added.

    Attributes:
        weight: (O, I); float32 on import, int8 after ``quantise``.
        bias: (O,) or None; float32 on import, int32 after ``quantise``.
    """

    mnemonic: ClassVar[str] = "linear"
    weight: Weights
    bias: Weights | None = None

    def infer(self, *types: TensorType) -> TensorType:
        x = added(types)
        if self.weight.ndim != 2:
            raise GraphError(f"expected weight of shape (O, I), got {self.weight.shape}")
        outputs, inputs = self.weight.shape
        check_array("bias", self.bias, (outputs,))
        if not x.shape or x.shape[-1] != inputs:
            raise GraphError(f"expected an input of shape (..., {inputs}), got {x.shape}")
        shape = (*x.shape[:-1], outputs)
        if not (x.integer and is_integer(self.weight) and is_integer(self.bias)):
            return TensorType(shape, timed=x.timed)
        low, high = weighted_interval(self.weight, self.bias, x.low, x.high)
        return TensorType(shape, integer=True, low=low, high=high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        x = sum_arrays(xs)
        y = x.reshape(-1, x.shape[-1]) @ self.weight.astype(np.float64).T
        if self.bias is not None:
            y += self.bias
        return y.reshape(*x.shape[:-1], len(self.weight))

    def dense_macs(self, *types: TensorType) -> int:
        return prod(types[0].shape[:-1]) * self.weight.size
