"""Placement on layered graphs with unit weights, beside published methods on the same graphs.

A graph has layers of ``width`` clusters, as many as fill a square mesh of routers; all but the last layer are linked to
the next one, in full or to the ``kernel`` clusters from their own number on, as far as the layer goes. Any random
placement costs edges * 2/3 * side on average. The figures of others are for these graphs: Hilbert's curve refined by
forces (Jin et al., ASPLOS 2023; their program run on unit weights, the better of its two potentials) and a plain
annealer in C++ run for 20 to 60 s.

python benchmarks/placement.py --quick     # a second a graph
python benchmarks/placement.py             # a minute a graph, and a million clusters
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

if __name__ == "__main__":  # so that `python benchmarks/placement.py` finds the packages beside this folder
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.child import peak_bytes
from benchmarks.table import Row, print_table
from compiler.mapping.place import EFFORTS, Placement, Slots, Traffic, compare, cost, place

ROOT = Path(__file__).parents[1]
MILLION_EFFORT = 6e4
PLACEMENT_TABLE = "Placement: traffic times hops, one core"
MILLION_TABLE = "A million clusters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layered:
    """A graph, and what others reached on it: costs, None where unknown. ``kernel`` 0 links layers in full."""

    name: str
    side: int
    width: int
    kernel: int
    forces: float | None = None
    annealer: float | None = None
    effort: float = EFFORTS["high"]


# 1,024 clusters take five times the work per cluster to fill the same minute.
GRAPHS = (
    Layered(name="conv32", side=32, width=32, kernel=4, forces=14_239, annealer=7_493, effort=2.5e7),
    Layered(name="conv64", side=64, width=64, kernel=4, forces=83_163, annealer=36_532),
    Layered(name="dense32", side=32, width=32, kernel=0, forces=215_632, annealer=198_772, effort=2.5e7),
    Layered(name="dense64", side=64, width=64, kernel=0, forces=2_676_680, annealer=2_425_656),
    Layered(name="conv64, width 48", side=64, width=48, kernel=4),
    Layered(name="dense64, width 48", side=64, width=48, kernel=0),
    Layered(name="conv64, width 100, kernel 9", side=64, width=100, kernel=9),
)
# The published logs have weights uniform in 0..1; twice their cost is the cost with unit weights.
MILLION = (
    Layered(name="conv1024", side=1024, width=1024, kernel=4, forces=2 * 2.843e7),
    Layered(name="conv1024, width 768", side=1024, width=768, kernel=4),
)


def traffic_of(graph: Layered) -> Traffic:
    """The graph's edges, all of weight 1."""
    number = np.arange(graph.width)
    reach = np.arange(graph.kernel or graph.width)
    source = np.repeat(number, len(reach))
    target = np.tile(reach, graph.width) + (source if graph.kernel else 0)
    source, target = source[target < graph.width], target[target < graph.width]
    layer = np.arange(graph.side**2 // graph.width - 2)[:, None] * graph.width
    sources = (layer + source).ravel().astype(np.int32)
    targets = (layer + graph.width + target).ravel().astype(np.int32)
    return Traffic(graph.side**2, sources, targets, np.ones(sources.size, np.int64))


def mesh(side: int) -> Slots:
    """One chip of ``side`` x ``side`` routers, a core at each."""
    y, x = np.divmod(np.arange(side**2), side)
    return Slots(x, y, side, side, 0.0)


def board(side: int, chip: int, crossing_cost: float) -> Slots:
    """``side`` x ``side`` routers of four cores each, in chips of ``chip`` x ``chip`` routers, chip by chip."""
    router = np.arange(side**2)
    tile, inside = np.divmod(router, chip**2)
    x = tile % (side // chip) * chip + inside % chip
    y = tile // (side // chip) * chip + inside // chip
    return Slots(np.repeat(x, 4), np.repeat(y, 4), chip, chip, crossing_cost)


def measure(graph: Layered, efforts: dict[str, float]) -> Row:
    """Costs of every method, seconds of ours (compiled kernels cached)."""
    traffic, slots = traffic_of(graph), mesh(graph.side)
    row: dict[str, object] = {"graph": graph.name, "edges": len(traffic.source)}
    row["random, mean"] = len(traffic.source) * 2 * graph.side / 3
    row |= {name: value for name, value in compare(traffic, slots).items() if name != "random"}
    row["force-directed"] = place(traffic, slots, "force-directed").cost
    for name, effort in efforts.items():
        found, wall, cpu = timed(traffic, slots, effort)
        row |= {name: found.cost, f"{name}, s": wall, f"{name}, CPU s": cpu}
    return row | {"Hilbert + FD": graph.forces, "annealer, 20-60 s": graph.annealer}


def timed(traffic: Traffic, slots: Slots, effort: float) -> tuple[Placement, float, float]:
    """The annealed placement, its wall and its CPU seconds."""
    begun, worked = time.perf_counter(), time.process_time()
    found = place(traffic, slots, effort=effort)
    return found, time.perf_counter() - begun, time.process_time() - worked


def chips(effort: float) -> list[Row]:
    """4,096 cores on 16 chips: hops and borders crossed by an average packet."""
    rows: list[Row] = []
    slots = board(32, 8, 8.0)
    hops, borders = board(32, 8, 0.0), board(32, 8, 1.0)
    for graph in (GRAPHS[1], GRAPHS[3], GRAPHS[4]):
        traffic = traffic_of(graph)
        for method in ("random", "row-major", "hilbert", "anneal"):
            found = place(traffic, slots, method, effort=effort)
            near = cost(traffic, hops, found.slot)
            total = traffic.weight.sum()
            crossed = (cost(traffic, borders, found.slot) - near) / total
            rows.append({"graph": graph.name, "method": method, "hops": near / total, "borders": crossed})
    return rows


def million(name: str) -> Row:
    """One of ``MILLION`` in a process of its own, for its peak memory."""
    command = [sys.executable, "-m", "benchmarks.placement", "--only", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def warm_up() -> None:
    """Compile the kernels, or load them from the cache."""
    traffic, slots = traffic_of(Layered(name="", side=64, width=64, kernel=2)), mesh(64)  # large enough for levels
    for method in ("force-directed", "anneal"):
        place(traffic, slots, method, effort=1e4)


def tables(quick: bool) -> dict[str, list[Row]]:
    """All tables; ``quick`` leaves out the minute-long runs and the million."""
    warm_up()
    rows = [measure(g, {"ours, quick": EFFORTS["quick"]} | ({} if quick else {"ours, high": g.effort})) for g in GRAPHS]
    found = {
        PLACEMENT_TABLE: rows,
        "16 chips of 8 x 8 routers of 4 cores, a border costs 8 hops": chips(EFFORTS["quick"]),
    }
    if not quick:
        found[MILLION_TABLE] = [million(graph.name) for graph in MILLION]
    return found


@click.command()
@click.option("--quick", is_flag=True, help="Only the searches that take a second.")
@click.option("--only", metavar="NAME", help="Place one of the million-cluster graphs and print JSON.")
def main(quick: bool, only: str | None) -> None:
    """Print costs of all placements on layered graphs."""
    if only:
        warm_up()
        row = measure(next(g for g in MILLION if g.name == only), {"ours": MILLION_EFFORT})
        click.echo(json.dumps({**row, "peak GB": peak_bytes() / 1e9}))
        return
    for title, rows in tables(quick).items():
        print_table(title, rows)


if __name__ == "__main__":
    main()
