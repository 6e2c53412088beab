"""What a population's spikes cause outside it, worked out from the program's tables before any input arrives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurochip.noc.mesh import Mesh, Ring
from neurochip.program.image import HOST, Program
from neurochip.program.routes import Fan
from neurochip.sim.kernels.fanout import Fanout, RouteTable, add_up_routes, channel_cuts
from neurochip.sim.kernels.trees import add_up_trees, cut_boxes
from neurochip.sim.schedule import PopulationPlan, as_rows

Int32 = NDArray[np.int32]

ROUTES_AT_ONCE = 1 << 19
"""Routes that are worked out and added up together: what a set-up holds in memory beside its result."""


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
    parts = [_sent(program, fan) for fan in program.routing.fans(population)]
    return np.concatenate([np.empty((0, 3), np.int32), *parts])


def _sent(program: Program, fan: Fan) -> Int32:
    routes, kinds = fan.routes(), program.cores["kind"]
    source = kinds[program.tiles["core"][fan.tile]]
    if (source == HOST).any():
        inside = (np.repeat(source, fan.readers) == HOST) & (kinds[program.ports["core"][routes[:, 1]]] == HOST)
        routes = routes[~inside]
    lines = program.bundles[fan.bundle][0].lines
    return np.repeat(routes, lines, axis=0) if lines > 1 else routes


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
    table = RouteTable(tiles, ports, np.empty((0, 3), np.int32), places, chip, size, rings)
    return {plan.number: _booking(program, plan, table) for plan in plans}


def _booking(program: Program, plan: PopulationPlan, table: RouteTable) -> Booking:
    channels = plan.population.channels
    cuts = np.zeros(channels + 1, np.uint8)
    cuts[:: plan.slice_width] = cuts[channels] = 1
    fans = list(program.routing.fans(plan.number))
    for fan in fans:
        channel_cuts(table._replace(routes=_examples(fan)), cuts)
    piece = (np.cumsum(cuts) - 1).astype(np.int32)
    low = plan.tiles[:, 4] * plan.slice_width
    high = np.minimum(low + plan.slice_width, channels)
    boxes = np.column_stack([plan.tiles[:, :4], piece[low], piece[high], plan.tiles[:, 5]])
    within = np.ascontiguousarray(np.searchsorted(np.flatnonzero(cuts), np.arange(channels), "right") - 1, np.int32)
    if program.chip.mesh.multicast == "tree":
        parts = [_trees(table._replace(routes=sent_routes(program, plan.number)), piece)]
    else:
        small = (part for fan in fans for part in fan.parts(ROUTES_AT_ONCE))
        parts = [_fanout(table._replace(routes=_sent(program, part)), len(part.tile), piece) for part in small]
    return Booking(
        piece=within,
        n_pieces=int(piece[channels]),
        tiles=np.ascontiguousarray(boxes, np.int32),
        fanout=_joined(parts),
        program=program,
        population=plan.number,
    )


def _examples(fan: Fan) -> Int32:
    """A route of each tile to each group of ports with equal boxes."""
    port = fan.groups.ports[fan.groups.start[fan.group]]
    return np.stack([fan.tile, port, np.full_like(port, fan.delay)], axis=1)


def _fanout(table: RouteTable, boxes: int, piece: Int32) -> Fanout:
    """Sums by box, of which there are at most ``boxes``."""
    room = _room(boxes, len(table.routes))
    return _filled(room, add_up_routes(table, piece, room) if len(table.routes) else (0, 0, 0))


def _trees(table: RouteTable, piece: Int32) -> Fanout:
    """Sums by box; a packet that several targets of a box share passes every link once.

    Boxes that overlap have a tree each, so that a neuron that several of them hold counts once for each.
    """
    n = len(table.routes)
    room = _room(n, n)
    if not n:
        return _filled(room, (0, 0, 0))
    cuts = np.empty((n, 7), np.int32)
    cut_boxes(table, cuts)
    order = np.lexsort((table.routes[:, 1], *cuts.T[::-1]))
    return _filled(room, add_up_trees(table._replace(routes=table.routes[order]), cuts[order], piece, room))


def _room(boxes: int, routes: int) -> Fanout:
    return Fanout(
        boxes=np.empty((boxes + 1, 7), np.int32),
        moves=np.empty((boxes + 1, 6), np.int32),
        longest=np.empty(boxes + 1, np.int32),
        range_start=np.zeros(boxes + 1, np.int32),
        ranges=np.empty((routes, 2), np.int32),
        span_start=np.zeros(boxes + 1, np.int32),
        spans=np.empty((7 * routes, 2), np.int32),
    )


def _filled(room: Fanout, filled: tuple[int, int, int]) -> Fanout:
    """Copies of the rows that were filled: boxes, ranges and spans."""
    boxes, ranges, spans = filled
    return Fanout(
        boxes=room.boxes[:boxes].copy(),
        moves=room.moves[:boxes].copy(),
        longest=room.longest[:boxes].copy(),
        range_start=room.range_start[: boxes + 1].copy(),
        ranges=room.ranges[:ranges].copy(),
        span_start=room.span_start[: boxes + 1].copy(),
        spans=room.spans[:spans].copy(),
    )


def _joined(parts: list[Fanout]) -> Fanout:
    """The boxes of all ``parts``, one after the other."""
    if len(parts) == 1:
        return parts[0]
    parts = parts or [_filled(_room(0, 0), (0, 0, 0))]
    zero = np.zeros(1, np.int32)
    ranges = np.cumsum([0, *(len(part.ranges) for part in parts)])
    spans = np.cumsum([0, *(len(part.spans) for part in parts)])
    begins = [part.range_start[1:] + at for part, at in zip(parts, ranges[:-1], strict=True)]
    edges = [part.span_start[1:] + at for part, at in zip(parts, spans[:-1], strict=True)]
    return Fanout(
        boxes=np.concatenate([part.boxes for part in parts]),
        moves=np.concatenate([part.moves for part in parts]),
        longest=np.concatenate([part.longest for part in parts]),
        range_start=np.concatenate([zero, *begins]).astype(np.int32),
        ranges=np.concatenate([part.ranges for part in parts]),
        span_start=np.concatenate([zero, *edges]).astype(np.int32),
        spans=np.concatenate([part.spans for part in parts]),
    )
