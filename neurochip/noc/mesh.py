"""The mesh or torus of routers that all chips of a board form together, its links, and the XY path of two routers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import ChipError

Int64Array = NDArray[np.int64]

EAST, WEST, SOUTH, NORTH = range(4)
"""Directions of a link: +x, -x, +y, -y. Also the order of the four blocks of link ids."""


class Ring(NamedTuple):
    """An axis that its last link closes: routers once round, chip borders and cycles of latency on the way.

    A line, which nothing closes, has zero of each.
    """

    routers: int
    borders: int
    latency: int


LINE = Ring(0, 0, 0)


class LinkEnds(NamedTuple):
    """Where every link starts, where it ends and what it is; all arrays have shape (n_links,).

    ``source``, ``target``: router ids, int64. ``direction``: EAST, WEST, SOUTH or NORTH, int64.
    ``crossing``: bool, True if the link joins two chips.
    """

    source: Int64Array
    target: Int64Array
    direction: Int64Array
    crossing: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mesh:
    """Chips side by side, each a grid of routers, joined into one mesh with global coordinates.

    Router (x, y) has id ``y * width + x``; core ``slot`` of a router has id ``router * cores_per_router + slot``.
    A packet goes along x first, then along y (dimension order), which cannot deadlock (Dally and Seitz 1987).

    Along an axis that wraps, a link joins the last router to the first, and a packet goes round where that is fewer
    hops; of two equal ways it takes the one that does not go round.

    Links are directed and numbered without gaps, in four blocks: east, west, south, north. The link between (x, y) and
    (x + 1, y) has index ``y * (width - 1) + x`` in the east and in the west block, ``y * width + x`` if x wraps; the
    link between (x, y) and (x, y + 1) has index ``y * width + x`` in the south and in the north block.

    Attributes:
        columns, rows: routers of one chip along x and y.
        chip_columns, chip_rows: chips along x and y.
        cores_per_router: cores that share a router's local ports.
        wrap_x, wrap_y: whether links close the rows and the columns of routers. Such a link crosses a chip border if
            there are several chips along it.

    Raises:
        ChipError: if a size is not positive, a router would have more than 64 ports, or fewer than three routers wrap.
    """

    columns: int
    rows: int
    chip_columns: int = 1
    chip_rows: int = 1
    cores_per_router: int = 1
    wrap_x: bool = False
    wrap_y: bool = False

    def __post_init__(self) -> None:
        for name in ("columns", "rows", "chip_columns", "chip_rows", "cores_per_router"):
            if getattr(self, name) < 1:
                raise ChipError(f"mesh: {name} must be at least 1, not {getattr(self, name)}")
        if self.cores_per_router > 60:
            raise ChipError(
                f"mesh: at most 60 cores can share a router, not {self.cores_per_router}; "
                f"use more routers with fewer cores each"
            )
        for axis, wraps, size in (("x", self.wrap_x, self.width), ("y", self.wrap_y, self.height)):
            if wraps and size < 3:
                raise ChipError(f"mesh: {axis} can wrap only if at least 3 routers lie along it, not {size}")

    @property
    def width(self) -> int:
        """Routers along x, over all chips."""
        return self.columns * self.chip_columns

    @property
    def height(self) -> int:
        """Routers along y, over all chips."""
        return self.rows * self.chip_rows

    @property
    def n_routers(self) -> int:
        """Routers of all chips."""
        return self.width * self.height

    @property
    def n_cores(self) -> int:
        """Core slots of all chips."""
        return self.n_routers * self.cores_per_router

    @property
    def link_blocks(self) -> tuple[int, int, int, int]:
        """The first link id of the east, west, south and north block."""
        x_links = self.links_in_row * self.height
        y_links = self.width * (self.height - 1 + self.wrap_y)
        return 0, x_links, 2 * x_links, 2 * x_links + y_links

    @property
    def n_links(self) -> int:
        """Directed links between routers; injection and ejection ports are not counted."""
        return 2 * self.links_in_row * self.height + 2 * self.width * (self.height - 1 + self.wrap_y)

    @property
    def links_in_row(self) -> int:
        """East links of one row of routers."""
        return self.width - 1 + self.wrap_x

    @property
    def link_places(self) -> Int64Array:
        """Where each link is in an array (4, height, width) of direction and router; int64 (n_links,), ascending.

        A link and the one back are both at the router whose x and y they add one to.
        """
        exists = np.ones((4, self.height, self.width), np.bool_)
        exists[:2, :, -1], exists[2:, -1] = self.wrap_x, self.wrap_y
        return np.flatnonzero(exists)

    @property
    def borders_round(self) -> tuple[int, int]:
        """Chip borders once round x and y; 0 along an axis of one chip."""
        columns, rows = self.chip_columns, self.chip_rows
        return columns if columns > 1 else 0, rows if rows > 1 else 0

    @property
    def virtual_channels(self) -> int:
        """Buffers at the end of each link in packet mode: two where links close to rings (Dally and Seitz 1987)."""
        return 1 + (self.wrap_x or self.wrap_y)

    def router_of(self, core: Int64Array) -> Int64Array:
        """Router ids of core ids, any shape."""
        return core // self.cores_per_router

    def offsets(self, source: Int64Array, target: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Hops along x and y from router ``source`` to ``target`` (ids, any shapes), negative to the west and north."""
        x = target % self.width - source % self.width
        y = target // self.width - source // self.width
        if self.wrap_x:
            x = _shorter(x, self.width)
        if self.wrap_y:
            y = _shorter(y, self.height)
        return x, y

    def hops(self, source: Int64Array, target: Int64Array) -> Int64Array:
        """Links on the path between routers ``source`` and ``target`` (ids, any broadcastable shapes)."""
        x, y = self.offsets(source, target)
        hops: Int64Array = np.abs(x) + np.abs(y)
        return hops

    def crossings(self, source: Int64Array, target: Int64Array) -> Int64Array:
        """Chip borders on the path between routers ``source`` and ``target`` (ids, any broadcastable shapes)."""
        along_x, along_y = self.offsets(source, target)
        x, y = source % self.width, source // self.width
        round_x, round_y = self.borders_round
        borders_x = np.abs((x + along_x) // self.columns - x // self.columns) if round_x else 0 * x
        borders_y = np.abs((y + along_y) // self.rows - y // self.rows) if round_y else 0 * y
        borders: Int64Array = borders_x + borders_y
        return borders

    def links_of(self, source_xy: tuple[int, int], target_xy: tuple[int, int]) -> Int64Array:
        """The link ids of the XY path between two routers, in travel order; int64, (hops,)."""
        (sx, sy), (tx, ty) = source_xy, target_xy
        east, west, south, north = self.link_blocks
        ends = np.array([sy * self.width + sx, ty * self.width + tx], np.int64)
        dx, dy = (int(hops[0]) for hops in self.offsets(ends[:1], ends[1:]))
        if dx >= 0:
            along_x = east + sy * self.links_in_row + (sx + np.arange(dx)) % self.width
        else:
            along_x = west + sy * self.links_in_row + (sx - 1 - np.arange(-dx)) % self.width
        if dy >= 0:
            along_y = south + (sy + np.arange(dy)) % self.height * self.width + tx
        else:
            along_y = north + (sy - 1 - np.arange(-dy)) % self.height * self.width + tx
        return np.concatenate([along_x, along_y]).astype(np.int64)

    def link_ends(self) -> LinkEnds:
        """Source router, target router, direction and chip crossing of every link."""
        router = np.arange(self.n_routers, dtype=np.int64).reshape(self.height, self.width)
        right, lower = np.roll(router, -1, axis=1), np.roll(router, -1, axis=0)
        column, row = np.arange(1, self.width + 1), np.arange(1, self.height + 1)
        border_x = np.broadcast_to(self.chip_columns > 1, router.shape) & (column % self.columns == 0)
        border_y = np.broadcast_to(self.chip_rows > 1, router.shape) & (row % self.rows == 0)[:, None]
        places = self.link_places
        return LinkEnds(
            source=np.stack([router, right, router, lower]).ravel()[places],
            target=np.stack([right, router, lower, router]).ravel()[places],
            direction=places // self.n_routers,
            crossing=np.stack([border_x, border_x, border_y, border_y]).ravel()[places],
        )


def _shorter(offset: Int64Array, size: int) -> Int64Array:
    """``offset`` on a ring of ``size`` routers, the other way round where that is shorter."""
    other_way = offset - np.sign(offset) * size
    return np.where(2 * np.abs(offset) > size, other_way, offset)
