"""Inner loops of placement: cost changes of swaps, annealing, descent. One file, because Numba's cache does not see
edits of callees elsewhere.

Everything is an integer, so that a sum does not depend on its order and may use vector instructions. A seat is a slot,
renumbered so that the seats of one router (a cell of the grid, row by row) are contiguous. A chip border only stretches
the axis it crosses (``place.Slots``), so the distance of two points is |x - x'| + |y - y'| in stretched units. A point
is packed in one int64, ``x | y << 32``: one gather per neighbour instead of two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Ring(NamedTuple):
    """An axis that its last link closes, in stretched units; an axis that nothing closes has zero of each."""

    whole: int  # once round, borders included
    hops: int  # once round, borders left out
    chip: int  # from a chip's first router to the next chip's
    border: int  # what a chip border adds


class Links(NamedTuple):
    """Symmetric traffic in CSR form: both directions of every edge, no loops, each neighbour once."""

    start: NDArray[np.uint64]  # (n_clusters + 1,); unsigned, or Numba tests every index for being negative
    target: NDArray[np.uint32]  # (n_links,)
    weight: NDArray[np.int32]  # (n_links,)


class Mesh(NamedTuple):
    """Seats by cell. Cells may be empty, where no slot was given."""

    columns: int
    rows: int
    first: NDArray[np.int64]  # (rows * columns + 1,) seats of cell k are first[k] .. first[k + 1]
    column: NDArray[np.int32]  # (n_seats,)
    row: NDArray[np.int32]  # (n_seats,)
    point: NDArray[np.int64]  # (n_seats,) packed stretched coordinates
    rings: tuple[Ring, Ring] | None = None  # along x and y; None where neither is closed: kernels are compiled apart


class State(NamedTuple):
    """Who is where; changed in place. Clusters that never move have seat -1 and a cell near their point."""

    seat: NDArray[np.int32]  # (n_clusters,)
    occupant: NDArray[np.int32]  # (n_seats,) -1 where empty
    column: NDArray[np.int32]  # (n_clusters,)
    row: NDArray[np.int32]  # (n_clusters,)
    point: NDArray[np.int64]  # (n_clusters,)
    movable: NDArray[np.int32]  # (n_movable,) in the order in which neighbourhoods of the mesh are worked on


class Schedule(NamedTuple):
    """Annealing, step by step; every step tries ``moves`` moves for each window of ``movable``."""

    temperature: NDArray[np.float64]  # (n_steps,) in units of cost
    radius: NDArray[np.int64]  # (n_steps,) cells; reach of an undirected move
    moves: int
    window: int  # clusters worked on at a time: their links and neighbours stay in the cache


DIRECTED = np.uint64(int(0.9 * 2**32))  # of 2**32: nine moves in ten go next to a neighbour in the traffic graph
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
THREE = np.uint64(3)
LOW_BITS = np.int64(0xFFFFFFFF)
NOBODY = np.uint32(0xFFFFFFFF)
COLD = 20.0  # exp(-20) is one move in 5e8: never accepted


@njit(cache=True)
def draw(bits: np.uint64) -> np.uint64:
    """Next 64 bits of Marsaglia's xorshift generator (J. Stat. Softw. 8(14), 2003; shifts 13, 7, 17)."""
    bits ^= bits << np.uint64(13)
    bits ^= bits >> np.uint64(7)
    return bits ^ (bits << np.uint64(17))


@njit(cache=True, inline="always")
def apart(ring: Ring, one: int, other: int) -> np.int64:
    """Distance of two points of an axis by the way of fewer hops; of two equal ways, the one that does not go round."""
    straight = np.int64(abs(one - other))
    if ring.whole == 0:
        return straight
    hops = straight - ring.border * abs(one // ring.chip - other // ring.chip)
    return ring.whole - straight if 2 * hops > ring.hops else straight


@njit(cache=True)
def shift_cost(
    links: Links, rings: tuple[Ring, Ring] | None, point: Ints, cluster: int, ignored: int, old: int, new: int
) -> np.int64:
    """Change of cost when ``cluster`` moves from point ``old`` to ``new``; its edge to ``ignored`` does not count."""
    old_x, old_y = np.int32(old & LOW_BITS), np.int32(old >> 32)
    new_x, new_y = np.int32(new & LOW_BITS), np.int32(new >> 32)
    skip = np.uint32(ignored) if ignored >= 0 else NOBODY
    change = np.int64(0)
    for k in range(links.start[cluster], links.start[cluster + 1]):
        at = point[links.target[k]]
        x, y = np.int32(at & LOW_BITS), np.int32(at >> 32)
        if rings is None:
            further = abs(new_x - x) - abs(old_x - x) + abs(new_y - y) - abs(old_y - y)
        else:
            further = apart(rings[0], new_x, x) - apart(rings[0], old_x, x)
            further += apart(rings[1], new_y, y) - apart(rings[1], old_y, y)
        change += np.int64(links.weight[k]) * np.int64(further) if links.target[k] != skip else np.int64(0)
    return change


@njit(cache=True, inline="always")
def swap_cost(links: Links, mesh: Mesh, state: State, cluster: int, seat: int) -> np.int64:
    """Change of cost when ``cluster`` takes ``seat`` and whoever sits there takes the cluster's seat."""
    other = state.occupant[seat]
    old, new = state.point[cluster], mesh.point[seat]
    change = shift_cost(links, mesh.rings, state.point, cluster, other, old, new)
    if other >= 0:
        change += shift_cost(links, mesh.rings, state.point, other, cluster, new, old)
    return change


@njit(cache=True, inline="always")
def swap(mesh: Mesh, state: State, cluster: int, seat: int) -> None:
    """Carry out the move that ``swap_cost`` prices."""
    other, left = state.occupant[seat], state.seat[cluster]
    sit(mesh, state, cluster, seat)
    state.occupant[left] = other
    if other >= 0:
        sit(mesh, state, other, left)


@njit(cache=True, inline="always")
def sit(mesh: Mesh, state: State, cluster: int, seat: int) -> None:
    """Put ``cluster`` on ``seat``; the seat it came from is the caller's to fill."""
    state.occupant[seat] = cluster
    state.seat[cluster] = seat
    state.column[cluster] = mesh.column[seat]
    state.row[cluster] = mesh.row[seat]
    state.point[cluster] = mesh.point[seat]


@njit(cache=True)
def total_cost(links: Links, point: Ints, rings: tuple[Ring, Ring] | None = None) -> np.int64:
    """Sum over edges of weight times distance, in stretched units."""
    twice = np.int64(0)
    for cluster in range(links.start.shape[0] - 1):
        at = point[cluster]
        x, y = at & LOW_BITS, at >> 32
        for k in range(links.start[cluster], links.start[cluster + 1]):
            there = point[links.target[k]]
            if rings is None:
                length = abs((there & LOW_BITS) - x) + abs((there >> 32) - y)
            else:
                length = apart(rings[0], there & LOW_BITS, x) + apart(rings[1], there >> 32, y)
            twice += np.int64(links.weight[k]) * length
    return twice // 2


@njit(cache=True, inline="always")
def propose(
    links: Links, mesh: Mesh, state: State, cluster: int, radius: int, bits: tuple[np.uint64, np.uint64]
) -> np.int64:
    """A seat for ``cluster``, in the 3 x 3 cells around a neighbour in the graph or within ``radius`` cells of itself;
    -1 when the cell drawn is outside, empty or its own.
    """
    choice, offset = bits
    begin, end = links.start[cluster], links.start[cluster + 1]
    if (choice & LOW) < DIRECTED and end > begin:
        neighbour = links.target[begin + (((choice >> HALF) * np.uint64(end - begin)) >> HALF)]
        column, row, span = state.column[neighbour] - 1, state.row[neighbour] - 1, THREE
    else:
        column, row = state.column[cluster] - radius, state.row[cluster] - radius
        span = np.uint64(2 * radius + 1)
    column += np.int64(((offset >> HALF) * span) >> HALF)
    down = (offset & LOW) * span
    row += np.int64(down >> HALF)
    if column < 0 or row < 0 or column >= mesh.columns or row >= mesh.rows:
        return np.int64(-1)
    if column == state.column[cluster] and row == state.row[cluster]:
        return np.int64(-1)
    cell = row * mesh.columns + column
    first, count = mesh.first[cell], mesh.first[cell + 1] - mesh.first[cell]
    if count == 0:
        return np.int64(-1)
    return first + np.int64(((down & LOW) * np.uint64(count)) >> HALF)


@njit(cache=True)
def anneal(links: Links, mesh: Mesh, state: State, schedule: Schedule, seed: np.uint64) -> np.int64:
    """Metropolis moves (Kirkpatrick et al., Science 220, 1983) through ``schedule``; returns the change of cost.

    Nine moves in ten are directed, an idea of placers for FPGAs: they try a place next to a neighbour in the graph.
    ``seed`` is not 0. The same arguments give the same result, bit for bit.
    """
    bits = np.uint64(seed)
    change = np.int64(0)
    n_movable = state.movable.shape[0]
    for step in range(schedule.temperature.shape[0]):
        temperature, radius = schedule.temperature[step], schedule.radius[step]
        for begin in range(0, n_movable, schedule.window):
            size = min(schedule.window, n_movable - begin)
            for _ in range(schedule.moves * size):
                bits = draw(bits)
                cluster = state.movable[begin + np.int64(((bits >> HALF) * np.uint64(size)) >> HALF)]
                bits2 = draw(bits)
                bits = draw(bits2)
                seat = propose(links, mesh, state, cluster, radius, (bits2, bits))
                if seat < 0:
                    continue
                delta = swap_cost(links, mesh, state, cluster, seat)
                if delta > 0:
                    if delta > COLD * temperature:
                        continue
                    bits = draw(bits)
                    if (bits >> np.uint64(11)) * 2.0**-53 >= math.exp(-delta / temperature):
                        continue
                swap(mesh, state, cluster, seat)
                change += delta
    return change


@njit(cache=True)
def best_near(links: Links, mesh: Mesh, state: State, cluster: int, column: int, row: int) -> tuple[np.int64, np.int64]:
    """(change, seat) of the best swap of ``cluster`` into the 3 x 3 cells around (column, row); seat -1: none gains."""
    best, chosen = np.int64(0), np.int64(-1)
    for y in range(max(row - 1, 0), min(row + 2, mesh.rows)):
        for x in range(max(column - 1, 0), min(column + 2, mesh.columns)):
            if x == state.column[cluster] and y == state.row[cluster]:
                continue
            cell = y * mesh.columns + x
            for seat in range(mesh.first[cell], mesh.first[cell + 1]):
                change = swap_cost(links, mesh, state, cluster, seat)
                if change < best:
                    best, chosen = change, np.int64(seat)
    return best, chosen


@njit(cache=True)
def balance_point(links: Links, state: State, cluster: int) -> tuple[np.int64, np.int64]:
    """(column, row) where the pulls of all links of ``cluster`` balance: the weighted mean of its neighbours' cells."""
    total, column, row = 0.0, 0.0, 0.0
    for k in range(links.start[cluster], links.start[cluster + 1]):
        neighbour, weight = links.target[k], np.float64(links.weight[k])
        total += weight
        column += weight * state.column[neighbour]
        row += weight * state.row[neighbour]
    if total == 0.0:
        return np.int64(state.column[cluster]), np.int64(state.row[cluster])
    return np.int64(column / total + 0.5), np.int64(row / total + 0.5)


@njit(cache=True)
def remind(links: Links, due: NDArray[np.bool_], cluster: int) -> None:
    """``cluster`` has moved: it and its neighbours in the graph are due again."""
    due[cluster] = True
    for k in range(links.start[cluster], links.start[cluster + 1]):
        due[links.target[k]] = True


@njit(cache=True)
def descend(links: Links, mesh: Mesh, state: State, sweeps: int) -> np.int64:
    """Force-directed swaps that lower the cost, near each cluster and near its balance point.

    Returns the change of cost. At most ``sweeps`` passes over the movable clusters; after the first, only over those
    that moved or whose neighbours in the graph did.
    """
    change = np.int64(0)
    due = np.ones(state.seat.shape[0], np.bool_)
    for _ in range(sweeps):
        before = change
        for cluster in state.movable:
            if not due[cluster]:
                continue
            due[cluster] = False
            column, row = balance_point(links, state, cluster)
            gain, seat = best_near(links, mesh, state, cluster, state.column[cluster], state.row[cluster])
            far_gain, far_seat = best_near(links, mesh, state, cluster, column, row)
            if far_gain < gain:
                gain, seat = far_gain, far_seat
            if seat >= 0:
                other = state.occupant[seat]
                swap(mesh, state, cluster, seat)
                change += gain
                remind(links, due, cluster)
                if other >= 0:
                    remind(links, due, other)
        if change == before:
            break
    return change
