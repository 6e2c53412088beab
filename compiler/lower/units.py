"""Biases as digits on always-on axons."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.spec import WeightFormat
from neurochip.errors import UnsupportedError


def bias_digits(
    bias: NDArray[np.int64], shift: int, weights: WeightFormat, name: str
) -> tuple[NDArray[np.int16], tuple[int, ...]]:
    """Split ``bias << shift`` into always-on axons: (digits, C) weights within the format, and their shifts."""
    rest, digits, shifts = bias.astype(np.int64).copy(), [], []
    while (top := int(np.abs(rest).max(initial=0))) > weights.high:
        step = min((-(-top // weights.high) - 1).bit_length(), weights.shift_high - shift)
        digit = np.clip(np.rint(rest / (1 << step)).astype(np.int64), -weights.high, weights.high)
        rest -= digit << step
        digits.append(digit)
        shifts.append(shift + step)
        if len(digits) > 64:
            raise UnsupportedError(
                f"layer {name!r}: a bias of {top} weight units needs more than 64 always-on axons; "
                "train with weight decay on biases, or use more weight bits"
            )
    digits.append(rest)
    shifts.append(shift)
    return np.stack(digits).astype(np.int16), tuple(shifts)
