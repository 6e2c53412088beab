"""Events of a camera, and how they are binned into steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import InputError

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Events:
    """One recording; all arrays (N,) int64, in the order of time.

    Attributes:
        x, y: column and row, from the top left.
        p: 1 = brighter, 0 = darker.
        t: in any unit.
    """

    x: Ints
    y: Ints
    p: Ints
    t: Ints


def checked_events(where: str, columns: dict[str, NDArray[Any]]) -> Events:
    """Events from the arrays x, y, p and t; polarity -1 means 0.

    Raises InputError for arrays of different lengths, numbers that are not whole, other polarities, and times that
    run backwards.
    """
    found: dict[str, Ints] = {}
    for name in "xypt":
        array = np.asarray(columns[name])
        if array.ndim != 1 or array.shape != np.shape(columns["x"]):
            raise InputError(f"{where}: expected x, y, p and t of one length; found {name} of shape {array.shape}")
        if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and not _whole(array)):
            raise InputError(f"{where}: expected whole numbers, found {name} of dtype {array.dtype}; t in microseconds")
        found[name] = array.astype(np.int64)
    polarity = found["p"]
    if not (polarity == 0).any():
        polarity = np.where(polarity == -1, 0, polarity)
    if ((polarity < 0) | (polarity > 1)).any():
        raise InputError(
            f"{where}: expected polarities 0 and 1, or -1 and 1; found {np.unique(found['p'])[:6].tolist()}"
        )
    back = np.flatnonzero(np.diff(found["t"]) < 0)
    if len(back):
        raise InputError(f"{where}: times run backwards after event {back[0]}; sort the events by t")
    if not len(polarity):
        raise InputError(f"{where}: holds no events")
    return Events(x=found["x"], y=found["y"], p=polarity, t=found["t"])


def bin_events(
    events: Events, shape: tuple[int, ...], timesteps: int, windows: str, binary: bool, where: str = "events"
) -> NDArray[np.int64]:
    """(T, C, H, W): how many events each pixel had in each step; with ``binary``, whether any.

    C = 2 keeps the polarities apart (channel = p), C = 1 adds them up. Windows of equal ``time`` are
    ``(t_last - t_first) // T`` long, those of equal ``count`` hold ``N // T`` events; the last one takes the rest.

    Raises InputError for events outside of the model's H x W, a model whose input is no event frame, and fewer events
    (or time units) than steps.
    Source: the rules ``time`` and ``number`` of SpikingJelly's event data sets (Fang et al. 2023, Science Advances 9).
    """
    if len(shape) != 3 or shape[0] not in (1, 2):
        raise InputError(f"{where}: events need a model of input (1 or 2, H, W), this one takes {shape}")
    channels, height, width = shape
    for name, values, size in (("x", events.x, width), ("y", events.y, height)):
        if values.min() < 0 or values.max() >= size:
            raise InputError(
                f"{where}: expected {name} in 0..{size - 1} for a model of {height} x {width}, found {values.min()}.."
                f"{values.max()}; bring the recording to the size of training first"
            )
    number = np.arange(len(events.t)) if windows == "count" else events.t - events.t[0]
    total = len(events.t) if windows == "count" else int(number[-1])
    if total < timesteps:
        what = "events" if windows == "count" else "units of time"
        raise InputError(f"{where}: {total} {what} cannot be cut into {timesteps} steps")
    step = np.minimum(number // (total // timesteps), timesteps - 1)
    channel = events.p if channels == 2 else np.zeros_like(events.p)
    frames = np.zeros((timesteps, *shape), np.int64)
    np.add.at(frames, (step, channel, events.y, events.x), 1)
    return np.minimum(frames, 1) if binary else frames


def _whole(array: NDArray[Any]) -> bool:
    return bool(np.isfinite(array).all() and (array == np.rint(array)).all() and (abs(array) < 2**53).all())
