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
    """Simulations of ticks under way, at most two for each of ``threads``.

    ``spacing``: cycles from one packet that a core sends to the next. Results do not depend on ``threads``.
    """

    mesh: Mesh
    timing: Timing
    spacing: int
    threads: int
    pool: ThreadPoolExecutor | None = None
    busy: list[Future[list[Drained]]] = field(default_factory=list)

    def start(self, flows: list[Flows]) -> Future[list[Drained]]:
        """Begin a tick of all inputs; the future holds (B,) results."""
        joined = Flows(
            np.concatenate([flow.source for flow in flows]),
            np.concatenate([flow.target for flow in flows]),
            np.concatenate([flow.packets for flow in flows], axis=1),
        )
        if self.pool is None:
            self.pool = ThreadPoolExecutor(max(1, self.threads))
        while len(self.busy) >= 2 * self.threads:
            self.busy.pop(0).result()
        self.busy.append(self.pool.submit(self._drain, joined))
        return self.busy[-1]

    def close(self) -> None:
        """Wait for what is under way and end the threads."""
        if self.pool is not None:
            self.pool.shutdown(wait=True, cancel_futures=True)
            self.pool = None

    def _drain(self, flows: Flows) -> list[Drained]:
        found = []
        for row in flows.packets:
            some = np.flatnonzero(row)
            if not len(some):
                found.append(Drained(0, 0.0, 0))
                continue
            first = first_cycles(flows.source[some], row[some], self.spacing)
            sent = Injections.of(flows.source[some], flows.target[some], row[some], first, self.spacing)
            result = simulate_tick(self.mesh, self.timing, sent)
            found.append(Drained(result.packets, result.latency.mean, result.drain))
        return found


def first_cycles(source: Counts, packets: Counts, spacing: int) -> Counts:
    """When each flow starts: a core sends its flows one after the other, ``spacing`` cycles a packet."""
    order = np.argsort(source, kind="stable")
    before = np.cumsum(packets[order]) - packets[order]
    starts_core = np.concatenate([[True], source[order][1:] != source[order][:-1]])
    base = np.maximum.accumulate(np.where(starts_core, before, 0))
    first = np.empty_like(packets)
    first[order] = (before - base) * spacing
    return first
