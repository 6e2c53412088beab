"""Normalisation by what the values are at run time: no weight can take it over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, check_array, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerNorm(Op):
    """``y = (x - mean) / sqrt(var + eps) * gamma + beta`` with mean and variance over the last axes of ``shape``.

    Attributes:
        gamma, beta: of the shape of the axes that are normalised.
    Source: Ba et al. 2016, arXiv:1607.06450.
    """

    mnemonic: ClassVar[str] = "layer_norm"
    gamma: Weights
    beta: Weights
    eps: float = 1e-5

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        check_array("beta", self.beta, self.gamma.shape)
        axes = self.gamma.ndim
        if axes < 1 or x.shape[-axes:] != self.gamma.shape:
            raise GraphError(f"expected an input whose last axes are {self.gamma.shape}, got {x.shape}")
        if self.eps <= 0:
            raise GraphError(f"expected eps > 0, got {self.eps}")
        return TensorType(x.shape, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        axes = tuple(range(-self.gamma.ndim, 0))
        centred = x - x.mean(axis=axes, keepdims=True)
        var = (centred**2).mean(axis=axes, keepdims=True)
        y: Floats = centred / np.sqrt(var + self.eps) * self.gamma.astype(np.float64) + self.beta
        return y


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Op):
    """``y = exp(x) / sum(exp(x))`` over one ``axis`` of ``shape``; may be negative."""

    mnemonic: ClassVar[str] = "softmax"
    axis: int = -1

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not -len(x.shape) <= self.axis < len(x.shape):
            raise GraphError(f"axis {self.axis} is outside an input of shape {x.shape}")
        return TensorType(x.shape, low=0, high=1, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        axis = self.axis if self.axis < 0 else self.axis + 2
        raised = np.exp(x - x.max(axis=axis, keepdims=True))
        total: Floats = raised / raised.sum(axis=axis, keepdims=True)
        return total
