"""Neuron updates in the chip's integer arithmetic: the general rule, and a vectorised one for what cannot overflow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events


class Rules(NamedTuple):
    """One population's neuron update; see ``neurochip.network.arithmetic``.

    ``halvings``: the leak as a right shift of the magnitude, or -1 if it is not one. ``safe``: the compiler's bound
    proves that no current leaves 31 bits or wraps. ``linear``: 0, or which linear leak takes ``leak_by`` off:
    1 toward zero, 2 past zero, 3 down. ``leak_last``: the leak follows the input. ``narrow``: as ``safe``, but currents
    may leave their own width, though not 32 bits.
    """

    keep: int
    decay_bits: int
    halvings: int
    round_down: int
    threshold: int
    soft: int
    reset_by: int
    fires_ge: int
    readout: int
    current_bits: int
    current_wraps: int
    membrane_bits: int
    membrane_wraps: int
    shift: int
    safe: int
    linear: int = 0
    leak_by: int = 0
    leak_last: int = 0
    narrow: int = 0


@njit(cache=True, nogil=True)
def _leaked(v: np.int64, rules: Rules) -> np.int64:
    """``v`` after one step of leak, 64-bit."""
    if rules.linear == 0:
        if rules.round_down or v >= 0:
            return (v * rules.keep) >> rules.decay_bits
        return -((-v * rules.keep) >> rules.decay_bits)
    if rules.linear == 3:
        return v - rules.leak_by
    if v == 0 or (rules.linear == 1 and abs(v) <= rules.leak_by):
        return np.int64(0)
    return v - rules.leak_by if v > 0 else v + rules.leak_by


@njit(cache=True, nogil=True)
def _held(full: int, top: int, wraps: bool) -> int:
    """``full`` in a register of sums below ``top``: it wraps, or stays at its ends."""
    return ((full + top) & (2 * top - 1)) - top if wraps else min(max(full, 1 - top), top - 1)


@njit(cache=True, nogil=True)
def update(
    current: NDArray[np.int32],
    constant: NDArray[np.int64],
    membrane: NDArray[np.int32],
    rules: Rules,
    active: NDArray[np.int64],
    slice_width: int,
) -> tuple[Events, int, int]:
    """One step of a population: leak, integrate, fire, reset; clears ``current``. Any chip rule, 64-bit arithmetic.

    ``current``, ``membrane`` (rows, C); ``constant`` (rows or 1, C) is added to ``current << shift``; ``active``
    (rows, n_slices) counts neurons that had input or charge. Returns (spikes, wrapped currents, clipped membranes).
    """
    n_rows, n_channels = current.shape
    start = np.zeros(n_rows + 1, np.int64)
    channel = np.empty(n_rows * n_channels, np.int32)
    top_u, top_v = np.int64(1) << (rules.current_bits - 1), np.int64(1) << (rules.membrane_bits - 1)
    count = wraps = clips = 0
    shared = len(constant) == 1
    for p in range(n_rows):
        extra = constant[0 if shared else p]
        for c in range(n_channels):
            full = (np.int64(current[p, c]) << rules.shift) + extra[c]
            u = _held(full, top_u, rules.current_wraps)
            wraps += u != full
            before = np.int64(membrane[p, c])
            full = _leaked(before + u, rules) if rules.leak_last else _leaked(before, rules) + u
            v = _held(full, top_v, rules.membrane_wraps)
            clips += v != full
            active[p, c // slice_width] += u != 0 or before != 0
            fired = (v > rules.threshold or (rules.fires_ge and v == rules.threshold)) and not rules.readout
            if fired:
                channel[count] = c
                count += 1
                v = v - rules.reset_by if rules.soft else np.int64(0)
            membrane[p, c] = v
            current[p, c] = 0
        start[p + 1] = count
    return Events(start, channel[:count].copy()), wraps, clips


@njit(cache=True, nogil=True)
def update_safe(
    current: NDArray[np.int32],
    constant: NDArray[np.int32],
    membrane: NDArray[np.int32],
    rules: Rules,
    active: NDArray[np.int64],
    slice_width: int,
) -> tuple[Events, int, int]:
    """``update`` where currents provably fit 31 bits, membranes clip, the leak halves toward zero and resets are hard.

    Requires ``rules.safe``; same results, 32-bit arithmetic a compiler can vectorise.
    """
    n_rows, n_channels = current.shape
    start = np.zeros(n_rows + 1, np.int64)
    channel = np.empty(n_rows * n_channels + 1, np.int32)
    fired, touched = np.empty(n_channels, np.uint8), np.empty(n_channels, np.uint8)
    top, halvings, shift = (
        np.int32((1 << (rules.membrane_bits - 1)) - 1),
        np.int32(rules.halvings),
        np.int32(rules.shift),
    )
    level = np.int32(rules.threshold - (1 if rules.fires_ge else 0))
    if rules.readout:
        level = top  # no membrane exceeds it
    count = np.int64(0)
    clips = np.int64(0)
    shared = len(constant) == 1
    for p in range(n_rows):
        extra, charge, potential = constant[0 if shared else p], current[p], membrane[p]
        over = np.int32(0)
        for c in range(n_channels):
            u = np.int32(np.int32(charge[c] << shift) + extra[c])
            before = potential[c]
            sign = np.int32(before >> np.int32(31))
            kept = np.int32(np.int32(np.int32(np.int32(before ^ sign) - sign) >> halvings) ^ sign) - sign
            full = np.int32(kept + u)
            v = min(max(full, np.int32(-top)), top)
            over += np.int32(v != full)
            touched[c] = (u | before) != 0
            spike = v > level
            fired[c] = spike
            potential[c] = np.int32(0) if spike else v
            charge[c] = 0
        clips += over
        for piece in range(active.shape[1]):
            some = np.int32(0)
            part = touched[piece * slice_width : min((piece + 1) * slice_width, n_channels)]
            for c in range(len(part)):
                some += part[c]
            active[p, piece] += some
        for c in range(n_channels):
            channel[count] = c
            count += fired[c]
        start[p + 1] = count
    return Events(start, channel[:count].copy()), 0, int(clips)


class Steps(NamedTuple):
    """Some positions of one input in all T steps: n rows of C neurons.

    ``current`` (T or 1, n or 1, at least C) int32 sums of weights; ``constant`` (T or 1, rows of all inputs or 1, C) is
    added to ``current << shift``. Filled in: ``spikes`` (T * inputs, rows of an input, C) and ``touched`` (T, n, C)
    uint8, whether a neuron fired, and had input or charge; ``membrane`` (n, C) int32 after the last step.
    ``item``, ``first``: the input, and its row that is the first of the n.
    """

    current: NDArray[np.int32]
    constant: NDArray[np.int32 | np.int64]
    spikes: NDArray[np.uint8]
    touched: NDArray[np.uint8]
    membrane: NDArray[np.int32]
    item: int
    first: int


@njit(cache=True, nogil=True)
def update_steps(steps: Steps, rules: Rules) -> tuple[int, int]:
    """All steps of some neurons, from rest: what ``update`` does step by step. Returns wrapped currents, clips."""
    n_steps, n_rows, n_channels = steps.touched.shape
    inputs, positions = len(steps.spikes) // n_steps, steps.spikes.shape[1]
    top_u, top_v = np.int64(1) << (rules.current_bits - 1), np.int64(1) << (rules.membrane_bits - 1)
    wraps = clips = 0
    steps.membrane[:] = 0
    for p in range(n_rows):
        for t in range(n_steps):
            row = (steps.item * positions + steps.first + p) % steps.constant.shape[1]
            extra, charge = steps.constant[t % len(steps.constant), row], _charge(steps, t, p)
            spikes = steps.spikes[t * inputs + steps.item, steps.first + p]
            for c in range(n_channels):
                full = (np.int64(charge[c]) << rules.shift) + extra[c]
                u = _held(full, top_u, rules.current_wraps)
                wraps += u != full
                before = np.int64(steps.membrane[p, c])
                full = _leaked(before + u, rules) if rules.leak_last else _leaked(before, rules) + u
                v = _held(full, top_v, rules.membrane_wraps)
                clips += v != full
                steps.touched[t, p, c] = u != 0 or before != 0
                fired = (v > rules.threshold or (rules.fires_ge and v == rules.threshold)) and not rules.readout
                if fired:
                    v = v - rules.reset_by if rules.soft else np.int64(0)
                spikes[c] = fired
                steps.membrane[p, c] = v
    return wraps, clips


@njit(cache=True, nogil=True)
def _charge(steps: Steps, t: int, p: int) -> NDArray[np.int32]:
    """Sums of weights of row ``p`` at step ``t``."""
    return steps.current[t % len(steps.current), p % steps.current.shape[1]]


@njit(cache=True, nogil=True)
def update_steps_narrow(steps: Steps, rules: Rules) -> tuple[int, int]:
    """``update_steps`` where sums fit 32 bits, membranes clip, the leak halves toward zero and resets are hard.

    Requires ``rules.narrow``; same results, 32-bit arithmetic a compiler can vectorise.
    """
    n_steps, n_rows, n_channels = steps.touched.shape
    inputs, positions = len(steps.spikes) // n_steps, steps.spikes.shape[1]
    top, halvings = np.int32((1 << (rules.membrane_bits - 1)) - 1), np.int32(rules.halvings)
    level = top if rules.readout else np.int32(rules.threshold - (1 if rules.fires_ge else 0))
    low, raw = np.int32(-top), np.empty(n_channels, np.int32)
    wraps = clips = np.int64(0)
    for p in range(n_rows):
        kept = steps.membrane[p]
        kept[:] = 0
        row = (steps.item * positions + steps.first + p) % steps.constant.shape[1]
        for t in range(n_steps):
            wraps += _narrow_current(_charge(steps, t, p), steps.constant[t % len(steps.constant), row], rules, raw)
            over = np.int32(0)
            fired, touched = steps.spikes[t * inputs + steps.item, steps.first + p], steps.touched[t, p]
            for c in range(n_channels):
                u, before = raw[c], kept[c]
                sign = np.int32(before >> np.int32(31))
                left = np.int32(np.int32(np.int32(np.int32(before ^ sign) - sign) >> halvings) ^ sign) - sign
                full = np.int32(left + u)
                v = min(max(full, low), top)
                over += np.int32(v != full)
                touched[c] = (u | before) != 0
                spike = v > level
                fired[c] = spike
                kept[c] = np.int32(0) if spike else v
            clips += over
    return int(wraps), int(clips)


@njit(cache=True, nogil=True)
def _narrow_current(
    current: NDArray[np.int32], extra: NDArray[np.int32], rules: Rules, raw: NDArray[np.int32]
) -> np.int64:
    """``raw`` = ``(current << shift) + extra`` in the current's own width; returns how many left it."""
    shift = np.int32(rules.shift)
    if rules.safe:
        for c in range(len(raw)):
            raw[c] = np.int32(current[c] << shift) + extra[c]
        return np.int64(0)
    top = np.int32((1 << (rules.current_bits - 1)) - 1)
    wraps = np.int32(0)
    if rules.current_wraps:
        idle = np.int32(32 - rules.current_bits)
        for c in range(len(raw)):
            full = np.int32(np.int32(current[c] << shift) + extra[c])
            u = np.int32(np.int32(full << idle) >> idle)
            wraps += np.int32(u != full)
            raw[c] = u
    else:
        for c in range(len(raw)):
            full = np.int32(np.int32(current[c] << shift) + extra[c])
            u = min(max(full, np.int32(-top)), top)
            wraps += np.int32(u != full)
            raw[c] = u
    return np.int64(wraps)


@njit(cache=True, nogil=True)
def count_steps(steps: Steps, rules: Rules, high: int) -> tuple[int, int]:
    """Neurons that forget between steps: ``spikes`` = the sum in units of the threshold, 0..``high`` at most 255.

    ``touched``: whether the sum is not 0. Returns wrapped currents, sums beyond ``high``.
    """
    n_steps, n_rows, n_channels = steps.touched.shape
    inputs, positions = len(steps.spikes) // n_steps, steps.spikes.shape[1]
    top = np.int64(1) << (rules.current_bits - 1)
    unit, halvings = np.int64(rules.threshold), 0
    while np.int64(1) << halvings < unit:
        halvings += 1
    exact = np.int64(1) << halvings == unit
    wraps = over = 0
    for p in range(n_rows):
        row = (steps.item * positions + steps.first + p) % steps.constant.shape[1]
        for t in range(n_steps):
            extra, charge = steps.constant[t % len(steps.constant), row], _charge(steps, t, p)
            spikes, touched = steps.spikes[t * inputs + steps.item, steps.first + p], steps.touched[t, p]
            for c in range(n_channels):
                full = (np.int64(charge[c]) << rules.shift) + extra[c]
                u = ((full + top) & (2 * top - 1)) - top if rules.current_wraps else min(max(full, 1 - top), top - 1)
                wraps += u != full
                value = max(u >> halvings if exact else u // unit, np.int64(0))
                over += value > high
                spikes[c] = min(value, high)
                touched[c] = u != 0
    return wraps, over


@njit(cache=True, nogil=True)
def requantise(
    sums: NDArray[np.float64],
    bias: NDArray[np.int64],
    extra: NDArray[np.int64],
    scale: tuple[int, int, int],
    out: NDArray[np.int32] | NDArray[np.int64],
) -> None:
    """``out = (((sums + bias) * multiplier + 2**(down - 1)) >> down << shift) + extra``; whole ``sums`` (rows, C).

    ``scale``: multiplier, down, shift; ``bias``, ``extra`` (C,).
    """
    multiplier, down, shift = np.int64(scale[0]), np.int64(scale[1]), np.int64(scale[2])
    half = np.int64(1) << (down - 1)
    for p in range(len(sums)):
        for c in range(len(bias)):
            scaled = ((np.int64(sums[p, c]) + bias[c]) * multiplier + half) >> down
            out[p, c] = (scaled << shift) + extra[c]
