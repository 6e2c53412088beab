"""Multilevel placement: a problem a quarter the size, whose solution is a start for the whole one.

Groups of the first coarse problem are of four clusters that follow each other in layer order: most often they are
parts of one layer that hear and feed the same others. Groups of all further ones are of four that talk most. Seats are
grouped by four along the curve (2 x 2 routers, or the four cores of a router). Groups are numbered in layer order,
fixed clusters after them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compiler.mapping.kernels.anneal import Mesh
from compiler.mapping.kernels.coarsen import pair
from compiler.mapping.linking import merged
from compiler.mapping.seating import Problem
from compiler.mapping.traffic import Ints

GROUP = 4
COARSEST = 256  # seats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coarse:
    """``problem``: the smaller one. ``member``: int64 (n_movable,), the finer problem's clusters, group by group, and
    ``size``: int64 (n_groups,), how many of them each group holds.
    """

    problem: Problem
    member: Ints
    size: Ints

    def refined(self, finer: Problem, seats: Ints) -> Ints:
        """Seats for ``finer.movable`` when group k sits on ``seats[k]``: near, in the same order along the curve."""
        n_seats = len(finer.curve)
        rank = np.empty(len(self.problem.curve), np.int64)
        rank[self.problem.curve] = np.arange(len(rank))
        order = np.argsort(rank[seats])
        size = self.size[order]
        before = np.cumsum(size) - size
        # a group starts on the first seat of its four, or right after the group before it, and must leave room behind
        begin = np.maximum.accumulate(GROUP * rank[seats][order] - before)
        begin = np.minimum(begin, n_seats - len(self.member)) + before
        first = np.empty(len(order), np.int64)
        first[order] = begin
        inside = np.arange(len(self.member)) - np.repeat(np.cumsum(self.size) - self.size, self.size)
        seat_of = np.empty(len(finer.point), np.int64)
        seat_of[self.member] = finer.curve[np.repeat(first, self.size) + inside]
        return seat_of[finer.movable]


def coarsen(problem: Problem, in_order: bool = False) -> Coarse:
    """Group clusters and seats by four; clusters ``in_order``, or those that talk."""
    n = len(problem.point)
    group, links, movable = np.arange(n), problem.links, problem.movable
    pinned = np.setdiff1d(np.arange(n), movable)
    for _ in range(1 if in_order else 2):
        number = np.arange(len(movable)) // GROUP if in_order else _pairs(pair(links, movable), movable)
        n_groups = int(number.max(initial=-1)) + 1
        numbered = np.empty(len(movable) + len(pinned), np.int64)
        numbered[movable], numbered[pinned] = number, n_groups + np.arange(len(pinned))
        group = numbered[group]
        links = merged(links, numbered)
        movable, pinned = np.arange(n_groups), np.arange(n_groups, n_groups + len(pinned))
    member = problem.movable[np.argsort(group[problem.movable], kind="stable")]
    mesh, curve = _grouped(problem)
    n_coarse = len(movable) + len(pinned)
    coarse = Problem(
        links=links,
        mesh=mesh,
        slot=np.arange(len(curve)),
        curve=curve,
        movable=movable,
        column=np.zeros(n_coarse, np.int32),
        row=np.zeros(n_coarse, np.int32),
        point=np.zeros(n_coarse, np.int64),
        unit=problem.unit,
        hop=problem.hop * 2,
        pitch=problem.pitch * 2,
    )
    coarse = _pinned_as(problem, coarse)
    return Coarse(problem=coarse, member=member, size=np.bincount(group[problem.movable], minlength=len(movable)))


def coarser(problem: Problem) -> list[Coarse]:
    """Problems a quarter the size of the one before, until few seats are left."""
    levels: list[Coarse] = []
    while len(problem.curve) > COARSEST:
        levels.append(coarsen(problem, in_order=not levels))
        problem = levels[-1].problem
    return levels


def moved_along(levels: list[Coarse], problem: Problem) -> list[Coarse]:
    """``levels`` with fixed clusters where the finest ``problem``, of the same links, has them."""
    found: list[Coarse] = []
    for level in levels:
        found.append(replace(level, problem=_pinned_as(problem, level.problem)))
        problem = found[-1].problem
    return found


def _pinned_as(finer: Problem, coarse: Problem) -> Problem:
    """``coarse`` with its fixed clusters where those of ``finer`` are."""
    was = np.setdiff1d(np.arange(len(finer.point)), finer.movable)
    pinned = np.setdiff1d(np.arange(len(coarse.point)), coarse.movable)
    point, column, row = coarse.point.copy(), coarse.column.copy(), coarse.row.copy()
    point[pinned], column[pinned], row[pinned] = finer.point[was], finer.column[was] // 2, finer.row[was] // 2
    return replace(coarse, point=point, column=column, row=row)


def _pairs(partner: Ints, movable: Ints) -> Ints:
    """Number of each movable cluster's pair, in the order of the pairs' first members."""
    return np.unique(np.minimum(movable, partner[movable]), return_inverse=True)[1]


def _grouped(problem: Problem) -> tuple[Mesh, Ints]:
    """Mesh whose seats are fours of seats along the curve, each at their mean; and its own curve."""
    begin = np.arange(0, len(problem.curve), GROUP)
    size = np.diff(begin, append=len(problem.curve))
    x, y, column, row = (
        np.add.reduceat(values[problem.curve].astype(np.int64), begin) // size
        for values in (problem.mesh.point & 0xFFFFFFFF, problem.mesh.point >> 32, problem.mesh.column, problem.mesh.row)
    )
    columns, rows = (problem.mesh.columns + 1) // 2, (problem.mesh.rows + 1) // 2
    column, row = (column // 2).astype(np.int32), (row // 2).astype(np.int32)
    cell = row * np.int64(columns) + column
    order = np.argsort(cell, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=rows * columns))]).astype(np.int64)
    curve = np.empty(len(order), np.int64)
    curve[order] = np.arange(len(order))
    return Mesh(columns, rows, first, column[order], row[order], (x | y << 32)[order], problem.mesh.rings), curve
