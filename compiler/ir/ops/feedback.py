"""The way back in a recurrent network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import ClassVar

from compiler.ir.ops.base import Floats, Op
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback(Op):
    """What a later node gave in the step before, 0 in the first: ``y[t] = source[t-1]``. It reads no earlier node.

    Nodes stay in topological order without it, so that only runs and ``verify`` need to know of loops.

    Attributes:
        source: name of the later node, whose steps depend on this one's.
        shape, integer, low, high: of the source's value; its bounds must lie within these.
    """

    mnemonic: ClassVar[str] = "feedback"
    per_step: ClassVar[bool] = True
    source: str
    shape: tuple[int, ...]
    integer: bool = False
    low: float = -inf
    high: float = inf

    def loops_from(self) -> tuple[str, ...]:
        return (self.source,)

    def infer(self, *types: TensorType) -> TensorType:
        if types:
            raise GraphError(f"expected 0 inputs, got {len(types)}; its source is an attribute")
        if min(self.shape, default=1) < 1:
            raise GraphError(f"expected positive sizes, got {self.shape}")
        if not self.low <= 0 <= self.high:
            raise GraphError(f"expected bounds around 0, which it is in the first step, got {self.low} and {self.high}")
        return TensorType(self.shape, integer=self.integer, low=self.low, high=self.high)

    def takes(self, source: TensorType) -> bool:
        """Whether a value of type ``source`` can be the one that comes back."""
        within = replace(source, integer=self.integer, low=self.low, high=self.high)
        fits = self.low <= source.low and source.high <= self.high and source.integer >= self.integer
        return fits and source.timed and within.shape == self.shape

    def reference(self, *xs: Floats) -> Floats:
        raise GraphError("a value that comes back has no meaning without its loop; run the graph")
