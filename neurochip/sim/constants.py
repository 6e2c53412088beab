"""Currents that no spike carries: bias axons, and the encoder's convolution of the input on the host."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurochip.network.projections import Encoder
from neurochip.network.reference import projected
from neurochip.sim.kernels.neurons import requantise
from neurochip.sim.schedule import PopulationPlan
from neurochip.sim.state import Constant, Totals, fitted

Counts = NDArray[np.int64]


def always_on(plan: PopulationPlan) -> Counts:
    """Raw current (C,) of the biases, wherever they live."""
    return sum((bias.total for bias in plan.biases), np.zeros(plan.population.channels, np.int64))


def encoded(plan: PopulationPlan, encoder: Encoder, frame: Counts) -> Constant:
    """Raw current (rows, C) that the host computes from one frame (B, H, W, C), and that of the bias axons.

    Integers by way of one float64 product over all windows: every partial sum stays far below 2**53.
    """
    if encoder.pool_kernel != (1, 1):  # maxima of windows come between the sums and their scaling
        maxima = projected(encoder, plan.population, {}, frame).reshape(-1, plan.population.channels)
        return fitted(plan, maxima + always_on(plan))
    kh, kw, n_in, n_out = encoder.weight.shape
    (sy, sx), (py, px) = encoder.stride, encoder.padding
    padded = np.pad(frame.astype(np.float64), ((0, 0), (py, py), (px, px), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))[:, ::sy, ::sx]
    rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, kh * kw * n_in)
    sums = rows @ encoder.weight.reshape(-1, n_out).astype(np.float64)
    out = np.empty(sums.shape, np.int32 if plan.rules.safe else np.int64)
    bias = np.broadcast_to(encoder.bias.astype(np.int64), n_out)
    requantise(sums, bias, always_on(plan), (encoder.multiplier, encoder.down, encoder.shift), out)
    return out


def count_encoders(plans: tuple[PopulationPlan, ...], frames: Counts, totals: Totals) -> None:
    """Count the host's convolutions of ``frames`` (T or 1, B, H, W, C) and the words it writes.

    Registers are set for each frame, and cleared at the end.
    """
    steps, inputs = frames.shape[:2]
    for plan in plans:
        if plan.encoder is not None:
            rows, columns = plan.encoder.conv_grid(*frames.shape[2:4])
            macs = rows * columns * plan.encoder.weight.size * plan.encoder.counted
            totals.host_macs += macs * steps * inputs
            if plan.population.home == "core":
                totals.host_writes += plan.population.size * (steps + 1) * inputs
