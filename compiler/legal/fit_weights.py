"""Weights as the mantissas and exponents that a chip's synapse lists have."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from compiler.legal.base import Ints
from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec, WeightFormat
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network
from neurochip.network.projections import Conv, Dense, Einsum, Gather, Pool, Projection, narrowest


class FitWeights:
    """Moves factors of two between the weights of a projection and their common exponent until the chip has both.

    A list's weights are ``mantissa << shift`` with one shift for all. What the chip has already stays as it is.
    Crossbars with axon types have weights of another kind (``number-base``).

    Ensures: weights and shifts are the chip's; every product ``weight << shift`` is the same. Weights that need both
    more mantissa bits and a common exponent are refused: rounding them is the quantiser's business.
    """

    name: ClassVar[str] = "fit-weights"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises UnsupportedError for weights that no shift makes fit."""
        if chip.limits.axon_types:
            return network
        weights = chip.weight_format(choices.weight_bits)
        projections = tuple(
            p if network.by_name[p.target].home == "host" else fitted(p, weights) for p in network.projections
        )
        changed = any(a is not b for a, b in zip(projections, network.projections, strict=True))
        return replace(network, projections=projections) if changed else network


def fitted(projection: Projection, weights: WeightFormat) -> Projection:
    """``projection`` with the same products in the chip's mantissas and exponents."""
    if not isinstance(projection, Dense | Conv | Gather | Pool | Einsum):
        return projection
    if has(np.asarray(projection.weight), projection.shift, weights):
        return projection
    values = np.asarray(projection.weight, np.int64)
    for shift in range(weights.shift_low, weights.shift_high + 1):
        moved = shifted(values, projection.shift - shift)
        if moved is not None and has(moved, shift, weights):
            if isinstance(projection, Pool | Einsum):
                return replace(projection, weight=int(moved), shift=shift)
            return replace(projection, weight=narrowest(moved), shift=shift)
    low, high = int(values.min()), int(values.max())
    raise UnsupportedError(
        f"layer {projection.origin!r} ({projection.name}): weights of {low} to {high} << {projection.shift} are no "
        f"{weights.bits}-bit mantissas ({weights.low} to {weights.high}) with one exponent of {weights.shift_low} to "
        f"{weights.shift_high}; quantise to fewer bits (--weight-bits), or choose a chip with wider weights"
    )


def has(values: NDArray[np.integer], shift: int, weights: WeightFormat) -> bool:
    """Whether the chip has these weights with this shift."""
    within = weights.low <= values.min(initial=0) and values.max(initial=0) <= weights.high
    return bool(within and weights.shift_low <= shift <= weights.shift_high)


def shifted(values: Ints, left: int) -> Ints | None:
    """``values << left``, or to the right where that loses nothing; None where it would."""
    if left >= 0:
        return values << left
    moved: Ints = values >> -left
    return moved if np.array_equal(moved << -left, values) else None
