"""Products of two run-time values."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, expect_rank
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class MatMul(Op):
    """``a @ b`` over the last two axes; the axes before them are equal batch axes (heads, say).

    Attributes:
        transpose_a, transpose_b: swap the last two axes of the operand first.
    """

    mnemonic: ClassVar[str] = "matmul"
    transpose_a: bool = False
    transpose_b: bool = False

    def sizes(self, *types: TensorType) -> tuple[tuple[int, ...], int, int, int]:
        """(batch axes, M, K, N) of (M, K) @ (K, N)."""
        if len(types) != 2:
            raise GraphError(f"expected 2 inputs, got {len(types)}")
        a, b = (x.shape for x in types)
        if min(len(a), len(b)) < 2 or a[:-2] != b[:-2]:
            raise GraphError(f"expected two matrices with equal batch axes, got {a} and {b}")
        m, k = (a[-1], a[-2]) if self.transpose_a else (a[-2], a[-1])
        k_b, n = (b[-1], b[-2]) if self.transpose_b else (b[-2], b[-1])
        if k != k_b:
            raise GraphError(f"expected equal inner sizes, got {k} of {a} and {k_b} of {b}")
        return a[:-2], m, k, n

    def infer(self, *types: TensorType) -> TensorType:
        batch, m, k, n = self.sizes(*types)
        a, b = types
        if a.timed != b.timed:
            raise GraphError("cannot multiply a value that has time steps and one that has none")
        if not (a.integer and b.integer):
            return TensorType((*batch, m, n), timed=a.timed)
        corners = [0.0 if 0 in (p, q) else k * p * q for p in (a.low, a.high) for q in (b.low, b.high)]
        return TensorType((*batch, m, n), integer=True, low=min(corners), high=max(corners), timed=a.timed)

    def reference(self, *xs: Floats) -> Floats:
        a, b = xs
        a = np.swapaxes(a, -1, -2) if self.transpose_a else a
        b = np.swapaxes(b, -1, -2) if self.transpose_b else b
        product: Floats = np.matmul(a, b)
        return product

    def dense_macs(self, *types: TensorType) -> int:
        batch, m, k, n = self.sizes(*types)
        return prod(batch) * m * k * n


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Op):
    """Spiking self-attention without scale: ``y = q (k^T v)`` for each head; q, k, v are integers (N, D).

    Head h owns the channels h * D/heads .. (h + 1) * D/heads - 1. The products are exact integers, so the
    order with fewer operations is taken: ``k^T v`` first if D/heads <= N.
    Source: Zhou et al. 2023, "Spikformer", arXiv:2209.15425, equation 6 without s.
    """

    mnemonic: ClassVar[str] = "attention"
    heads: int

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != 3:
            raise GraphError(f"expected 3 inputs (q, k, v), got {len(types)}")
        q = types[0]
        tokens, width = expect_rank(q, "N, D")
        if self.heads < 1 or width % self.heads:
            raise GraphError(f"expected heads to divide the width {width}, got {self.heads}")
        for x in types:
            if x.shape != q.shape or x.timed != q.timed:
                raise GraphError(f"expected q, k and v of one type, got {q} and {x}")
            if not x.is_counts:
                raise GraphError(f"expected spikes or counts, got {x}")
        high = tokens * (width // self.heads) * prod(x.high for x in types)
        return TensorType(q.shape, integer=True, low=0, high=high, timed=q.timed)

    def reference(self, *xs: Floats) -> Floats:
        q, k, v = (self._split(x) for x in xs)
        tokens, depth = q.shape[-2:]
        y = q @ (k.swapaxes(-1, -2) @ v) if depth <= tokens else (q @ k.swapaxes(-1, -2)) @ v
        return y.swapaxes(-2, -3).reshape(*y.shape[:2], *xs[0].shape[2:])

    def _split(self, x: Floats) -> Floats:
        """(T, B, N, D) -> (T, B, heads, N, D/heads)."""
        steps, batch, tokens, width = x.shape
        return x.reshape(steps, batch, tokens, self.heads, width // self.heads).swapaxes(2, 3)

    def dense_macs(self, *types: TensorType) -> int:
        tokens, width = types[0].shape
        return 2 * tokens * width * min(tokens, width // self.heads)
