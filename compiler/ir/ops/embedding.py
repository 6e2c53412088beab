"""Tables that are looked up by number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding(Op):
    """Row x of a table, for every element of the input: shape S -> (*S, D).

    Attributes:
        weight: (V, D); inputs are whole numbers 0..V - 1.
    """

    mnemonic: ClassVar[str] = "embedding"
    weight: Weights

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if self.weight.ndim != 2:
            raise GraphError(f"expected weight of shape (V, D), got {self.weight.shape}")
        rows, width = self.weight.shape
        if not x.integer or x.low < 0 or x.high >= rows:
            raise GraphError(f"expected whole numbers 0..{rows - 1}, got {x}")
        low, high = float(self.weight.min()), float(self.weight.max())
        return TensorType((*x.shape, width), low=low, high=high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        rows: Floats = self.weight[x.astype(np.int64)].astype(np.float64)
        return rows
