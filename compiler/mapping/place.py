"""Placement: which core slot of the mesh each cluster (the neurons of one core) gets, so that packets travel few hops.

``anneal`` starts from the cheapest of many curves through the mesh and anneals swaps of two clusters: hot at first, so
that even a poor start is forgotten, with three moves in four aimed at a neighbour in the traffic graph. Effort is
counted in moves, never in time: the same arguments give the same placement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.curves import band_counts, bands, hilbert
from compiler.mapping.kernels import anneal as kernels
from compiler.mapping.seating import Problem, pose
from compiler.mapping.traffic import Fixed, Ints, Slots, Traffic, cost, movable_clusters
from neurochip.errors import InputError

__all__ = ["EFFORTS", "METHODS", "Placement", "Slots", "Traffic", "compare", "cost", "place"]

METHODS = ("row-major", "random", "hilbert", "force-directed", "anneal")
EFFORTS = {"quick": 8e4, "medium": 8e5, "high": 7e6}  # about nanoseconds of work for each cluster

HOT, COLD = 5.0, 0.03  # first and last temperature, in hops times the mean traffic of a cluster
WIDE, NARROW = 6.0, 1.0  # first and last reach of an undirected move, in routers
STEPS, LEAST = 200, 10  # temperatures, if each gets at least ten moves a cluster
WINDOW = 4096  # clusters worked on at a time; 200 bytes each fit the second-level cache
SWEEPS = 20
WORK_PER_MOVE, WORK_PER_LINK = 60.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placement:
    """A slot for every cluster.

    Attributes:
        slot: int32 (n_clusters,), index into the slots; all different, and -1 for clusters fixed at a router.
        cost: traffic weight times hops, borders priced (``cost``).
        method: one of ``METHODS``.
        trail: (stage, cost) in order: the starts tried, then the cost after each refinement.
    """

    slot: NDArray[np.int32]
    cost: float
    method: str
    trail: tuple[tuple[str, float], ...]


def place(
    traffic: Traffic,
    slots: Slots,
    method: str = "anneal",
    seed: int = 0,
    *,
    fixed: Fixed | None = None,
    effort: str | float = "quick",
) -> Placement:
    """Give every cluster that is not ``fixed`` (cluster -> router x, y; takes no slot) a slot of its own.

    Methods: ``row-major`` (cluster k on slot k), ``random``, ``hilbert`` (clusters in order along Hilbert's curve),
    ``force-directed`` (the best of many curves, then swaps that lower the cost), ``anneal`` (that start, annealed).

    Args:
        traffic, slots: what to place where; at least as many slots as clusters to place.
        method: one of ``METHODS``.
        seed: of ``random`` and ``anneal``.
        fixed: clusters that stay at a router; they take no slot.
        effort: of ``anneal``: a name in ``EFFORTS``, or work per cluster (a unit is about a nanosecond).

    Raises:
        CapacityError: more clusters than slots.
        InputError: unknown method or effort, or a fixed cluster that does not exist.
    """
    fixed = fixed or {}
    if method not in METHODS:
        raise InputError(f"placement: unknown method {method!r}; choose one of {', '.join(METHODS)}")
    work = _work(effort)
    if method in ("row-major", "random"):
        movable = movable_clusters(traffic, slots, fixed)
        some = np.arange(len(slots)) if method == "row-major" else np.random.default_rng(seed).permutation(len(slots))
        return _placement(traffic, slots, fixed, movable, some[: len(movable)], method, [])
    problem = pose(traffic, slots, fixed)
    curve = hilbert(problem.mesh.columns, problem.mesh.rows)
    if method == "hilbert":
        seats, trail = problem.seats_along(curve), list[tuple[str, float]]()
    else:
        seats, trail = _best_start(problem, curve)
        seats = _refine(problem, seats, curve, work if method == "anneal" else 0.0, seed, trail)
    return _placement(traffic, slots, fixed, problem.movable, problem.slot[seats], method, trail)


def compare(traffic: Traffic, slots: Slots, seed: int = 0, *, fixed: Fixed | None = None) -> dict[str, float]:
    """Cost of the placements that need no search: row-major, random and hilbert."""
    return {method: place(traffic, slots, method, seed, fixed=fixed).cost for method in METHODS[:3]}


def _work(effort: str | float) -> float:
    if isinstance(effort, str):
        if effort not in EFFORTS:
            raise InputError(f"placement: unknown effort {effort!r}; choose one of {', '.join(EFFORTS)} or a number")
        return EFFORTS[effort]
    if not effort >= 0:
        raise InputError(f"placement: effort must not be negative, found {effort}")
    return float(effort)


def _placement(
    traffic: Traffic,
    slots: Slots,
    fixed: Fixed,
    movable: Ints,
    chosen: Ints,
    method: str,
    trail: list[tuple[str, float]],
) -> Placement:
    slot = np.full(traffic.n_clusters, -1, np.int32)
    slot[movable] = chosen
    price = cost(traffic, slots, slot, fixed)
    return Placement(slot=slot, cost=price, method=method, trail=(*trail, (method, price)))


def _best_start(problem: Problem, curve: Ints) -> tuple[Ints, list[tuple[str, float]]]:
    """Seats along the cheapest curve, clusters in layer order; and the cost of the best of each family."""
    columns, rows = problem.mesh.columns, problem.mesh.rows
    upright = [bands(columns, rows, n) for n in band_counts(columns)]
    cells = np.arange(rows * columns).reshape(rows, columns).T.ravel()
    level = [cells[bands(rows, columns, n)] for n in band_counts(rows)]
    families = {"hilbert start": [curve], "upright bands": upright, "level bands": level}
    best: tuple[int, Ints] | None = None
    trail = []
    for name, curves in families.items():
        priced = [(problem.cost(seats), seats) for seats in map(problem.seats_along, curves)]
        least = min(priced, key=lambda pair: pair[0])
        trail.append((name, least[0] * problem.unit))
        if best is None or least[0] < best[0]:
            best = least
    assert best is not None
    return best[1], trail


def _refine(problem: Problem, seats: Ints, curve: Ints, work: float, seed: int, trail: list[tuple[str, float]]) -> Ints:
    """Anneal with ``work`` per cluster and descend; never worse than descending at once. Adds to ``trail``."""
    before = problem.cost(seats)
    state = problem.state(seats, curve)
    schedule = _schedule(problem, work)
    after = before
    if len(schedule.temperature):
        start = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] | np.uint64(1)
        after += int(kernels.anneal(problem.links, problem.mesh, state, schedule, start))
        trail.append(("annealed", after * problem.unit))
    if after > before:
        state, after = problem.state(seats, curve), before
    kernels.descend(problem.links, problem.mesh, state, SWEEPS)
    return state.seat[problem.movable].astype(np.int64)


def _schedule(problem: Problem, work: float) -> kernels.Schedule:
    """Temperatures fall by equal ratios from HOT to COLD, reach falls evenly; as many moves as ``work`` pays for."""
    n, links = max(len(problem.movable), 1), problem.links
    moves = work / (WORK_PER_MOVE + WORK_PER_LINK * 2 * len(links.target) / n)
    steps = (
        min(max(int(moves / LEAST), int(moves >= 1)), STEPS) if len(problem.movable) > 1 and len(links.target) else 0
    )
    busy = int((np.diff(links.start) > 0).sum())
    fall = np.linspace(0.0, 1.0, steps)
    return kernels.Schedule(
        temperature=HOT * float(links.weight.sum(dtype=np.float64)) / max(busy, 1) * problem.hop * (COLD / HOT) ** fall,
        radius=np.rint(WIDE + (NARROW - WIDE) * fall).astype(np.int64),
        moves=round(moves / steps) if steps else 0,
        window=WINDOW,
    )
