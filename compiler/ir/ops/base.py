"""What every op of a graph is: attributes, a type rule and a meaning in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from compiler.ir.types import TensorType
from neurochip.errors import GraphError

Floats = NDArray[np.float64]
"""Run-time values: float64 arrays (T, B, *shape); T is 1 for untimed and for step-independent values."""

Weights = NDArray[Any]
"""Stored parameters: float32 on import, integers after ``quantise``; always computed with in float64."""

ELEMENTS_AT_ONCE = 1 << 17
"""Parameters that are converted to float64 at a time: a megabyte, which stays in a cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """Base of all ops: frozen attributes without a name or inputs, which belong to the ``Node``.

    Class attributes:
        mnemonic: the op's word in the text form.
        per_step: ``reference`` must see all T steps, even when its input is the same in each of them.
        whole_batch: ``reference`` must see all images at once, because they influence each other.
        is_neuron: the result is what neurons fire, and ``spike_counts`` says how many spikes that is.
    """

    mnemonic: ClassVar[str] = "op"
    per_step: ClassVar[bool] = False
    whole_batch: ClassVar[bool] = False
    is_neuron: ClassVar[bool] = False

    def infer(self, *types: TensorType) -> TensorType:
        """The type of the result; raises GraphError naming what was expected and what was found."""
        raise NotImplementedError(f"{type(self).__name__}.infer")

    def reference(self, *xs: Floats) -> Floats:
        """The result in float64; arguments and result have the two leading axes (T, B)."""
        raise NotImplementedError(f"{type(self).__name__}.reference")

    def loops_from(self) -> tuple[str, ...]:
        """Names of later nodes whose earlier steps the op reads."""
        return ()

    def spike_counts(self, y: Floats) -> Floats:
        """How many spikes each element of the result ``y`` stands for; of neurons only."""
        return y

    def dense_macs(self, *types: TensorType) -> int:
        """Multiply-accumulates for one image and step if no operand were zero; with padding, without bias."""
        return 0


def sole(types: tuple[TensorType, ...]) -> TensorType:
    """The only input type of a unary op."""
    if len(types) != 1:
        raise GraphError(f"expected 1 input, got {len(types)}")
    return types[0]


def expect_rank(x: TensorType, axes: str) -> tuple[int, ...]:
    """The sizes of ``x``, which must have one axis for each letter group of ``axes``, e.g. ``"C, H, W"``."""
    if len(x.shape) != len(axes.split(",")):
        raise GraphError(f"expected an input of shape ({axes}), got {x.shape}")
    return x.shape


def added(types: tuple[TensorType, ...]) -> TensorType:
    """The type of the sum of one or more values of one shape."""
    if not types:
        raise GraphError("expected at least 1 input, got 0")
    first = types[0]
    for other in types[1:]:
        if other.shape != first.shape:
            raise GraphError(
                f"inputs are added first, so their shapes must be equal; got {first.shape} and {other.shape}"
            )
        if other.timed != first.timed:
            raise GraphError("cannot add a value that has time steps and one that has none")
    return TensorType(
        first.shape,
        integer=all(x.integer for x in types),
        low=sum(x.low for x in types),
        high=sum(x.high for x in types),
        timed=first.timed,
    )


def sum_arrays(xs: tuple[Floats, ...]) -> Floats:
    """Left-to-right sum; the argument itself if there is only one."""
    total = xs[0]
    for x in xs[1:]:
        total = total + x
    return total


def check_array(name: str, array: Weights | None, shape: tuple[int, ...]) -> None:
    """Raise GraphError unless ``array`` is absent or has ``shape``."""
    if array is not None and array.shape != shape:
        raise GraphError(f"expected {name} of shape {shape}, got {array.shape}")


def is_integer(array: Weights | None) -> bool:
    """True for absent arrays and for integer dtypes."""
    return array is None or array.dtype.kind in "iu"


def weighted_interval(rows: Weights, bias: Weights | None, low: float, high: float) -> tuple[float, float]:
    """Bounds of ``rows @ x + bias`` for x in low..high; ``rows`` is (outputs, fan-in)."""
    ends = []
    for block in row_blocks(rows):
        weight = rows[block].astype(np.float64)
        positive, negative = np.maximum(weight, 0).sum(axis=1), np.minimum(weight, 0).sum(axis=1)
        offset = np.zeros(len(weight)) if bias is None else bias[block].astype(np.float64)
        smallest = scaled(positive, low) + scaled(negative, high) + offset
        largest = scaled(positive, high) + scaled(negative, low) + offset
        ends.append((float(smallest.min()), float(largest.max())))
    return min(least for least, _ in ends), max(most for _, most in ends)


def row_blocks(array: Weights) -> Iterator[slice]:
    """Slices of the first axis of at most ``ELEMENTS_AT_ONCE`` elements, or of one row."""
    rows = max(1, ELEMENTS_AT_ONCE * len(array) // max(array.size, 1))
    return (slice(begin, begin + rows) for begin in range(0, len(array), rows))


def scaled(weights: Floats, bound: float) -> Floats:
    """``weights * bound`` with 0 * inf = 0."""
    return np.multiply(weights, bound, out=np.zeros_like(weights), where=weights != 0)
