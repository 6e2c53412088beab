"""Traffic between cores, worked out from routes whenever it is asked for: full-size models have 10**8 edges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compiler.mapping.traffic import Edges, Int32, Ints, Traffic
from neurochip.program.image import Table
from neurochip.program.routes import Fan, Routing

ROUTES_AT_ONCE = 1 << 18
"""Routes that are worked out together: their edges fit the second-level cache."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoreTraffic:
    """``Flows`` of a program: what each source tile sends to each port, were every neuron to fire once.

    Attributes:
        n_clusters: cores. tiles, routing: of the program. port_core: int32 (ports,), the core of each.
        bits: axons that a payload of each population takes. lines: axons of a neuron of each bundle.
    """

    n_clusters: int
    tiles: Table
    port_core: Int32
    routing: Routing
    bits: tuple[int, ...]
    lines: tuple[int, ...]

    def parts(self) -> Iterator[Edges]:
        """Source core, target core, axons of every route: source population by source population."""
        for number, bits in enumerate(self.bits):
            for part in (part for fan in self.routing.fans(number) for part in fan.parts(ROUTES_AT_ONCE)):
                readers = part.readers
                flows = sent_neurons(self.tiles, part) * bits * self.lines[part.bundle]
                yield Edges(
                    np.repeat(self.tiles["core"][part.tile], readers),
                    self.port_core[part.ports_reached()],
                    np.repeat(flows.astype(np.int32), readers),
                )

    def gathered(self) -> Traffic:
        """All edges at once: 12 bytes each."""
        nothing = np.empty(0, np.int32)
        columns = zip(Edges(nothing, nothing, nothing), *self.parts(), strict=True)
        source, target, weight = (np.concatenate(column) for column in columns)
        return Traffic(self.n_clusters, source, target, weight)


def sent_neurons(tiles: Table, fan: Fan) -> Ints:
    """(n,) int64: neurons of each source tile inside the box it sends to: its output axons for each reader."""
    tile, box = tiles[fan.tile], fan.boxes
    total = np.ones(len(tile), np.int64)
    for axis, name in enumerate("yxc"):
        low = np.maximum(tile[f"{name}0"], box[:, 2 * axis])
        high = np.minimum(tile[f"{name}1"], box[:, 2 * axis + 1])
        total *= high - low
    return total
