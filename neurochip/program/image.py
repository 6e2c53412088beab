"""The program image: the network plus tables that say which core does what. Nothing per neuron, nothing per synapse."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network
from neurochip.network.projections import STORED_IF_SET, Bias, Encoder, Projection, Source
from neurochip.program.routes import Routing, routing_of

Table = NDArray[np.void]


def _table(*columns: str) -> np.dtype[np.void]:
    return np.dtype([(name, "<i4") for name in columns])


NEURON_CORE, PROCESSOR, HOST, UNIT = 0, 1, 2, 3
"""Values of ``cores.kind``: a neuro-core, an embedded processor, the host that injects input spikes, an attention unit.
"""

CORES = _table("kind", "chip", "x", "y", "slot")
"""One row a core: what it is, its chip, its router in the mesh of all chips, its slot at that router."""

TILES = _table("population", "core", "y0", "y1", "x0", "x1", "c0", "c1")
"""One row a tile: the neurons [y0:y1, x0:x1, c0:c1] of a population that a core holds. Tiles partition populations."""

PORTS = _table("core", "bundle", "y0", "y1", "x0", "x1", "c0", "c1")
"""One row a port: the part of a bundle's grid and channels that a core has input axons for."""

SYNAPSES = _table("projection", "tile", "port")
"""One row a synapse block: ``tile`` receives ``projection`` through ``port`` (-1: no axons: encoder and bias)."""

ROUTES = _table("source_tile", "port", "delay")
"""One row a route: spikes of ``source_tile`` inside ``port`` go to the port's core and arrive ``delay`` ticks on.

Routes follow from tiles and ports (``neurochip.program.routes``); no program holds a table of them.
"""

USE = _table("neurons", "input_axons", "output_axons", "synapse_words")
"""One row a core: how much of each resource is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What the report says about one Graph node that has neurons or synapses.

    Attributes:
        name: Graph node name (a weight layer, an attention product, or a neuron layer).
        kind: ``conv``, ``linear``, ``attention``, ``pool``, ``readout`` or ``relay``.
        dense_macs: multiply-accumulates of one image and one step, padding included (what the ANN would do).
        analog: the operand is real-valued input, so the ops are MACs on the host.
    """

    name: str
    kind: str
    dense_macs: int
    analog: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How a program came to be; everything that decides its bytes.

    ``approximate``: what the user allowed not to be exact (``leak``).
    """

    model: str
    model_sha256: str
    family: str
    compiler_version: str
    weight_bits: int
    attention: str
    placement: str
    profile: str
    seed: int
    settings: tuple[tuple[str, str, str], ...] = ()
    ignored: tuple[str, ...] = ()
    approximate: tuple[str, ...] = field(default=(), metadata=STORED_IF_SET)


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A compiled network: what ``neurochip simulate`` runs and what an ``.ncp`` file holds.

    Attributes:
        cores, tiles, ports, synapses, use: tables with the dtypes above.
        layers: facts of the Graph for the report.
        placement_costs: method -> spike-weighted hops estimated at compile time (row-major, random, the chosen one).
        lower_bound_cores: cores that the tightest resource alone would need.
    """

    network: Network
    chip: ChipSpec
    origin: Origin
    cores: Table
    tiles: Table
    ports: Table
    synapses: Table
    use: Table
    layers: tuple[Layer, ...]
    placement_costs: dict[str, float]
    lower_bound_cores: int

    @cached_property
    def bundles(self) -> tuple[tuple[Source, ...], ...]:
        """Distinct source tuples of the projections, in order of first use; ports refer to them by index."""
        return tuple(dict.fromkeys(p.sources for p in self.network.projections if uses_axons(p)))

    @cached_property
    def routing(self) -> Routing:
        """Who sends to whom. Raises ``ProgramError`` if the tiles of a population are not the cells of cuts."""
        return routing_of(self.tiles, self.ports, self.network, self.bundles)

    @property
    def routes(self) -> Table:
        """A row for each route, source population by source population: worked out at every call, and large."""
        rows = [self.routing.routes_from(number) for number in range(len(self.network.populations))]
        return np.concatenate(rows).view(ROUTES).ravel()

    @property
    def n_cores(self) -> int:
        """Neuro-cores in use."""
        return int((self.cores["kind"] == NEURON_CORE).sum())

    @property
    def n_chips(self) -> int:
        """Chips in use."""
        return int(self.cores["chip"].max(initial=0)) + 1

    def summary(self) -> dict[str, Any]:
        """Headline figures as plain values."""
        limits, used = self.chip.limits, self.use[self.cores["kind"] == NEURON_CORE]
        return {
            "model": self.origin.model,
            "chip": self.chip.name,
            "profile": self.origin.profile,
            "timesteps": self.network.timesteps,
            "ticks_per_step": self.network.interval,
            "ticks_per_input": self.network.ticks,
            "populations": len(self.network.populations),
            "neurons": sum(p.size for p in self.network.populations),
            "cores": self.n_cores,
            "chips": self.n_chips,
            "lower_bound_cores": self.lower_bound_cores,
            "utilisation": {
                "neurons": _share(used["neurons"], limits.neurons),
                "input_axons": _share(used["input_axons"], limits.input_axons),
                "output_axons": _share(used["output_axons"], limits.output_axons),
                "synapse_words": _share(used["synapse_words"], limits.synapse_words),
            },
            "placement_costs": dict(self.placement_costs),
        }

    def to_dict(self) -> dict[str, Any]:
        """The summary; the whole program is what ``save_program`` writes."""
        return self.summary()

    def __repr__(self) -> str:
        return (
            f"Program({self.origin.model!r} on {self.chip.name}: {self.n_cores} cores on {self.n_chips} chip(s), "
            f"T = {self.network.timesteps}, {self.network.ticks} ticks an input)"
        )


def uses_axons(projection: Projection) -> bool:
    """False for encoders (host-written currents) and biases (always-on axons of the core itself)."""
    return not isinstance(projection, Encoder | Bias)


def _share(used: NDArray[np.int32], limit: int | None) -> float | None:
    return None if not limit or not len(used) else float(used.mean() / limit)
