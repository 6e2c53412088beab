"""What a value in a graph is: its shape and the numbers it can take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, prod


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and value domain of one graph value, time and batch axes excluded.

    Attributes:
        shape: sizes of the axes, e.g. (C, H, W) for images or (N, D) for tokens.
        integer: every element is a whole number.
        low, high: smallest and largest value an element can take (may be infinite for real values).
        timed: the value differs from step to step; ``False`` after a mean over time.
    """

    shape: tuple[int, ...]
    integer: bool = False
    low: float = -inf
    high: float = inf
    timed: bool = True

    @classmethod
    def spikes(cls, shape: tuple[int, ...], high: int = 1) -> TensorType:
        """Non-negative counts: binary spikes, or 0..high after spike additions."""
        return cls(shape, integer=True, low=0, high=high)

    @property
    def is_counts(self) -> bool:
        """True for whole numbers >= 0: what spikes can carry."""
        return self.integer and self.low >= 0

    @property
    def is_binary(self) -> bool:
        """True for 0/1 spikes."""
        return self.is_counts and self.high <= 1

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def with_shape(self, *shape: int) -> TensorType:
        """The same domain in another shape."""
        return replace(self, shape=shape)

    def __str__(self) -> str:
        dims = ", ".join(map(str, self.shape))
        if self.is_binary:
            kind = "spikes"
        elif self.integer:
            kind = f"int{{{self.low:g}..{self.high:g}}}"
        else:
            kind = "real" if (self.low, self.high) == (-inf, inf) else f"real{{{self.low:.6g}..{self.high:.6g}}}"
        return f"{kind}[{dims}]" + ("" if self.timed else " untimed")
