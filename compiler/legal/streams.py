"""Sums that many layers read (residual streams of currents or of spikes) are computed once and sent on."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import ClassVar

from compiler.legal.repeaters import LARGE, cores_of, with_repeaters
from compiler.legal.spike_streams import chosen_counts, with_chosen
from compiler.legal.stream_cuts import Plan, planned
from compiler.legal.stream_sums import with_sums
from compiler.legal.target import Choices
from compiler.lower.balance import waiting
from compiler.lower.depths import schedule
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Network

WORTH = 0.75
"""Counts are sent where a network that fits without then takes at most this share of its cores, as they take ticks."""


class Streams:
    """Puts populations of running sums between the layers of a residual stream.

    With a membrane shortcut, x_{l+1} = x_l + W_l s_l, every neuron layer reads the currents of all layers before it.
    Repeated for each of them, their synapses and axons grow with the square of the depth. A running sum reads the
    sum before it and the currents since, and sends the result to the neurons and the next sum, which then need no
    synapses of older layers: as a payload where spikes carry one, or as binary digits where neurons have compartments
    that add and fire (``Population.coding``). ``stream_cuts`` says where a sum pays.

    Sums are sent with an offset that makes them positive; the readers' biases take it off again. Digits leave one a
    tick, so that a step lasts at least as many ticks, and the sum waits for them in its compartment.

    With a shortcut of spikes, x_{l+1} = x_l + s_l (SEW), every layer reads all spikes before it, and each neuron has an
    axon to every core of every later layer. A count reads the count before it and the spikes since, and sends the
    result on as a payload or as that many unit spikes, one a tick. ``spike_streams`` says where that pays.

    Ensures: neurons that were there receive the same currents in every step, so spikes and membranes do not change.
    """

    name: ClassVar[str] = "streams"

    def run(self, network: Network, chip: ChipSpec, choices: Choices) -> Network:
        """Raises UnsupportedError if a sum of currents would have to wait longer than a step may last."""
        if not choices.sums:
            return network
        plans = planned(network, chip, choices.weight_bits)
        summed = with_plans(network, plans, chip, choices) if plans else network
        return counted(summed, chip, choices)


def with_plans(network: Network, plans: tuple[Plan, ...], chip: ChipSpec, choices: Choices) -> Network:
    """``network`` with the sums of every plan, and steps long enough for them."""
    for plan in plans:
        network = with_sums(network, plan.levels, plan.sums, chip, choices.weight_bits)
    network = lengthened(network, chip)
    if network.interval > choices.max_interval:
        raise UnsupportedError(
            f"network {network.name!r}: sums of its membrane shortcuts wait {network.interval} ticks for the layers "
            f"that read them, a step may last {choices.max_interval} (--max-interval {network.interval} allows it)"
        )
    return network


def counted(network: Network, chip: ChipSpec, choices: Choices) -> Network:
    """``network`` with counts of spikes, if it then takes many cores fewer and its steps are no longer than allowed."""
    bits = choices.weight_bits
    chosen = tuple(chosen_counts(network, chip, bits))
    if not chosen:
        return network
    found = lengthened(with_chosen(network, chosen, chip), chip)
    if found.interval > choices.max_interval:
        return network
    before, after = (cores(each, chip, bits) for each in (network, found))
    most = chip.max_chips * chip.cores_per_chip
    return found if after < inf and after <= (WORTH if before <= most else 1.0) * before else network


def cores(network: Network, chip: ChipSpec, bits: int) -> float:
    """Cores of ``network``, with relays for its delays and with repeaters where these help."""
    try:
        plain = cores_of(network, chip, bits)
    except CapacityError:
        plain = inf
    if plain < LARGE:
        return plain
    try:
        return min(plain, cores_of(with_repeaters(network, chip, bits), chip, bits))
    except CapacityError:
        return plain


def lengthened(network: Network, chip: ChipSpec) -> Network:
    """``network`` with steps in which every sum that is sent over several ticks reaches its readers without relays."""
    serial = [p.duration for p in network.populations if p.coding in ("digits", "unary")]
    if not serial:
        return network
    network = replace(network, interval=max(network.interval, *serial))
    while (needed := waiting(network, schedule(network)[1], chip.max_delay)) > network.interval:
        network = replace(network, interval=needed)
    return network
