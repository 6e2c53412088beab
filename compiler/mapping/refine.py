"""Better seats from given ones: force-directed descent, annealing, and annealing level by level from a coarse problem.

Temperatures are in hops times the mean traffic of a cluster, so they fit any weights. Effort is a number of moves,
never a time: the same arguments give the same seats.
"""

from __future__ import annotations

import numpy as np

from compiler.mapping.coarsen import GROUP, Coarse, coarsen
from compiler.mapping.kernels import anneal as kernels
from compiler.mapping.seating import Problem
from compiler.mapping.traffic import Ints

HOT, WARM, COOL, COLD = 5.0, 3.0, 0.1, 0.04  # a random mesh, a known start; the end of a coarse level, of the finest
WIDE, NARROW = 6.0, 1.0  # first and last reach of an undirected move, in routers
STEPS, LEAST = 200, 10  # temperatures, if each gets at least ten moves a cluster
WINDOW = 4096  # clusters worked on at a time; 200 bytes each fit the second-level cache
SWEEPS = 20  # passes of a descent
COARSEST = 256  # seats
WORK_PER_MOVE, WORK_PER_LINK = 60.0, 1.0  # nanoseconds on a 2023 server core


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

    Each level gets the same number of tries per cluster, so that all together cost 4/3 of ``moves`` on the finest.
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
