"""How many cores each population takes, beside the fewest its demands allow: where a tiling wastes cores.

The demands are those of the tiles as they were cut: a core's worth of the tightest resource cannot do with less than
a core, and every core more is a corner that nothing fits into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.emit import core_use
from compiler.mapping.tile import RESOURCES
from neurochip.program.image import NEURON_CORE, Program, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreShare:
    """Cores of one population.

    Attributes:
        cores: cores taken; one shared by k populations counts 1 / k for each, so that all add up to the program's.
        at_least: largest of demand / capacity over the resources of a core, demands added up over all its tiles.
        tightest: the resource that asks for ``at_least``.
        tiles: boxes the population is cut into.
    """

    population: str
    tiles: int
    cores: float
    at_least: float
    tightest: str


def core_shares(program: Program) -> tuple[CoreShare, ...]:
    """One entry for each population on neuro-cores, in network order."""
    on_cores = program.cores["kind"] == NEURON_CORE
    tiles = program.tiles
    keys, pair = np.unique(
        tiles["core"].astype(np.int64) * len(program.network.populations) + tiles["population"], return_inverse=True
    )
    core, holder = np.divmod(keys, len(program.network.populations))
    capacity = np.array([getattr(program.chip.limits, name) for name in RESOURCES], np.float64)
    use = pair_use(program, pair, len(keys))
    taken = np.stack([use[name] for name in RESOURCES], axis=1) / capacity
    sharers = np.bincount(core, minlength=len(program.cores))
    found = []
    for number, population in enumerate(program.network.populations):
        mine = np.flatnonzero((holder == number) & on_cores[core])
        if not len(mine):
            continue
        demand = taken[mine].sum(axis=0)
        found.append(
            CoreShare(
                population=population.name,
                tiles=int((tiles["population"] == number).sum()),
                cores=float((1 / sharers[core[mine]]).sum()),
                at_least=float(demand.max()),
                tightest=RESOURCES[int(demand.argmax())],
            )
        )
    return tuple(found)


def pair_use(program: Program, pair: NDArray[np.int64], n_pairs: int) -> Table:
    """Resources by (core, population) instead of by core; ``pair``: int64 (n_tiles,), the number of each tile's."""
    tiles, synapses = program.tiles.copy(), program.synapses.copy()
    tiles["core"] = pair
    heard = synapses["port"] >= 0
    ends = synapses["port"][heard].astype(np.int64) * n_pairs + pair[synapses["tile"][heard]]
    distinct, which = np.unique(ends, return_inverse=True)
    port, reader = np.divmod(distinct, n_pairs)
    ports = program.ports[port]
    ports["core"] = reader
    synapses["port"][heard] = which
    network, bits = program.network, program.origin.weight_bits
    return core_use(network, tiles, ports, synapses, program.routing, program.bundles, n_pairs, program.chip, bits)


def core_rows(program: Program) -> list[dict[str, Any]]:
    """A row for each population and one for all, as plain values for tables and JSON."""
    shares = core_shares(program)
    table: list[dict[str, Any]] = [
        {
            "population": share.population,
            "tiles": share.tiles,
            "cores": round(share.cores, 2),
            "at least": round(share.at_least, 2),
            "cores / at least": round(share.cores / max(share.at_least, 1e-9), 2),
            "limited by": share.tightest.replace("_", " "),
        }
        for share in shares
    ]
    least = sum(share.at_least for share in shares)
    table.append(
        {
            "population": "all",
            "tiles": sum(share.tiles for share in shares),
            "cores": program.n_cores,
            "at least": round(least, 2),
            "cores / at least": round(program.n_cores / max(least, 1e-9), 2),
            "limited by": "",
        }
    )
    return table
