"""A program as rows for tables and JSON: what ``neurochip inspect`` shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from neurochip.network.network import Population
from neurochip.network.projections import Pool, Projection
from neurochip.program.image import NEURON_CORE, USE, Program

Rows = list[dict[str, Any]]


def describe_program(program: Program) -> dict[str, Rows]:
    """Section -> rows of plain values: ``program``, ``populations``, ``projections``, ``resources``, ``placement``."""
    network = program.network
    return {
        "program": _facts(program),
        "populations": [_population(program, i, p) for i, p in enumerate(network.populations)],
        "projections": [_projection(program, i, p) for i, p in enumerate(network.projections)],
        "resources": _resources(program),
        "placement": [{"method": m, "neuron hops per step": c} for m, c in program.placement_costs.items()],
    }


def _facts(program: Program) -> Rows:
    network, origin, chip = program.network, program.origin, program.chip
    shape = " x ".join(map(str, network.input.shape))
    facts = {
        "model": origin.model,
        "family": origin.family,
        "model sha256": origin.model_sha256 or "not from a file",
        "chip": f"{chip.name} ({chip.title})",
        "chip sha256": chip.digest,
        "cost profile": origin.profile,
        "compiler": origin.compiler_version,
        "weight bits": origin.weight_bits,
        "attention": origin.attention,
        "placement": origin.placement,
        "seed": origin.seed,
        "settings": ", ".join(f"{name}={value} ({source})" for name, value, source in origin.settings) or "none",
        "approximated": ", ".join(origin.approximate) or "nothing",
        "ignored tensors": ", ".join(origin.ignored) or "none",
        "input": f"{network.input.kind} {shape}, levels {network.input.low} to {network.input.high}",
        "timesteps": network.timesteps,
        "ticks per step": network.interval,
        "ticks per input": network.ticks,
        "neurons": sum(p.size for p in network.populations),
        "weight bytes": sum(array.nbytes for array in _weights(network.projections).values()),
        "neuron cores": program.n_cores,
        "cores at least": program.lower_bound_cores,
        "chips": program.n_chips,
        "routes": program.routing.n_routes,
    }
    return [{"fact": name, "value": value} for name, value in facts.items()]


def _weights(projections: tuple[Projection, ...]) -> dict[int, Any]:
    """Distinct weight arrays by identity: loaded programs share equal ones."""
    found = (getattr(p, "weight", None) for p in projections)
    return {id(array): array for array in found if isinstance(array, np.ndarray)}


def _population(program: Program, index: int, population: Population) -> dict[str, Any]:
    tiles = program.tiles[program.tiles["population"] == index]
    shape = [int((tiles[f"{axis}1"] - tiles[f"{axis}0"]).max(initial=0)) for axis in "yxc"]
    return {
        "population": population.name,
        "kind": population.neuron.kind,
        "neurons": population.size,
        "shape": f"{population.height} x {population.width} x {population.channels}",
        "depth": population.depth,
        "tiles": len(tiles),
        "tile": " x ".join(map(str, shape)),
        "cores": len(np.unique(tiles["core"])),
        "decay": population.neuron.decay,
        "threshold": population.neuron.threshold,
        "from": population.origin,
    }


def _projection(program: Program, index: int, projection: Projection) -> dict[str, Any]:
    weight = getattr(projection, "weight", None)
    if isinstance(projection, Pool):
        weights = f"{projection.weight}, window {projection.kernel[0]} x {projection.kernel[1]}"
    else:
        weights = " x ".join(map(str, weight.shape)) if isinstance(weight, np.ndarray) else ""
    return {
        "projection": projection.name,
        "kind": projection.kind,
        "from": ", ".join(f"{s.population} (delay {s.delay})" for s in projection.sources),
        "to": projection.target,
        "weights": weights,
        "shift": projection.shift,
        "blocks": int((program.synapses["projection"] == index).sum()),
    }


def _resources(program: Program) -> Rows:
    used, limits = program.use[program.cores["kind"] == NEURON_CORE], program.chip.limits
    rows = []
    for name in USE.names or ():
        limit, column = int(getattr(limits, name)), used[name]
        rows.append(
            {
                "resource": name.replace("_", " "),
                "limit per core": limit,
                "largest": int(column.max(initial=0)),
                "mean": float(column.mean()) if len(column) else 0.0,
                "mean share": float(column.mean() / limit) if len(column) else 0.0,
            }
        )
    return rows
