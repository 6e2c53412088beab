"""How long a tick lasts: the slowest core, the network, the barrier. Counts of a tick become totals here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.costs import Costs
from neurochip.errors import SimulationError
from neurochip.noc import analytic, packet
from neurochip.noc.mesh import Mesh
from neurochip.noc.timing import Timing
from neurochip.program.image import NEURON_CORE, Program
from neurochip.sim.trace import CoreCounts, PopulationCounts

Counts = NDArray[np.int64]
FIDELITIES = ("analytic", "packet")


class Sums(Protocol):
    """The running totals a clock adds to."""

    cores: CoreCounts
    links: Counts
    packets: int
    hops_x: int
    hops_y: int
    crossings: int
    local: int
    overruns: int


@dataclass(slots=True, eq=False)
class TickWork:
    """What every core did in one tick; all int64 (n_cores,)."""

    ops: dict[str, Counts]
    processor_ops: Counts
    active: Counts
    spikes: Counts
    flows: list[tuple[Counts, Counts, Counts]] = field(default_factory=list)

    def send(self, source: Counts, target: Counts, packets: Counts) -> None:
        """Add flows of packets between cores."""
        self.flows.append((source, target, packets))


@dataclass(slots=True, eq=False)
class Clock:
    """Turns work into time and energy-relevant counts."""

    program: Program
    costs: Costs
    mesh: Mesh
    timing: Timing
    packet_mode: bool
    router: Counts
    noc_core: Counts
    neurons: Counts
    barrier_ns: float
    cycles: list[tuple[int, float, float, int]] = field(default_factory=list)
    """Packet mode, per tick: (packets, mean latency, analytic bound over drain, drain)."""

    @classmethod
    def of(cls, program: Program, noc: str) -> Clock:
        """A clock for ``program`` with its profile's costs. Raises ``SimulationError`` for an unknown ``noc``."""
        if noc not in FIDELITIES:
            raise SimulationError(f"noc: expected one of {', '.join(FIDELITIES)}, found {noc!r}")
        chip, cores = program.chip, program.cores
        costs = chip.costs(program.origin.profile)
        mesh = program_mesh(program)
        n = costs.noc
        timing = Timing.from_ns(
            hop_x_ns=n.hop_x_ns,
            hop_y_ns=n.hop_y_ns,
            link_service_ns=n.link_service_ns,
            buffer_packets=n.buffer_packets,
            chip_link_latency_ns=n.chip_link_latency_ns,
            chip_link_service_ns=n.chip_link_service_ns,
        )
        router = cores["y"].astype(np.int64) * mesh.width + cores["x"]
        used = len(np.unique(router[cores["kind"] == NEURON_CORE]))
        return cls(
            program=program,
            costs=costs,
            mesh=mesh,
            timing=timing,
            packet_mode=noc == "packet",
            router=router,
            noc_core=router * mesh.cores_per_router + cores["slot"],
            neurons=np.where(cores["kind"] == NEURON_CORE, program.use["neurons"], 0).astype(np.int64),
            barrier_ns=costs.barrier_ns(used, program.n_chips),
        )

    def new_work(self) -> TickWork:
        """An empty tick."""
        zeros = [np.zeros(len(self.neurons), np.int64) for _ in range(6)]
        return TickWork(dict(zip(("dense", "conv", "sparse"), zeros, strict=False)), *zeros[3:])

    def finish(self, work: TickWork, totals: Sums) -> float:
        """Add the tick to ``totals`` and return its duration in ns."""
        source, target, packets = self._flows(work)
        sent = np.bincount(source, weights=packets, minlength=len(self.neurons)).astype(np.int64)
        received = np.bincount(target, weights=packets, minlength=len(self.neurons)).astype(np.int64)
        busy = self.busy_ns(work, sent, received)
        network_ns = self._network_ns(source, target, packets, totals)
        cores = totals.cores
        for total, part in (
            (cores.ops_dense, work.ops["dense"]), (cores.ops_conv, work.ops["conv"]), (cores.ops_sparse, work.ops["sparse"]),
            (cores.processor_ops, work.processor_ops), (cores.neuron_ticks, self.neurons), (cores.active, work.active),
            (cores.spikes, work.spikes), (cores.packets_in, received), (cores.packets_out, sent), (cores.busy_ns, busy),
        ):  # fmt: skip
            total += part  # type: ignore[misc]
        totals.packets += int(packets.sum())
        needed = max(float(busy.max(initial=0.0)), network_ns) + self.barrier_ns
        fixed = self.program.chip.time.tick_ns if self.program.chip.time.kind == "fixed" else None
        if fixed is None:
            return needed
        totals.overruns += needed > fixed
        return max(fixed, needed)

    def count_moves(self, source: Counts, target: Counts, packets: Counts, counts: PopulationCounts) -> None:
        """Add the packets of one population's routes, and the router-to-router moves on their XY paths."""
        here, there = self.router[source], self.router[target]
        width, columns, rows = self.mesh.width, self.mesh.columns, self.mesh.rows
        dx, dy = np.abs(here % width - there % width), np.abs(here // width - there // width)
        over_x = np.abs(here % width // columns - there % width // columns)
        over_y = np.abs(here // width // rows - there // width // rows)
        counts.packets += int(packets.sum())
        counts.hops_x += int(packets @ dx)
        counts.hops_y += int(packets @ dy)
        counts.crossings += int(packets @ (over_x + over_y))
        counts.local += int(packets @ (here == there))
        counts.to_processors += int(packets @ (self.program.cores["kind"][target] != NEURON_CORE))

    def busy_ns(self, work: TickWork, sent: Counts, received: Counts) -> NDArray[np.float64]:
        """Time each core needs for its share of a tick: every event in turn."""
        ns = {event: value or 0.0 for event, value in self.costs.latency_ns.items()}
        neuro = self.program.cores["kind"] == NEURON_CORE
        busy = (
            work.ops["dense"] * ns["synaptic_op_dense"]
            + work.ops["conv"] * ns["synaptic_op_conv"]
            + work.ops["sparse"] * ns["synaptic_op_sparse"]
            + self.neurons * ns["neuron_inactive"]
            + work.active * (ns["neuron_active"] - ns["neuron_inactive"])
            + work.spikes * ns["spike"]
        )
        axons = received * ns["axon_in"] + sent * ns["axon_out"]
        messages = (received + sent) * ns["processor_message"]
        return np.where(neuro, busy + axons, work.processor_ops * ns["processor_op"] + messages)

    def _flows(self, work: TickWork) -> tuple[Counts, Counts, Counts]:
        if not work.flows:
            empty = np.zeros(0, np.int64)
            return empty, empty, empty
        source, target, packets = (np.concatenate(part) for part in zip(*work.flows, strict=True))
        some = packets > 0
        return source[some], target[some], packets[some]

    def _network_ns(self, source: Counts, target: Counts, packets: Counts, totals: Sums) -> float:
        src, dst = self.noc_core[source], self.noc_core[target]
        loads = analytic.tick_loads(self.mesh, self.mesh.router_of(src), self.mesh.router_of(dst), packets)
        totals.links += loads.link_load
        totals.hops_x += loads.hops_x
        totals.hops_y += loads.hops_y
        totals.crossings += loads.crossings
        totals.local += loads.local
        bound = analytic.tick_time(self.mesh, self.timing, src, dst, packets, loads).cycles
        if not self.packet_mode or not len(packets):
            return bound * self.timing.cycle_ns
        spacing = max(1, round((self.costs.latency_ns["axon_out"] or 0.0) / self.timing.cycle_ns))
        injections = packet.Injections.of(src, dst, packets, first_cycles(src, packets, spacing), spacing)
        result = packet.simulate_tick(self.mesh, self.timing, injections)
        self.cycles.append((result.packets, result.latency.mean, bound / max(result.drain, 1), result.drain))
        return result.drain * self.timing.cycle_ns

    def statistics(self) -> dict[str, float]:
        """Packet-mode figures over all ticks; empty in analytic mode."""
        if not self.cycles:
            return {}
        packets, latency, ratio, drain = (np.array(column) for column in zip(*self.cycles, strict=True))
        return {
            "packet_latency_mean_ns": float(np.average(latency, weights=packets) * self.timing.cycle_ns),
            "drain_mean_ns": float(drain.mean() * self.timing.cycle_ns),
            "drain_max_ns": float(drain.max() * self.timing.cycle_ns),
            "analytic_over_packet": float(ratio.mean()),
        }


def program_mesh(program: Program) -> Mesh:
    """The routers of all chips a program uses, as one mesh; processors and the host hang on routers like cores."""
    chip, cores = program.chip, program.cores
    return Mesh(
        columns=chip.mesh_columns,
        rows=chip.mesh_rows,
        chip_columns=int(cores["x"].max(initial=0)) // chip.mesh_columns + 1,
        chip_rows=int(cores["y"].max(initial=0)) // chip.mesh_rows + 1,
        cores_per_router=max(chip.cores_per_router, int(cores["slot"].max(initial=0)) + 1),
    )


def first_cycles(source: Counts, packets: Counts, spacing: int) -> Counts:
    """When each flow starts: a core sends its flows one after the other, ``spacing`` cycles a packet."""
    order = np.argsort(source, kind="stable")
    before = np.cumsum(packets[order]) - packets[order]
    starts_core = np.concatenate([[True], source[order][1:] != source[order][:-1]])
    base = np.maximum.accumulate(np.where(starts_core, before, 0))
    first = np.empty_like(packets)
    first[order] = (before - base) * spacing
    return first
