"""Whether a program's tables fit its network and its chip's mesh: dtypes, references, rectangles. All vectorised.

This is what loading a file needs so that the simulator can trust every index. That the mapping is right and legal is
the job of ``compiler.mapping.check``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import ProgramError
from neurochip.network.validate import validate_network
from neurochip.program.image import (
    CORES,
    NEURON_CORE,
    PORTS,
    SYNAPSES,
    TILES,
    USE,
    Program,
    Table,
    uses_axons,
)
from neurochip.program.routes import MAX_ROUTES

TABLES: dict[str, np.dtype[np.void]] = {
    "cores": CORES,
    "tiles": TILES,
    "ports": PORTS,
    "synapses": SYNAPSES,
    "use": USE,
}
"""Every table of a program and its dtype, in file order."""

MAX_DELAY = (1 << 16) - 1
_SHOWN = 8


def validate_program(program: Program) -> None:
    """Check network, tables and facts of ``program``. Raises ``ProgramError`` saying what is wrong in which row."""
    validate_network(program.network)
    for stage in (_tables, _references, _contents, _routes, _facts):  # each may index what the one before it checked
        found = list(stage(program))
        if found:
            more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise ProgramError(f"the program's tables are not consistent: {'; '.join(found[:_SHOWN])}{more}")


def bundle_grids(program: Program) -> NDArray[np.int64]:
    """(bundles, 3) int64: height, width, channels of the sources of every bundle."""
    by_name = program.network.by_name
    sources = (by_name[bundle[0].population] for bundle in program.bundles)
    return np.array([(p.height, p.width, p.channels) for p in sources], np.int64).reshape(-1, 3)


def population_grids(program: Program) -> NDArray[np.int64]:
    """(populations, 3) int64: height, width, channels."""
    return np.array([(p.height, p.width, p.channels) for p in program.network.populations], np.int64).reshape(-1, 3)


def _tables(program: Program) -> Iterator[str]:
    for name, dtype in TABLES.items():
        table: Any = getattr(program, name)
        if not isinstance(table, np.ndarray) or table.dtype != dtype or table.ndim != 1:
            yield f"{name}: expected rows of ({', '.join(dtype.names or ())}), int32 each"
    if not len(program.cores):
        yield "cores: expected at least one row"


def _references(program: Program) -> Iterator[str]:
    mesh, network = program.chip, program.network
    tops = {
        ("cores", "kind"): 4,
        ("cores", "chip"): mesh.max_chips,
        ("cores", "x"): mesh.mesh_columns * mesh.chip_columns,
        ("cores", "y"): mesh.mesh_rows * mesh.chip_rows,
        ("tiles", "population"): len(network.populations),
        ("tiles", "core"): len(program.cores),
        ("ports", "core"): len(program.cores),
        ("ports", "bundle"): len(program.bundles),
        ("synapses", "projection"): len(network.projections),
        ("synapses", "tile"): len(program.tiles),
    }
    for (table, column), top in tops.items():
        yield from _within(program, table, column, 0, top)
    yield from _within(program, "synapses", "port", -1, len(program.ports))
    yield from _within(program, "cores", "slot", 0, 1 << 16)
    for column in USE.names or ():
        yield from _within(program, "use", column, 0, 1 << 31)
    if len(program.use) != len(program.cores):
        yield f"use: expected one row a core ({len(program.cores)}), found {len(program.use)}"
    slots = program.cores[program.cores["kind"] == NEURON_CORE]["slot"]
    if len(slots) and slots.max() >= mesh.cores_per_router:
        yield f"cores: slot {slots.max()} on routers of {mesh.cores_per_router} neuron cores"


def _contents(program: Program) -> Iterator[str]:
    tiles, ports, synapses = program.tiles, program.ports, program.synapses
    grids, bundles = population_grids(program), bundle_grids(program)
    yield from _rectangles("tiles", tiles, grids[tiles["population"]], "population")
    yield from _rectangles("ports", ports, bundles[ports["bundle"]], "bundle")
    held = np.bincount(tiles["population"], weights=_volume(tiles), minlength=len(grids))
    for index in np.flatnonzero(held != grids.prod(axis=1)):
        p = program.network.populations[index]
        yield f"tiles of population {p.name!r}: expected {p.size} neurons in all, found {int(held[index])}"
    targets, bundle_of = _projection_facts(program)
    tile, kind = synapses["tile"], synapses["projection"]
    yield from _first("synapses", targets[kind] != tiles["population"][tile], "feeds a tile of another population")
    for number in np.setdiff1d(np.flatnonzero(bundle_of >= 0), kind):
        yield f"synapses: no block of projection {program.network.projections[number].name!r}"
    wired = synapses["port"] >= 0
    yield from _first("synapses", wired != (bundle_of[kind] >= 0), "needs a port exactly where it has sources")
    on, port = synapses[wired], ports[synapses["port"][wired]]
    yield from _first("synapses", port["core"] != tiles["core"][on["tile"]], "uses a port of another core", wired)
    yield from _first("synapses", port["bundle"] != bundle_of[on["projection"]], "uses a port of another bundle", wired)


def _routes(program: Program) -> Iterator[str]:
    try:
        routing = program.routing
    except ProgramError as error:
        yield str(error)
        return
    for number, population in enumerate(program.network.populations):
        longest = max((delay for _, delay in routing.listening[number]), default=1)
        if longest > MAX_DELAY:
            yield f"population {population.name!r}: a delay of {longest} ticks, at most {MAX_DELAY:,} are possible"
        count = routing.count(number)
        if count > MAX_ROUTES:
            yield f"tiles of population {population.name!r}: {count:,} routes leave them, at most {MAX_ROUTES:,} may"


def _facts(program: Program) -> Iterator[str]:
    for name, count in Counter(layer.name for layer in program.layers).items():
        if count > 1:
            yield f"layers: {count} layers named {name!r}"
    if any(layer.dense_macs < 0 for layer in program.layers):
        yield "layers: negative dense_macs"
    if not all(isfinite(cost) and cost >= 0 for cost in program.placement_costs.values()):
        yield "placement_costs: expected finite numbers >= 0"
    if program.lower_bound_cores < 0:
        yield f"lower_bound_cores: expected a number >= 0, found {program.lower_bound_cores}"


def _projection_facts(program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Per projection: index of the target population, and of the bundle (-1: it uses no axons)."""
    index = {p.name: i for i, p in enumerate(program.network.populations)}
    bundles = {bundle: i for i, bundle in enumerate(program.bundles)}
    projections = program.network.projections
    targets = np.array([index[p.target] for p in projections], np.int64)
    return targets, np.array([bundles[p.sources] if uses_axons(p) else -1 for p in projections], np.int64)


def _within(program: Program, table: str, column: str, low: int, top: int) -> Iterator[str]:
    values = getattr(program, table)[column]
    yield from _first(table, (values < low) | (values >= top), f"{column} must be {low} to {top - 1}")


def _rectangles(name: str, table: Table, grid: NDArray[np.int64], owner: str) -> Iterator[str]:
    bad = np.zeros(len(table), bool)
    least = 0 if name == "ports" else 1  # a tile that sees padding only listens to an empty port
    for axis, (low, top) in enumerate((("y0", "y1"), ("x0", "x1"), ("c0", "c1"))):
        bad |= (table[low] < 0) | (table[top] - table[low] < least) | (table[top] > grid[:, axis])
    yield from _first(name, bad, f"is empty or outside its {owner}")


def _volume(table: Table) -> NDArray[np.float64]:
    sides = [(table[b].astype(np.float64) - table[a]) for a, b in (("y0", "y1"), ("x0", "x1"), ("c0", "c1"))]
    volume: NDArray[np.float64] = sides[0] * sides[1] * sides[2]
    return volume


def _first(name: str, bad: NDArray[np.bool_], what: str, within: NDArray[np.bool_] | None = None) -> Iterator[str]:
    """One sentence for all bad rows; ``bad`` may cover only the rows where ``within`` is true."""
    if bad.any():
        rows = np.flatnonzero(bad) if within is None else np.flatnonzero(within)[bad]
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        yield f"{name}: row {rows[0]} {what}{more}"
