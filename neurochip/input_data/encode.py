"""From values 0..1 to spikes in T steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import InputError

ENCODINGS = ("direct", "rate", "latency")


def encode(x: NDArray[Any], shape: tuple[int, ...], timesteps: int, how: str, seed: int) -> NDArray[Any]:
    """``x`` (B, *shape) as the program takes it.

    - ``direct``: as it is; static values enter the first layer in every step.
    - ``rate``: (T, B, *shape) of 0 and 1; in each step and independently 1 with probability x (PCG64 with ``seed``).
    - ``latency``: (T, B, *shape); one spike at step floor((1 - x) T), at most T - 1: large values first, none for 0.

    Raises InputError for values outside 0..1 and for data that have steps already.
    """
    if how == "direct":
        return x
    if how not in ENCODINGS:
        raise InputError(f"--encode: expected {', '.join(ENCODINGS)}, found {how!r}")
    if x.ndim != len(shape) + 1 or x.shape[1:] != shape:
        sizes = ", ".join(map(str, shape))
        steps = "; it has steps already: leave --encode out" if x.ndim == len(shape) + 2 else ""
        raise InputError(f"--encode {how}: expected values of shape (inputs, {sizes}), found {x.shape}{steps}")
    if x.dtype.kind not in "fiub":
        raise InputError(f"--encode {how}: expected numbers, found dtype {x.dtype}")
    values = x.astype(np.float64)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise InputError(
            f"--encode {how}: expected values in 0..1, found {values[place]:g} at {place}; divide pixels by 255, and "
            "leave --normalise out"
        )
    if how == "rate":
        rng = np.random.Generator(np.random.PCG64(seed))
        spikes = [rng.random(values.shape) < values for _ in range(timesteps)]
        return np.stack(spikes).astype(np.uint8)
    step = np.minimum((1 - values) * timesteps, timesteps - 1).astype(np.int64)
    return np.stack([(step == t) & (values > 0) for t in range(timesteps)]).astype(np.uint8)
