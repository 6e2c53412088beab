"""What populations send in all steps, and what arrives of it, in the forms in which a layer wants it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neurochip.sim.arrivals import Padding
from neurochip.sim.kernels import planes
from neurochip.sim.kernels.events import Events, events_of_plane
from neurochip.sim.schedule import DENSE_FROM, Schedule
from neurochip.sim.waves.plans import BOXES, ROWS, WaveProjection

Int32 = NDArray[np.int32]
Plane = NDArray[np.uint8]


@dataclass(slots=True, eq=False)
class Sent:
    """What a population sends in all steps: packets of each neuron (lanes, P, C), and payloads where it sends those.

    A lane is one step of one input, step * inputs + input. ``later``: where packets leave in several ticks, those of
    each tick; empty if all leave in the population's own.
    """

    packets: Plane
    payload: Int32 | None = None
    later: list[Plane] = field(default_factory=list)
    events: Events | None = None

    @property
    def by_tick(self) -> list[Plane]:
        """What leaves in each tick from the population's own on."""
        return self.later or [self.packets]

    def split(self) -> None:
        """Unit spikes, one a tick: in each tick those of all neurons that have more to send."""
        tick = 0
        while tick == 0 or tick < 255:
            part = np.empty_like(self.packets)
            if not planes.above(self.packets, tick, part) and tick:
                return
            self.later.append(part)
            tick += 1

    def as_events(self) -> Events:
        """The packets as a list."""
        if self.events is None:
            self.events = events_of_plane(self.packets)
        return self.events


@dataclass(slots=True, eq=False)
class Arrived:
    """What reaches a bundle of axons in all steps: spikes (lanes, P, C), and by ticks of arrival, as seen from the
    reader's own, their sums by position (lanes, P).

    ``density``: spikes for each neuron of one source. ``padded``: with zeros around; ``gathered``: added up over the
    blocks of a ``Gather``.
    """

    counts: Plane
    positions: list[tuple[int, Int32]]
    density: float
    padded: dict[Padding, Plane] = field(default_factory=dict)
    gathered: Plane | None = None
    events: Events | None = None

    @classmethod
    def of(cls, sources: list[Sent], wanted: WaveProjection) -> Arrived:
        """The sum of what several sources sent; ``wanted``: one of the projections that it reaches."""
        counts = sources[0].packets
        if len(sources) > 1:
            counts = counts.copy()
            for source in sources[1:]:
                planes.add_planes(source.packets, counts)
        parts = [(-wanted.early[0], counts)] if wanted.joined else timed(sources, wanted)
        positions = [(tick, _by_position(part)) for tick, part in parts] if wanted.how == ROWS else []
        total = int(counts.sum(dtype=np.int64)) if not positions else sum(int(p.sum()) for _, p in positions)
        return cls(counts, positions, total / max(counts.size, 1))

    def by_product(self, projection: WaveProjection) -> bool:
        """Whether a matrix product is the quicker way to deliver so many spikes a neuron of the source."""
        area = projection.block[0] * projection.block[1]
        return self.density * area > DENSE_FROM and len(projection.panels) > 0

    def form(self, projection: WaveProjection) -> None:
        """Make what ``projection`` is delivered from."""
        if projection.how == ROWS and self.by_product(projection):
            window = projection.plan.window
            grid = self.counts.reshape(len(self.counts), window.height, window.width, -1)
            if projection.block != (1, 1):
                self.gathered = _gathered(grid, projection.block)
            elif projection.plan.padding not in self.padded:
                self.padded[projection.plan.padding] = _padded(grid, projection.plan.padding)
        elif projection.how in (ROWS, BOXES) and self.events is None:
            self.events = events_of_plane(self.counts)


def timed(sources: list[Sent], projection: WaveProjection) -> list[tuple[int, Plane]]:
    """What arrives in each tick, as seen from the reader's own tick."""
    return [
        (tick - early, part)
        for source, early in zip(sources, projection.early, strict=True)
        for tick, part in enumerate(source.by_tick)
    ]


def _by_position(plane: Plane) -> Int32:
    sums = np.empty(plane.shape[:2], np.int32)
    planes.position_sums(plane, sums)
    return sums


def _padded(grid: Plane, padding: Padding) -> Plane:
    """``grid`` (lanes, height, width, C) with zeros around."""
    (py, px), (lanes, high, wide, channels) = padding, grid.shape
    if not py and not px:
        return grid
    padded = np.zeros((lanes, high + 2 * py, wide + 2 * px, channels), np.uint8)
    padded[:, py : py + high, px : px + wide] = grid
    return padded


def _gathered(grid: Plane, block: tuple[int, int]) -> Plane:
    """Sums of ``grid`` (lanes, height, width, C) over blocks of positions; the caller proves that they fit a byte."""
    (lanes, high, wide, channels), (y, x) = grid.shape, block
    blocks = grid.reshape(lanes, high // y, y, wide // x, x, channels)
    sums = np.zeros((lanes, high // y, wide // x, channels), np.uint8)
    for dy in range(y):
        for dx in range(x):
            sums += blocks[:, :, dy, :, dx]
    return sums


@dataclass(slots=True, eq=False)
class Flight:
    """What is under way between layers: what populations ``sent``, by number, and what ``arrived``, by bundle."""

    schedule: Schedule
    inputs: int
    sent: dict[int, Sent] = field(default_factory=dict)
    arrived: dict[int, Arrived] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps of each input."""
        return self.schedule.program.network.timesteps

    @property
    def lanes(self) -> int:
        """Steps of all inputs."""
        return self.steps * self.inputs

    def sources(self, projection: WaveProjection) -> list[Sent]:
        """What the sources of a projection sent."""
        return [self.sent[number] for number, _ in self.schedule.bundles[projection.plan.bundle]]

    def arrive(self, wanted: list[WaveProjection]) -> None:
        """Add up the sources of one bundle, in the forms that its projections want."""
        first = next((one for one in wanted if one.how == ROWS), wanted[0])
        arrived = Arrived.of(self.sources(first), first)
        for projection in wanted:
            arrived.form(projection)
        self.arrived[wanted[0].plan.bundle] = arrived
