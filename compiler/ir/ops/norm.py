"""Batch normalisation with frozen statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, check_array, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchNorm(Op):
    """``y = (x - mean) / sqrt(var + eps) * gamma + beta`` for each channel; inference time only.

    Attributes:
        gamma, beta, mean, var: (C,) float.
        axis: which axis of ``shape`` is the channel; may be negative.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2.
    """

    mnemonic: ClassVar[str] = "batch_norm"
    gamma: Weights
    beta: Weights
    mean: Weights
    var: Weights
    eps: float = 1e-5
    axis: int = 0

    def gain_and_offset(self) -> tuple[Floats, Floats]:
        """(C,) float64 each, with ``y = x * gain + offset``."""
        gain = self.gamma.astype(np.float64) / np.sqrt(self.var.astype(np.float64) + self.eps)
        return gain, self.beta - self.mean * gain

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not -len(x.shape) <= self.axis < len(x.shape):
            raise GraphError(f"axis {self.axis} is outside an input of shape {x.shape}")
        channels = (x.shape[self.axis],)
        for name in ("gamma", "beta", "mean", "var"):
            check_array(name, getattr(self, name), channels)
        if self.eps < 0 or bool(np.any(self.var.astype(np.float64) + self.eps <= 0)):
            raise GraphError("expected var + eps > 0 in every channel")
        return TensorType(x.shape, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        gain, offset = self.gain_and_offset()
        shape = [1] * (x.ndim - 2)
        shape[self.axis] = -1
        return x * gain.reshape(shape) + offset.reshape(shape)
