"""Neurons that fire for the opposite of what they stand for, so that silence means what their bias alone would do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compiler.legal.base import Ints
from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, Conv, Dense, Gather, Pool, Projection, Weights, narrowest

Mask = NDArray[np.bool_]
PART = 1 << 14
"""Biases that leave 16 bits are stored as two digits, of which the lower is below this."""


def complement(network: Network, population: Population, flip: Mask) -> Network | None:
    """``network`` with the neurons of ``population`` in the channels ``flip`` (C,) firing where they were silent.

    ``x + b >= theta`` is false where ``-x + (2 theta - b - 1) >= theta``: weights change sign and the bias changes.
    A reader's ``w s`` becomes ``w - w s'``: weights change sign, and a constant joins its bias. None where a reader has
    no such constant for all its positions (borders), or weights that do not change channel by channel.
    """
    rules = network.arithmetic
    if rules.fires != "ge" or rules.threshold_shift or not flip.any() or population.high > 1:
        return None
    changed: dict[str, list[Projection]] = {}
    for projection in network.incoming[population.name]:
        if isinstance(projection, Bias):
            changed[projection.name] = []
        elif isinstance(projection, Dense | Conv | Gather):
            weight = narrowest(projection.weight * np.where(flip, -1, 1))
            changed[projection.name] = [replace(projection, weight=weight)]
        else:
            return None
    for projection in network.projections:
        if any(s.population == population.name for s in projection.sources):
            parts = _read(network, projection, population, flip)
            if parts is None:
                return None
            changed[projection.name] = parts
    projections = [q for p in network.projections for q in changed.get(p.name, [p])]
    before = [bias_total(p) for p in network.incoming[population.name] if isinstance(p, Bias)]
    total = np.asarray(sum(before, np.zeros(population.channels, np.int64)))
    flipped = np.where(flip, 2 * population.neuron.threshold - total - 1, total)
    projections.append(constant(_bias(population.name, population.origin, population.channels), flipped))
    inverted = replace(population, inverted=tuple(int(c) for c in np.flatnonzero(flip)))
    populations = tuple(inverted if p is population else p for p in network.populations)
    return replace(network, populations=populations, projections=tuple(projections))


def _read(network: Network, projection: Projection, source: Population, flip: Mask) -> list[Projection] | None:
    """``projection`` for inverted channels of ``source``, its constant, and apart from them its other sources."""
    target = network.by_name[projection.target]
    if target.neuron.kind not in ("lif", "readout"):
        return None
    mine = tuple(s for s in projection.sources if s.population == source.name)
    others = tuple(s for s in projection.sources if s.population != source.name)
    alone = replace(projection, sources=mine)
    if isinstance(alone, Pool):
        alone = by_channel(alone, source.channels)
    weight, times = _inverted(alone, source, target, flip)
    if weight is None:
        return None
    assert isinstance(alone, Dense | Conv | Gather)
    read = replace(alone, weight=weight)
    lost = (alone.weight.astype(np.int64) - weight).reshape(-1, target.channels).sum(axis=0) // 2 * times
    parts: list[Projection] = [replace(read, name=f"{read.name}@{source.name}" if others else read.name)]
    bias = _bias(f"{target.name}.{source.name}", projection.origin, target.channels)
    parts.append(constant(replace(bias, target=target.name), lost << projection.shift))
    return [replace(projection, sources=others), *parts] if others else parts


def _inverted(projection: Projection, source: Population, target: Population, flip: Mask) -> tuple[Weights | None, int]:
    """Weights with the sign of inverted channels changed, and how many positions each weight is used for."""
    sign = np.where(flip, -1, 1)
    if isinstance(projection, Dense | Gather):
        times = source.positions // target.positions if isinstance(projection, Gather) else 1
        return narrowest(projection.weight * sign[:, None]), times
    if not isinstance(projection, Conv) or any(projection.padding) or projection.channels is not None:
        return None, 1
    per_in, per_out = source.channels // projection.groups, target.channels // projection.groups
    group = np.arange(target.channels) // per_out
    return narrowest(projection.weight * sign[group * per_in + np.arange(per_in)[:, None]]), 1


def by_channel(pool: Pool, channels: int) -> Conv:
    """``pool`` with a weight for each channel."""
    weight = narrowest(np.full((*pool.kernel, 1, channels), pool.weight))
    return Conv(
        name=pool.name, sources=pool.sources, target=pool.target, origin=pool.origin, shift=pool.shift,
        counted=pool.counted, weight=weight, stride=pool.stride, padding=pool.padding, groups=channels,
    )  # fmt: skip


def _bias(name: str, origin: str, channels: int) -> Bias:
    zero = np.zeros((1, channels), np.int16)
    return Bias(name=f"{name}.constant", sources=(), target=name, origin=origin, weight=zero, shifts=(0,))


def constant(bias: Bias, total: Ints) -> Bias:
    """``bias`` with other values, (C,) raw units, in digits of 15 bits."""
    low = total % PART
    wide = np.abs(total).max(initial=0) >= PART
    digits = np.stack([low, (total - low) // PART]) if wide else total[None]
    return replace(bias, weight=digits.astype(np.int16), shifts=(0, PART.bit_length() - 1)[: len(digits)])


def bias_total(bias: Bias) -> Ints:
    """What ``bias`` adds to each channel, raw units, (C_out,) int64."""
    shifts = np.array(bias.shifts, np.int64)[:, None]
    total: Ints = (bias.weight.astype(np.int64) << shifts).sum(axis=0)
    return total
