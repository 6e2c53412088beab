"""How long a tick lasts: the slowest core, the network, the barrier. Counts of a tick become totals here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.costs import Costs
from neurochip.errors import SimulationError
from neurochip.noc import analytic, packet
from neurochip.noc.kernels.loads import running_sums
from neurochip.noc.mesh import Mesh
from neurochip.noc.timing import LinkTimes, Timing
from neurochip.program.image import NEURON_CORE, Program
from neurochip.sim.kernels.traffic import Books, book_routes, route_moves
from neurochip.sim.schedule import PopulationPlan
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
    """What every core did in one tick, per input; all int64 (B, n_cores).

    ``books``: packets by core and link; ``moved``: (6,) totals of ``kernels.traffic.book_routes``; ``flows``, in packet
    mode: (source NoC core, target NoC core, packets (B, n)) of every population that sent.
    """

    ops: dict[str, Counts]
    processor_ops: Counts
    active: Counts
    spikes: Counts
    books: Books
    moved: Counts
    flows: list[tuple[Counts, Counts, Counts]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Clock:
    """Turns work into time and energy-relevant counts.

    Attributes:
        noc_core: core row -> core id of the mesh; neurons: per core row, 0 for processors.
        places: (n_cores, 5) int64, see ``kernels.traffic.route_moves``.
        moves: population number -> (n_routes, 8) int64 for ``kernels.traffic.book_routes``.
    """

    program: Program
    costs: Costs
    mesh: Mesh
    timing: Timing
    packet_mode: bool
    noc_core: Counts
    neurons: Counts
    barrier_ns: float
    link_times: LinkTimes
    places: Counts
    moves: dict[int, Counts] = field(default_factory=dict)
    packet_ticks: list[tuple[int, float, int, int]] = field(default_factory=list)
    """Packet mode, per tick and input: (packets, mean latency, analytic bound, drain), cycles."""

    @classmethod
    def of(cls, program: Program, noc: str, plans: Sequence[PopulationPlan]) -> Clock:
        """A clock for ``program`` with its profile's costs. Raises ``SimulationError`` for an unknown ``noc``."""
        if noc not in FIDELITIES:
            raise SimulationError(f"noc: expected one of {', '.join(FIDELITIES)}, found {noc!r}")
        cores = program.cores
        costs = program.chip.costs(program.origin.profile)
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
        clock = cls(
            program=program,
            costs=costs,
            mesh=mesh,
            timing=timing,
            packet_mode=noc == "packet",
            noc_core=router * mesh.cores_per_router + cores["slot"],
            neurons=np.where(cores["kind"] == NEURON_CORE, program.use["neurons"], 0).astype(np.int64),
            barrier_ns=costs.barrier_ns(used, program.n_chips),
            link_times=timing.links(mesh),
            places=core_places(program, mesh, timing),
        )
        clock.moves.update((plan.number, clock.moves_of(plan)) for plan in plans)
        return clock

    def new_work(self, inputs: int) -> TickWork:
        """An empty tick of ``inputs`` inputs."""
        shape = (inputs, len(self.neurons))
        return TickWork(
            ops={kind: np.zeros(shape, np.int64) for kind in ("dense", "conv", "sparse")},
            processor_ops=np.zeros(shape, np.int64),
            active=np.zeros(shape, np.int64),
            spikes=np.zeros(shape, np.int64),
            books=Books(
                sent=np.zeros(shape, np.int64),
                received=np.zeros(shape, np.int64),
                longest=np.zeros(inputs, np.int64),
                in_row=np.zeros((inputs, 2, self.mesh.height, self.mesh.width), np.int64),
                in_column=np.zeros((inputs, 2, self.mesh.height, self.mesh.width), np.int64),
            ),
            moved=np.zeros(6, np.int64),
        )

    def send(self, plan: PopulationPlan, packets: Counts, work: TickWork, counts: PopulationCounts) -> None:
        """Put ``packets`` (B, n_routes) of one population on their routes."""
        moves = self.moves[plan.number]
        totals = book_routes(packets, moves, self.places, work.books)
        work.moved += totals
        counts.packets += int(totals[0])
        counts.hops_x += int(totals[1])
        counts.hops_y += int(totals[2])
        counts.crossings += int(totals[3])
        counts.local += int(totals[4])
        counts.to_processors += int(totals[5])
        if self.packet_mode:
            work.flows.append((self.noc_core[moves[:, 0]], self.noc_core[moves[:, 1]], packets))

    def moves_of(self, plan: PopulationPlan) -> Counts:
        """Where each route of a population leads and what a packet on it does."""
        moves = np.empty((len(plan.routes), 8), np.int64)
        chip = (self.mesh.columns, self.mesh.rows)
        route_moves(plan.route_source, plan.route_target, self.places, chip, moves)
        moves[:, 7] += self.timing.inject_latency + self.timing.eject_latency
        return moves

    def finish(self, work: TickWork, totals: Sums) -> NDArray[np.float64]:
        """Add the tick to ``totals`` and return its duration for each input, ns, (B,)."""
        busy = self.busy_ns(work)
        network_ns = self._network_ns(work, totals)
        cores = totals.cores
        booked = {
            "ops_dense": work.ops["dense"],
            "ops_conv": work.ops["conv"],
            "ops_sparse": work.ops["sparse"],
            "processor_ops": work.processor_ops,
            "active": work.active,
            "spikes": work.spikes,
            "packets_in": work.books.received,
            "packets_out": work.books.sent,
            "busy_ns": busy,
        }
        for name, amount in booked.items():
            total = getattr(cores, name)
            total += amount.sum(axis=0)
        cores.neuron_ticks[:] += self.neurons * len(busy)
        totals.packets += int(work.moved[0])
        totals.hops_x += int(work.moved[1])
        totals.hops_y += int(work.moved[2])
        totals.crossings += int(work.moved[3])
        totals.local += int(work.moved[4])
        needed = np.maximum(busy.max(axis=1, initial=0.0), network_ns) + self.barrier_ns
        tick = self.program.chip.time.tick
        fixed = tick.base if self.program.chip.time.kind == "fixed" and tick is not None else None
        if fixed is None:
            return np.asarray(needed)
        totals.overruns += int((needed > fixed).sum())
        return np.asarray(np.maximum(fixed, needed))

    def busy_ns(self, work: TickWork) -> NDArray[np.float64]:
        """Time each core needs for its share of a tick, every event in turn; (B, n_cores)."""
        ns = {event: value or 0.0 for event, value in self.costs.latency_ns.items()}
        neuro = self.program.cores["kind"] == NEURON_CORE
        busy = (
            work.ops["dense"] * ns["synaptic_op_dense"]
            + work.ops["conv"] * ns["synaptic_op_conv"]
            + work.ops["sparse"] * ns["synaptic_op_sparse"]
            + self.neurons * ns["neuron_inactive"]
            + work.active * (ns["neuron_active"] - ns["neuron_inactive"])
            + work.spikes * ns["spike"]
            + work.books.received * ns["axon_in"]
            + work.books.sent * ns["axon_out"]
        )
        if neuro.all():
            return np.asarray(busy)
        messages = (work.books.received + work.books.sent) * ns["processor_message"]
        return np.where(neuro, busy, work.processor_ops * ns["processor_op"] + messages)

    def _network_ns(self, work: TickWork, totals: Sums) -> NDArray[np.float64]:
        """When the network has drained, for each input."""
        links = np.zeros((len(work.books.longest), self.mesh.n_links), np.int64)
        for item, load in enumerate(links):
            running_sums(work.books.in_row[item], work.books.in_column[item], load)
        totals.links += links.sum(axis=0)
        bound = self._bound(links, work)
        if self.packet_mode and work.flows:
            source, target = (np.concatenate([flow[i] for flow in work.flows]) for i in (0, 1))
            return self._packet_ns(source, target, np.concatenate([flow[2] for flow in work.flows], axis=1), bound)
        return np.asarray(bound * self.timing.cycle_ns, np.float64)

    def _bound(self, links: Counts, work: TickWork) -> Counts:
        """Analytic drain time in cycles, (B,): the busiest link, the longest path, the busiest port."""
        timing, books = self.timing, work.books
        ends = timing.inject_latency + timing.eject_latency
        per_link = analytic.link_bounds(timing, self.link_times, links)
        injection = ends + (books.sent.max(axis=1) - 1) * timing.inject_interval
        ejection = ends + (books.received.max(axis=1) - 1) * timing.eject_service
        bound = np.max([per_link.max(axis=1, initial=0), books.longest, injection, ejection], axis=0)
        return np.where(books.sent.any(axis=1), bound, 0)

    def _packet_ns(self, source: Counts, target: Counts, packets: Counts, bound: Counts) -> NDArray[np.float64]:
        """Drain time of the packet simulation, ns, (B,)."""
        spacing = max(1, round((self.costs.latency_ns["axon_out"] or 0.0) / self.timing.cycle_ns))
        drained = np.zeros(len(packets))
        for item, row in enumerate(packets):
            some = np.flatnonzero(row)
            if not len(some):
                continue
            first = first_cycles(source[some], row[some], spacing)
            sent = packet.Injections.of(source[some], target[some], row[some], first, spacing)
            result = packet.simulate_tick(self.mesh, self.timing, sent)
            self.packet_ticks.append((result.packets, result.latency.mean, int(bound[item]), result.drain))
            drained[item] = result.drain * self.timing.cycle_ns
        return drained

    def statistics(self) -> dict[str, float]:
        """Packet-mode figures over all ticks; empty in analytic mode."""
        if not self.packet_ticks:
            return {}
        packets, latency, bound, drain = (np.array(column) for column in zip(*self.packet_ticks, strict=True))
        return {
            "packet_latency_mean_ns": float(np.average(latency, weights=packets) * self.timing.cycle_ns),
            "drain_mean_ns": float(drain.mean() * self.timing.cycle_ns),
            "drain_max_ns": float(drain.max() * self.timing.cycle_ns),
            "analytic_over_packet": float(bound.sum() / max(drain.sum(), 1)),
        }


def core_places(program: Program, mesh: Mesh, timing: Timing) -> Counts:
    """Per core: x, y, whether it is no neuro-core, and the hop latency from the origin to its x and its y, cycles."""
    cores = program.cores
    along_x, along_y = timing.distances(mesh)
    x, y = cores["x"].astype(np.int64), cores["y"].astype(np.int64)
    return np.stack([x, y, (cores["kind"] != NEURON_CORE).astype(np.int64), along_x[x], along_y[y]], axis=1)


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
