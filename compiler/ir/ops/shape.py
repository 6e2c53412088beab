"""Other views of the same numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from compiler.ir.ops.base import Floats, Op, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshape(Op):
    """The same elements in row-major order under another ``shape``."""

    mnemonic: ClassVar[str] = "reshape"
    shape: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if min(self.shape, default=1) < 1 or prod(self.shape) != x.size:
            raise GraphError(f"cannot reshape {x.shape} ({x.size} elements) to {self.shape} ({prod(self.shape)})")
        return x.with_shape(*self.shape)

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return x.reshape(*x.shape[:2], *self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transpose(Op):
    """Axis i of the result is axis ``order[i]`` of the input; the axes are those of ``shape``."""

    mnemonic: ClassVar[str] = "transpose"
    order: tuple[int, ...]

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if sorted(self.order) != list(range(len(x.shape))):
            raise GraphError(f"expected order to permute the {len(x.shape)} axes of {x.shape}, got {self.order}")
        return x.with_shape(*(x.shape[axis] for axis in self.order))

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        return np.transpose(x, (0, 1, *(axis + 2 for axis in self.order)))
