"""``--check-sample``: recompute neurons drawn at random from the spikes that the simulation says they received.

A sampled neuron is computed step by step in plain integers from what its sources emitted in the simulation. If every
neuron passes, the simulation equals the reference: the input is given, and each layer follows from those before it. A
sample that passes bounds the share of neurons that could be wrong; a difference names the very layer that made it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.network.inputs import quantise_input
from neurochip.network.network import Network, Population
from neurochip.network.positions import current_at
from neurochip.network.reference import stepped
from neurochip.sim.check import Spikes, input_of

Int = NDArray[np.int64]


@dataclass(slots=True, eq=False)
class SampledCheck:
    """Collects the first difference; use ``observe`` as the engine's observer.

    Attributes:
        x: the inputs as given to the simulator, (B, *shape) or (T, B, *shape).
        positions: how many positions of every population to recompute, with all their channels; the readout's are all
            recomputed, and so are those of populations with fewer.
        seed: of the draw, which is the same for every input.
    """

    network: Network
    x: NDArray[np.generic]
    positions: int
    seed: int = 0
    inputs: int = 0
    neurons: int = 0
    spikes: int = 0
    difference: str | None = None
    drawn: dict[str, Int] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        last = self.network.readout.population
        self.drawn = {
            p.name: np.arange(p.positions)
            if p.name == last or p.positions <= self.positions
            else np.sort(rng.choice(p.positions, self.positions, replace=False))
            for p in self.network.populations
        }

    def observe(self, number: int, spikes: Spikes, readout: NDArray[np.int64]) -> None:
        """Recompute the sample of input ``number``."""
        one = input_of(self.network, self.x, number)
        levels = quantise_input(self.network.input, one, self.network.timesteps)[:, 0]
        self.inputs += 1
        for population in self.network.populations:
            want, membrane = self._expected(population, spikes, levels)
            if population.neuron.kind == "readout":
                if population.name == self.network.readout.population:
                    self._compare_readout(number, membrane.sum(axis=0), readout)
                continue
            got = spikes[population.name][:, self.drawn[population.name]]
            self.neurons += prod(want.shape[1:])
            self.spikes += int(np.count_nonzero(want))  # a payload is one spike
            if self.difference is None and not np.array_equal(want, got):
                step, place, channel = (int(i) for i in np.argwhere(want != got)[0])
                y, x = divmod(int(self.drawn[population.name][place]), population.width)
                self.difference = (
                    f"input {number}, population {population.name!r}, step {step}, neuron (y={y}, x={x}, "
                    f"channel={channel}): from the spikes it received the reference emits "
                    f"{want[step, place, channel]}, the simulation {got[step, place, channel]}"
                )

    def _expected(self, population: Population, spikes: Spikes, levels: Int) -> tuple[Int, Int]:
        """What the sampled neurons of ``population`` emit, (T, n, C), and their last membranes, (n, C)."""
        drawn = self.drawn[population.name]
        membrane = np.zeros((len(drawn), population.channels), np.int64)
        steps = []
        for step in range(self.network.timesteps):
            frame = levels[min(step, len(levels) - 1)]
            if population.neuron.kind == "source":
                steps.append(frame.reshape(-1, population.channels)[drawn])
                continue
            total = np.zeros_like(membrane)
            for projection in self.network.incoming[population.name]:
                total += current_at(self.network, projection, population, drawn, spikes, step, frame)
            fired, membrane, _ = stepped(population, self.network.arithmetic, membrane, total)
            steps.append(fired)
        return np.stack(steps), membrane

    def _compare_readout(self, number: int, want: Int, got: NDArray[np.int64]) -> None:
        if self.difference is None and not np.array_equal(want, got):
            o = int(np.argwhere(want != got)[0, 0])
            self.difference = (
                f"input {number}, readout {o}: from the spikes it received the reference holds {want[o]}, "
                f"the simulation {got[o]}"
            )

    def result(self) -> dict[str, Any]:
        """What was recomputed, of how much, and whether all of it was equal."""
        whole = sum(p.size for p in self.network.populations if p.neuron.kind != "readout") * self.inputs
        return {
            "exact": self.difference is None and self.inputs > 0,
            "inputs": self.inputs,
            "neurons_compared": self.neurons,
            "neurons": whole,
            "positions_of_each_population": self.positions,
            "populations": len(self.network.populations),
            "steps": self.network.timesteps,
            "spikes_compared": self.spikes,
            "first_difference": self.difference,
        }
