"""Better seats from given ones: force-directed descent, annealing, and annealing level by level from a coarse problem.

Temperatures are in hops times the mean traffic of a cluster, so they fit any weights. Effort is a number of moves,
never a time: the same arguments give the same seats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from compiler.mapping.coarsen import GROUP, Coarse, coarsen
from compiler.mapping.kernels import anneal as kernels
from compiler.mapping.seating import Problem
from compiler.mapping.traffic import Ints

HOT, WARM, MILD = 5.0, 3.0, 0.3  # first temperature: to forget the start, to keep its large shape, to polish
COOL, COLD = 0.1, 0.02  # last temperature: of a coarse level, of the finest
WIDE, NARROW = 3.0, 1.0  # first and last reach of an undirected move, in routers
STEPS, LEAST = 200, 10  # temperatures, if each gets at least ten moves a cluster
WINDOW = 4096  # clusters worked on at a time; 200 bytes each fit the second-level cache
SWEEPS = 20  # passes of a descent
COARSEST = 256  # seats
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
SHORT = (Stage("annealed", "given", 0.5, WARM), Stage("annealed by level", "levels", 0.5, WARM))
LONG = (
    Stage("annealed", "given", 0.2, WARM),
    Stage("annealed by level", "levels", 0.2, WARM),
    Stage("annealed from hilbert", "hilbert", 0.2, HOT),
    *(Stage("reheated", "best", 0.1, MILD) for _ in range(4)),
)
ENOUGH = 6000  # tries per cluster from which the long search beats the short one


def search(problem: Problem, start: Ints, work: float, seed: int) -> tuple[Ints, list[tuple[str, float]]]:
    """The best seats of several anneals that share ``work`` (nanoseconds per cluster); ``start`` if none is better.

    Also returns (stage, cost) of each.
    """
    moves = moves_for(problem, work)
    stages = LONG if moves >= ENOUGH else SHORT
    seeds = np.random.SeedSequence(seed).generate_state(len(stages), np.uint64) | np.uint64(1)
    best, least = start, problem.cost(start)
    trail = []
    for stage, stage_seed in zip(stages, seeds, strict=True):
        if stage.start == "levels":
            seats = multilevel(problem, stage.share * moves, stage_seed)
        else:
            origin = {"given": start, "hilbert": problem.curve[: len(start)], "best": best}[stage.start]
            seats = annealed(problem, origin, stage.share * moves, stage_seed, stage.hot)
        price = problem.cost(seats)
        trail.append((stage.name, price * problem.unit))
        if price < least:
            best, least = seats, price
    return best, trail


def moves_for(problem: Problem, work: float) -> float:
    """Moves per cluster that ``work`` nanoseconds per cluster pay for."""
    links = 2 * len(problem.links.target) / max(len(problem.movable), 1)
    return work / (WORK_PER_MOVE + WORK_PER_LINK * links)


def descended(problem: Problem, seats: Ints) -> Ints:
    """Swap until no swap near a cluster, or near where its links pull it, lowers the cost."""
    state = problem.state(seats)
    kernels.descend(problem.links, problem.mesh, state, SWEEPS)
    return state.seat[problem.movable].astype(np.int64)


def annealed(
    problem: Problem, seats: Ints, moves: float, seed: np.uint64, hot: float = WARM, cold: float = COLD
) -> Ints:
    """Anneal from ``hot`` to ``cold`` with ``moves`` tries per cluster."""
    schedule = _schedule(problem, moves, hot, cold)
    state = problem.state(seats)
    kernels.anneal(problem.links, problem.mesh, state, schedule, seed)
    return state.seat[problem.movable].astype(np.int64)


def multilevel(problem: Problem, moves: float, seed: np.uint64) -> Ints:
    """Anneal a problem a quarter the size first, and that one's quarter before it, and so on; then refine.

    Each level tries equally often per cluster; all levels together cost ``moves`` tries for each cluster of the finest.
    """
    levels: list[Coarse] = []
    finest = problem
    while len(problem.curve) > COARSEST:
        levels.append(coarsen(problem))
        problem = levels[-1].problem
    moves *= 1 - 1 / GROUP if levels else 1.0
    seats = annealed(problem, problem.curve[: len(problem.movable)], moves, seed, HOT, COOL if levels else COLD)
    for level, coarse in reversed(list(enumerate(levels))):
        finer = levels[level - 1].problem if level else finest
        seats = coarse.refined(finer, seats)
        seats = annealed(finer, seats, moves, seed, WARM, COOL if level else COLD)
    return seats


def _schedule(problem: Problem, moves: float, hot: float, cold: float) -> kernels.Schedule:
    """Temperatures fall by equal ratios, the reach of moves falls evenly."""
    links = problem.links
    busy = int((np.diff(links.start) > 0).sum())
    useful = busy and len(problem.movable) > 1
    steps = min(max(int(moves / LEAST), int(moves >= 1)), STEPS) if useful else 0
    scale = float(links.weight.sum(dtype=np.float64)) / max(busy, 1) * problem.hop
    fall = np.linspace(0.0, 1.0, steps)
    return kernels.Schedule(
        temperature=scale * hot * (cold / hot) ** fall,
        radius=np.rint(WIDE + (NARROW - WIDE) * fall).astype(np.int64),
        moves=round(moves / steps) if steps else 0,
        window=WINDOW,
    )
