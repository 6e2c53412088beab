"""Placement: which core slot of the mesh each cluster (the neurons of one core) gets, so that packets travel few hops.

``anneal`` keeps the best of several anneals: from the cheapest of many curves through the mesh, level by level from a
coarse problem, and, given time, from a hot Hilbert curve (``refine``). Effort is counted in moves, never in time: the
same arguments give the same placement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.coarsen import coarser, moved_along
from compiler.mapping.curves import band_counts, bands, curve_rank, hilbert
from compiler.mapping.homes import is_busy, settled
from compiler.mapping.refine import descended, glance, search
from compiler.mapping.seating import Problem, moved, pose
from compiler.mapping.traffic import Fixed, Flows, Ints, Slots, Traffic, cost, costs, movable_clusters
from neurochip.errors import InputError

__all__ = ["EFFORTS", "METHODS", "Flows", "Placement", "Slots", "Traffic", "compare", "cost", "place"]

METHODS = ("row-major", "random", "hilbert", "force-directed", "anneal")
EFFORTS = {"quick": 6e4, "medium": 6e5, "high": 5e6}  # about nanoseconds for each cluster
AUTO_TOTAL, AUTO_LEAST, AUTO_MOST = 6e9, 2e4, 3e5  # of ``auto``: nanoseconds in all, and for each cluster

Trail = list[tuple[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """A slot for every cluster.

    Attributes:
        slot: int32 (n_clusters,), index into the slots; all different, and -1 for clusters fixed at a router.
        cost: traffic weight times hops, borders priced (``cost``).
        method: one of ``METHODS``.
        trail: (stage, cost) in order: the starts tried, then the cost after each refinement.
        fixed: where each fixed cluster is: as given, but for groups that traded places.
    """

    slot: NDArray[np.int32]
    cost: float
    method: str
    trail: tuple[tuple[str, float], ...]
    fixed: Fixed


def place(
    traffic: Flows,
    slots: Slots,
    method: str = "anneal",
    seed: int = 0,
    *,
    fixed: Fixed | None = None,
    trading: Sequence[Ints] = (),
    effort: str | float = "auto",
) -> Placement:
    """Give every cluster that is not ``fixed`` (cluster -> router x, y; takes no slot) a slot of its own.

    Methods: ``row-major`` (clusters in order on the slots in order), ``random``, ``hilbert`` (in order along Hilbert's
    curve), ``force-directed`` (the best of many curves, then swaps that lower the cost), ``anneal`` (see above).

    Args:
        traffic, slots: what to place where; at least as many slots as clusters to place.
        method: one of ``METHODS``.
        seed: of ``random`` and ``anneal``.
        fixed: clusters that stay at a router; they take no slot.
        trading: sets of fixed clusters, integers (n_groups, k), whose groups may trade places (``homes``); ``anneal``
            makes use of it.
        effort: of ``anneal``: a name in ``EFFORTS``, or work per cluster (a unit is about a nanosecond), or ``auto``:
            less per cluster where there are many.

    Raises:
        CapacityError: more clusters than slots.
        InputError: unknown method or effort, or a fixed cluster that does not exist.
    """
    fixed = fixed or {}
    if method not in METHODS:
        raise InputError(f"placement: unknown method {method!r}; choose one of {', '.join(METHODS)}")
    work = _work(effort, traffic.n_clusters)
    if method in METHODS[:3]:
        movable = movable_clusters(traffic, slots, fixed)
        return _placement(traffic, slots, fixed, movable, _order(slots, method, seed)[: len(movable)], method, [])
    problem = pose(traffic, slots, fixed)
    seats, trail = _best_start(problem, hilbert(problem.mesh.columns, problem.mesh.rows))
    if method == "anneal":
        levels = coarser(problem)
        if is_busy(problem, trading):
            homes = settled(problem, glance(problem, levels, work, seed), fixed, trading)
            problem, fixed = moved(problem, fixed, homes), homes
            levels = moved_along(levels, problem)
        seats, stages = search(problem, levels, seats, work, seed)
        trail += stages
    else:
        seats = descended(problem, seats)
    return _placement(traffic, slots, fixed, problem.movable, problem.slot[seats], method, trail)


def compare(traffic: Flows, slots: Slots, seed: int = 0, *, fixed: Fixed | None = None) -> dict[str, float]:
    """Cost of the placements that need no search: row-major, random and hilbert."""
    movable = movable_clusters(traffic, slots, fixed or {})
    seated = [_seated(traffic, movable, _order(slots, method, seed)[: len(movable)]) for method in METHODS[:3]]
    return dict(zip(METHODS, costs(traffic, slots, seated, fixed), strict=False))


def _order(slots: Slots, method: str, seed: int) -> Ints:
    """All slots in the order in which a method without a search fills them."""
    if method == "row-major":
        return np.arange(len(slots))
    if method == "random":
        return np.random.default_rng(seed).permutation(len(slots))
    x, y = slots.x - slots.x.min(initial=0), slots.y - slots.y.min(initial=0)
    return np.argsort(curve_rank(x.astype(np.int64), y.astype(np.int64)), kind="stable")


def _work(effort: str | float, n_clusters: int) -> float:
    if effort == "auto":
        return float(np.clip(AUTO_TOTAL / max(n_clusters, 1), AUTO_LEAST, AUTO_MOST))
    if isinstance(effort, str):
        if effort not in EFFORTS:
            names = ", ".join(("auto", *EFFORTS))
            raise InputError(f"placement: unknown effort {effort!r}; choose one of {names} or a number")
        return EFFORTS[effort]
    if not effort >= 0:
        raise InputError(f"placement: effort must not be negative, found {effort}")
    return float(effort)


def _seated(traffic: Flows, movable: Ints, chosen: Ints) -> NDArray[np.int32]:
    """The slot of every cluster, -1 for fixed ones: movable cluster k takes ``chosen[k]``."""
    slot = np.full(traffic.n_clusters, -1, np.int32)
    slot[movable] = chosen
    return slot


def _placement(
    traffic: Flows,
    slots: Slots,
    fixed: Fixed,
    movable: Ints,
    chosen: Ints,
    method: str,
    trail: Trail,
) -> Placement:
    slot = _seated(traffic, movable, chosen)
    price = cost(traffic, slots, slot, fixed)
    return Placement(slot=slot, cost=price, method=method, trail=(*trail, (method, price)), fixed=fixed)


def _best_start(problem: Problem, curve: Ints) -> tuple[Ints, Trail]:
    """Seats of the cheapest curve, clusters in layer order; and the cost of the best of each family of curves."""
    columns, rows = problem.mesh.columns, problem.mesh.rows
    cells = np.arange(rows * columns).reshape(rows, columns).T.ravel()
    families: dict[str, Iterable[Ints]] = {
        "row-major start": [np.argsort(problem.slot)[: len(problem.movable)]],
        "hilbert start": [problem.seats_along(curve)],
        "upright bands": (problem.seats_along(bands(columns, rows, n)) for n in band_counts(columns)),
        "level bands": (problem.seats_along(cells[bands(rows, columns, n)]) for n in band_counts(rows)),
    }
    priced = []
    for name, candidates in families.items():
        priced.append(min(((problem.cost(seats), name, seats) for seats in candidates), key=_price))
    return min(priced, key=_price)[2], [(name, price * problem.unit) for price, name, _ in priced]


def _price(candidate: tuple[int, str, Ints]) -> int:
    return candidate[0]
