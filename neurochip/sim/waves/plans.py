"""Which networks are computed layer by layer, all steps of a layer at once, and what that needs of each layer.

Where no population waits between its steps and none reads a later step of another, a layer's steps depend on those of
earlier layers alone. Then each layer is computed in all steps before the next one, block by block of its positions, so
that sums and membranes stay in the cache; what happened is booked on the ticks in which the chip does it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network
from neurochip.network.projections import Gather, Pool, Product, Projection, Source
from neurochip.sim.clock import Board
from neurochip.sim.kernels import dense
from neurochip.sim.kernels import synapses as kernels
from neurochip.sim.kernels.fanout import Fanout
from neurochip.sim.kernels.payloads import add_payload
from neurochip.sim.kernels.planes import Spots
from neurochip.sim.kernels.synapses import Maxima, Window
from neurochip.sim.kernels.ticks import BLOCK
from neurochip.sim.schedule import PopulationPlan, ProjectionPlan, Schedule

Int32 = NDArray[np.int32]

ROWS, POOL, VALUES, BOXES = "rows", "pool", "values", "boxes"
TIMED = (ROWS, POOL, VALUES)
"""Ways to deliver what arrives in several ticks: sums are of the step, bookings of each tick."""
MOST_BYTES = 1 << 29
"""Neurons times steps, each a byte, up to which all steps of an input are computed at once."""
NO_PANELS = np.zeros((0, 0, 0, 0, 0), np.int8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WaveProjection:
    """One projection: ``how`` it is delivered.

    Attributes:
        how: ``rows``: whole windows of weights, as rows of active inputs or, with ``panels``, by matrix products;
            ``pool``: channel by channel; ``values``: payloads one to one; ``boxes``: as ``plan.kernel`` does.
        taps: of a pool, (taps, C or 1). spots: its ``tiles``, for what is counted by neuron.
        block: positions of a gathered block, (rows, columns). groups: 0 if all taps share one set of rows.
        early: of each source, how many ticks before the target's own what it sends first arrives. joined: whether all
        that arrives does so in one tick.
    """

    plan: ProjectionPlan
    how: str
    panels: NDArray[np.int8]
    taps: Int32
    spots: Spots
    block: tuple[int, int] = (1, 1)
    groups: int = 1
    early: tuple[int, ...] = (0,)
    joined: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WavePlan:
    """One population. ``relay``: its neurons fire what they receive; ``tiles``, ``boxes``: its own, and its fan-out's.

    ``last_read``: depth of the last population that reads it; ``blocks``: of cores, where its packets are booked.
    ``sizes``: neurons of each tile.
    """

    plan: PopulationPlan
    incoming: tuple[WaveProjection, ...]
    relay: bool
    tiles: Spots
    boxes: Spots
    last_read: int
    blocks: NDArray[np.int64]
    sizes: Int32


def wave_plans(schedule: Schedule, board: Board) -> tuple[WavePlan, ...] | None:
    """Plans of all populations in the order of their depths; None if the network has what waves leave out."""
    network = schedule.program.network
    if not _suits(network) or not all(_plain(plan) for plan in schedule.populations):
        return None
    if any(p.duration > 1 and p.coding != "unary" for p in network.populations):
        return None
    last_read = {p.name: p.depth for p in network.populations}
    for projection in network.projections:
        for source in projection.sources:
            depth = network.by_name[projection.target].depth
            last_read[source.population] = max(last_read[source.population], depth)
    plans = tuple(_plan(schedule, plan, board, last_read[plan.population.name]) for plan in schedule.populations)
    return plans if all(p.joined or p.how in TIMED for plan in plans for p in plan.incoming) else None


def _suits(network: Network) -> bool:
    """Whether steps follow each other tick by tick and every population reads the same step of its sources."""
    in_step = all(
        s.steps_back == 0 and network.by_name[s.population].duration <= _early(network, p, s) + 1 <= network.interval
        for p in network.projections
        for s in p.sources
        if not isinstance(p, Product)
    )
    at_once = all(
        s.steps_back == 0 and network.by_name[s.population].coding == "spikes"
        for p in network.projections
        for s in p.sources
        if isinstance(p, Product)
    )
    bytes_ = all(p.high <= 255 or p.neuron.kind == "product" for p in network.populations)
    spikes = network.input.kind == "analog" or (network.input.low >= 0 and network.input.high <= 255)
    small = network.timesteps * sum(p.size for p in network.populations) <= MOST_BYTES
    return in_step and at_once and bytes_ and spikes and small


def _early(network: Network, projection: Projection, source: Source) -> int:
    """How many ticks before the target's own tick of a step the first arrives that ``source`` sends in it."""
    return network.by_name[projection.target].depth - network.by_name[source.population].depth - source.delay


def _plain(plan: PopulationPlan) -> bool:
    """Whether a population is one that waves compute: neurons that fire, spikes replayed, attention on processors."""
    p = plan.population
    kinds = ("lif", "readout", "source", "product", "graded")
    usual = p.neuron.kind in kinds and p.home == "core" and p.coding in ("spikes", "unary")
    learns = plan.product is not None and p.neuron.kind != "product"
    odd = any(q.crosspoints is not None or q.graded for q in plan.incoming)
    return usual and plan.weighted is None and not learns and not odd


def _plan(schedule: Schedule, plan: PopulationPlan, board: Board, last_read: int) -> WavePlan:
    population, booking = plan.population, board.bookings[plan.number]
    incoming = tuple(_projection(schedule, plan, projection) for projection in plan.incoming)
    cuts = np.searchsorted(booking.piece, np.arange(booking.n_pieces + 1)).astype(np.int32)
    boxes = booking.fanout.boxes
    return WavePlan(
        plan=plan,
        incoming=incoming,
        relay=_relays(schedule.program.network, plan, incoming),
        tiles=_tile_spots(plan.tiles, plan.slice_width, population.channels),
        boxes=spots_of(boxes[:, :4], cuts[boxes[:, 4]], cuts[boxes[:, 5]]),
        last_read=last_read,
        blocks=_blocks(booking.fanout, len(board.noc_core)),
        sizes=_sizes(plan.tiles, plan.slice_width, population.channels),
    )


def _blocks(fanout: Fanout, n_cores: int) -> NDArray[np.int64]:
    """Blocks of cores that send or receive packets of ``fanout``."""
    ends = fanout.ranges.reshape(-1) % (n_cores + 1)
    return np.unique(np.concatenate([ends, fanout.boxes[:, 6]]).astype(np.int64) // BLOCK)


def _projection(schedule: Schedule, target: PopulationPlan, plan: ProjectionPlan) -> WaveProjection:
    network, window = schedule.program.network, plan.window
    source = network.by_name[plan.projection.sources[0].population]
    most = sum(network.by_name[s.population].high for s in plan.projection.sources)
    how, panels, block, area = BOXES, NO_PANELS, (1, 1), 1
    if not isinstance(window, Maxima) and plan.offsets is None and _whole(plan, window, source.channels):
        area = window.kernel_y * window.kernel_x
        if plan.kernel is add_payload:
            how = VALUES if isinstance(plan.projection, Pool) and area == 1 else BOXES
        elif plan.kernel is kernels.add_channelwise:
            how = POOL if area * most <= 255 else BOXES
        elif plan.groups == 1:
            how, panels = ROWS, plan.panels
            if isinstance(plan.projection, Gather) and area * most <= 255:
                panels, block = _gathered(plan.weight), (window.kernel_y, window.kernel_x)
    spots = _tile_spots(plan.tiles, target.slice_width, target.population.channels)
    taps = plan.weight.astype(np.int32) if how == POOL else np.zeros((0, 1), np.int32)
    groups = 0 if isinstance(plan.projection, Gather) else 1
    early = tuple(_early(network, plan.projection, source) for source in plan.projection.sources)
    lasting = max(network.by_name[source.population].duration for source in plan.projection.sources)
    joined = lasting == 1 and len(set(early)) == 1
    if not joined and how == POOL and area > 1:
        how = BOXES
    return WaveProjection(
        plan=plan, how=how, panels=panels, taps=taps, spots=spots, block=block, groups=groups, early=early,
        joined=joined,
    )  # fmt: skip


def _gathered(weight: NDArray[np.int8 | np.int16]) -> NDArray[np.int8]:
    """Panels of weights that all positions of a block share, columns of zeros added."""
    rows, columns = weight.shape
    if not dense.AVAILABLE or weight.dtype != np.int8 or rows % 4:
        return NO_PANELS
    padded = np.zeros((rows, -(-columns // dense.PANEL) * dense.PANEL), np.int8)
    padded[:, :columns] = weight
    return dense.panels(padded, 1)


def _whole(plan: ProjectionPlan, window: Window, n_in: int) -> bool:
    """Whether every neuron receives all of its window, once."""
    y0, y1, x0, x1, c0, c1, py0, py1, px0, px1, pc0, pc1 = plan.boxes.T.astype(np.int64)
    n_out = plan.weight.shape[1] if plan.kernel not in (kernels.add_channelwise, add_payload) else n_in
    if plan.kernel in (kernels.add_channelwise, add_payload):
        low, high = c0, c1
    else:
        groups, per_group = plan.groups, n_in // plan.groups
        low, high = c0 * groups // n_out * per_group, ((c1 - 1) * groups // n_out + 1) * per_group
    whole = (pc0 <= low) & (pc1 >= high)
    whole &= py0 <= np.maximum(y0 * window.stride_y - window.padding_y, 0)
    whole &= py1 >= np.minimum((y1 - 1) * window.stride_y - window.padding_y + window.kernel_y, window.height)
    whole &= px0 <= np.maximum(x0 * window.stride_x - window.padding_x, 0)
    whole &= px1 >= np.minimum((x1 - 1) * window.stride_x - window.padding_x + window.kernel_x, window.width)
    size = ((y1 - y0) * (x1 - x0) * (c1 - c0)).sum()
    return bool(whole.all()) and int(size) == window.out_height * window.out_width * n_out


def _relays(network: Network, plan: PopulationPlan, incoming: tuple[WaveProjection, ...]) -> bool:
    """Whether neurons fire exactly what one source sends them: a spike is enough, and leaves nothing behind."""
    if len(incoming) != 1 or plan.biases or plan.encoder is not None or plan.population.neuron.kind != "lif":
        return False
    (only,), rules = incoming, plan.rules
    source = network.by_name[only.plan.projection.sources[0].population]
    single = len(only.plan.projection.sources) == 1 and source.high == 1 and only.plan.weight.shape == (1, 1)
    if only.how != POOL or not single or not rules.safe:
        return False
    received = int(only.plan.weight[0, 0]) << (rules.shift + only.plan.extra_shift)
    enough = received > rules.threshold - (1 if rules.fires_ge else 0)
    window = only.plan.window
    alone = window.stride_y == 1 and window.stride_x == 1 and window.padding_y == 0 and window.padding_x == 0
    return enough and alone and received < 1 << (min(rules.current_bits, rules.membrane_bits) - 1)


def _tile_spots(tiles: Int32, width: int, channels: int) -> Spots:
    low = tiles[:, 4] * width
    return spots_of(tiles[:, :4], low, np.minimum(low + width, channels))


def _sizes(tiles: Int32, width: int, channels: int) -> Int32:
    area = (tiles[:, 1] - tiles[:, 0]) * (tiles[:, 3] - tiles[:, 2])
    return np.asarray(area * np.minimum(width, channels - tiles[:, 4] * width), np.int32)


def spots_of(positions: Int32, low: Int32, high: Int32) -> Spots:
    """Boxes (n, 4) of positions with their channels, grouped by positions."""
    order = np.lexsort(positions.T)
    rows = positions[order]
    fresh = np.ones(len(rows), bool)
    fresh[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    first = np.flatnonzero(fresh)
    return Spots(
        positions=np.ascontiguousarray(rows[first], np.int32),
        start=np.append(first, len(rows)).astype(np.int32),
        boxes=np.ascontiguousarray(np.column_stack([low[order], high[order], order]), np.int32),
    )
