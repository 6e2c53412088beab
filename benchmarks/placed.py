"""Placement of compiled full-size models: what each method costs, and what it does to a simulated image.

Also the traffic that leaves its chip, beside Mt-KaHyPar's cut if that is installed (extra ``partition``).
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import Row
from compiler.mapping.bounds import core_rows
from compiler.mapping.map import core_traffic, slot_table
from compiler.mapping.partition import leaving, partition
from compiler.mapping.place import Slots, Traffic, cost, place
from neurochip import api
from neurochip.chip.spec import ChipSpec
from neurochip.errors import MissingExtraError
from neurochip.program.image import NEURON_CORE, Program, Table

METHODS = ("random", "row-major", "hilbert", "anneal")

Facts = dict[str, Any]


def placed_job(program: str, x: str, threads: int, cut: bool) -> Facts:
    """Tables of one program: every method of placement, simulated; the cut; cores beside their bound."""
    loaded, images = api.load_program(program), np.load(x)
    facts: Facts = {"methods": [method_row(loaded, images, method, threads) for method in METHODS]}
    if cut:
        facts["cut"] = cut_row(loaded, threads)
    *_, whole = core_rows(loaded)
    facts["cores"] = {
        "cores": loaded.n_cores,
        "population by population": whole["cores / at least"],
        "all resources pooled": loaded.n_cores / loaded.lower_bound_cores,
    }
    return facts


def traffic_of(program: Program) -> Traffic:
    """Neurons times target cores between every two cores, as the compiler estimates traffic."""
    return core_traffic(program.network, program.tiles, program.ports, program.routing, len(program.cores)).gathered()


def replaced(program: Program, method: str) -> tuple[Program, float, float]:
    """``program`` with its cores placed anew, the cost, and the CPU seconds it took."""
    movable = program.cores["kind"] == NEURON_CORE
    fixed = {int(i): (int(program.cores["x"][i]), int(program.cores["y"][i])) for i in np.flatnonzero(~movable)}
    slots, table = slot_table(program.n_chips, program.chip)
    begun = time.process_time()
    found = place(traffic_of(program), slots, method, program.origin.seed, fixed=fixed)
    seconds = time.process_time() - begun
    cores = program.cores.copy()
    cores[movable] = table[found.slot[movable]]
    return replace(program, cores=cores, origin=replace(program.origin, placement=method)), found.cost, seconds


def method_row(program: Program, images: Any, method: str, threads: int) -> Row:
    """Cost of one method, and an image simulated on it."""
    anew, price, seconds = replaced(program, method)
    run = api.simulate(anew, images, threads=threads).to_dict()
    bill = run["energy"]["chip"]
    inputs, packets = run["inputs"], run["packets"]
    return {
        "method": method,
        "cost, M": price / 1e6,
        "CPU s": seconds,
        "hops a packet": run["hops"] / packets,
        "borders a packet": run["chip_crossings"] / packets,
        "latency, ms": run["latency"]["seconds"] * 1e3,
        "hops, uJ": bill["hops_j"] / inputs * 1e6,
        "chip, mJ": bill["total_j"] / inputs * 1e3,
    }


def cut_row(program: Program, threads: int) -> Row:
    """Of the traffic between neuro-cores: the share that leaves its chip, and the borders a packet crosses."""
    movable, traffic = program.cores["kind"] == NEURON_CORE, traffic_of(program)
    inner = movable[traffic.source] & movable[traffic.target]
    number = np.cumsum(movable) - 1
    traffic = Traffic(
        program.n_cores, number[traffic.source[inner]], number[traffic.target[inner]], traffic.weight[inner]
    )
    total = float(traffic.weight.sum())
    row: Facts = {"chips": program.n_chips}
    for method in ("row-major", "hilbert", "anneal"):
        anew, _, _ = replaced(program, method)
        cores = anew.cores[movable]
        row[f"{method}, leaves"] = leaving(traffic, cores["chip"].astype(np.int64)) / total
        row[f"{method}, borders"] = borders(cores, traffic, program.chip) / total
    begun = time.process_time()
    try:
        part = partition(traffic, program.n_chips, program.chip.cores_per_chip, threads=threads)
    except MissingExtraError:
        return row
    row["Mt-KaHyPar, leaves"] = leaving(traffic, part) / total
    row["Mt-KaHyPar, CPU s"] = time.process_time() - begun
    row["Mt-KaHyPar, borders"] = parts_placed(traffic, part, program) / total
    return row


def borders(cores: Table, traffic: Traffic, chip: ChipSpec) -> float:
    """Chip borders crossed by ``traffic`` between ``cores``."""
    x, y = (cores[axis].astype(np.int64) for axis in "xy")
    chips = Slots(x // chip.mesh_columns, y // chip.mesh_rows, 1, 1, 0.0)
    return cost(traffic, chips, np.arange(traffic.n_clusters))


def parts_placed(traffic: Traffic, part: Any, program: Program) -> float:
    """Chip borders crossed when the parts are placed on the board of chips by the annealer."""
    slots, table = slot_table(program.n_chips, program.chip)
    _, first = np.unique(table["chip"], return_index=True)
    chip = program.chip
    board = Slots(slots.x[first] // chip.mesh_columns, slots.y[first] // chip.mesh_rows, 1, 1, 0.0)
    between = Traffic(program.n_chips, part[traffic.source], part[traffic.target], traffic.weight)
    return place(between, board, effort="high" if program.n_chips < 100 else "medium").cost


def measured(path: Path, images: Path, threads: int, cut: bool) -> Facts:
    """``placed_job`` in a process of its own."""
    from benchmarks.child import run_job

    return run_job({"job": "placed", "program": str(path), "x": str(images), "threads": threads, "cut": cut})
