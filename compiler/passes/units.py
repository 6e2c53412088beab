"""Units: what one integer step of a membrane is worth, chosen so that rounding does least harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, log2

import numpy as np

from compiler.ir.ops import Floats, Neuron, Weights
from compiler.ir.ops.base import row_blocks

FIRING_RATE = 0.2
"""Spikes per neuron and step assumed when errors of weights and biases are compared; published spiking
transformers lie between 0.1 and 0.35 (SOPs over T times dense operations in their papers)."""

CLIPS = (0.4, 1.0)
"""The largest weight kept lies between these fractions of the largest weight."""

CANDIDATES = 61
"""Units tried between the two clips."""

SAMPLE = 2**13
"""Most weights of a layer looked at for each candidate."""

NEARLY = 1e-9
"""Relative distance at which a threshold counts as whole: rounding of the float arithmetic that made it."""

COARSEST = Fraction(1, 16)
"""Largest relative change of a threshold that rounding to a whole number may cause."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The whole numbers that weights become: ``low`` to ``high``, or the two signs where a weight has no ``zero``."""

    low: int
    high: int
    zero: bool = True

    def nearest(self, values: Floats) -> Floats:
        """The nearest weight to each of ``values``; of the two signs 0 takes +1."""
        if self.zero:
            return np.clip(np.rint(values), self.low, self.high)
        return np.where(values < 0, -1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Synapses:
    """Real weights that get a unit.

    Attributes:
        weight: any shape. bias: in the same units, or None.
        spikes: most spikes an input can carry in one step, residual addends together.
    """

    weight: Weights
    bias: Weights | None = None
    spikes: float = 1.0


def choose_unit(layers: Sequence[Synapses], levels: Levels) -> float:
    """The unit q with the least squared error of ``q * levels.nearest(w / q)``; 1 if all weights are 0."""
    largest = _largest(layers)
    if largest == 0:
        return 1.0
    finest, coarsest = _span(layers, levels, largest)
    units = [*np.linspace(finest, coarsest, CANDIDATES).tolist(), *_powers_of_two(coarsest, largest)]
    return float(min(units, key=lambda q: (squared_error(layers, q, levels), q)))


def _span(layers: Sequence[Synapses], levels: Levels, largest: float) -> tuple[float, float]:
    """The finest and the coarsest unit to try.

    Of one-bit weights the mean size of the weights errs least (Rastegari et al. 2016, XNOR-Net, arXiv:1603.05279,
    section 3.1); units near it are tried as a threshold must become a whole number of them.
    """
    if levels.zero or not any(layer.weight.any() for layer in layers):
        finest, coarsest = (clip * largest / levels.high for clip in CLIPS)
        return finest, coarsest
    sizes = [(layer.spikes * np.abs(layer.weight).sum(), layer.spikes * layer.weight.size) for layer in layers]
    mean = float(sum(total for total, _ in sizes) / sum(count for _, count in sizes))
    return mean / 2, mean * 2


def choose_threshold(layers: Sequence[Synapses], threshold: float, levels: Levels, limit: int) -> int:
    """The whole number 1..limit that ``threshold`` > 0 becomes, so that the unit threshold / theta errs least."""
    largest = _largest(layers) or max((_peak(x.bias) for x in layers if x.bias is not None), default=0.0)
    if largest == 0:
        return 1
    finest, coarsest = _span(layers, levels, largest)
    smallest, biggest = min(max(1, floor(threshold / coarsest)), limit), min(max(1, ceil(threshold / finest)), limit)
    thetas = {round(theta) for theta in np.linspace(smallest, biggest, CANDIDATES).tolist()}
    exact = (threshold / q for q in _powers_of_two(coarsest, largest))
    thetas |= {int(theta) for theta in exact if 1 <= theta <= limit and theta.is_integer()}
    return int(min(sorted(thetas), key=lambda theta: squared_error(layers, threshold / theta, levels)))


def squared_error(layers: Sequence[Synapses], q: float, levels: Levels) -> float:
    """Expected squared error of a step's current, summed over neurons, if inputs fire at FIRING_RATE."""
    total = 0.0
    for layer in layers:
        weight = layer.weight.ravel()
        sample = weight[:: max(1, weight.size // SAMPLE)].astype(np.float64)
        error = sample - q * levels.nearest(sample / q)
        total += FIRING_RATE * layer.spikes * float(error @ error) * weight.size / sample.size
        if layer.bias is not None:
            bias = layer.bias.astype(np.float64)
            error = bias - q * np.rint(bias / q)
            total += float(error @ error)
    return total


def integer_weights(weight: Weights, q: float, levels: Levels) -> Weights:
    """``levels.nearest(weight / q)`` in the smallest of int8 and int16 that holds all levels."""
    dtype = np.int8 if levels.low >= -128 and levels.high <= 127 else np.int16
    whole: Weights = np.empty(weight.shape, dtype)
    for rows in row_blocks(weight):
        whole[rows] = levels.nearest(weight[rows].astype(np.float64) / q)
    return whole


def integer_bias(bias: Weights | None, q: float) -> Weights | None:
    """``round(bias / q)`` as int32; raises OverflowError beyond its range."""
    if bias is None:
        return None
    whole: Floats = np.rint(bias.astype(np.float64) / q)
    if _peak(whole) >= 2**31:
        raise OverflowError(f"{_peak(whole):.0f} does not fit 32 bits")
    return whole.astype(np.int32)


def threshold_of_integers(op: Neuron, timesteps: int) -> int | None:
    """The whole threshold at which neurons on whole currents fire as ``op`` does; None if there is none.

    Exact where no membrane can lie between: without memory or leak, and where tau is rational, on the grid of
    fractions that ``timesteps`` steps of leak reach. Elsewhere the nearest whole number, if that changes the
    threshold by at most a sixteenth.
    """
    exact = Fraction(op.threshold)
    nearest = round(exact)
    if abs(exact - nearest) <= NEARLY * abs(exact):
        return nearest
    if op.reset == "hard" or timesteps == 1:
        grid = _membrane_grid(op, timesteps)
        reached = Fraction(ceil(exact * grid) if op.fires == "ge" else floor(exact * grid), grid)
        if reached.denominator == 1:
            return int(reached)
    return nearest if abs(exact - nearest) <= COARSEST * abs(exact) else None


def _membrane_grid(op: Neuron, timesteps: int) -> int:
    """Membranes of whole currents are multiples of one over this."""
    if op.tau is None or timesteps == 1:
        return 1
    keep = 1 - 1 / Fraction(op.tau).limit_denominator(4096)
    return int(keep.denominator ** (timesteps - 1))


def _powers_of_two(coarsest: float, largest: float) -> list[float]:
    """Units above ``coarsest`` at which dyadic weights stay exact."""
    return [2.0**k for k in range(ceil(log2(coarsest)), ceil(log2(largest)) + 1)]


def _largest(layers: Sequence[Synapses]) -> float:
    return max((_peak(layer.weight) for layer in layers), default=0.0)


def _peak(array: Weights) -> float:
    return max(float(array.max(initial=0)), -float(array.min(initial=0)))
