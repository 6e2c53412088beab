"""Sums of currents that many neuron layers read (residual streams of membranes) are computed once and sent on."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from compiler.legal.stream_cuts import Plan, planned
from compiler.legal.stream_sums import with_sums
from compiler.legal.target import Choices
from compiler.lower.depths import schedule
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network, Population

SPARE = 1.5
"""Factor of the interval, for repeaters that mapping may put between a sum and the next."""


class Streams:
    """Puts populations of running sums between the layers of a residual stream whose parts are currents.

    With a membrane shortcut, x_{l+1} = x_l + W_l s_l, every neuron layer reads the currents of all layers before it.
    Repeated for each of them, their synapses and axons grow with the square of the depth. A running sum reads the
    sum before it and the currents since, and sends the result to the neurons and the next sum, which then need no
    synapses of older layers: as a payload where spikes carry one, or as binary digits where neurons have compartments
    that add and fire (``Population.coding``). ``stream_cuts`` says where a sum pays.

    Sums are sent with an offset that makes them positive; the readers' biases take it off again. Digits leave one a
    tick, so that a step lasts at least as many ticks, and the sum waits for them in its compartment.

    Ensures: neurons that were there receive the same currents in every step, so spikes and membranes do not change.
    """

    name: ClassVar[str] = "streams"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises UnsupportedError if a sum would have to wait longer than a step may last."""
        plans = planned(network, chip, choices.weight_bits)
        return with_plans(network, plans, chip, choices) if plans else network


def with_plans(network: Network, plans: tuple[Plan, ...], chip: ChipSpec, choices: Choices) -> Network:
    """``network`` with the sums of every plan, and steps long enough for them."""
    for plan in plans:
        network = with_sums(network, plan.levels, plan.sums, chip, choices.weight_bits)
    serial = [p for p in network.populations if p.coding == "digits"]
    if not serial:
        return network
    interval = max(network.interval, round(SPARE * longest_wait(network, serial, chip.max_delay)))
    if interval > choices.max_interval:
        raise UnsupportedError(
            f"network {network.name!r}: sums of its membrane shortcuts wait {interval} ticks for the layers that read "
            f"them, a step may last {choices.max_interval} (--max-interval {interval} allows it)"
        )
    return replace(network, interval=interval)


def longest_wait(network: Network, serial: list[Population], max_delay: int) -> int:
    """Ticks of a step in which every reader of the populations ``serial`` hears them without relays."""
    shortest = max(p.duration for p in serial)
    trial = replace(network, interval=max(network.interval, shortest))
    _, depth = schedule(trial)
    names = {p.name for p in serial}
    spans = [
        depth[p.target] - depth[s.population] for p in network.projections for s in p.sources if s.population in names
    ]
    return max(shortest, max(spans) + 1 - max_delay)
