"""Routes: which tile sends packets to which port. They follow from tiles and ports, so no table holds them.

A port listens to a box of its bundle's grid, for every source of the bundle; the tiles of a source are the cells that
cuts of its rows, columns and channels make. So the tiles that a port hears are neighbours along each axis, found from
its box alone. Ports of one bundle with equal boxes, on several cores, hear the same tiles: they form a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import ProgramError
from neurochip.network.network import Network
from neurochip.network.projections import Source

Ints = NDArray[np.int64]
Int32 = NDArray[np.int32]
Table = NDArray[np.void]

MAX_ROUTES = 1 << 27
"""Most routes of one population: 1.6 GB as a table. A file could ask for any number with a few bytes."""

_AXES = (("y0", "y1"), ("x0", "x1"), ("c0", "c1"))


class Cells(NamedTuple):
    """The tiles of one population: cell (i, j, k) holds rows edges[0][i] to edges[0][i + 1], and so on.

    ``edges``: int64 (n + 1,) for rows, columns and channels; ``tile``: int32 (cells,), row of the tile table of each
    cell, channels fastest.
    """

    edges: tuple[Ints, Ints, Ints]
    tile: Int32


class Groups(NamedTuple):
    """The ports of one bundle by box: those of group g are ``ports[start[g] : start[g + 1]]``.

    ``boxes``: int64 (groups, 6), y0, y1, x0, x1, c0, c1, sorted; ``ports``: int32, rows of the port table.
    """

    boxes: Ints
    start: Ints
    ports: Int32


class Fan(NamedTuple):
    """What one population sends through one bundle: ``tile[k]`` to every port of group ``group[k]``.

    ``tile``: int32 (n,), rows of the tile table; ``group``: int32 (n,); sorted by tile, then group. ``delay``: ticks.
    """

    bundle: int
    delay: int
    groups: Groups
    tile: Int32
    group: Int32

    @property
    def readers(self) -> Ints:
        """(n,) int64: ports of each group."""
        counts: Ints = np.diff(self.groups.start)[self.group]
        return counts

    @property
    def boxes(self) -> Ints:
        """(n, 6) int64: the box of each group."""
        return self.groups.boxes[self.group]

    def parts(self, most: int) -> Iterator[Fan]:
        """This fan cut between tiles into parts of about ``most`` routes, or more where one tile has more."""
        before = np.cumsum(self.readers) - self.readers
        first = np.flatnonzero(np.append(True, self.tile[1:] != self.tile[:-1]))[: len(self.tile)]
        part = before[first] // most
        starts = first[np.append(True, part[1:] != part[:-1])] if len(first) else first
        for begin, end in zip(starts, np.append(starts[1:], len(self.tile)), strict=True):
            yield self._replace(tile=self.tile[begin:end], group=self.group[begin:end])

    def ports_reached(self) -> Int32:
        """(routes,) int32: the port of every route, in order."""
        readers = self.readers
        first = self.groups.start[self.group] - (np.cumsum(readers) - readers)
        place = np.repeat(first, readers)
        place += np.arange(len(place))
        ports: Int32 = self.groups.ports[place]
        return ports

    def routes(self) -> Int32:
        """(routes, 3) int32: source tile, port, delay of every route, in order."""
        ports = self.ports_reached()
        rows = np.empty((len(ports), 3), np.int32)
        rows[:, 0], rows[:, 1], rows[:, 2] = np.repeat(self.tile, self.readers), ports, self.delay
        return rows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Routing:
    """The routes of a program, worked out where they are needed.

    Attributes:
        cells: the tiles of each population. groups: the ports of each bundle.
        listening: of each population, (bundle, delay) of the bundles that it is a source of.
    """

    cells: tuple[Cells, ...]
    groups: tuple[Groups, ...]
    listening: tuple[tuple[tuple[int, int], ...], ...]

    def count(self, population: int) -> int:
        """Number of routes that leave the tiles of ``population``."""
        total = 0
        for bundle, _ in self.listening[population]:
            groups = self.groups[bundle]
            _, along = _met(self.cells[population], groups.boxes)
            total += int((along.prod(axis=1) * np.diff(groups.start)).sum())
        return total

    @property
    def n_routes(self) -> int:
        """Number of all routes."""
        return sum(self.count(population) for population in range(len(self.cells)))

    def fans(self, population: int) -> Iterator[Fan]:
        """What ``population`` sends, bundle by bundle."""
        cells = self.cells[population]
        for bundle, delay in self.listening[population]:
            groups = self.groups[bundle]
            group, cell = _meetings(cells, groups.boxes)
            tile = cells.tile[cell]
            order = np.argsort(tile, kind="stable")
            yield Fan(bundle, delay, groups, tile[order], group[order])

    def routes_from(self, population: int) -> Int32:
        """(n, 3) int32: source tile, port, delay of every route of ``population``.

        Routes of one bundle stand together, in them those of one tile, and in them those to ports of equal boxes.
        """
        return np.concatenate([np.empty((0, 3), np.int32), *(fan.routes() for fan in self.fans(population))])


def routing_of(tiles: Table, ports: Table, network: Network, bundles: tuple[tuple[Source, ...], ...]) -> Routing:
    """Routes of these tables. Raises ``ProgramError`` if the tiles of a population are not the cells of cuts."""
    names = [p.name for p in network.populations]
    listening: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    for number, bundle in enumerate(bundles):
        for source in bundle:
            listening[source.population].append((number, source.delay))
    rows = rows_of(tiles["population"], len(names))
    return Routing(
        cells=tuple(cells_of(tiles[mine], mine, name) for name, mine in zip(names, rows, strict=True)),
        groups=tuple(_groups_of(ports, mine) for mine in rows_of(ports["bundle"], len(bundles))),
        listening=tuple(tuple(pairs) for pairs in listening.values()),
    )


def cells_of(tiles: Table, rows: Ints, name: str) -> Cells:
    """``tiles`` of population ``name``, which are ``rows`` of the table. Raises ``ProgramError`` as ``routing_of``."""
    starts, ends = ([tiles[name] for name in names] for names in zip(*_AXES, strict=True))
    edges = [np.unique(np.concatenate([[0], *pair])).astype(np.int64) for pair in zip(starts, ends, strict=True)]
    sizes = tuple(len(e) - 1 for e in edges)
    if len(rows) == sizes[0] * sizes[1] * sizes[2]:
        order = np.lexsort(starts[::-1])
        at = np.indices(sizes).reshape(3, -1)
        first = all(np.array_equal(s[order], e[i]) for s, e, i in zip(starts, edges, at, strict=True))
        if first and all(np.array_equal(s[order], e[i + 1]) for s, e, i in zip(ends, edges, at, strict=True)):
            return Cells((edges[0], edges[1], edges[2]), rows[order].astype(np.int32))
    raise ProgramError(
        f"tiles of population {name!r}: expected the cells that cuts of its rows, columns and channels make, found "
        f"{len(rows)} boxes whose edges make {sizes[0]} x {sizes[1]} x {sizes[2]}"
    )


def rows_of(keys: Int32, count: int) -> list[Ints]:
    """Rows of each key 0..count-1, ascending."""
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.searchsorted(keys[order], np.arange(1, count)))[:count]


def _groups_of(ports: Table, rows: Ints) -> Groups:
    boxes = np.stack([ports[name][rows] for axis in _AXES for name in axis], axis=1).astype(np.int64)
    order = np.lexsort(boxes.T[::-1])
    boxes = boxes[order]
    first = np.flatnonzero(np.append(True, (boxes[1:] != boxes[:-1]).any(axis=1))) if len(rows) else rows
    return Groups(boxes[first], np.append(first, len(rows)), rows[order].astype(np.int32))


def _met(cells: Cells, boxes: Ints) -> tuple[Ints, Ints]:
    """(boxes, 3) each: the first cell along each axis that a box meets, and how many; none where it is empty."""
    first, count = np.empty((len(boxes), 3), np.int64), np.empty((len(boxes), 3), np.int64)
    for axis, edges in enumerate(cells.edges):
        low, high = boxes[:, 2 * axis], boxes[:, 2 * axis + 1]
        first[:, axis] = np.searchsorted(edges, low, "right") - 1
        count[:, axis] = np.where(low < high, np.searchsorted(edges, high, "left") - first[:, axis], 0)
    return first, count


def _meetings(cells: Cells, boxes: Ints) -> tuple[Int32, Ints]:
    """Every (box, cell) that have neurons in common, box by box."""
    first, along = _met(cells, boxes)
    count = along.prod(axis=1)
    box = np.repeat(np.arange(len(boxes), dtype=np.int32), count)
    offset = np.arange(len(box)) - np.repeat(np.cumsum(count) - count, count)
    (i0, j0, k0), (_, columns, channels) = first[box].T, along[box].T
    i, rest = np.divmod(offset, columns * channels)
    j, k = np.divmod(rest, channels)
    _, n_columns, n_channels = (len(e) - 1 for e in cells.edges)
    return box, ((i0 + i) * n_columns + j0 + j) * n_channels + k0 + k
