"""The mesh of routers that all chips of a board form together, its links, and the XY path between two routers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import ChipError

Int64Array = NDArray[np.int64]

EAST, WEST, SOUTH, NORTH = range(4)
"""Directions of a link: +x, -x, +y, -y. Also the order of the four blocks of link ids."""


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

    Links are directed and numbered without gaps, in four blocks: east, west, south, north. The link between (x, y) and
    (x + 1, y) has index ``y * (width - 1) + x`` in the east and in the west block; the link between (x, y) and
    (x, y + 1) has index ``y * width + x`` in the south and in the north block.

    Attributes:
        columns, rows: routers of one chip along x and y.
        chip_columns, chip_rows: chips along x and y.
        cores_per_router: cores that share a router's local ports.

    Raises:
        ChipError: if a size is not positive, or a router would have more than 64 ports.
    """

    columns: int
    rows: int
    chip_columns: int = 1
    chip_rows: int = 1
    cores_per_router: int = 1

    def __post_init__(self) -> None:
        for name in ("columns", "rows", "chip_columns", "chip_rows", "cores_per_router"):
            if getattr(self, name) < 1:
                raise ChipError(f"mesh: {name} must be at least 1, not {getattr(self, name)}")
        if self.cores_per_router > 60:
            raise ChipError(
                f"mesh: at most 60 cores can share a router, not {self.cores_per_router}; "
                f"use more routers with fewer cores each"
            )

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
        x_links = (self.width - 1) * self.height
        y_links = self.width * (self.height - 1)
        return 0, x_links, 2 * x_links, 2 * x_links + y_links

    @property
    def n_links(self) -> int:
        """Directed links between routers; injection and ejection ports are not counted."""
        return 2 * (self.width - 1) * self.height + 2 * self.width * (self.height - 1)

    def router_of(self, core: Int64Array) -> Int64Array:
        """Router ids of core ids, any shape."""
        return core // self.cores_per_router

    def hops(self, source: Int64Array, target: Int64Array) -> Int64Array:
        """Links on the path between routers ``source`` and ``target`` (ids, any broadcastable shapes)."""
        hops_x = np.abs(source % self.width - target % self.width)
        hops: Int64Array = hops_x + np.abs(source // self.width - target // self.width)
        return hops

    def crossings(self, source: Int64Array, target: Int64Array) -> Int64Array:
        """Chip borders on the path between routers ``source`` and ``target`` (ids, any broadcastable shapes)."""
        chips_x = source % self.width // self.columns - target % self.width // self.columns
        chips_y = source // self.width // self.rows - target // self.width // self.rows
        borders: Int64Array = np.abs(chips_x) + np.abs(chips_y)
        return borders

    def links_of(self, source_xy: tuple[int, int], target_xy: tuple[int, int]) -> Int64Array:
        """The link ids of the XY path between two routers, in travel order; int64, (hops,)."""
        (sx, sy), (tx, ty) = source_xy, target_xy
        east, west, south, north = self.link_blocks
        if tx >= sx:
            along_x = east + sy * (self.width - 1) + np.arange(sx, tx)
        else:
            along_x = west + sy * (self.width - 1) + np.arange(tx, sx)[::-1]
        if ty >= sy:
            along_y = south + np.arange(sy, ty) * self.width + tx
        else:
            along_y = north + np.arange(ty, sy)[::-1] * self.width + tx
        return np.concatenate([along_x, along_y]).astype(np.int64)

    def link_ends(self) -> LinkEnds:
        """Source router, target router, direction and chip crossing of every link."""
        router = np.arange(self.n_routers, dtype=np.int64).reshape(self.height, self.width)
        left, right = router[:, :-1].ravel(), router[:, 1:].ravel()
        upper, lower = router[:-1].ravel(), router[1:].ravel()
        source = np.concatenate([left, right, upper, lower])
        target = np.concatenate([right, left, lower, upper])
        direction = np.repeat(np.arange(4), [len(left), len(right), len(upper), len(lower)])
        return LinkEnds(source, target, direction, self.crossings(source, target) > 0)
