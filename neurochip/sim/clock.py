"""How long a tick lasts: the slowest core, the network, the barrier. Counts of a tick become totals here."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.costs import Costs
from neurochip.errors import SimulationError
from neurochip.noc import analytic
from neurochip.noc.mesh import Mesh
from neurochip.noc.timing import LinkTimes, Timing
from neurochip.program.image import NEURON_CORE, UNIT, Program
from neurochip.sim.booking import Booking, make_bookings
from neurochip.sim.kernels.ticks import BLOCK, CoreTimes, CoreTotals, Idle, Work, close_cores, close_links
from neurochip.sim.kernels.traffic import Books, book_packets
from neurochip.sim.packets import Drained, Flows, PacketRuns
from neurochip.sim.schedule import PopulationPlan
from neurochip.sim.trace import CoreCounts, PopulationCounts

Counts = NDArray[np.int64]
FIDELITIES = ("analytic", "packet")
LISTS = ("dense", "conv", "sparse", "mac", "learning")
"""Kinds of synapse lists, in the order of ``Work.ops``."""


@dataclass(slots=True, eq=False)
class Moves:
    """Totals of all packets: see ``Trace``."""

    packets: int = 0
    hops_x: int = 0
    hops_y: int = 0
    crossings: int = 0
    local: int = 0
    overruns: int = 0


class Pending(NamedTuple):
    """A tick whose packets still travel: analytic bound, cycles, slowest core, ns, and where its duration belongs."""

    run: Future[list[Drained]]
    bound: Counts
    busiest: NDArray[np.float64]
    out: NDArray[np.float64]


class PacketTick(NamedTuple):
    """Packet mode, one tick of one input: packets, their mean latency, when the last arrived, cycles; ns that the tick
    needs without a barrier, and that it would need by the analytic bound."""

    packets: int
    latency: float
    drain: int
    needed: float
    expected: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Board:
    """All that a clock needs to know of a program, worked out once.

    Attributes:
        noc_core: core row -> core id of the mesh.
        bookings: population number -> how its spikes are booked.
        link_kinds: (4 * n_routers,) uint8 at the mesh's link places, links of one kind take equal times.
        kind_times: the times of each kind.
        idle: what cores take in a tick in which they do nothing.
    """

    program: Program
    costs: Costs
    mesh: Mesh
    timing: Timing
    noc_core: Counts
    bookings: dict[int, Booking]
    core_times: CoreTimes
    barrier_ns: float
    link_kinds: NDArray[np.uint8]
    kind_times: LinkTimes
    idle: Idle

    @classmethod
    def of(cls, program: Program, plans: tuple[PopulationPlan, ...]) -> Board:
        """The board of ``program`` with its profile's costs."""
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
        links = np.stack(timing.links(mesh), axis=1)
        kinds, of_kind = np.unique(links, axis=0, return_inverse=True)
        link_kinds = np.zeros(4 * mesh.n_routers, np.uint8)
        link_kinds[mesh.link_places] = of_kind.reshape(-1)
        places = core_places(program, mesh, timing)
        times = core_times(program, costs, router)
        return cls(
            program=program,
            costs=costs,
            mesh=mesh,
            timing=timing,
            noc_core=router * mesh.cores_per_router + cores["slot"],
            bookings=make_bookings(program, plans, mesh, places, timing.rings(mesh)),
            core_times=times,
            barrier_ns=costs.barrier_ns(used, program.n_chips),
            link_kinds=link_kinds,
            kind_times=LinkTimes(*kinds.reshape(-1, len(LinkTimes._fields)).T),
            idle=idle_times(times),
        )


@dataclass(slots=True, eq=False)
class Clock:
    """Turns work into time and energy-relevant counts; ``totals`` and ``moves`` are sums over all ticks and inputs.

    Attributes:
        work: counts of the tick at hand, for the inputs of a batch; ``ops`` rows in the order of ``LISTS``.
        other: room for the next tick, so that one can be booked while the other is being closed; see ``turn``.
        runs: packet mode's simulations; flows: for it, of every population that sent; pending: ticks under way.
        packet_ticks: packet mode, of every tick and input that sent.
    """

    board: Board
    totals: CoreTotals
    runs: PacketRuns | None = None
    moves: Moves = field(default_factory=Moves)
    ticks: int = 0
    work: Work = field(init=False)
    other: Work = field(init=False)
    flows: list[Flows] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    packet_ticks: list[PacketTick] = field(default_factory=list)

    @classmethod
    def of(cls, board: Board, noc: str, threads: int = 1) -> Clock:
        """A clock at 0. Raises ``SimulationError`` for an unknown ``noc``, or one that does not suit the chip."""
        if noc not in FIDELITIES:
            raise SimulationError(f"noc: expected one of {', '.join(FIDELITIES)}, found {noc!r}")
        if noc == "packet" and board.program.chip.mesh.multicast == "tree":
            raise SimulationError(
                f"noc packet: chip {board.program.chip.name!r} copies packets on their way (multicast trees), and "
                "packet mode moves single packets; use analytic, which counts every link of a tree once"
            )
        n_cores = len(board.noc_core)
        totals = CoreTotals(
            counts=np.zeros((10, n_cores), np.int64),
            busy_ns=np.zeros(n_cores),
            links=np.zeros(4 * board.mesh.n_routers, np.int64),
        )
        if noc == "analytic":
            return cls(board=board, totals=totals)
        return cls(board=board, totals=totals, runs=PacketRuns(board.mesh, board.timing, threads))

    def start(self, inputs: int) -> None:
        """Make room for a batch of ``inputs`` inputs."""
        self.work, self.other = self._new_work(inputs), self._new_work(inputs)

    def turn(self) -> Work:
        """Leave the counts of the tick at hand to ``finish``, and book the next tick elsewhere; returns the former."""
        done = self.work
        self.work, self.other = self.other, done
        return done

    def _new_work(self, inputs: int) -> Work:
        n_cores, mesh = len(self.board.noc_core), self.board.mesh
        shape = (inputs, n_cores)
        return Work(
            ops=np.zeros((len(LISTS), *shape), np.int64),
            processor_ops=np.zeros(shape, np.int64),
            active=np.zeros(shape, np.int64),
            spikes=np.zeros(shape, np.int64),
            books=Books(
                sent=np.zeros(shape, np.int64),
                received=np.zeros((inputs, 3 * (n_cores + 1)), np.int64),
                longest=np.zeros(inputs, np.int64),
                spans=np.zeros((inputs, 4 * mesh.n_routers), np.int64),
            ),
        )

    def send(self, booking: Booking, packets: NDArray[np.integer], counts: PopulationCounts, work: Work) -> None:
        """Put ``packets`` (B, n_boxes) of one population on the routes of their boxes, in the books of ``work``."""
        fanout = booking.fanout
        moved = book_packets(packets, fanout, work.books)
        self.count_moves(moved, counts)
        if self.runs is not None:
            program, noc_core = self.board.program, self.board.noc_core
            routes = booking.routes
            source, target = program.tiles["core"][routes[:, 0]], program.ports["core"][routes[:, 1]]
            each = np.repeat(packets, fanout.moves[:, 0], axis=1)
            self.flows.append(Flows(noc_core[source], noc_core[target], each))

    def count_moves(self, moved: Counts, counts: PopulationCounts) -> None:
        """Add what ``book_packets`` returned to the totals of one population and of all."""
        packets, hops_x, hops_y, crossings, local, to_processors = (int(n) for n in moved)
        for sums in (counts, self.moves):
            sums.packets += packets
            sums.hops_x += hops_x
            sums.hops_y += hops_y
            sums.crossings += crossings
            sums.local += local
        counts.to_processors += to_processors

    def finish(self, work: Work, out: NDArray[np.float64], idle: Idle | None = None) -> None:
        """Add the tick counted in ``work`` to the totals, and clear it for another.

        ``out`` (B,): the tick's duration of each input, ns; in packet mode after ``settle``. ``idle``: cores that did
        nothing, if that is known.
        """
        books, board = work.books, self.board
        inputs = len(books.sent)
        busiest, ends = np.zeros(inputs), np.zeros((inputs, 2), np.int64)
        sending = self.sending(work) if self.flows else None
        close_cores(work, board.core_times, self.totals, idle or board.idle, busiest, ends)
        loads = np.zeros((inputs, len(board.kind_times.service)), np.int64)
        close_links(books.spans, (board.mesh.height, board.mesh.width), board.link_kinds, self.totals.links, loads)
        bound = self.bound(loads, ends, books.longest)
        books.longest[:] = 0
        if sending is not None and self.runs is not None:
            self.pending.append(Pending(self.runs.start(self.flows, sending), bound, busiest, out))
            self.flows.clear()
        else:
            out[:] = self.durations(busiest, bound)

    def sending(self, work: Work) -> Counts:
        """For how many cycles each NoC core (B, mesh cores) sends the packets counted in ``work``.

        A core sends while it updates its neurons, a processor or an attention unit while it computes.
        """
        times, noc_core = self.board.core_times, self.board.noc_core
        ns = times.ns
        update = times.neurons * ns[3] + work.active * ns[4] + work.spikes * ns[5] + work.books.sent * ns[7]
        op, message = (np.where(times.processor == 2, ns[12 + k], ns[8 + k]) for k in range(2))
        compute = work.processor_ops * op + work.books.sent * message
        cycles = np.zeros((len(update), self.board.mesh.n_cores), np.int64)
        cycles[:, noc_core] = np.where(times.processor > 0, compute, update) / self.board.timing.cycle_ns
        return cycles

    def settle(self) -> None:
        """Wait for the packets of all ticks, and fill in how long these took."""
        for run, bound, busiest, out in self.pending:
            found = run.result()
            drain = np.array([d.drain for d in found], np.int64)
            out[:] = self.durations(busiest, drain)
            needed, expected = self.needed(busiest, drain), self.needed(busiest, bound)
            ticks = (PacketTick(*d, *ns) for d, *ns in zip(found, needed, expected, strict=True))
            self.packet_ticks += [tick for tick in ticks if tick.packets]
        self.pending.clear()
        if self.runs is not None:
            self.runs.close()

    def durations(self, busiest: NDArray[np.float64], network: Counts) -> NDArray[np.float64]:
        """Duration of ticks, ns, (n,), from that of the slowest core, ns, and of the network, cycles."""
        needed = self.needed(busiest, network) + self.board.barrier_ns
        time = self.board.program.chip.time
        fixed = time.tick.base if time.kind == "fixed" and time.tick is not None else None
        if fixed is None:
            return needed
        self.moves.overruns += int((needed > fixed).sum())
        return np.asarray(np.maximum(fixed, needed))

    def needed(self, busiest: NDArray[np.float64], network: Counts) -> NDArray[np.float64]:
        """The longer of two durations, ns, of which the network's is given in cycles."""
        return np.asarray(np.maximum(busiest, network * self.board.timing.cycle_ns))

    def link_packets(self) -> Counts:
        """Packets over each link so far, (n_links,)."""
        return self.totals.links[self.board.mesh.link_places]

    def core_counts(self, ticks: int) -> CoreCounts:
        """The sums over ``ticks`` ticks of one input each."""
        dense, conv, sparse, processor_ops, active, spikes, packets_in, packets_out, macs, updates = self.totals.counts
        return CoreCounts(
            ops_dense=dense,
            ops_conv=conv,
            ops_sparse=sparse,
            processor_ops=processor_ops,
            neuron_ticks=self.board.core_times.neurons * ticks,
            active=active,
            spikes=spikes,
            packets_in=packets_in,
            packets_out=packets_out,
            macs=macs,
            learning_updates=updates,
            busy_ns=self.totals.busy_ns,
        )

    def bound(self, loads: Counts, ends: Counts, longest: Counts) -> Counts:
        """Analytic drain time in cycles, (n,): the busiest link, the longest path, the busiest port."""
        timing = self.board.timing
        both_ends = timing.inject_latency + timing.eject_latency
        per_kind = analytic.link_bounds(timing, self.board.kind_times, loads)
        path = both_ends + longest
        injection = both_ends + (ends[:, 0] - 1) * timing.inject_interval
        ejection = both_ends + (ends[:, 1] - 1) * timing.eject_service
        bound = np.max([per_kind.max(axis=1, initial=0), path, injection, ejection], axis=0)
        return np.where(ends[:, 0] > 0, bound, 0)

    def statistics(self) -> dict[str, float]:
        """Packet-mode figures over all ticks; empty in analytic mode."""
        if not self.packet_ticks:
            return {}
        packets, latency, drain, needed, expected = (
            np.array(column) for column in zip(*self.packet_ticks, strict=True)
        )
        return {
            "packet_latency_mean_ns": float(np.average(latency, weights=packets) * self.board.timing.cycle_ns),
            "drain_mean_ns": float(drain.mean() * self.board.timing.cycle_ns),
            "drain_max_ns": float(drain.max() * self.board.timing.cycle_ns),
            "analytic_over_packet": float(expected.sum() / needed.sum()),
        }


def core_places(program: Program, mesh: Mesh, timing: Timing) -> Counts:
    """Per core: x, y, whether it is no neuro-core, and the hop latency from the origin to its x and its y, cycles."""
    cores = program.cores
    along_x, along_y = timing.distances(mesh)
    x, y = cores["x"].astype(np.int64), cores["y"].astype(np.int64)
    return np.stack([x, y, (cores["kind"] != NEURON_CORE).astype(np.int64), along_x[x], along_y[y]], axis=1)


def core_times(program: Program, costs: Costs, router: Counts) -> CoreTimes:
    """What each event costs a core, and what each core is; ``router`` (n_cores,) ids."""
    ns = {event: value or 0.0 for event, value in costs.latency_ns.items()}
    neuro = program.cores["kind"] == NEURON_CORE
    figures = [
        ns["synaptic_op_dense"], ns["synaptic_op_conv"], ns["synaptic_op_sparse"], ns["neuron_inactive"],
        ns["neuron_active"] - ns["neuron_inactive"], ns["spike"], ns["axon_in"], ns["axon_out"],
        ns["processor_op"], ns["processor_message"], ns["mac"], ns["learning_update"],
        ns["unit_op"], ns["unit_message"],
    ]  # fmt: skip
    units = program.cores["kind"] == UNIT
    return CoreTimes(
        ns=np.array(figures, np.float64),
        neurons=np.where(neuro, program.use["neurons"], 0).astype(np.int64),
        processor=np.where(units, 2, ~neuro).astype(np.uint8),
        router=router,
    )


def idle_times(times: CoreTimes) -> Idle:
    """What each core takes to find its neurons idle; processors and units take no time."""
    ns = np.where(times.processor > 0, 0.0, times.neurons * times.ns[3])
    blocks = np.arange(0, len(ns), BLOCK)
    return Idle(until=np.zeros(0, np.int64), tick=0, ns=ns, most=np.maximum.reduceat(ns, blocks))


def program_mesh(program: Program) -> Mesh:
    """The routers of all chips a program uses, as one mesh; processors and the host hang on routers like cores.

    A torus closes round all chips that one system can join, used or not, as idle routers forward packets. An axis of it
    is one of all these routers if the way round can be the shorter one for this program, else of those in use: then no
    packet meets the rest.
    """
    chip, cores = program.chip, program.cores
    last_x, last_y = int(cores["x"].max(initial=0)), int(cores["y"].max(initial=0))
    ring_x, ring_y = chip.ring_routers
    wrap_x, wrap_y = 2 * last_x > ring_x > 0, 2 * last_y > ring_y > 0
    return Mesh(
        columns=chip.mesh_columns,
        rows=chip.mesh_rows,
        chip_columns=chip.chip_columns if wrap_x else last_x // chip.mesh_columns + 1,
        chip_rows=chip.chip_rows if wrap_y else last_y // chip.mesh_rows + 1,
        cores_per_router=max(chip.cores_per_router, int(cores["slot"].max(initial=0)) + 1),
        wrap_x=wrap_x,
        wrap_y=wrap_y,
    )
