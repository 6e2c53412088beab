"""Constants that differ from element to element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, Weights, scaled, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Affine(Op):
    """``y = gain * x + offset`` with constants for each element, channel or head.

    Attributes:
        gain, offset: with as many axes as ``shape``, each as long or of size 1; None = 1 and 0.
    """

    mnemonic: ClassVar[str] = "affine"
    gain: Weights | None = None
    offset: Weights | None = None

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        for name, array in (("gain", self.gain), ("offset", self.offset)):
            check_repeats(name, array, x)
        gain = np.ones(1) if self.gain is None else self.gain.astype(np.float64)
        offset = np.zeros(1) if self.offset is None else self.offset.astype(np.float64)
        bounds = scaled(gain, x.low), scaled(gain, x.high)
        low, high = np.minimum(*bounds) + offset, np.maximum(*bounds) + offset
        return TensorType(x.shape, low=float(low.min()), high=float(high.max()), timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        y = x if self.gain is None else x * self.gain.astype(np.float64)
        return y if self.offset is None else y + self.offset.astype(np.float64)


def check_repeats(name: str, array: Weights | None, x: TensorType) -> None:
    """Raise GraphError unless ``array`` is absent, or fits ``x.shape`` by repeating axes of size 1."""
    if array is None:
        return
    if array.ndim != len(x.shape) or any(n not in (1, m) for n, m in zip(array.shape, x.shape, strict=True)):
        raise GraphError(f"expected {name} of shape {x.shape} or with sizes of 1, got {array.shape}")
