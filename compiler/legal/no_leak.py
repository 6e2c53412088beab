"""Neurons whose membrane never carries over lose their leak, so that chips without that leak can hold them."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from compiler.legal.target import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network, Population


class NoLeak:
    """Sets ``decay`` to 0 wherever no step ever sees an earlier one's membrane: with T = 1, state starts at rest.

    Exact: a leak of zero is zero. Applied only where the chip's leak is not exponential, so that other programs do
    not change.
    """

    name: ClassVar[str] = "no-leak"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """``network`` without leaks that nothing can feel."""
        if chip.arithmetic.leak == "exponential" or network.timesteps > 1:
            return network
        return replace(network, populations=tuple(map(without_leak, network.populations)))


def without_leak(population: Population) -> Population:
    """``population`` with a membrane that keeps what it holds."""
    if not population.neuron.decay:
        return population
    return replace(population, neuron=replace(population.neuron, decay=0))
