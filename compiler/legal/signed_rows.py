"""Axons whose synapses all have one sign: a source that excites and inhibits takes two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import numpy as np

from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network
from neurochip.network.projections import Bias, Conv, Dense, Einsum, Gather, Pool, Projection

EXCITES, INHIBITS = (0,), (1,)
"""Axon types of rows whose weights are >= 0, and <= 0."""


class SignedRows:
    """Gives every projection rows of one sign: type 0 excites, type 1 inhibits; mixed weights become two projections.

    Fan-in doubles where weights mix signs, which ``split-fan-in`` allows for. The rows of a pair carry the same
    spikes; an accumulate of the model is counted on the first.

    Ensures: all weights of a projection, and of a bias digit, have the sign of their type; sums do not change.
    """

    name: ClassVar[str] = "signed-rows"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """``network`` with rows of one sign, if the chip's are."""
        if chip.weights.sign != "row":
            return network
        rows = (row for p in network.projections for row in signed(network, p))
        return replace(network, projections=tuple(rows))


def signed(network: Network, projection: Projection) -> Iterator[Projection]:
    """``projection`` as one or two of one sign each."""
    if network.by_name[projection.target].home == "host":
        yield projection
    elif isinstance(projection, Bias):
        yield signed_bias(projection)
    elif isinstance(projection, Pool | Einsum):
        yield typed(projection, EXCITES if projection.weight > 0 else INHIBITS)
    elif isinstance(projection, Dense | Conv | Gather):
        yield from signed_weights(projection)
    else:
        yield projection


def signed_weights(projection: Dense | Conv | Gather) -> Iterator[Projection]:
    """The parts of ``projection`` above and below zero that have any weight; the first keeps its name."""
    up, down = np.maximum(projection.weight, 0), np.minimum(projection.weight, 0)
    if up.any() or not down.any():
        yield typed(replace(projection, weight=up), EXCITES)
    if down.any():
        name = f"{projection.name}.inhibitory" if up.any() else projection.name
        rest = replace(projection, name=name, weight=down, counted=projection.counted and not up.any())
        yield typed(rest, INHIBITS)


def typed(projection: Projection, types: tuple[int, ...]) -> Projection:
    """``projection`` with sources on axons of ``types``."""
    return replace(projection, sources=tuple(replace(source, types=types) for source in projection.sources))


def signed_bias(bias: Bias) -> Bias:
    """Every digit as one that is nowhere negative and one that is nowhere positive, as far as they are needed."""
    if bias.place != "axon":
        return bias
    rows, shifts, types = [], [], []
    for digit, shift in zip(bias.weight, bias.shifts, strict=True):
        for sign, part in ((0, np.maximum(digit, 0)), (1, np.minimum(digit, 0))):
            if part.any():
                rows.append(part)
                shifts.append(shift)
                types.append(sign)
    if not rows:
        rows, shifts, types = [bias.weight[0]], [bias.shifts[0]], [0]
    return replace(bias, weight=np.stack(rows), shifts=tuple(shifts), types=tuple(types))
