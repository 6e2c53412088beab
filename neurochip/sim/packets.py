"""Packet mode: the network of every tick, packet by packet, several ticks side by side.

Every tick starts with an empty network, and nothing that is computed in a tick depends on how long it takes. So the
packets of one tick may still travel while the next ticks are simulated.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurochip.noc.mesh import Mesh
from neurochip.noc.packet import Injections, simulate_tick
from neurochip.noc.timing import Timing

Counts = NDArray[np.int64]


class Flows(NamedTuple):
    """Packets of some populations in one tick: NoC cores ``source``, ``target`` (n,), ``packets`` (B, n); int64."""

    source: Counts
    target: Counts
    packets: Counts


class Drained(NamedTuple):
    """A tick of one input in the packet network: packets, their mean latency, and when the last arrived, cycles."""

    packets: int
    latency: float
    drain: int


@dataclass(slots=True, eq=False)
class PacketRuns:
    """Simulations of ticks under way, at most two for each of ``threads``. Results do not depend on ``threads``."""

    mesh: Mesh
    timing: Timing
    threads: int
    pool: ThreadPoolExecutor | None = None
    busy: list[Future[list[Drained]]] = field(default_factory=list)

    def start(self, flows: list[Flows], sending: Counts) -> Future[list[Drained]]:
        """Begin a tick of all inputs; the future holds (B,) results.

        ``sending`` (B, n_cores) int64: for how many cycles each NoC core sends.
        """
        joined = Flows(
            np.concatenate([flow.source for flow in flows]),
            np.concatenate([flow.target for flow in flows]),
            np.concatenate([flow.packets for flow in flows], axis=1),
        )
        if self.pool is None:
            self.pool = ThreadPoolExecutor(max(1, self.threads))
        while len(self.busy) >= 2 * self.threads:
            self.busy.pop(0).result()
        self.busy.append(self.pool.submit(self._drain, joined, sending))
        return self.busy[-1]

    def close(self) -> None:
        """Wait for what is under way and end the threads."""
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None

    def _drain(self, flows: Flows, sending: Counts) -> list[Drained]:
        found = []
        for row, cycles in zip(flows.packets, sending, strict=True):
            some = np.flatnonzero(row)
            if not len(some):
                found.append(Drained(0, 0.0, 0))
                continue
            sent = spread(flows.source[some], flows.target[some], row[some], cycles)
            result = simulate_tick(self.mesh, self.timing, sent)
            found.append(Drained(result.packets, result.latency.mean, result.drain))
        return found


def spread(source: Counts, target: Counts, packets: Counts, sending: Counts) -> Injections:
    """Packets of flows as their cores send them: those of each flow evenly over the ``sending`` (n_cores,) cycles.

    A core goes through its neurons one after the other, and each that fires sends to all its targets. So the flows of
    a core take turns, and the k-th of n starts k / n of its spacing after the first.
    """
    order = np.argsort(source, kind="stable")
    source, target, packets = source[order], target[order], packets[order]
    flows = np.bincount(source, minlength=len(sending))
    turn = np.arange(len(source)) - (np.cumsum(flows) - flows)[source]
    spacing = sending[source] // np.maximum(packets, 1)
    return Injections.of(source, target, packets, spacing * turn // flows[source], spacing)
