"""Products of spikes with weighted sums of spikes: dual spike self-attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, expect_rank, is_integer
from compiler.ir.ops.conv import Conv2d
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

Over = Literal["channels", "positions"]
"""What a weighted product sums over: the channels of a head, or the positions of the convolution."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedProduct(Op):
    """``y_h^T z_h`` (over channels) or ``y_h z_h`` (over positions) of each head, y = a convolution of spikes x.

    Inputs are x (C, H, W) and z (K, N), both spikes. With d = O / heads and M positions of y, y_h is (d, M). Over
    channels, z_h is (d, N) and the result (heads M, N); over positions, z_h is (M, N) and the result (heads d, N).
    Source: Shi et al. 2024, "SpikingResformer", arXiv:2403.14302, equations 6 to 8 (DSSA).

    Attributes:
        weight: (O, C, kh, kw), bias: (O,) or None; float on import, int8 and int32 after ``quantise``.
        stride, padding: (rows, columns). heads: divides O. over: what is summed over.
    """

    mnemonic: ClassVar[str] = "weighted_product"
    weight: Weights
    bias: Weights | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    heads: int = 1
    over: Over = "channels"

    @property
    def conv(self) -> Conv2d:
        """The linear map of x."""
        return Conv2d(weight=self.weight, bias=self.bias, stride=self.stride, padding=self.padding)

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != 2:
            raise GraphError(f"expected 2 inputs (x, z), got {len(types)}")
        x, z = types
        outputs, rows, columns = self.conv.infer(x).shape
        channels, tokens = expect_rank(z, "K, N")
        if self.over not in ("channels", "positions") or self.heads < 1 or outputs % self.heads:
            raise GraphError(
                f"expected heads to divide {outputs} channels, got {self.heads}, summed over {self.over!r}"
            )
        if not (x.is_counts and z.is_counts) or x.timed != z.timed:
            raise GraphError(f"expected spikes or counts, both timed or not, got {x} and {z}")
        positions, depth = self.heads * rows * columns, outputs
        read, made = (depth, positions) if self.over == "channels" else (positions, depth)
        if channels != read:
            raise GraphError(f"expected z of shape ({read}, N), got {z.shape}")
        shape = (made, tokens)
        if not (is_integer(self.weight) and is_integer(self.bias)):
            return TensorType(shape, timed=x.timed)
        low, high = self.bounds(x.high, rows * columns)
        return TensorType(shape, integer=True, low=low * z.high, high=high * z.high, timed=x.timed)

    def bounds(self, x_high: float, positions: int) -> tuple[float, float]:
        """Smallest and largest sum with binary z, from the signs of the weights."""
        weight = self.weight.astype(np.float64).reshape(len(self.weight), -1)
        bias = np.zeros(len(weight)) if self.bias is None else self.bias.astype(np.float64)
        least = np.minimum(weight, 0).sum(1) * x_high + bias
        most = np.maximum(weight, 0).sum(1) * x_high + bias
        below, above = np.minimum(least, 0).reshape(self.heads, -1), np.maximum(most, 0).reshape(self.heads, -1)
        if self.over == "channels":
            return float(below.sum(1).min()), float(above.sum(1).max())
        return float(below.min() * positions), float(above.max() * positions)

    def reference(self, *xs: Floats) -> Floats:
        x, z = xs
        y = self.conv.reference(x)
        y = y.reshape(*y.shape[:2], self.heads, len(self.weight) // self.heads, -1)
        y = y.swapaxes(-1, -2) if self.over == "channels" else y
        product: Floats = y @ z.reshape(*z.shape[:2], self.heads, -1, z.shape[-1])
        return product.reshape(*product.shape[:2], -1, z.shape[-1])

    def dense_macs(self, *types: TensorType) -> int:
        positions = int(np.prod(self.conv.infer(types[0]).shape[1:]))
        return self.conv.dense_macs(types[0]) + len(self.weight) * positions * types[1].shape[1]
