"""What a legalisation pass is, and what its user chose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network

MAX_INTERVAL = 256
"""Ticks a step may take unless the user allows more: a quarter of a second a step where a tick lasts a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a user may choose of the legalisation.

    Attributes:
        weight_bits: width of a synaptic weight, sign included.
        attention: name of the attention method, or ``none``.
        approximate: what may be approximated (``leak``); nothing is unless it is listed here.
        max_interval: longest step, in ticks, that bursts may ask for.
        sums: whether populations may send sums of residual streams on, which spares cores and takes ticks.
    """

    weight_bits: int
    attention: str = "none"
    approximate: tuple[str, ...] = ()
    max_interval: int = MAX_INTERVAL
    sums: bool = True


class Legalisation(Protocol):
    """A rewriting of networks so that a chip can hold them; exact, or refused by name with a remedy.

    Depths and delays are not set yet: ``balance`` comes afterwards. Populations are listed sources first, which is
    the order in which the integer reference runs them. A population that a pass keeps has the same name, the same
    spikes in every step and the same membrane as before; populations a pass adds take their origin from the one
    they serve.
    """

    name: ClassVar[str]

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """The rewritten network; raises UnsupportedError or CapacityError naming the population and a remedy."""
        ...
