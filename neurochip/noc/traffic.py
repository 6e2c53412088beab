"""Synthetic traffic: the usual patterns in a long open-loop run, to compare packet mode with other simulators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neurochip.errors import SimulationError
from neurochip.noc.mesh import Int64Array, Mesh
from neurochip.noc.packet import Injections, LatencyStats, simulate_tick
from neurochip.noc.timing import Timing

Pattern = Callable[[Mesh, Int64Array, np.random.Generator], Int64Array]
"""Target router of each packet, given its source router; both int64, (n_packets,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficResult:
    """An open-loop run.

    Attributes:
        offered, accepted: packets injected and delivered per core and cycle, while measuring.
        latency: of the packets injected while measuring, source queueing included; cycles.
        packet_hops: links passed by all packets of the run.
    """

    offered: float
    accepted: float
    latency: LatencyStats
    packet_hops: int


def uniform(mesh: Mesh, source: Int64Array, rng: np.random.Generator) -> Int64Array:
    """Every router equally likely, the source too."""
    return rng.integers(0, mesh.n_routers, len(source))


def transpose(mesh: Mesh, source: Int64Array, _rng: np.random.Generator) -> Int64Array:
    """Router (x, y) sends to (y, x); for square meshes."""
    if mesh.width != mesh.height:
        raise SimulationError(f"transpose traffic needs a square mesh, not {mesh.width} x {mesh.height} routers")
    return source % mesh.width * mesh.width + source // mesh.width


def bit_complement(mesh: Mesh, source: Int64Array, _rng: np.random.Generator) -> Int64Array:
    """Router (x, y) sends to (width - 1 - x, height - 1 - y)."""
    return mesh.n_routers - 1 - source


def hotspot(mesh: Mesh, source: Int64Array, rng: np.random.Generator) -> Int64Array:
    """All send to four routers, a quarter of the mesh away from its corners, each equally likely."""
    return rng.choice(hotspots(mesh), len(source))


def hotspots(mesh: Mesh) -> Int64Array:
    """The four routers of the hotspot pattern."""
    x, y = mesh.width // 4, mesh.height // 4
    columns, rows = np.meshgrid([x, mesh.width - 1 - x], [y, mesh.height - 1 - y])
    return np.sort((rows * mesh.width + columns).ravel()).astype(np.int64)


PATTERNS: dict[str, Pattern] = {
    "uniform": uniform,
    "transpose": transpose,
    "bit_complement": bit_complement,
    "hotspot": hotspot,
}


def simulate_traffic(
    mesh: Mesh, timing: Timing, pattern: Pattern, rate: float, *, cycles: int, warmup: int, seed: int
) -> TrafficResult:
    """Inject a packet at every core in every cycle with probability ``rate`` and measure for ``cycles`` cycles.

    Measuring starts after ``warmup`` cycles, and injection goes on for as long after it, so that the packets measured
    travel among others to the end. Packets go to the core of the same slot at the router that ``pattern`` names.

    Raises:
        SimulationError: if ``rate`` is not in 0..1 or ``cycles`` is not positive.
    """
    if not 0 < rate <= 1 or cycles < 1 or warmup < 0:
        raise SimulationError(
            f"traffic: rate must be above 0 and at most 1, cycles positive, warmup not negative; "
            f"found rate {rate}, cycles {cycles}, warmup {warmup}"
        )
    rng = np.random.default_rng(seed)
    total = warmup + cycles + warmup
    core, born = _bernoulli(mesh.n_cores, rate, total, rng)
    target = pattern(mesh, mesh.router_of(core), rng) * mesh.cores_per_router + core % mesh.cores_per_router
    result = simulate_tick(mesh, timing, Injections.of(core, target, 1, born), record=True)

    measured = (born >= warmup) & (born < warmup + cycles)
    delivered = (result.delivered_at >= warmup) & (result.delivered_at < warmup + cycles)
    latency = (result.delivered_at - born)[measured]
    if not len(latency):
        raise SimulationError(f"traffic: no packet was injected in {cycles} cycles at rate {rate}; measure longer")
    p50, p99 = np.quantile(latency, (0.5, 0.99), method="inverted_cdf")
    return TrafficResult(
        offered=float(measured.sum() / (cycles * mesh.n_cores)),
        accepted=float(delivered.sum() / (cycles * mesh.n_cores)),
        latency=LatencyStats(
            min=int(latency.min()),
            mean=float(latency.mean()),
            p50=int(p50),
            p99=int(p99),
            max=int(latency.max()),
        ),
        packet_hops=result.packet_hops,
    )


def _bernoulli(cores: int, rate: float, cycles: int, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
    """(core, cycle) of every packet, ordered by core and cycle; gaps between packets are geometric."""
    enough = int(cycles * rate + 6 * np.sqrt(cycles * rate * (1 - rate)) + 10)
    born = np.cumsum(rng.geometric(rate, (cores, enough)), axis=1) - 1
    core, k = np.nonzero(born < cycles)
    return core, born[core, k]
