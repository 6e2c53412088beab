"""What placement is given, and the cost it lowers: traffic between clusters, and slots on a mesh of chips.

Cost = sum over edges of weight * (|dx| + |dy| + chip borders crossed * crossing_cost); on a torus by the way of fewer
hops, along each axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurochip.errors import CapacityError, InputError

Ints = NDArray[np.int64]
Fixed = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Who sends how much to whom. An edge may repeat or be a loop (which costs nothing).

    Attributes:
        n_clusters: clusters are numbered from 0 in layer order; those with a fixed place count too.
        source, target: integers (n_edges,).
        weight: (n_edges,) integers or floats >= 0, for instance packets for each input.

    Raises ``InputError`` for unequal lengths, numbers out of range, negative or non-finite weights.
    """

    n_clusters: int
    source: NDArray[np.integer]
    target: NDArray[np.integer]
    weight: NDArray[np.integer] | NDArray[np.floating]

    def __post_init__(self) -> None:
        shapes = np.shape(self.source), np.shape(self.target), np.shape(self.weight)
        if len(set(shapes)) != 1 or len(shapes[0]) != 1:
            raise InputError(f"traffic: source, target and weight must be vectors of one length, not {shapes}")
        for name, ends in (("source", self.source), ("target", self.target)):
            if len(ends) and not 0 <= ends.min() <= ends.max() < self.n_clusters:
                found = f"{ends.min()}..{ends.max()}"
                raise InputError(f"traffic: {name} must be clusters 0..{self.n_clusters - 1}, found {found}")
        if not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise InputError("traffic: every weight must be finite and not negative")


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Where clusters may go: one entry for each core, so that a router with four cores appears four times.

    Attributes:
        x, y: integers (n_slots,) >= 0, router coordinates on the whole board, in row-major order chip by chip.
        mesh_columns, mesh_rows: size of a chip in routers; chip borders lie at their multiples.
        crossing_cost: what crossing a border adds to the hop it takes, in hops, >= 0.
        ring_columns, ring_rows: routers once round a torus along x and y, whole chips; 0 where nothing closes the axis.

    Raises ``InputError`` for unequal lengths, negative values, or slots outside their ring.
    """

    x: NDArray[np.integer]
    y: NDArray[np.integer]
    mesh_columns: int
    mesh_rows: int
    crossing_cost: float
    ring_columns: int = 0
    ring_rows: int = 0

    def __post_init__(self) -> None:
        if np.shape(self.x) != np.shape(self.y) or np.ndim(self.x) != 1:
            raise InputError(
                f"slots: x and y must be vectors of one length, not {np.shape(self.x)}, {np.shape(self.y)}"
            )
        if len(self.x) and min(self.x.min(), self.y.min()) < 0:
            raise InputError("slots: x and y must not be negative")
        if min(self.mesh_columns, self.mesh_rows) < 1:
            raise InputError(f"slots: a chip has at least one router, not {self.mesh_columns} x {self.mesh_rows}")
        if not (np.isfinite(self.crossing_cost) and self.crossing_cost >= 0):
            raise InputError(f"slots: crossing_cost must be finite and not negative, not {self.crossing_cost}")
        for axis, ring, chip in (("x", self.ring_columns, self.mesh_columns), ("y", self.ring_rows, self.mesh_rows)):
            last = int(getattr(self, axis).max(initial=0))
            if ring and (ring % chip or last >= ring):
                expected = f"whole chips of {chip} routers that hold {axis} = {last}"
                raise InputError(f"slots: a ring along {axis} must be {expected}, not {ring} routers")

    def __len__(self) -> int:
        return len(self.x)


def movable_clusters(traffic: Traffic, slots: Slots, fixed: Fixed) -> Ints:
    """Clusters that need a slot, ascending. Raises ``CapacityError`` if there are more of them than slots."""
    free = np.ones(traffic.n_clusters, bool)
    for cluster, (x, y) in fixed.items():
        if not 0 <= cluster < traffic.n_clusters or min(x, y) < 0:
            expected = f"clusters 0..{traffic.n_clusters - 1} at x, y >= 0"
            raise InputError(f"placement: fixed must name {expected}, found cluster {cluster} at ({x}, {y})")
        free[cluster] = False
    movable = np.flatnonzero(free)
    if len(movable) > len(slots):
        missing = len(movable) - len(slots)
        raise CapacityError(
            f"placement: {len(movable)} clusters need a core, the chips in use have {len(slots)}: {missing} too few; "
            "use more chips"
        )
    return movable


def routers(slots: Slots, slot_of: ArrayLike, fixed: Fixed) -> tuple[Ints, Ints]:
    """Router coordinates x, y of every cluster, int64 (n_clusters,); ``slot_of`` is ignored where fixed."""
    index = np.asarray(slot_of, np.int64)
    x, y = np.zeros(len(index), np.int64), np.zeros(len(index), np.int64)
    seated = index >= 0
    x[seated], y[seated] = slots.x[index[seated]], slots.y[index[seated]]
    for cluster, place in fixed.items():
        x[cluster], y[cluster] = place
    return x, y


def cost(traffic: Traffic, slots: Slots, slot_of: ArrayLike, fixed: Fixed | None = None) -> float:
    """Cost of a placement, straight from its definition: the oracle for every kernel.

    ``slot_of``: integers (n_clusters,), the slot of each cluster; ignored for clusters that are ``fixed`` at a router.
    """
    x, y = routers(slots, slot_of, fixed or {})
    total = np.zeros(len(traffic.source))
    for place, chip, ring in ((x, slots.mesh_columns, slots.ring_columns), (y, slots.mesh_rows, slots.ring_rows)):
        hops, borders = lengths(place[traffic.source], place[traffic.target], chip, ring)
        total += hops + borders * slots.crossing_cost
    return float((traffic.weight * total).sum())


def lengths(one: Ints, other: Ints, chip: int, ring: int) -> tuple[Ints, Ints]:
    """Hops and chip borders between routers of an axis, int64; ``ring`` routers once round, 0 for a line.

    A packet goes round where that is fewer hops (``neurochip.noc.mesh``), not of two equal ways.
    """
    hops, borders = np.abs(one - other), np.abs(one // chip - other // chip)
    if not ring:
        return hops, borders
    round_borders = ring // chip if ring > chip else 0
    goes_round = 2 * hops > ring
    return np.where(goes_round, ring - hops, hops), np.where(goes_round, round_borders - borders, borders)
