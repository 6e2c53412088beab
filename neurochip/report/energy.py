"""Three bills for one run: operations at 45 nm, the chip's own, and the same model as an ANN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.costs import Costs, Event
from neurochip.noc.mesh import EAST, WEST, Mesh
from neurochip.program.image import NEURON_CORE, UNIT, Program
from neurochip.sim.trace import Trace

AC_PJ, MAC_PJ = 0.9, 4.6
"""Accumulate and multiply-accumulate, 32-bit float, 45 nm, 0.9 V. Source: Horowitz, ISSCC 2014, figure 1.1.9."""

PRICES: dict[str, tuple[tuple[str, Event], ...]] = {
    "synapses": (
        ("ops_dense", "synaptic_op_dense"),
        ("ops_conv", "synaptic_op_conv"),
        ("ops_sparse", "synaptic_op_sparse"),
    ),
    "neurons": (("idle", "neuron_inactive"), ("active", "neuron_active")),
    "spikes": (("spikes", "spike"),),
    "axons_in": (("axons_in", "axon_in"),),
    "axons_out": (("axons_out", "axon_out"),),
    "hops": (("hops_x", "hop_x"), ("hops_y", "hop_y")),
    "chip_crossings": (("crossings", "chip_crossing"),),
    "local_delivery": (("local", "local_delivery"),),
    "processor_ops": (("processor_ops", "processor_op"),),
    "processor_messages": (("processor_messages", "processor_message"),),
    "macs": (("macs", "mac"),),
    "learning": (("learning_updates", "learning_update"),),
    "unit_ops": (("unit_ops", "unit_op"),),
    "unit_messages": (("unit_messages", "unit_message"),),
}
"""Kind of the chip's bill -> the counts of ``EventCounts`` it prices, each with the chip's event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """What a chip bills for, of a whole run or of one layer. Payload digits and biases are in ``ops_*``."""

    ops_dense: int = 0
    ops_conv: int = 0
    ops_sparse: int = 0
    idle: int = 0
    active: int = 0
    spikes: int = 0
    axons_in: int = 0
    axons_out: int = 0
    hops_x: int = 0
    hops_y: int = 0
    crossings: int = 0
    local: int = 0
    processor_ops: int = 0
    processor_messages: int = 0
    macs: int = 0
    learning_updates: int = 0
    unit_ops: int = 0
    unit_messages: int = 0


ALL_IN: Event = "synaptic_event_all_in"
WHOLE: dict[Event, Event] = {**dict.fromkeys((event for _, event in PRICES["synapses"]), ALL_IN), "mac": "mac_all_in"}
"""Events that an all-in profile has a price for -> that price; it holds all that the chip spends."""

Prices = Mapping[Event, float]
"""pJ of every event that a bill counts; 0 for events of a kind that cannot be billed."""


def unpublished_kinds(costs: Costs, counts: EventCounts) -> frozenset[str]:
    """Kinds that cannot be billed: one of their events happened in the run and its price is not published.

    Where one figure stands for everything, only multiply-accumulates that have none of their own.
    """
    if costs.energy_pj[ALL_IN] is not None:
        return frozenset({"macs"} if counts.macs and costs.energy_pj["mac_all_in"] is None else ())
    return frozenset(
        kind
        for kind, priced in PRICES.items()
        if any(getattr(counts, name) and costs.energy_pj[event] is None for name, event in priced)
    )


def billed_prices(costs: Costs, counts: EventCounts) -> Prices:
    """Prices in pJ for a run with ``counts``; the same for the total and every split of it, so that splits add up.

    An all-in price is that of every synaptic event, or of every multiply-accumulate; then nothing else has one.
    """
    if costs.energy_pj[ALL_IN] is not None:
        return {
            event: (costs.energy_pj[WHOLE[event]] or 0.0) if event in WHOLE else 0.0
            for priced in PRICES.values()
            for _, event in priced
        }
    hidden = unpublished_kinds(costs, counts)
    return {
        event: 0.0 if kind in hidden else costs.energy_pj[event] or 0.0
        for kind, priced in PRICES.items()
        for _, event in priced
    }


def joules_by_kind(prices: Prices, counts: EventCounts) -> dict[str, float]:
    """Joules of ``counts`` by kind of the chip's bill."""
    return {
        kind: sum(getattr(counts, name) * prices[event] for name, event in priced) * 1e-12
        for kind, priced in PRICES.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ops45nm:
    """Energy of arithmetic alone, joules: 0.9 pJ an accumulate, 4.6 pJ a multiply-accumulate."""

    ac_j: float
    mac_j: float

    @property
    def total_j(self) -> float:
        """Both sums, joules."""
        return self.ac_j + self.mac_j

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return {"ac_j": self.ac_j, "mac_j": self.mac_j, "total_j": self.total_j}


def ops_45nm(ac: int, mac: int) -> Ops45nm:
    """Energy of ``ac`` accumulates and ``mac`` multiply-accumulates."""
    return Ops45nm(ac_j=ac * AC_PJ * 1e-12, mac_j=mac * MAC_PJ * 1e-12)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipBill:
    """The chip's own energy by kind, joules; ``None`` = the chip's maker publishes no figure, left out of the total."""

    kinds: Mapping[str, float | None]
    profile: str
    assumed: tuple[str, ...]
    not_published: tuple[str, ...]

    @property
    def total_j(self) -> float:
        """Sum of the published kinds, joules."""
        return sum(value for value in self.kinds.values() if value is not None)

    def to_dict(self) -> dict[str, object]:
        """Plain values."""
        return {
            **{f"{kind}_j": value for kind, value in self.kinds.items()},
            "total_j": self.total_j,
            "profile": self.profile,
            "assumed": list(self.assumed),
            "not_published": list(self.not_published),
        }


def chip_bill(program: Program, trace: Trace) -> ChipBill:
    """Everything the chip spent on all inputs: design rule static * t + neurons + synapses + axons + hops + I/O.

    An all-in figure per synaptic event, or multiply-accumulate, stands alone: it is never added to any of these.
    """
    costs = program.chip.costs(program.origin.profile)
    price = costs.energy_pj["host_write"]
    counts = run_counts(program, trace)
    if costs.energy_pj[ALL_IN] is not None:
        joules = joules_by_kind(billed_prices(costs, counts), counts)
        found: dict[str, float | None] = {"all_in": joules["synapses"]}
        if counts.macs:
            found["macs_all_in"] = None if unpublished_kinds(costs, counts) else joules["macs"]
        return ChipBill(kinds=found, profile=costs.profile, assumed=costs.assumed, not_published=costs.not_published)
    hidden = unpublished_kinds(costs, counts)
    known = program.chip.profiles[costs.profile].costs
    kinds: dict[str, float | None] = {
        kind: None if kind in hidden else joules
        for kind, joules in joules_by_kind(billed_prices(costs, counts), counts).items()
        if any(event in known for _, event in PRICES[kind])  # no line for what a chip does not have
    }
    kinds["host_io"] = None if price is None and trace.host_writes else trace.host_writes * (price or 0.0) * 1e-12
    kinds["static"] = static_joules(program, costs, float(trace.tick_ns.sum()) * 1e-9)
    return ChipBill(kinds=kinds, profile=costs.profile, assumed=costs.assumed, not_published=costs.not_published)


def run_counts(program: Program, trace: Trace) -> EventCounts:
    """Everything a run bills for, from the counts of the cores."""
    c = trace.cores
    neuro, units = program.cores["kind"] == NEURON_CORE, program.cores["kind"] == UNIT
    return EventCounts(
        ops_dense=int(c.ops_dense.sum()),
        ops_conv=int(c.ops_conv.sum()),
        ops_sparse=int(c.ops_sparse.sum()),
        idle=int((c.neuron_ticks - c.active).sum()),
        active=int(c.active.sum()),
        spikes=int(c.spikes.sum()),
        axons_in=int(c.packets_in[neuro].sum()),
        axons_out=int(c.packets_out[neuro].sum()),
        hops_x=trace.hops_x,
        hops_y=trace.hops_y,
        crossings=trace.crossings,
        local=trace.local,
        processor_ops=int(c.processor_ops[~units].sum()),
        processor_messages=int((c.packets_in + c.packets_out)[~neuro & ~units].sum()),
        macs=int(c.macs.sum()),
        learning_updates=int(c.learning_updates.sum()),
        unit_ops=int(c.processor_ops[units].sum()),
        unit_messages=int((c.packets_in + c.packets_out)[units].sum()),
    )


def static_joules(program: Program, costs: Costs, seconds: float) -> float | None:
    """Static power of the chips and cores in use for ``seconds``."""
    parts = [
        (count, milliwatts)
        for count, milliwatts in (
            (program.n_chips, costs.static_mw_per_chip),
            (program.n_cores, costs.static_mw_per_core),
        )
        if milliwatts is not None
    ]
    if not parts:
        return None
    return sum(count * milliwatts for count, milliwatts in parts) * 1e-3 * seconds


def run_prices(program: Program, trace: Trace) -> Prices:
    """``billed_prices`` of a whole run."""
    return billed_prices(program.chip.costs(program.origin.profile), run_counts(program, trace))


def link_joules(mesh: Mesh, prices: Prices, links: NDArray[np.int64]) -> NDArray[np.float64]:
    """Energy of the hops over each link, joules, (n_links,); sums to the ``hops`` of the bill where it is published."""
    direction = mesh.link_ends().direction
    along_x = (direction == EAST) | (direction == WEST)
    picojoules = links * np.where(along_x, prices["hop_x"], prices["hop_y"])
    return np.asarray(picojoules * 1e-12, np.float64)


def core_joules(program: Program, trace: Trace) -> NDArray[np.float64]:
    """Dynamic energy spent inside each core, joules, (n_cores,): synapses, neurons, spikes, axons, processor work.

    Sums to those kinds of the bill, as far as they are published.
    """
    pj = run_prices(program, trace)
    c = trace.cores
    neuro = program.cores["kind"] == NEURON_CORE
    inside = (
        c.ops_dense * pj["synaptic_op_dense"]
        + c.ops_conv * pj["synaptic_op_conv"]
        + c.ops_sparse * pj["synaptic_op_sparse"]
        + (c.neuron_ticks - c.active) * pj["neuron_inactive"]
        + c.active * pj["neuron_active"]
        + c.spikes * pj["spike"]
        + c.packets_in * pj["axon_in"]
        + c.packets_out * pj["axon_out"]
        + c.macs * pj["mac"]
        + c.learning_updates * pj["learning_update"]
    )
    messages = c.packets_in + c.packets_out
    outside = c.processor_ops * pj["processor_op"] + messages * pj["processor_message"]
    in_units = c.processor_ops * pj["unit_op"] + messages * pj["unit_message"]
    kinds = [neuro, program.cores["kind"] == UNIT]
    joules: NDArray[np.float64] = np.select(kinds, [inside, in_units], outside) * 1e-12
    return joules
