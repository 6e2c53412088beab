"""What each event of a chip costs, as plain numbers for the simulator, the NoC models and the report."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Event = Literal[
    "synaptic_op_dense",
    "synaptic_op_sparse",
    "synaptic_op_conv",
    "synaptic_event_all_in",
    "mac_all_in",
    "neuron_inactive",
    "neuron_active",
    "spike",
    "axon_in",
    "axon_out",
    "local_delivery",
    "hop_x",
    "hop_y",
    "chip_crossing",
    "processor_op",
    "processor_message",
    "unit_op",
    "unit_message",
    "mac",
    "learning_update",
    "host_write",
]
EVENTS: tuple[Event, ...] = get_args(Event)
EVENT_MEANING: dict[Event, str] = {
    "synaptic_op_dense": "one accumulate from a list that covers consecutive neurons (no stored index)",
    "synaptic_op_sparse": "one accumulate from a list with a stored index per synapse",
    "synaptic_op_conv": "one accumulate from a list shared by several positions",
    "synaptic_event_all_in": "total energy per synaptic event, everything included; never added to other energies",
    "mac_all_in": "total energy per multiply-accumulate, everything included; beside no energy but the one above",
    "neuron_inactive": "one neuron, one tick, nothing arrived",
    "neuron_active": "one neuron, one tick with input (includes the inactive part)",
    "spike": "a neuron fires (beside neuron_active)",
    "axon_in": "a core receives one packet",
    "axon_out": "a core sends one packet",
    "local_delivery": "a packet whose target core hangs on the sender's own router",
    "hop_x": "a packet moves one router east or west",
    "hop_y": "a packet moves one router north or south",
    "chip_crossing": "a hop that crosses a chip border (beside the hop itself)",
    "processor_op": "one accumulate on an embedded processor",
    "processor_message": "an embedded processor receives or sends one packet",
    "unit_op": "one accumulate on an attention unit, its share of the buffers included",
    "unit_message": "an attention unit receives or sends one packet",
    "mac": "one multiply-accumulate on the chip",
    "learning_update": "one synapse changed at run time",
    "host_write": "the host writes one word over the chip's interface",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Barrier:
    """Time of the barrier that ends a tick, as tables of (used routers or chips, ns), each ascending.

    ``step`` takes the entry of the largest key that is not above the argument; ``linear`` interpolates. Outside a
    table its end value holds. ``by_chips`` is always interpolated; its line starts at one chip with the last value of
    ``by_routers``. Interpolation is ours: the sources give the entries only.
    """

    interpolation: Literal["linear", "step"]
    by_routers: tuple[tuple[int, float], ...]
    by_chips: tuple[tuple[int, float], ...]

    def time_ns(self, routers_used: int, chips: int) -> float:
        """Barrier time in ns for ``routers_used`` routers with work (in all) on ``chips`` chips."""
        if chips <= 1 or not self.by_chips:
            return _look_up(self.by_routers, routers_used, self.interpolation)
        table = ((1, self.by_routers[-1][1]), *(entry for entry in self.by_chips if entry[0] > 1))
        return _look_up(table, chips, "linear")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noc:
    """Timing of the network on chip, ns: time to pass one router, and time a link is busy with one packet.

    ``buffer_packets`` is the depth of a router's input buffer.
    """

    hop_x_ns: float
    hop_y_ns: float
    link_service_ns: float
    buffer_packets: int
    chip_link_latency_ns: float
    chip_link_service_ns: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """One profile's costs in pJ, ns and mW.

    Attributes:
        profile: name of the profile.
        energy_pj, latency_ns: every event of ``EVENTS``; ``None`` = not published, or the chip has no such event.
        static_mw_per_chip, static_mw_per_core: the static power of n chips with m cores in use is
            ``n * per_chip + m * per_core``; ``None`` = not published.
        barrier: table of barrier times; ``None`` on chips without a barrier.
        noc: link and router timing.
        assumed: figures this bill rests on that no source gives, with the reason; a report must show them.
        not_published: events of this chip, as ``event.energy`` or ``event.latency``, and other figures, that no source
            gives; a bill leaves them out and must say so.
    """

    profile: str
    energy_pj: Mapping[str, float | None]
    latency_ns: Mapping[str, float | None]
    static_mw_per_chip: float | None
    static_mw_per_core: float | None
    barrier: Barrier | None
    noc: Noc
    assumed: tuple[str, ...]
    not_published: tuple[str, ...]

    def barrier_ns(self, routers_used: int, chips: int) -> float:
        """Barrier time in ns, interpolated as ``Barrier`` says; 0 on chips without a barrier."""
        return 0.0 if self.barrier is None else self.barrier.time_ns(routers_used, chips)


def _look_up(table: tuple[tuple[int, float], ...], key: int, interpolation: str) -> float:
    keys = [entry[0] for entry in table]
    above = bisect_right(keys, key)
    if above == 0:
        return table[0][1]
    low_key, low = table[above - 1]
    if above == len(table) or interpolation == "step":
        return low
    high_key, high = table[above]
    return low + (high - low) * (key - low_key) / (high_key - low_key)
