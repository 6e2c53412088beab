"""Geometry of the mesh pictures: one square per core and one arrow per link, grouped into paths by load.

A path holds all shapes of one colour, so that a board of 10,000 cores stays a small picture. Coordinates are pixels of
the picture; load bin 0 is no load at all, bins 1 to ``BINS`` are equal parts of the largest load.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from neurochip.noc.mesh import EAST, NORTH, SOUTH, WEST, Mesh
from neurochip.program.image import HOST, NEURON_CORE, PROCESSOR, Program
from neurochip.report.report import Report

BINS = 10
"""Colours of a load scale, without the one for no load."""

_DIRECTIONS = {EAST: (1, 0), WEST: (-1, 0), SOUTH: (0, 1), NORTH: (0, -1)}
_WANTED_WIDTH, _SMALLEST_STEP, _LARGEST_STEP = 960, 10, 88
_ARROWHEADS_FROM_STEP = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where routers are drawn: router (x, y) fills the square of side ``cell`` whose corner is ``corner(x, y)``.

    Attributes:
        step: distance of neighbouring routers of a chip; gap_x, gap_y: added at every chip border.
        slot_columns: cores of a router side by side. left, top: margins.
    """

    columns: int
    rows: int
    routers_x: int
    routers_y: int
    cores_per_router: int
    step: int
    cell: int
    gap_x: int
    gap_y: int
    left: int
    top: int
    slot_columns: int

    @classmethod
    def of(cls, mesh: Mesh, cores_per_router: int) -> Layout:
        """The layout of ``mesh``, whose routers hold ``cores_per_router`` neuro-cores each."""
        step = min(max(_WANTED_WIDTH // mesh.width, _SMALLEST_STEP), _LARGEST_STEP)
        several = mesh.chip_columns * mesh.chip_rows > 1
        return cls(
            columns=mesh.columns,
            rows=mesh.rows,
            routers_x=mesh.width,
            routers_y=mesh.height,
            cores_per_router=cores_per_router,
            step=step,
            cell=step - max(2, step // 8),
            gap_x=max(6, step // 3) if several else 0,
            gap_y=20 if several else 0,
            left=6,
            top=22 if several else 6,
            slot_columns=ceil(sqrt(cores_per_router)),
        )

    @property
    def width(self) -> int:
        """Width of the picture."""
        return 2 * self.left + self.routers_x * self.step + (self.routers_x // self.columns - 1) * self.gap_x

    @property
    def height(self) -> int:
        """Height of the picture."""
        return self.top + 6 + self.routers_y * self.step + (self.routers_y // self.rows - 1) * self.gap_y

    def corner(self, x: int, y: int) -> tuple[int, int]:
        """Top left corner of a router's square."""
        return (
            self.left + x * self.step + x // self.columns * self.gap_x,
            self.top + y * self.step + y // self.rows * self.gap_y,
        )

    def centre(self, x: int, y: int) -> tuple[float, float]:
        """Middle of a router's square."""
        left, top = self.corner(x, y)
        return left + self.cell / 2, top + self.cell / 2

    def slot(self, x: int, y: int, slot: int) -> tuple[float, float, float]:
        """(left, top, side) of a neuro-core's square."""
        left, top = self.corner(x, y)
        side = self.cell / self.slot_columns
        row, column = divmod(slot, self.slot_columns)
        return left + column * side, top + row * side, side - (1 if side < 8 else 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipBox:
    """Border of one chip: its number (None if the program leaves it empty) and its rectangle."""

    number: int | None
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshMap:
    """Both pictures of a mesh. Every ``*_paths`` is indexed by load bin, 0 to ``BINS``.

    Attributes:
        unused: slots without a core of the program. routers: a small square each.
        core_paths, processor_paths, link_paths: SVG path data. hosts: where spikes are injected.
        core_top, link_top: the load at the end of the scale, ns per input and packets per input.
    """

    layout: Layout
    chips: tuple[ChipBox, ...]
    unused: str
    routers: str
    core_paths: tuple[str, ...]
    processor_paths: tuple[str, ...]
    hosts: str
    link_paths: tuple[str, ...]
    core_top: float
    link_top: float


def mesh_map(report: Report) -> MeshMap:
    """Draw the load of every core and every link of a run."""
    program, trace, mesh = report.program, report.trace, report.mesh
    layout = Layout.of(mesh, program.chip.cores_per_router)
    busy, packets = trace.cores.busy_ns / trace.inputs, trace.links / trace.inputs
    kinds = program.cores["kind"]
    core_top = float(busy[kinds != HOST].max(initial=0.0))
    link_top = float(packets.max(initial=0.0))
    shades = load_bins(busy, core_top)
    return MeshMap(
        layout=layout,
        chips=chip_boxes(program, mesh, layout),
        unused=_unused(program, mesh, layout),
        routers=_routers(mesh, layout),
        core_paths=_by_bin(shades, _cores(program, layout, kinds == NEURON_CORE)),
        processor_paths=_by_bin(shades, _circles(program, layout, kinds == PROCESSOR)),
        hosts="".join(path for _, path in _circles(program, layout, kinds == HOST)),
        link_paths=_by_bin(load_bins(packets, link_top), _links(mesh, layout, load_bins(packets, link_top))),
        core_top=core_top,
        link_top=link_top,
    )


def load_bins(values: NDArray[np.float64], top: float) -> NDArray[np.int64]:
    """Bin of each load: 0 = none, k = above (k - 1) / BINS and up to k / BINS of ``top``."""
    if top <= 0:
        return np.zeros(len(values), np.int64)
    return np.clip(np.ceil(values / top * BINS), 0, BINS).astype(np.int64)


def chip_boxes(program: Program, mesh: Mesh, layout: Layout) -> tuple[ChipBox, ...]:
    """The border of every chip of the mesh."""
    cores = program.cores
    numbers = {(int(r["x"]) // mesh.columns, int(r["y"]) // mesh.rows): int(r["chip"]) for r in cores}
    boxes = []
    for row in range(mesh.chip_rows):
        for column in range(mesh.chip_columns):
            x, y = layout.corner(column * mesh.columns, row * mesh.rows)
            boxes.append(
                ChipBox(
                    number=numbers.get((column, row)),
                    x=x - 3,
                    y=y - 3,
                    width=mesh.columns * layout.step - (layout.step - layout.cell) + 6,
                    height=mesh.rows * layout.step - (layout.step - layout.cell) + 6,
                )
            )
    return tuple(boxes)


def _by_bin(bins: NDArray[np.int64], shapes: Iterable[tuple[int, str]]) -> tuple[str, ...]:
    """Join the (index, path) shapes of each load bin."""
    parts: list[list[str]] = [[] for _ in range(BINS + 1)]
    for index, path in shapes:
        parts[bins[index]].append(path)
    return tuple("".join(part) for part in parts)


def _cores(program: Program, layout: Layout, wanted: NDArray[np.bool_]) -> Iterable[tuple[int, str]]:
    for core in np.flatnonzero(wanted).tolist():
        row = program.cores[core]
        yield core, _square(*layout.slot(int(row["x"]), int(row["y"]), int(row["slot"])))


def _unused(program: Program, mesh: Mesh, layout: Layout) -> str:
    """Empty slots of the chips in use."""
    cores = program.cores[program.cores["kind"] == NEURON_CORE]
    free = np.zeros((mesh.height, mesh.width, layout.cores_per_router), bool)
    chip_rows = free.reshape(mesh.chip_rows, mesh.rows, mesh.chip_columns, mesh.columns, -1)
    chip_rows[cores["y"] // mesh.rows, :, cores["x"] // mesh.columns] = True
    free[cores["y"], cores["x"], cores["slot"]] = False
    return "".join(_square(*layout.slot(int(x), int(y), int(slot))) for y, x, slot in np.argwhere(free))


def _circles(program: Program, layout: Layout, wanted: NDArray[np.bool_]) -> Iterable[tuple[int, str]]:
    """Processors and hosts sit on top of their router, side by side."""
    cores = program.cores
    router = cores["y"].astype(np.int64) * layout.routers_x + cores["x"]
    extra = cores["kind"] != NEURON_CORE
    for core in np.flatnonzero(wanted).tolist():
        beside = np.flatnonzero(extra & (router == router[core]))
        share = (int(np.searchsorted(beside, core)) + 1) / (len(beside) + 1)
        left, top = layout.corner(int(cores["x"][core]), int(cores["y"][core]))
        radius = layout.cell * 0.2
        x, y = left + layout.cell * share - radius, top + layout.cell / 2
        r, d = _number(radius), _number(2 * radius)
        yield core, f"M{_number(x)} {_number(y)}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0z"


def _routers(mesh: Mesh, layout: Layout) -> str:
    side = layout.step * 0.3
    centres = (layout.centre(x, y) for y in range(mesh.height) for x in range(mesh.width))
    return "".join(_square(x - side / 2, y - side / 2, side) for x, y in centres)


def _links(mesh: Mesh, layout: Layout, bins: NDArray[np.int64]) -> Iterable[tuple[int, str]]:
    """An arrow on the left-hand side of each direction of travel, as wide as its load; idle links are not drawn.

    A link that closes a torus is a short arrow out of the picture.
    """
    ends = mesh.link_ends()
    source, target, direction = ends.source.tolist(), ends.target.tolist(), ends.direction.tolist()
    for link in np.flatnonzero(bins).tolist():
        start = layout.centre(source[link] % mesh.width, source[link] // mesh.width)
        end = layout.centre(target[link] % mesh.width, target[link] // mesh.width)
        dx, dy = along = _DIRECTIONS[direction[link]]
        if (end[0] - start[0]) * dx + (end[1] - start[1]) * dy < 0:
            end = start[0] + 0.7 * layout.step * dx, start[1] + 0.7 * layout.step * dy
        yield link, _arrow(start, end, along, layout.step, int(bins[link]))


def _arrow(start: tuple[float, float], end: tuple[float, float], along: tuple[int, int], step: int, shade: int) -> str:
    """Half an arrow from just outside one router's square to just before the next one's."""
    (x, y), (dx, dy) = start, along
    length = abs(end[0] - start[0]) + abs(end[1] - start[1]) - 0.4 * step
    width, inner = max(0.9, step * (0.02 + 0.014 * shade)), step * 0.015
    outline = [(0.0, inner), (length, inner), (length, inner + width), (0.0, inner + width)]
    if step >= _ARROWHEADS_FROM_STEP:
        head = step * 0.14
        outline[2:3] = [(length - head, inner + width + head / 2), (length - head, inner + width)]
    points = ((x + dx * (0.2 * step + u) + dy * v, y + dy * (0.2 * step + u) - dx * v) for u, v in outline)
    return "M" + "L".join(f"{_number(a)} {_number(b)}" for a, b in points) + "z"


def _square(x: float, y: float, side: float) -> str:
    s = _number(side)
    return f"M{_number(x)} {_number(y)}h{s}v{s}h-{s}z"


def _number(value: float) -> str:
    """At most one decimal, no trailing zeros: path data are most of a large page."""
    return f"{value:.1f}".removesuffix(".0")
