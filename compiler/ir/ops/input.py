"""Where data enters a graph."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import ClassVar

from compiler.ir.ops.base import Floats, Op
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Input(Op):
    """A value given by the user: an image (B, *shape), the same in every step, or one a step (T, B, *shape).

    Attributes:
        shape: e.g. (C, H, W).
        integer: only whole numbers are legal, e.g. event counts.
        low, high: smallest and largest legal element.
    """

    mnemonic: ClassVar[str] = "input"
    shape: tuple[int, ...]
    integer: bool = False
    low: float = -inf
    high: float = inf

    def infer(self, *types: TensorType) -> TensorType:
        if types:
            raise GraphError(f"expected 0 inputs, got {len(types)}")
        if min(self.shape, default=1) < 1:
            raise GraphError(f"expected positive sizes, got {self.shape}")
        if not self.low <= self.high:
            raise GraphError(f"expected low <= high, got {self.low} and {self.high}")
        return TensorType(self.shape, integer=self.integer, low=self.low, high=self.high)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return x
