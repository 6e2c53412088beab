"""Better seats from given ones: force-directed descent, annealing, and annealing level by level from a coarse problem.

Temperatures are in router pitches (chip borders included) times the mean traffic of a cluster, so they fit any weights
and prices. Effort is a number of moves, never a time: the same arguments give the same seats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from compiler.mapping.coarsen import GROUP, Coarse
from compiler.mapping.kernels import anneal as kernels
from compiler.mapping.seating import Problem
from compiler.mapping.traffic import Ints

HOT, WARM, LUKEWARM, MILD = (
    5.0,
    3.0,
    1.0,
    0.3,
)  # first temperature: to forget the start, keep its shape, more of it, polish
COARSE = 10.0  # first temperature of the coarsest level
COOL, COLD = 0.1, 0.02  # last temperature: of a coarse level, of the finest
WIDE, NARROW = 3.0, 1.0  # first and last reach of an undirected move, in routers
STEPS, LEAST = 200, 10  # temperatures, if each gets at least ten moves a cluster
CACHE = 600_000  # bytes of clusters and links worked on at a time; they fit the second-level cache
WINDOW = 4096  # clusters worked on at a time, at most
SWEEPS = 20  # passes of a descent
DESCENT = 0.5  # swaps tried by the descent after an anneal, of the anneal's
GROW, MANY = 2.0, 2e4  # tries of a coarse cluster over those of its members; the most for a coarse one
WORK_PER_MOVE, WORK_PER_LINK = 60.0, 1.0  # nanoseconds on a 2023 server core


@dataclass(frozen=True, slots=True)
class Stage:
    """One anneal of a search: from where, with which share of the moves, from which temperature."""

    name: str
    start: Literal["given", "hilbert", "best", "levels"]
    share: float
    hot: float


# Chains of fully connected layers do best from a band curve. Convolutions do best level by level or, given more time,
# from a hot Hilbert curve. Polishing pays once they have settled: each was measured on both, 1,024 and 4,096 clusters.
# On spiking transformers no curve comes near even a short anneal level by level: all moves go there. What counts there
# is what the groups are, and the large shape that coarse levels find: finer ones start so cool that they keep it.
PILOT = Stage("short, by level", "levels", 0.1, LUKEWARM)
AHEAD = 0.8  # cost of the pilot over that of the start, below which no curve is tried
BY_LEVEL = (Stage("annealed by level", "levels", 0.9, LUKEWARM),)
SHORT = (Stage("annealed", "given", 0.45, WARM), Stage("annealed by level", "levels", 0.45, WARM))
LONG = (
    Stage("annealed", "given", 0.1, WARM),
    Stage("annealed by level", "levels", 0.2, WARM),
    Stage("annealed from hilbert", "hilbert", 0.2, HOT),
    *(Stage("reheated", "best", 0.1, MILD) for _ in range(4)),
)
ENOUGH = 6000  # tries per cluster from which the long search beats the short one


def search(
    problem: Problem, levels: list[Coarse], start: Ints, work: float, seed: int
) -> tuple[Ints, list[tuple[str, float]]]:
    """The best seats of several anneals that share ``work`` (nanoseconds per cluster); ``start`` if none is better.

    ``levels``: of ``problem`` (``coarsen.coarser``). Also returns (stage, cost) of each, and ends with a descent.
    """
    moves = moves_for(problem, work)
    stages = [PILOT]
    seeds = iter(np.random.SeedSequence(seed).generate_state(1 + len(LONG), np.uint64) | np.uint64(1))
    best, least = start, problem.cost(start)
    worth = AHEAD * least
    trail = []
    while stages:
        stage, stage_seed = stages.pop(0), next(seeds)
        if stage.start == "levels":
            seats = multilevel(problem, levels, stage.share * moves, stage_seed, stage.hot)
        else:
            origin = {"given": start, "hilbert": problem.curve[: len(start)], "best": best}[stage.start]
            seats = annealed(problem, origin, stage.share * moves, stage_seed, stage.hot)
        price = problem.cost(seats)
        trail.append((stage.name, price * problem.unit))
        if price < least:
            best, least = seats, price
        if stage is PILOT:
            curves = LONG if moves >= ENOUGH else SHORT
            stages = list(BY_LEVEL if price < worth else curves)
    return descended(problem, best, _sweeps(problem, moves)), trail


def glance(problem: Problem, levels: list[Coarse], work: float, seed: int) -> Ints:
    """Seats after a tenth of the moves that ``work`` pays for: enough to see who will sit near whom."""
    first = np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0] | np.uint64(1)
    return multilevel(problem, levels, PILOT.share * moves_for(problem, work), first, PILOT.hot)


def moves_for(problem: Problem, work: float) -> float:
    """Moves per cluster that ``work`` nanoseconds per cluster pay for."""
    links = 2 * len(problem.links.target) / max(len(problem.movable), 1)
    return work / (WORK_PER_MOVE + WORK_PER_LINK * links)


def descended(problem: Problem, seats: Ints, sweeps: int = SWEEPS) -> Ints:
    """Swap clusters into seats near them, and near where their links pull them, where that lowers the cost."""
    state = problem.state(seats)
    kernels.descend(problem.links, problem.mesh, state, sweeps)
    return state.seat[problem.movable].astype(np.int64)


def _sweeps(problem: Problem, moves: float) -> int:
    """Passes of a descent whose first one tries all seats of 2 x 3 x 3 routers for every cluster."""
    cells = max(int((np.diff(problem.mesh.first) > 0).sum()), 1)
    return min(max(round(DESCENT * moves / (18 * len(problem.curve) / cells)), 1), SWEEPS)


def annealed(
    problem: Problem, seats: Ints, moves: float, seed: np.uint64, hot: float = WARM, cold: float = COLD
) -> Ints:
    """Anneal from ``hot`` to ``cold`` with ``moves`` tries per cluster."""
    schedule = _schedule(problem, moves, hot, cold)
    state = problem.state(seats)
    kernels.anneal(problem.links, problem.mesh, state, schedule, seed)
    return state.seat[problem.movable].astype(np.int64)


def multilevel(problem: Problem, levels: list[Coarse], moves: float, seed: np.uint64, hot: float = LUKEWARM) -> Ints:
    """Anneal the coarsest of ``levels`` first, then each finer one from it, ``problem`` last; those from ``hot``.

    Each level tries ``GROW`` times as often per cluster as the finer one, at most ``MANY`` times; all levels together
    cost about ``moves`` tries for each cluster of the finest.
    """
    problems = [problem, *(level.problem for level in levels)]
    tries = [GROW**k for k in range(len(levels) + 1)]
    tries = [min(moves * t / sum((GROW / GROUP) ** k for k in range(len(tries))), max(MANY, moves)) for t in tries]
    seats = problems[-1].curve[: len(problems[-1].movable)]
    seats = annealed(problems[-1], seats, tries[-1], seed, COARSE, COOL if levels else COLD)
    for level, coarse in reversed(list(enumerate(levels))):
        seats = coarse.refined(problems[level], seats)
        seats = annealed(problems[level], seats, tries[level], seed, hot, COOL if level else COLD)
    return seats


def _schedule(problem: Problem, moves: float, hot: float, cold: float) -> kernels.Schedule:
    """Temperatures fall by equal ratios, the reach of moves falls evenly."""
    links = problem.links
    busy = int((np.diff(links.start) > 0).sum())
    useful = busy and len(problem.movable) > 1
    steps = min(max(int(moves / LEAST), int(moves >= 1)), STEPS) if useful else 0
    scale = float(links.weight.sum(dtype=np.float64)) / max(busy, 1) * problem.pitch
    fall = np.linspace(0.0, 1.0, steps)
    return kernels.Schedule(
        temperature=scale * hot * (cold / hot) ** fall,
        radius=np.rint(WIDE + (NARROW - WIDE) * fall).astype(np.int64),
        moves=round(moves / steps) if steps else 0,
        window=int(np.clip(CACHE // (70 + 8 * len(links.target) / max(busy, 1)), 1, WINDOW)),
    )
