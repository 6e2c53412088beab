"""Checker, part five: neurons that compare in every tick wait for what a step still brings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.check_arithmetic import current_range
from neurochip.network.network import Population
from neurochip.network.projections import Bias
from neurochip.program.image import Program

Ints = NDArray[np.int64]


def strobe_problems(program: Program, population: Population) -> Iterator[str]:
    """Between its own ticks a neuron on a crossbar lies so low that neither bursts nor leaks can matter.

    Over several steps: what is dropped and lifted leaves the biases, lies above all that bursts bring and below the
    membrane's bits, and a linear leak, whose sign is then known, is cancelled in each tick between.
    """
    network, rules, where = program.network, program.chip.arithmetic, f"population {population.name!r}"
    incoming = network.incoming[population.name]
    if not program.chip.limits.axon_types or population.home == "host" or population.neuron.kind != "lif":
        return
    bursts = [p for p in incoming for s in p.sources if network.by_name[s.population].duration > 1]
    drop, hold = _strobe(incoming, "drop"), _strobe(incoming, "hold")
    if network.timesteps == 1 or network.interval == 1 or (drop is None and not bursts):
        return
    if drop is None or _strobe(incoming, "lift") is None:
        yield f"{where}: reads bursts over {network.timesteps} steps and nothing holds it back between its own ticks"
        return
    neuron, steps = population.neuron, network.timesteps
    last = neuron.threshold if rules.fires == "gt" else neuron.threshold - 1
    ranges = [current_range(network, p) for p in incoming]
    low, high = (sum((r[i] for r in ranges), np.zeros(population.channels, np.int64)) for i in (0, 1))
    kept = np.maximum(high - neuron.threshold, 0) * steps * (neuron.reset == "soft") + last
    early = sum((np.maximum(current_range(network, p)[1], 0) for p in bursts), np.zeros_like(low))
    if (kept + early - drop > (-1 if neuron.decay else last)).any():
        yield f"{where}: is lowered by {drop.min()} between its own ticks, and could reach {(kept + early).max()}"
    floor = (1 << (rules.membrane_bits - 1)) - 1
    if (steps * (np.minimum(low, 0) - neuron.decay) - drop < -floor).any():
        yield f"{where}: is lowered by {drop.max()} between its own ticks, beyond {rules.membrane_bits} bits"
    drift = neuron.decay * (-1 if rules.linear_leak == "down" else 1)
    if (drift and rules.leak != "linear") or np.any((0 if hold is None else hold) != -drift):
        yield f"{where}: its leak of {neuron.decay} in each tick is not cancelled between its own ticks"


def _strobe(incoming: tuple[object, ...], place: str) -> Ints | None:
    """What the axons of the strobe ``place`` bring, (C,); a drop as what it takes."""
    found = [p for p in incoming if isinstance(p, Bias) and p.place == place]
    if not found:
        return None
    total = sum((row.astype(np.int64) << s for row, s in zip(found[0].weight, found[0].shifts, strict=True)), 0)
    return np.asarray(-total if place == "drop" else total)
