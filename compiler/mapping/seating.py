"""A placement problem as the kernels want it: whole numbers, both directions of every edge, seats grouped by router.

The number of chip borders between two columns grows with their distance, so a border only stretches the axis: with
x' = x + crossing_cost * (x // mesh_columns), and y' alike, an edge costs weight * (|dx'| + |dy'|), and no kernel knows
of chips.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.kernels.anneal import Links, Mesh, State, total_cost
from compiler.mapping.traffic import Fixed, Ints, Slots, Traffic, movable_clusters, routers

_FRACTION = 1024  # stretched coordinates are multiples of 1/1024 hop where the price of a border is not whole
_WEIGHT_LIMIT, _COST_LIMIT = 2.0**31 - 1, 2.0**61


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Traffic and slots in kernel form; nothing here changes while placing.

    Attributes:
        links, mesh: see the kernels.
        slot: int64 (n_seats,), the caller's slot of each seat.
        movable: int64 (n_movable,), clusters that take a seat, in layer order.
        column, row: int32 (n_clusters,), the cell of a fixed cluster (the nearest one), else 0.
        point: int64 (n_clusters,), packed stretched coordinates of a fixed cluster, else 0.
        unit: cost in hops times weight = kernel cost * ``unit``; exact where weights and crossing cost are whole.
        hop: stretched units in one hop.
    """

    links: Links
    mesh: Mesh
    slot: Ints
    movable: Ints
    column: NDArray[np.int32]
    row: NDArray[np.int32]
    point: Ints
    unit: float
    hop: int

    def state(self, seats: Ints, order: Ints) -> State:
        """Movable cluster k sits on ``seats[k]``; ``order`` of cells says which part of the mesh is worked on when."""
        seat = np.full(len(self.point), -1, np.int32)
        seat[self.movable] = seats
        occupant = np.full(len(self.slot), -1, np.int32)
        occupant[seats] = self.movable
        point, column, row = self.point.copy(), self.column.copy(), self.row.copy()
        cell = self.mesh.row[seats] * np.int64(self.mesh.columns) + self.mesh.column[seats]
        point[self.movable] = self.mesh.point[seats]
        column[self.movable], row[self.movable] = self.mesh.column[seats], self.mesh.row[seats]
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        by_neighbourhood = self.movable[np.argsort(rank[cell], kind="stable")].astype(np.int32)
        return State(seat, occupant, column, row, point, by_neighbourhood)

    def seats_along(self, cells: Ints) -> Ints:
        """The first seats along ``cells``, one for each movable cluster: int64 (n_movable,)."""
        first, count = self.mesh.first[cells], np.diff(self.mesh.first)[cells]
        skipped = first - (np.cumsum(count) - count)
        return (np.repeat(skipped, count) + np.arange(len(self.slot)))[: len(self.movable)]

    def cost(self, seats: Ints) -> int:
        """Kernel cost of ``seats``."""
        point = self.point.copy()
        point[self.movable] = self.mesh.point[seats]
        return int(total_cost(self.links, point))


def pose(traffic: Traffic, slots: Slots, fixed: Fixed) -> Problem:
    """Build the kernel form. Raises as ``movable_clusters`` does."""
    movable = movable_clusters(traffic, slots, fixed)
    whole = float(slots.crossing_cost).is_integer()
    hop = 1 if whole else _FRACTION
    border = round(slots.crossing_cost * hop)
    nowhere = np.full(traffic.n_clusters, -1)
    x, y = routers(slots, nowhere, fixed)
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
    mesh = Mesh(columns, rows, first, column, row, points[slot])
    links, scale = _links(traffic, movable, float(np.ptp(stretched_x) + np.ptp(stretched_y)) if len(points) else 0.0)
    point = np.zeros(traffic.n_clusters, np.int64)
    point[pinned] = points[len(slots) :]
    return Problem(
        links=links,
        mesh=mesh,
        slot=slot,
        movable=movable,
        column=np.clip(x - left, 0, columns - 1).astype(np.int32),
        row=np.clip(y - top, 0, rows - 1).astype(np.int32),
        point=point,
        unit=1 / (scale * hop),
        hop=hop,
    )


def _links(traffic: Traffic, movable: Ints, diameter: float) -> tuple[Links, float]:
    """Both directions of every edge that a move can change, equal ones summed; and kernel weight per unit of weight."""
    free = np.zeros(traffic.n_clusters, bool)
    free[movable] = True
    source, target = traffic.source.astype(np.int64), traffic.target.astype(np.int64)
    counts = (source != target) & (free[source] | free[target]) & (traffic.weight > 0)
    source, target = source[counts], target[counts]
    key = np.concatenate([source * traffic.n_clusters + target, target * traffic.n_clusters + source])
    order = np.argsort(key, kind="stable")
    key, weight = key[order], np.tile(traffic.weight[counts].astype(np.float64), 2)[order]
    begin = np.flatnonzero(np.diff(key, prepend=-1))
    key, weight = key[begin], np.add.reduceat(weight, begin) if len(begin) else weight
    largest, whole = weight.max(initial=1.0), bool((weight == np.rint(weight)).all())
    scale = min(_WEIGHT_LIMIT / largest, _COST_LIMIT / max(weight.sum() * diameter, 1.0))
    scale = 1.0 if whole and scale >= 1.0 else scale
    n = max(traffic.n_clusters, 1)
    start = np.concatenate([[0], np.cumsum(np.bincount(key // n, minlength=traffic.n_clusters))]).astype(np.uint64)
    return Links(start, (key % n).astype(np.uint32), np.rint(weight * scale).astype(np.int32)), scale
