"""The figures that full-size models must reach, beside what a run of the benchmarks measured.

Each row names the limit, what was measured and whether it was reached; what this run did not measure says which command
would. Times of what runs on one thread are CPU time, which a busy machine does not change; all others are wall time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.bench_imagenet import GROWTH, compiled_row, growth, packet_row, simulated_row, torch_row
from benchmarks.placement import MILLION_TABLE, PLACEMENT_TABLE
from benchmarks.table import Row, text

Found = Mapping[str, Any]
"""What a benchmark found: its tables, and its details."""

FLAGSHIP = "spikformer-8-512@4"
GROWING = ("spikformer-8-384@4", FLAGSHIP, "spikformer-8-768@4")
COMPILE_SECONDS = {FLAGSHIP: 60.0, "spikformer-8-768@4": 120.0}
NOISE = 1.1
"""Cost that is linear in the work differs by as much between two runs of the same machine."""
HILBERT_AND_FORCES = {"conv64": 83_163.0, "dense64": 2_676_680.0}
ANNEALER = {"conv64": 36_532.0, "dense64": 2_425_656.0}


def target_rows(found: Mapping[str, Found]) -> list[Row]:
    """Targets of the benchmarks in ``found``, for one table."""
    parts = {
        "imagenet": _full_size, "sim": _neurons, "cli": _start_up, "noc": _network, "placement": _placement,
    }  # fmt: skip
    return [row for name, part in parts.items() if name in found for row in part(found[name])]


def _row(what: str, value: float | None, limit: float, command: str, *, at_least: bool = False, of: str = "") -> Row:
    """One target; ``command`` would measure it, ``of`` names the model with the worst figure."""
    reached = "-" if value is None else "yes" if (value >= limit if at_least else value <= limit) else "NO"
    note = f"not measured: run.py {command}" if value is None else of
    return {
        "target": what, "limit": f"{'>=' if at_least else '<='} {text(float(limit))}", "measured": value,
        "reached": reached, "of": note,
    }  # fmt: skip


def _worst(values: Mapping[str, float | None], *, smallest: bool = False) -> tuple[float | None, str]:
    """The largest (smallest) value that was measured, and the model it is of."""
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        return None, ""
    name = min(known, key=known.__getitem__) if smallest else max(known, key=known.__getitem__)
    return known[name], name


def _rows(found: Found) -> list[dict[str, Any]]:
    """The rows of all tables of a benchmark."""
    return [row for rows in found.get("tables", {}).values() for row in rows]


def _full_size(found: Found) -> Iterator[Row]:
    models: Mapping[str, Any] = found.get("models", {})
    models = {name: facts for name, facts in models.items() if "analytic" in facts}
    compiled = {name: compiled_row(name, facts["compile"]) for name, facts in models.items()}
    simulated = {name: simulated_row(name, facts["analytic"]) for name, facts in models.items()}
    flagship = models.get(FLAGSHIP, {})
    command = f"imagenet --model {FLAGSHIP}"

    beside = torch_row(flagship["analytic"], flagship["torch"])["ours / theirs"] if "torch" in flagship else None
    yield _row(f"{FLAGSHIP}: simulate / SpikingJelly", beside, 1.0, f"{command} --torch-python PYTHON")
    speed = simulated.get(FLAGSHIP, {})
    yield _row(f"{FLAGSHIP}: of bare row addition", speed.get("of bare"), 0.25, command, at_least=True)
    tokens = speed.get("token kernel of bare")
    yield _row(f"{FLAGSHIP}: token layers of bare row addition", tokens, 0.4, command, at_least=True)
    packets = packet_row(flagship["packet"], flagship["analytic"]) if "packet" in flagship else {}
    yield _row(f"{FLAGSHIP}: packet network, s", packets.get("s"), 60, command)
    yield _row(f"{FLAGSHIP}: packet network, M hops/s", packets.get("M hops/s"), 10, command, at_least=True)
    for name, limit in COMPILE_SECONDS.items():
        seconds = compiled.get(name, {}).get("compile, s")
        yield _row(f"{name}: compile, s", seconds, limit, f"imagenet --model {name}")

    memory = _worst({name: row["compile, GB"] for name, row in compiled.items()})
    yield _row("compile, peak GB", memory[0], 4, "imagenet", of=memory[1])
    memory = _worst({name: row["simulate, GB"] for name, row in simulated.items()})
    yield _row("simulate, peak GB", memory[0], 3, "imagenet", of=memory[1])
    over = {name: row["program, MB"] - 1.2 * row["weights, MB"] for name, row in compiled.items()}
    largest = _worst(over)
    yield _row("program file less 1.2 x its weights, MB", largest[0], 50, "imagenet", of=largest[1])
    bound = _worst({name: row["over bound"] for name, row in compiled.items()})
    yield _row("cores over their lower bound", bound[0], 1.25, "imagenet", of=bound[1])
    differing = _worst({name: float(not facts["check"]["exact"]) for name, facts in models.items() if "check" in facts})
    yield _row("models that differ from the integer reference", differing[0], 0, "imagenet", of=differing[1])
    yield from _growth(models)


def _growth(models: Mapping[str, Any]) -> Iterator[Row]:
    """Seconds per synaptic operation of models of growing size, and of eight images, as multiples of the first."""
    rows = growth({name: models[name] for name in GROWING if name in models})
    of_first = {f"{row['model']}": row["of the first model"] for row in rows if row["images"] == 1}
    worst = _worst(of_first if len(of_first) > 1 else {})
    command = f"imagenet {' '.join(f'--model {name}' for name in GROWING)}"
    yield _row(f"{GROWTH}: from model to model", worst[0], NOISE, command, of=worst[1])
    images = _worst({row["model"]: row["of one image"] for row in growth(models) if row["images"] == 8})
    yield _row(f"{GROWTH}: 8 images", images[0], NOISE, "imagenet", of=images[1])


def _neurons(found: Found) -> Iterator[Row]:
    faster = [row["CPU, times less"] for row in _rows(found) if "CPU, times less" in row]
    command = "sim --sanafe-python PYTHON"
    value = faster[0] if faster else None
    yield _row("1024-1024-1024-10: CPU time of SANA-FE over ours", value, 500, command, at_least=True)


def _start_up(found: Found) -> Iterator[Row]:
    for row in _rows(found):
        yield _row(f"{row['command']}, s", row["wall, s"], row["target, s"], "cli")


def _network(found: Found) -> Iterator[Row]:
    curves = [row for row in _rows(found) if "saturation rate" in row]
    for column, what in (("latency, worst", "latency to 70 % of saturation"), ("saturation rate", "saturation rate")):
        differs = _worst({f"{row['router']}, {row['pattern']}": abs(row[column]) for row in curves})
        yield _row(f"{what}, share it differs from BookSim2's", differs[0], 0.1, "noc", of=differs[1])


def _placement(found: Found) -> Iterator[Row]:
    tables = found.get("tables", {})
    graphs = {row["graph"]: row for row in tables.get(PLACEMENT_TABLE, ())}
    for effort, limits, seconds in (("quick", HILBERT_AND_FORCES, 1), ("high", ANNEALER, 60)):
        command = "placement" if effort == "high" else "placement --quick"
        for name, limit in limits.items():
            row = graphs.get(name, {})
            yield _row(f"{name} placed in {seconds} s: cost", row.get(f"ours, {effort}"), limit, command)
            yield _row(f"{name} placed in {seconds} s: CPU s", row.get(f"ours, {effort}, CPU s"), seconds, command)
    million = {row["graph"]: row for row in tables.get(MILLION_TABLE, ())}
    for column, what, limit in (("ours, s", "s", 600), ("peak GB", "peak GB", 8)):
        worst = _worst({name: row[column] for name, row in million.items()})
        yield _row(f"a million clusters placed, {what}", worst[0], limit, "placement", of=worst[1])
