"""A user's input array -> the integers the network starts from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import InputError
from neurochip.network.network import InputSpec


def quantise_input(spec: InputSpec, x: NDArray[np.generic], timesteps: int) -> NDArray[np.int64]:
    """Check ``x`` and return its levels, channel-last: (S, B, H, W, C) int64 with S = 1 (static) or ``timesteps``.

    ``x`` is (B, *shape) for a static input or (T, B, *shape) for one frame per step. A (features,) input becomes
    H = W = 1. Raises ``InputError`` for a wrong shape, a dtype that is not a number, NaN, or values out of range.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise InputError(f"input: expected an array of numbers, found dtype {array.dtype}; save it as float32 or uint8")
    rank = len(spec.shape)
    if array.ndim not in (rank + 1, rank + 2) or array.shape[array.ndim - rank :] != spec.shape:
        dims = ", ".join(map(str, spec.shape))
        raise InputError(
            f"input: expected shape (inputs, {dims}) or (T={timesteps}, inputs, {dims}), found {array.shape}; "
            "check the layout (channels first) and the image size the model was compiled for"
        )
    steps = array[None] if array.ndim == rank + 1 else array
    if len(steps) not in (1, timesteps) or (spec.kind == "spikes" and array.ndim == rank + 1 and timesteps != 1):
        raise InputError(
            f"input: expected {timesteps} steps (T first), found shape {array.shape}; "
            "give one frame per step, or a static image where the model takes analog input"
        )
    values = steps.astype(np.float64)
    if not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise InputError(f"input: expected finite numbers, found NaN or infinity first at index {where}")
    levels = np.rint(values / spec.scale)
    if (levels < spec.low).any() or (levels > spec.high).any():
        low, high = spec.low * spec.scale, spec.high * spec.scale
        raise InputError(
            f"input: expected values in [{low:g}, {high:g}], found {values.min():g} to {values.max():g}; "
            "normalise the data as in training, or compile with --set input.low=... --set input.high=..."
        )
    if spec.kind == "spikes" and not (levels == values).all():
        raise InputError("input: expected whole numbers of spikes, found fractions; encode the data as spikes first")
    whole = levels.astype(np.int64)
    if rank == 1:
        return whole[:, :, None, None, :]
    if rank == 2:
        return whole[:, :, None]  # (tokens, features): one row of positions
    return np.moveaxis(whole, 2, -1)
