"""Spikes of all steps at once as planes of bytes: (lanes, positions, channels), lane = step * inputs + input.

At the rates of spiking networks a byte for each neuron costs less than a list of those that fire, as all that is done
with it is done for many channels at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from neurochip.sim.kernels.synapses import Window

Plane = NDArray[np.uint8]
WIDE = 16
"""Channels a box from which adding up each box beats running sums, which no vector instruction makes."""


class Place(NamedTuple):
    """Which targets a call computes: rows [y0, y1) of input ``item`` of ``inputs``, in all steps."""

    item: int
    inputs: int
    y0: int
    y1: int


class Spots(NamedTuple):
    """Boxes of neurons, those of equal positions together; all int32.

    ``positions`` (m, 4): y0, y1, x0, x1; ``start`` (m + 1,) splits ``boxes`` (n, 3): first channel, last + 1, number.
    """

    positions: NDArray[np.int32]
    start: NDArray[np.int32]
    boxes: NDArray[np.int32]


@njit(cache=True, nogil=True)
def box_sums(plane: Plane, top: int, spots: Spots, out: NDArray[np.int32]) -> None:
    """Add what ``plane`` (lanes, rows, width, C) holds in each box to ``out`` (lanes, n); its first row is ``top``."""
    lanes, rows, _, n_channels = plane.shape
    sums, upto = np.empty(n_channels, np.int32), np.zeros(n_channels + 1, np.int32)
    for lane in range(lanes):
        for spot in range(len(spots.positions)):
            y0, y1, x0, x1 = spots.positions[spot]
            begin, end = max(y0 - top, 0), min(y1 - top, rows)
            if begin >= end:
                continue
            sums[:] = 0
            for y in range(begin, end):
                for x in range(x0, x1):
                    row = plane[lane, y, x]
                    for c in range(n_channels):
                        sums[c] += row[c]
            first, last = spots.start[spot], spots.start[spot + 1]
            few = WIDE * (last - first) <= n_channels
            total = np.int32(0)
            for c in range(0 if few else n_channels):
                total += sums[c]
                upto[c + 1] = total
            for k in range(first, last):
                low, high, number = spots.boxes[k]
                if few:
                    part, total = sums[low:high], np.int32(0)
                    for c in range(len(part)):
                        total += part[c]
                    out[lane, number] += total
                else:
                    out[lane, number] += upto[high] - upto[low]


@njit(cache=True, nogil=True)
def position_sums(plane: Plane, out: NDArray[np.int32]) -> None:
    """Sums over the channels of each position: ``out`` (lanes, P) of ``plane`` (lanes, P, C)."""
    for lane in range(plane.shape[0]):
        for p in range(plane.shape[1]):
            row, total = plane[lane, p], np.int32(0)
            for c in range(len(row)):
                total += np.int32(row[c])
            out[lane, p] = total


@njit(cache=True, nogil=True)
def reach_sums(arriving: NDArray[np.int32], window: Window, tiles: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """For each tile (y0, y1, x0, x1, ...) the spikes its positions' windows hold: ``out`` (lanes, n), set.

    ``arriving`` (lanes, P_in): spikes at each position of the source.
    """
    reached = np.empty((window.out_height, window.out_width), np.int32)
    for lane in range(len(arriving)):
        for oy in range(window.out_height):
            for ox in range(window.out_width):
                top, left = oy * window.stride_y - window.padding_y, ox * window.stride_x - window.padding_x
                total = np.int32(0)
                for y in range(max(top, 0), min(top + window.kernel_y, window.height)):
                    for x in range(max(left, 0), min(left + window.kernel_x, window.width)):
                        total += arriving[lane, y * window.width + x]
                reached[oy, ox] = total
        for i in range(len(tiles)):
            total = np.int32(0)
            for y in range(tiles[i, 0], tiles[i, 1]):
                for x in range(tiles[i, 2], tiles[i, 3]):
                    total += reached[y, x]
            out[lane, i] = total


@njit(cache=True, nogil=True)
def add_pool(
    counts: Plane, window: Window, weight: NDArray[np.int32], place: Place, current: NDArray[np.int32], reached: Plane
) -> None:
    """Channelwise sums: ``current`` (T, n, C) += weights (taps, C or 1) times windows of ``counts`` (lanes, P_in, C).

    ``reached`` (T, n, C): spikes that reach each neuron, set; the caller proves that they fit a byte.
    """
    n_steps, _, n_channels = reached.shape
    shared = weight.shape[1] < n_channels  # a pool: one weight for all
    for t in range(n_steps):
        lane = t * place.inputs + place.item
        for n in range((place.y1 - place.y0) * window.out_width):
            y, x = place.y0 + n // window.out_width, n % window.out_width
            top, left = y * window.stride_y - window.padding_y, x * window.stride_x - window.padding_x
            found, sums = reached[t, n], current[t, n]
            found[:] = 0
            for dy in range(max(0, -top), min(window.kernel_y, window.height - top)):
                for dx in range(max(0, -left), min(window.kernel_x, window.width - left)):
                    row = counts[lane, (top + dy) * window.width + left + dx]
                    for c in range(n_channels):
                        found[c] += row[c]
                    if not shared:
                        taps = weight[dy * window.kernel_x + dx]
                        for c in range(n_channels):
                            sums[c] += taps[c] * np.int32(row[c])
            if shared:
                one = weight[0, 0]
                for c in range(n_channels):
                    sums[c] += one * np.int32(found[c])


@njit(cache=True, nogil=True)
def add_values(payload: NDArray[np.int32], weight: int, place: Place, width: int, current: NDArray[np.int32]) -> None:
    """One to one: ``current`` (T, n, at least C) += ``weight * payload`` (lanes, P, C)."""
    first, factor = place.y0 * width, np.int32(weight)
    for t in range(len(current)):
        for n in range(current.shape[1]):
            row, sums = payload[t * place.inputs + place.item, first + n], current[t, n]
            for c in range(len(row)):
                sums[c] += factor * row[c]


@njit(cache=True, nogil=True)
def ones(payload: NDArray[np.int32], out: Plane) -> None:
    """How many binary digits of each payload (lanes, P, C) are 1, whatever its sign; as in Warren 2012, 5-1."""
    values, counts = payload.reshape(-1), out.reshape(-1)
    for i in range(len(values)):
        v = np.uint32(abs(values[i]))
        v = v - ((v >> np.uint32(1)) & np.uint32(0x55555555))
        v = (v & np.uint32(0x33333333)) + ((v >> np.uint32(2)) & np.uint32(0x33333333))
        v = (v + (v >> np.uint32(4))) & np.uint32(0x0F0F0F0F)
        counts[i] = np.uint32(v * np.uint32(0x01010101)) >> np.uint32(24)


@njit(cache=True, nogil=True)
def above(values: Plane, least: int, out: Plane) -> int:
    """``out`` = whether each of ``values`` exceeds ``least``; returns how many do."""
    counts, found, some = values.reshape(-1), out.reshape(-1), np.int64(0)
    bound = np.uint8(least)
    for i in range(len(counts)):
        more = counts[i] > bound
        found[i] = more
        some += more
    return int(some)


@njit(cache=True, nogil=True)
def add_planes(plane: Plane, out: Plane) -> None:
    """``out += plane``, both of one shape."""
    values, sums = plane.reshape(-1), out.reshape(-1)
    for i in range(len(values)):
        sums[i] += values[i]
