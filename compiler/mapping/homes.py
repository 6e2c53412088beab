"""Fixed clusters that may trade places: which chip's processors compute which attention layer.

A chip's processors stay where they are on the chip, but any chip's can do the work. After a short placement each group
goes where its traffic is least far, given where everybody else sits. Clusters that send more to the group than to all
others together would follow it: what counts of them is whom they talk to besides.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.kernels.anneal import Ring
from compiler.mapping.seating import LINE, Problem
from compiler.mapping.traffic import Fixed, Ints

_LOW = 0xFFFFFFFF


def settled(problem: Problem, seats: Ints, fixed: Fixed, trading: Sequence[Ints]) -> dict[int, tuple[int, int]]:
    """``fixed`` with the groups of every set at the places that cost least while movable cluster k is on ``seats[k]``.

    ``trading``: sets of fixed clusters, integers (n_groups, k): member j of any group may take the place of member j of
    any other group of its set, all members of a group together. Busiest groups choose first; those without traffic take
    what is left.
    """
    homes = dict(fixed)
    point = problem.point.copy()
    point[problem.movable] = problem.mesh.point[seats]
    for groups in trading:
        total = np.array([sum(_row(problem, int(c))[1].sum() for c in group) for group in groups])
        free, site = np.ones(len(groups), bool), np.full(len(groups), -1)
        for number in np.argsort(-total, kind="stable")[: int((total > 0).sum())]:
            prices = np.where(free, _prices(problem, point, groups[number], groups), np.inf)
            site[number] = int(prices.argmin())
            free[site[number]] = False
        site[site < 0] = np.flatnonzero(free)
        for group, there in zip(groups, groups[site], strict=True):
            homes.update({int(c): fixed[int(place)] for c, place in zip(group, there, strict=True)})
    return homes


def is_busy(problem: Problem, trading: Sequence[Ints]) -> bool:
    """Whether any group with traffic has another to trade places with."""
    start = problem.links.start
    return any(len(groups) > 1 and bool((start[groups + 1] > start[groups]).any()) for groups in trading)


def _row(problem: Problem, cluster: int) -> tuple[Ints, NDArray[np.float64]]:
    """Neighbours of ``cluster`` in the traffic graph, and its traffic with each."""
    links = problem.links
    row = slice(int(links.start[cluster]), int(links.start[cluster + 1]))
    return links.target[row].astype(np.int64), links.weight[row].astype(np.float64)


def _prices(problem: Problem, point: Ints, group: Ints, sites: Ints) -> NDArray[np.float64]:
    """Cost of the traffic of ``group`` on each of ``sites``: (n_sites,)."""
    rows = [_row(problem, int(cluster)) for cluster in group]
    pull = np.zeros(len(point))
    for near, weight in rows:
        pull[near] += weight
    follows = np.zeros(len(point), bool)
    follows[group] = True
    movable = np.zeros(len(point), bool)
    movable[problem.movable] = True
    for cluster in np.flatnonzero((pull > 0) & movable):
        follows[cluster] = 2 * pull[cluster] > _row(problem, int(cluster))[1].sum()
    price = np.zeros(len(sites))
    for member, (near, weight) in enumerate(rows):
        amount = np.zeros(len(point))
        amount[near] = weight
        for cluster in near[follows[near]]:
            far, each = _row(problem, int(cluster))
            amount[far] += each * (amount[cluster] / max(pull[cluster], 1.0))
        amount[follows] = 0.0
        ends = np.flatnonzero(amount)
        there = problem.point[sites[:, member]]
        for shift, ring in zip((0, 32), problem.mesh.rings or (LINE, LINE), strict=True):
            at, which = np.unique(there >> shift & _LOW, return_inverse=True)
            price += (_apart(ring, at[:, None], point[ends] >> shift & _LOW) @ amount[ends])[which]
    return price


def _apart(ring: Ring, one: Ints, other: Ints) -> Ints:
    """``kernels.anneal.apart`` of arrays."""
    straight = np.abs(one - other)
    hops = straight - ring.border * np.abs(one // ring.chip - other // ring.chip)
    shorter: Ints = np.where((2 * hops > ring.hops) & (ring.whole > 0), ring.whole - straight, straight)
    return shorter
