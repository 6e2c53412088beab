"""What placement is given, and the cost it lowers: traffic between clusters, and slots on a mesh of chips.

Cost = sum over edges of weight * (|dx| + |dy| + chip borders crossed * crossing_cost); on a torus by the way of fewer
hops, along each axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurochip.errors import CapacityError, InputError

Ints = NDArray[np.int64]
Int32 = NDArray[np.int32]
Fixed = Mapping[int, tuple[int, int]]
_PART = 1 << 19  # edges looked at at a time


class Edges(NamedTuple):
    """Some edges: source and target clusters, int32 (n,), and what goes over each, integers or floats (n,)."""

    source: Int32
    target: Int32
    weight: NDArray[np.integer] | NDArray[np.floating]


class Flows(Protocol):
    """Who sends how much to whom, a part at a time: placement never needs all edges at once."""

    @property
    def n_clusters(self) -> int:
        """Clusters are numbered from 0 in layer order."""
        ...

    def parts(self) -> Iterator[Edges]:
        """All edges, in the same order at every call."""
        ...


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

    def parts(self) -> Iterator[Edges]:
        """All edges, in order."""
        for begin in range(0, len(self.source), _PART):
            part = slice(begin, begin + _PART)
            source, target = (end[part].astype(np.int32, copy=False) for end in (self.source, self.target))
            yield Edges(source, target, self.weight[part])


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


def movable_clusters(traffic: Flows, slots: Slots, fixed: Fixed) -> Ints:
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


def cost(traffic: Flows, slots: Slots, slot_of: ArrayLike, fixed: Fixed | None = None) -> float:
    """Cost of a placement, straight from its definition: the oracle for every kernel.

    ``slot_of``: integers (n_clusters,), the slot of each cluster; ignored for clusters that are ``fixed`` at a router.
    """
    return costs(traffic, slots, [slot_of], fixed)[0]


def costs(traffic: Flows, slots: Slots, placements: Sequence[ArrayLike], fixed: Fixed | None = None) -> list[float]:
    """``cost`` of several placements, which share the way through the edges. Sums of whole weights are exact."""
    axes = [_axes(slots, slot_of, fixed or {}) for slot_of in placements]
    hops: list[float] = [0] * len(axes)
    borders: list[float] = [0] * len(axes)
    for part in traffic.parts():
        weight = part.weight.astype(np.int64) if part.weight.dtype.kind in "iu" else part.weight
        for number, both in enumerate(axes):
            for axis in both:
                far, crossed = lengths(axis, part.source, part.target)
                hops[number] += (weight @ far).item()
                borders[number] += (weight @ crossed).item()
    return [far + crossed * slots.crossing_cost for far, crossed in zip(hops, borders, strict=True)]


class Axis(NamedTuple):
    """Where clusters are along one axis: router and chip, int32 (n_clusters,); ``ring``: routers once round, 0 for a
    line; ``round_borders``: chip borders once round.
    """

    place: Int32
    chip: Int32
    ring: int
    round_borders: int


def _axes(slots: Slots, slot_of: ArrayLike, fixed: Fixed) -> list[Axis]:
    sizes = ((slots.mesh_columns, slots.ring_columns), (slots.mesh_rows, slots.ring_rows))
    return [
        Axis(place.astype(np.int32), (place // chip).astype(np.int32), ring, ring // chip if ring > chip else 0)
        for place, (chip, ring) in zip(routers(slots, slot_of, fixed), sizes, strict=True)
    ]


def lengths(axis: Axis, one: Int32, other: Int32) -> tuple[Int32, Int32]:
    """Hops and chip borders along ``axis`` between clusters, int32.

    A packet goes round where that is fewer hops (``neurochip.noc.mesh``), not of two equal ways.
    """
    hops: Int32 = np.abs(axis.place[one] - axis.place[other])
    borders: Int32 = np.abs(axis.chip[one] - axis.chip[other])
    if not axis.ring:
        return hops, borders
    goes_round = 2 * hops > axis.ring
    return np.where(goes_round, axis.ring - hops, hops), np.where(goes_round, axis.round_borders - borders, borders)
