"""A placement problem as the kernels want it: whole numbers, both directions of every edge, seats grouped by router.

The number of chip borders between two columns grows with their distance, so a border only stretches the axis: with
x' = x + crossing_cost * (x // mesh_columns), and y' alike, an edge costs weight * (|dx'| + |dy'|), and no kernel knows
of chips.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.curves import chip_by_chip
from compiler.mapping.kernels.anneal import Links, Mesh, Ring, State, total_cost
from compiler.mapping.linking import linked
from compiler.mapping.traffic import Fixed, Flows, Ints, Slots, movable_clusters, routers

_FRACTION = 1024  # stretched coordinates are multiples of 1/1024 hop where the price of a border is not whole
LINE = Ring(0, 0, 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Traffic and slots in kernel form; nothing here changes while placing.

    Attributes:
        links, mesh: see the kernels.
        slot: int64 (n_seats,), the caller's slot of each seat.
        curve: int64 (n_seats,), all seats along Hilbert's curve, chip by chip (``curves.chip_by_chip``).
        movable: int64 (n_movable,), clusters that take a seat, in layer order.
        column, row: int32 (n_clusters,), the cell of a fixed cluster (the nearest one), else 0.
        point: int64 (n_clusters,), packed stretched coordinates of a fixed cluster, else 0.
        unit: cost in hops times weight = kernel cost * ``unit``; exact where weights and crossing cost are whole.
        hop: stretched units in one hop.
        pitch: stretched units from a router to the next, borders included, on average over the mesh.
    """

    links: Links
    mesh: Mesh
    slot: Ints
    curve: Ints
    movable: Ints
    column: NDArray[np.int32]
    row: NDArray[np.int32]
    point: Ints
    unit: float
    hop: int
    pitch: float

    def state(self, seats: Ints) -> State:
        """Movable cluster k sits on ``seats[k]``; parts of the mesh are worked on in the order of the curve."""
        seat = np.full(len(self.point), -1, np.int32)
        seat[self.movable] = seats
        occupant = np.full(len(self.curve), -1, np.int32)
        occupant[seats] = self.movable
        point, column, row = self.point.copy(), self.column.copy(), self.row.copy()
        point[self.movable] = self.mesh.point[seats]
        column[self.movable], row[self.movable] = self.mesh.column[seats], self.mesh.row[seats]
        along = occupant[self.curve]
        return State(seat, occupant, column, row, point, along[along >= 0])

    def seats_along(self, cells: Ints) -> Ints:
        """The first seats along ``cells``, one for each movable cluster: int64 (n_movable,)."""
        return seats_in(self.mesh.first, cells)[: len(self.movable)]

    def cost(self, seats: Ints) -> int:
        """Kernel cost of ``seats``."""
        point = self.point.copy()
        point[self.movable] = self.mesh.point[seats]
        return int(total_cost(self.links, point, self.mesh.rings))


def pose(traffic: Flows, slots: Slots, fixed: Fixed) -> Problem:
    """Build the kernel form. Raises as ``movable_clusters`` does."""
    movable = movable_clusters(traffic, slots, fixed)
    whole = float(slots.crossing_cost).is_integer()
    hop = 1 if whole else _FRACTION
    border = round(slots.crossing_cost * hop)
    x, y = routers(slots, np.full(traffic.n_clusters, -1), fixed)
    pinned = np.array(sorted(fixed), np.int64)
    all_x, all_y = np.concatenate([slots.x, x[pinned]]), np.concatenate([slots.y, y[pinned]])
    stretched_x = hop * all_x + border * (all_x // slots.mesh_columns)
    stretched_y = hop * all_y + border * (all_y // slots.mesh_rows)
    points = stretched_x | stretched_y << 32
    left, top = int(slots.x.min(initial=0)), int(slots.y.min(initial=0))
    columns, rows = int(slots.x.max(initial=left)) - left + 1, int(slots.y.max(initial=top)) - top + 1
    cell = (slots.y - top).astype(np.int64) * columns + (slots.x - left)
    slot = np.argsort(cell, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=rows * columns))]).astype(np.int64)
    row, column = np.divmod(cell[slot].astype(np.int32), columns)
    mesh = Mesh(columns, rows, first, column, row, points[slot], _rings(slots, all_x, all_y, hop, border))
    links, scale = linked(traffic, movable, float(np.ptp(stretched_x) + np.ptp(stretched_y)) if len(points) else 0.0)
    sides = float(np.ptp(stretched_x[: len(slots)]) + np.ptp(stretched_y[: len(slots)])) if len(slots) else 0.0
    point = np.zeros(traffic.n_clusters, np.int64)
    point[pinned] = points[len(slots) :]
    return Problem(
        links=links,
        mesh=mesh,
        slot=slot,
        curve=seats_in(first, chip_by_chip(columns, rows, slots.mesh_columns, slots.mesh_rows, left, top)),
        movable=movable,
        column=np.clip(x - left, 0, columns - 1).astype(np.int32),
        row=np.clip(y - top, 0, rows - 1).astype(np.int32),
        point=point,
        unit=1 / (scale * hop),
        hop=hop,
        pitch=max(sides / max(columns + rows - 2, 1), float(hop)),
    )


def _rings(slots: Slots, x: Ints, y: Ints, hop: int, border: int) -> tuple[Ring, Ring] | None:
    """Rings of x and y in stretched units; None where no router is further than half the way round from another."""
    rings = []
    for around, chip, place in ((slots.ring_columns, slots.mesh_columns, x), (slots.ring_rows, slots.mesh_rows, y)):
        closed = 2 * int(place.max(initial=0)) > around > 0
        borders = around // chip if around > chip else 0
        rings.append(
            Ring(hop * around + border * borders, hop * around, hop * chip + border, border) if closed else LINE
        )
    return None if rings == [LINE, LINE] else (rings[0], rings[1])


def moved(problem: Problem, fixed: Fixed, homes: Fixed) -> Problem:
    """``problem`` with every fixed cluster where ``homes`` has it: the place of some cluster of ``fixed``."""
    at = {place: cluster for cluster, place in fixed.items()}
    pinned = np.array(sorted(fixed), np.int64)
    there = np.array([at[homes[cluster]] for cluster in sorted(fixed)], np.int64)
    point, column, row = problem.point.copy(), problem.column.copy(), problem.row.copy()
    point[pinned], column[pinned], row[pinned] = problem.point[there], problem.column[there], problem.row[there]
    return replace(problem, point=point, column=column, row=row)


def seats_in(first: Ints, cells: Ints) -> Ints:
    """All seats of ``cells``, cell by cell; cell k has seats first[k] .. first[k + 1]."""
    begin, count = first[cells], np.diff(first)[cells]
    return np.repeat(begin - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))
