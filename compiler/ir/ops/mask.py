"""Products element by element: masks, logical AND and AND NOT of spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compiler.ir.ops.base import Floats, Op
from compiler.ir.types import TensorType
from neurochip.errors import GraphError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul(Op):
    """``y = a * b`` element by element; an axis of size 1 is repeated. On spikes, a logical AND.

    Source: Yao et al. 2023, "Spike-driven Transformer", NeurIPS, arXiv:2307.01694, equation 11 (Hadamard product).
    """

    mnemonic: ClassVar[str] = "mul"

    def infer(self, *types: TensorType) -> TensorType:
        a, b = _pair(types)
        # No infinity times zero: the product of a bound 0 with anything is 0.
        corners = [0.0 if 0 in (p, q) else p * q for p in (a.low, a.high) for q in (b.low, b.high)]
        integer = a.integer and b.integer
        return TensorType(_repeated(a, b), integer=integer, low=min(corners), high=max(corners), timed=a.timed)

    def reference(self, *xs: Floats) -> Floats:
        a, b = xs
        return a * b


@dataclass(frozen=True, slots=True, kw_only=True)
class AndNot(Op):
    """``y = x * (1 - s)``: x where the second input, binary spikes, is silent. An axis of size 1 is repeated.

    On spikes, the residual connection IAND. Source: Fang et al. 2021, "Deep Residual Learning in Spiking Neural
    Networks", NeurIPS, arXiv:2102.04159, table 1.
    """

    mnemonic: ClassVar[str] = "and_not"

    def infer(self, *types: TensorType) -> TensorType:
        x, s = _pair(types)
        if not s.is_binary:
            raise GraphError(f"expected the second input to be binary spikes, got {s}")
        low, high = min(x.low, 0), max(x.high, 0)
        return TensorType(_repeated(x, s), integer=x.integer, low=low, high=high, timed=x.timed)

    def reference(self, *xs: Floats) -> Floats:
        x, s = xs
        return x * (1 - s)


def _pair(types: tuple[TensorType, ...]) -> tuple[TensorType, TensorType]:
    if len(types) != 2:
        raise GraphError(f"expected 2 inputs, got {len(types)}")
    a, b = types
    if a.timed != b.timed:
        raise GraphError("cannot multiply a value that has time steps and one that has none")
    return a, b


def _repeated(a: TensorType, b: TensorType) -> tuple[int, ...]:
    """The common shape; raises GraphError if there is none."""
    pairs = list(zip(a.shape, b.shape, strict=False))
    if len(a.shape) != len(b.shape) or any(m != n and 1 not in (m, n) for m, n in pairs):
        raise GraphError(f"expected equal shapes, or sizes of 1 to repeat, got {a.shape} and {b.shape}")
    return tuple(max(m, n) for m, n in pairs)
