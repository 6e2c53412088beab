"""Mapping: Network + chip -> Program. Tile, pack, emit the tables, place the cores."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, sqrt

import numpy as np

from compiler.emit import Tables, bundles_of, emit_tables
from compiler.mapping.core_traffic import CoreTraffic
from compiler.mapping.demand import Ints, payload_bits
from compiler.mapping.formats import formats_of, limited
from compiler.mapping.pack import lower_bound, pack
from compiler.mapping.place import Slots, compare, place
from compiler.mapping.placed_limits import refuse_placed
from compiler.mapping.router_entries import refuse_full_routers
from compiler.mapping.tile import Tiling, tile_network
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Network, Population
from neurochip.network.projections import Gated, Product
from neurochip.program.image import CORES, HOST, NEURON_CORE, PROCESSOR, UNIT, Layer, Origin, Program, Table
from neurochip.program.routes import Routing


def map_network(network: Network, chip: ChipSpec, origin: Origin, layers: tuple[Layer, ...]) -> Program:
    """Map ``network`` onto as many chips as it needs.

    Raises ``CapacityError`` (with the limit, the excess and the layer) or ``UnsupportedError``.
    """
    tilings = tile_network(network, chip, origin.weight_bits)
    network = with_copies(network, tilings)
    on_cores = [tilings[p.name] for p in network.populations if on_neuron_cores(p)]
    packed = pack(on_cores, chip, [formats_of(network, t.population) for t in on_cores] if limited(chip) else None)
    n_cores = int(packed.max()) + 1
    core_of, start = {}, 0
    for tiling in on_cores:
        core_of[tiling.population.name] = packed[start : start + tiling.n_tiles]
        start += tiling.n_tiles
    n_chips = -(-n_cores // chip.cores_per_chip)
    extras = fixed_cores(network, tilings, core_of, n_cores, n_chips, chip)
    tables = emit_tables(network, tilings, core_of, n_cores + len(extras), chip, origin.weight_bits)
    cores, costs = placed(network, tables, n_cores, extras, n_chips, chip, origin)
    program = Program(
        network=network,
        chip=chip,
        origin=origin,
        cores=cores,
        tiles=tables.tiles,
        ports=tables.ports,
        synapses=tables.synapses,
        use=tables.use,
        layers=layers,
        placement_costs=costs,
        lower_bound_cores=lower_bound(on_cores, chip),
    )
    refuse_placed(program)
    refuse_full_routers(program)
    return program


def with_copies(network: Network, tilings: dict[str, Tiling]) -> Network:
    """``network`` with as many copies of each neuron as its destinations ask for."""
    if all(tiling.copies == 1 for tiling in tilings.values()):
        return network
    return replace(network, populations=tuple(replace(p, copies=tilings[p.name].copies) for p in network.populations))


def on_neuron_cores(population: Population) -> bool:
    """Whether neuro-cores hold ``population``."""
    return population.home == "core" and population.neuron.kind in ("lif", "readout", "burst", "graded")


def board(n_chips: int, chip: ChipSpec) -> tuple[int, int]:
    """(columns, rows) of the smallest near-square block of chips that holds ``n_chips``."""
    columns = min(chip.chip_columns, max(ceil(sqrt(n_chips)), ceil(n_chips / chip.chip_rows)))
    rows = ceil(n_chips / columns)
    if rows > chip.chip_rows:
        raise CapacityError(
            f"the model needs {n_chips} chips, a {chip.name!r} board has {chip.chip_columns} x {chip.chip_rows}"
        )
    return columns, rows


def chip_origins(n_chips: int, chip: ChipSpec) -> Ints:
    """(n_chips, 2): router coordinates of each chip's first router in the mesh of all chips."""
    columns, _ = board(n_chips, chip)
    number = np.arange(n_chips)
    return np.stack([number % columns * chip.mesh_columns, number // columns * chip.mesh_rows], axis=1)


def fixed_cores(
    network: Network, tilings: dict[str, Tiling], core_of: dict[str, Ints], n_cores: int, n_chips: int, chip: ChipSpec
) -> Table:
    """Processors, attention units and the host: core table rows after the neuro-cores; fills ``core_of`` for their
    populations.
    """
    extras: list[tuple[int, int, int, int, int]] = []
    origins = chip_origins(n_chips, chip)
    products = [p for p in network.populations if p.neuron.kind == "product"]
    for method, kind, places in (("processor", PROCESSOR, chip.processors), ("unit", UNIT, unit_places(chip))):
        mine = [p for p in products if method_of(network, p) == method]
        if not mine:
            continue
        if not places:
            raise UnsupportedError(
                f"layer {mine[0].origin!r}: attention by {method} needs a core of that kind, {chip.name!r} has none"
            )
        first = n_cores + len(extras)
        for number, (x, y) in enumerate(origins):
            extras += [
                (kind, number, x + px, y + py, first_slot(chip, kind) + slot) for slot, (px, py) in enumerate(places)
            ]
        for i, population in enumerate(mine):
            heads = np.arange(tilings[population.name].n_tiles)
            on_chip = i * n_chips // len(mine)
            core_of[population.name] = first + on_chip * len(places) + (i + heads) % len(places)
    outside = [p for p in network.populations if p.neuron.kind == "source" or p.home == "host"]
    for population in outside:
        core_of[population.name] = np.array([n_cores + len(extras)])
    if outside:
        extras.append((HOST, 0, 0, 0, first_slot(chip, HOST)))
    return np.array(extras, dtype=CORES)


def method_of(network: Network, population: Population) -> str:
    """Who computes a product population."""
    methods = {p.method for p in network.incoming[population.name] if isinstance(p, Product | Gated)}
    return methods.pop() if methods else "processor"


def unit_places(chip: ChipSpec) -> tuple[tuple[int, int], ...]:
    """Router (column, row) of each attention unit of a chip: as described, or one router after the other."""
    unit = chip.attention_unit
    if unit is None:
        return ()
    if unit.routers is not None:
        return unit.routers.value
    number = range(unit.count.value)
    return tuple((i % chip.mesh_columns, i // chip.mesh_columns % chip.mesh_rows) for i in number)


def first_slot(chip: ChipSpec, kind: int) -> int:
    """Slots of a router: neuro-cores, then processors, the host, and attention units."""
    processors = chip.cores_per_router
    host = processors + len(chip.processors)
    return {PROCESSOR: processors, HOST: host, UNIT: host + 1}[kind]


def placed(
    network: Network, tables: Tables, n_cores: int, extras: Table, n_chips: int, chip: ChipSpec, origin: Origin
) -> tuple[Table, dict[str, float]]:
    """Core table with coordinates, and the estimated cost of row-major, random, Hilbert and the chosen placement."""
    traffic = core_traffic(network, tables.tiles, tables.ports, tables.routing, n_cores + len(extras))
    slots, table = slot_table(n_chips, chip)
    fixed = {n_cores + i: (int(row["x"]), int(row["y"])) for i, row in enumerate(extras)}
    trading = chips_alike(extras, n_cores, n_chips)
    chosen = place(traffic, slots, origin.placement, origin.seed, fixed=fixed, trading=trading)
    cores = np.zeros(n_cores + len(extras), CORES)
    cores[:n_cores] = table[chosen.slot[:n_cores]]
    cores[n_cores:] = at_homes(extras, [chosen.fixed[n_cores + i] for i in range(len(extras))], chip)
    costs = compare(traffic, slots, origin.seed, fixed=fixed)
    return cores, {**costs, origin.placement: float(chosen.cost)}


def chips_alike(extras: Table, n_cores: int, n_chips: int) -> list[Ints]:
    """Core table rows (n_chips, places of a chip) of the processors and of the units: any chip can stand in for any."""
    rows = [n_cores + np.flatnonzero(extras["kind"] == kind) for kind in (PROCESSOR, UNIT)]
    return [mine.reshape(n_chips, -1) for mine in rows if len(mine)]


def at_homes(extras: Table, homes: list[tuple[int, int]], chip: ChipSpec) -> Table:
    """``extras`` with row k at router ``homes[k]`` and on the chip that has it."""
    blocks = zip(extras["x"] // chip.mesh_columns, extras["y"] // chip.mesh_rows, strict=True)
    number = dict(zip(((int(x), int(y)) for x, y in blocks), extras["chip"].tolist(), strict=True))
    there = extras.copy()
    for row, (x, y) in zip(there, homes, strict=True):
        row["x"], row["y"], row["chip"] = x, y, number[x // chip.mesh_columns, y // chip.mesh_rows]
    return there


def core_traffic(network: Network, tiles: Table, ports: Table, routing: Routing, n_cores: int) -> CoreTraffic:
    """Neurons times axons between every two cores, were every neuron to fire once."""
    return CoreTraffic(
        n_clusters=n_cores,
        tiles=tiles,
        port_core=np.ascontiguousarray(ports["core"]),
        routing=routing,
        bits=tuple(payload_bits(population) for population in network.populations),
        lines=tuple(bundle[0].lines for bundle in bundles_of(network)),
    )


def slot_table(n_chips: int, chip: ChipSpec) -> tuple[Slots, Table]:
    """Every core slot of ``n_chips`` chips, chip by chip, router by router, row by row."""
    per_router = chip.cores_per_router
    number = np.arange(n_chips * chip.cores_per_chip)
    chips, inside = np.divmod(number, chip.cores_per_chip)
    router, slot = np.divmod(inside, per_router)
    origins = chip_origins(n_chips, chip)
    table = np.zeros(len(number), CORES)
    table["kind"], table["chip"], table["slot"] = NEURON_CORE, chips, slot
    table["x"] = origins[chips, 0] + router % chip.mesh_columns
    table["y"] = origins[chips, 1] + router // chip.mesh_columns
    crossing = crossing_hops(chip)
    x, y = table["x"].copy(), table["y"].copy()
    return Slots(x, y, chip.mesh_columns, chip.mesh_rows, crossing, *chip.ring_routers), table


def crossing_hops(chip: ChipSpec) -> float:
    """Price of a chip border in hops: how much longer a packet takes over it than over an inner link."""
    noc = chip.costs().noc
    return max(1.0, noc.chip_link_latency_ns / max(noc.hop_x_ns, 1e-9))
