"""``--check``: compare every spike and readout of a simulation with the integer reference, input by input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network

Spikes = dict[str, NDArray[np.int32]]


def input_of(network: Network, x: NDArray[np.generic], number: int) -> NDArray[np.generic]:
    """Input ``number`` of ``x``, alone: (1, *shape) or (T, 1, *shape)."""
    static = np.ndim(x) == len(network.input.shape) + 1
    return x[number : number + 1] if static else x[:, number : number + 1]


@dataclass(slots=True, eq=False)
class Check:
    """Collects the first difference; use ``observe`` as the engine's observer.

    Attributes:
        x: the inputs as given to the simulator, (B, *shape) or (T, B, *shape).
    """

    network: Network
    x: NDArray[np.generic]
    neurons: int = 0
    inputs: int = 0
    spikes: int = 0
    difference: str | None = None

    def observe(self, number: int, spikes: Spikes, readout: NDArray[np.int64]) -> None:
        """Compare input ``number``."""
        expected = self.network.run(input_of(self.network, self.x, number))
        self.inputs += 1
        for population in self.network.populations:
            name = population.name
            if name not in expected.spikes:
                continue
            want, got = expected.spikes[name][0], spikes[name]
            self.neurons += population.size
            self.spikes += int(np.count_nonzero(want))  # a payload is one spike
            if self.difference is None and not np.array_equal(want, got):
                step, position, channel = (int(i) for i in np.argwhere(want != got)[0])
                self.difference = (
                    f"input {number}, population {name!r}, step {step}, neuron (y={position // population.width}, "
                    f"x={position % population.width}, channel={channel}): the reference emits "
                    f"{want[step, position, channel]}, the simulation {got[step, position, channel]}"
                )
        if self.difference is None and not np.array_equal(expected.readout[0], readout):
            o = int(np.argwhere(expected.readout[0] != readout)[0, 0])
            self.difference = (
                f"input {number}, readout {o}: the reference holds {expected.readout[0, o]}, "
                f"the simulation {readout[o]}"
            )

    def result(self) -> dict[str, Any]:
        """What was compared and whether all of it was equal."""
        return {
            "exact": self.difference is None and self.inputs > 0,
            "inputs": self.inputs,
            "neurons_compared": self.neurons,
            "steps": self.network.timesteps,
            "spikes_compared": self.spikes,
            "first_difference": self.difference,
        }
