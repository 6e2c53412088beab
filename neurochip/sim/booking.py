"""What a population's spikes cause outside it, worked out from the program's tables before any input arrives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurochip.noc.mesh import Mesh, Ring
from neurochip.program.image import HOST, Program
from neurochip.sim.kernels.fanout import Fanout, RouteTable, add_up_routes, channel_cuts
from neurochip.sim.kernels.trees import add_up_trees, cut_boxes
from neurochip.sim.schedule import PopulationPlan, as_rows

Int32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Booking:
    """How one population's spikes become packets and counts of cores.

    Attributes:
        piece: (C,) int32; channels of a piece are in the same tiles and ports everywhere. n_pieces: how many there are.
        tiles: (n, 7) int32, the population's tiles as boxes of ``kernels.fanout.Fanout``.
        population: its number in ``program``.
    """

    piece: Int32
    n_pieces: int
    tiles: Int32
    fanout: Fanout
    program: Program
    population: int

    @property
    def routes(self) -> Int32:
        """(n, 3) int32: its routes, those of one box of ``fanout`` together; worked out at every call."""
        return sent_routes(self.program, self.population)


def sent_routes(program: Program, population: int) -> Int32:
    """(n, 3) int32: source tile, port, delay of the routes of ``population``, once for each axon they feed.

    What the host tells itself takes no packet.
    """
    routes = program.routing.routes_from(population)
    ports, kinds = program.ports[routes[:, 1]], program.cores["kind"]
    inside = (kinds[program.tiles["core"][routes[:, 0]]] == HOST) & (kinds[ports["core"]] == HOST)
    lines = np.array([bundle[0].lines for bundle in program.bundles], np.int64)[ports["bundle"]]
    if not inside.any() and (lines == 1).all():
        return routes
    return np.repeat(routes, np.where(inside, 0, lines), axis=0)


def make_bookings(
    program: Program,
    plans: tuple[PopulationPlan, ...],
    mesh: Mesh,
    places: NDArray[np.int64],
    rings: tuple[Ring, Ring],
) -> dict[int, Booking]:
    """Population number -> its booking; ``places``, ``rings`` as in ``RouteTable``."""
    tiles, ports = as_rows(program.tiles), as_rows(program.ports)
    chip, size = (mesh.columns, mesh.rows), (mesh.height, mesh.width)
    trees = program.chip.mesh.multicast == "tree"
    bookings = {}
    for plan in plans:
        routes = sent_routes(program, plan.number)
        table = RouteTable(tiles, ports, routes, places, chip, size, rings)
        bookings[plan.number] = _booking(program, plan, table, trees)
    return bookings


def _booking(program: Program, plan: PopulationPlan, table: RouteTable, trees: bool) -> Booking:
    channels = plan.population.channels
    cuts = np.zeros(channels + 1, np.uint8)
    cuts[:: plan.slice_width] = cuts[channels] = 1
    channel_cuts(table, cuts)
    piece = (np.cumsum(cuts) - 1).astype(np.int32)
    low = plan.tiles[:, 4] * plan.slice_width
    high = np.minimum(low + plan.slice_width, channels)
    boxes = np.column_stack([plan.tiles[:, :4], piece[low], piece[high], plan.tiles[:, 5]])
    within = np.ascontiguousarray(np.searchsorted(np.flatnonzero(cuts), np.arange(channels), "right") - 1, np.int32)
    return Booking(
        piece=within,
        n_pieces=int(piece[channels]),
        tiles=np.ascontiguousarray(boxes, np.int32),
        fanout=_fanout(table, piece, trees),
        program=program,
        population=plan.number,
    )


def _fanout(table: RouteTable, piece: Int32, trees: bool) -> Fanout:
    """Sums by box; with ``trees`` a packet that several targets of a box share passes every link once.

    Boxes that overlap have a tree each, so that a neuron that several of them hold counts once for each.
    """
    n = len(table.routes)
    room = Fanout(
        boxes=np.empty((n + 1, 7), np.int32),
        moves=np.empty((n + 1, 6), np.int32),
        longest=np.empty(n + 1, np.int32),
        range_start=np.zeros(n + 1, np.int32),
        ranges=np.empty((n, 2), np.int32),
        span_start=np.zeros(n + 1, np.int32),
        spans=np.empty((7 * n, 2), np.int32),
    )
    boxes, ranges, spans = 0, 0, 0
    if n and trees:
        cuts = np.empty((n, 7), np.int32)
        cut_boxes(table, cuts)
        order = np.lexsort((table.routes[:, 1], *cuts.T[::-1]))
        boxes, ranges, spans = add_up_trees(table._replace(routes=table.routes[order]), cuts[order], piece, room)
    elif n:
        boxes, ranges, spans = add_up_routes(table, piece, room)
    return Fanout(
        boxes=room.boxes[:boxes].copy(),
        moves=room.moves[:boxes].copy(),
        longest=room.longest[:boxes].copy(),
        range_start=room.range_start[: boxes + 1].copy(),
        ranges=room.ranges[:ranges].copy(),
        span_start=room.span_start[: boxes + 1].copy(),
        spans=room.spans[:spans].copy(),
    )
