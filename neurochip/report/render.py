"""A report as sections of plain tables, for a terminal or a pipe. The exact values are in ``Report.to_dict``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurochip.program.image import NEURON_CORE
from neurochip.report.layers import LayerReport
from neurochip.report.report import RULE_LINES, Report
from neurochip.report.units import count, percent, quantity

Cell = str | int | float | None
Row = tuple[Cell, ...]

KIND_NAMES = {"host_io": "host I/O", "all_in": "synaptic events, all-in"}
"""Kinds of the chip's bill that are not simply their key with spaces."""

BILLS = ("operations at 45 nm", "the chip's own", "same model as an ANN")
"""What the three energies are called wherever they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table: a title, column names, rows as wide as the columns, and lines to print below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def mappings(self) -> list[dict[str, Cell]]:
        """The rows as column -> cell."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """How full one resource of the neuro-cores is.

    Attributes:
        limit: what a core has; None = no limit stated.
        mean, largest: over the cores in use.
        histogram: cores by tenths of the limit, ten counts; empty without a limit.
    """

    name: str
    limit: int | None
    mean: float
    largest: int
    histogram: tuple[int, ...]


def sections(report: Report) -> tuple[Section, ...]:
    """Every table of the report, in reading order; tables that would be empty are left out."""
    found = (
        summary_section(report),
        energy_section(report),
        layer_section(report),
        resource_section(report),
        attention_section(report),
        placement_section(report),
        busiest_section(report),
        gap_section(report),
        check_section(report),
        Section(title="Counting rules", columns=("rule",), rows=tuple((line,) for line in RULE_LINES)),
    )
    return tuple(section for section in found if section.rows)


def summary_section(report: Report) -> Section:
    """Headline figures per input and over all inputs."""
    d = report.to_dict()
    latency, n = d["latency"], d["inputs"]
    spread = f"{quantity(latency['seconds_min'], 's')} to {quantity(latency['seconds_max'], 's')}"
    accuracy = "no labels" if d["accuracy"] is None else percent(d["accuracy"])
    rows: list[Row] = [
        ("model on chip", f"{d['model']} on {d['chip']}", f"profile {d['profile']}"),
        ("accuracy", "", accuracy),
        ("inputs", "", count(n)),
        ("timesteps", count(d["timesteps"]), ""),
        ("latency", f"{count(latency['ticks'])} ticks, {quantity(latency['seconds'], 's')}", spread),
        ("spikes", count(d["spikes"] / n), count(d["spikes"])),
        ("AC", count(d["ac"] / n), count(d["ac"])),
        ("MAC", count(d["mac"] / n), count(d["mac"])),
        ("packets", count(d["packets"] / n), count(d["packets"])),
        ("hops", count(d["hops"] / n), count(d["hops"])),
        ("chip crossings", count(d["chip_crossings"] / n), count(d["chip_crossings"])),
        ("overhead operations", count(d["overhead_ops"] / n), count(d["overhead_ops"])),
        ("cores", "", f"{count(d['cores'])}, at least {count(d['lower_bound_cores'])}"),
        ("chips", "", count(d["chips"])),
    ]
    if latency["ticks_per_step"] > 1:
        rows.insert(5, ("ticks a step", count(latency["ticks_per_step"]), ""))
    rows += [(name.replace("_", " "), "", float(f"{value:.4g}")) for name, value in d["noc"].items()]
    return Section(
        title="Summary", columns=("figure", "per input", "all inputs"), rows=tuple(rows), notes=warnings(report)
    )


def warnings(report: Report) -> tuple[str, ...]:
    """What a reader must know before believing the figures; empty if all is well."""
    trace, found = report.trace, []
    if report.check is not None and not report.check["exact"]:
        found.append(f"the simulation differs from the integer reference: {report.check.get('first_difference')}")
    for what in report.program.origin.approximate:
        found.append(f"{what} is approximated: exact is what --check compares with, not the trained model")
    if trace.overruns:
        found.append(f"{trace.overruns:,} ticks were too short for their work; the chip would have dropped it")
    if trace.wraps:
        found.append(f"{trace.wraps:,} currents wrapped around; results differ from the trained model")
    if trace.clips:
        found.append(f"{trace.clips:,} membranes were clipped; results differ from the trained model")
    if trace.saturations:
        found.append(f"{trace.saturations:,} products met the limit of a payload or a learning weight; results differ")
    return tuple(found)


def energy_section(report: Report) -> Section:
    """The three bills side by side, joules per input."""
    n, ops, chip = report.trace.inputs, report.ops_45nm, report.chip
    rows: list[Row] = [
        (BILLS[0], "AC x 0.9 pJ", quantity(ops.ac_j / n, "J"), _share(ops.ac_j, ops.total_j)),
        (BILLS[0], "MAC x 4.6 pJ", quantity(ops.mac_j / n, "J"), _share(ops.mac_j, ops.total_j)),
        (BILLS[0], "total", quantity(ops.total_j / n, "J"), ""),
    ]
    for kind, joules in chip.kinds.items():
        value = None if joules is None else joules / n
        rows.append((BILLS[1], kind_name(kind), quantity(value, "J"), _share(joules, chip.total_j)))
    incomplete = any(joules is None for joules in chip.kinds.values())
    rows += [
        (BILLS[1], "total of the published" if incomplete else "total", quantity(chip.total_j / n, "J"), ""),
        (BILLS[2], "dense MAC x 4.6 pJ", quantity(report.ann_j / n, "J"), ""),
    ]
    notes = (
        "The first and the last count arithmetic alone; the chip's own counts what its profile publishes "
        f"({chip.profile}). They answer different questions and must not be added.",
    )
    return Section(title="Energy per input", columns=("bill", "part", "energy", "share"), rows=tuple(rows), notes=notes)


def kind_name(kind: str) -> str:
    """A kind of the chip's bill in words."""
    return KIND_NAMES.get(kind, kind.replace("_", " "))


def layer_section(report: Report) -> Section:
    """One row per population, per input."""
    n = report.trace.inputs
    return Section(
        title="Layers, per input",
        columns=("layer", "kind", "neurons", "cores", "rate", "AC", "packets", "45 nm", "chip, dynamic"),
        rows=tuple(_layer_row(row, n) for row in report.layers),
        notes=(
            "rate: spikes per neuron and step. chip, dynamic: published figures without static power and host I/O.",
        ),
    )


def _layer_row(row: LayerReport, inputs: int) -> Row:
    ops = count(row.ac / inputs) if not row.mac else f"{count(row.mac / inputs)} MAC"
    return (
        row.name,
        row.kind,
        row.neurons,
        row.cores,
        "payload" if row.kind == "attention" else percent(row.rate),
        ops,
        count(row.packets / inputs),
        quantity(row.ops_45nm_j / inputs, "J"),
        quantity(row.dynamic_j / inputs, "J"),
    )


def resources(report: Report) -> tuple[Resource, ...]:
    """Use of each resource of a core over the neuro-cores in use."""
    program = report.program
    used = program.use[program.cores["kind"] == NEURON_CORE]
    found = []
    for name in used.dtype.names or ():
        limit, values = getattr(program.chip.limits, name), used[name].astype(np.int64)
        tenths = np.clip(-(-values * 10 // limit) - 1, 0, 9) if limit else np.zeros(0, np.int64)
        histogram = tuple(int(cores) for cores in np.bincount(tenths, minlength=10)) if limit else ()
        mean, largest = float(values.mean()) if len(values) else 0.0, int(values.max(initial=0))
        found.append(Resource(name=name, limit=limit, mean=mean, largest=largest, histogram=histogram))
    return tuple(found)


def resource_section(report: Report) -> Section:
    """How full the cores are."""
    rows = tuple(
        (
            r.name.replace("_", " "),
            r.limit,
            float(f"{r.mean:.4g}"),
            percent(r.mean / r.limit) if r.limit else "-",
            r.largest,
            percent(r.largest / r.limit) if r.limit else "-",
        )
        for r in resources(report)
    )
    return Section(
        title=f"Use of the {report.program.n_cores:,} cores",
        columns=("resource", "limit of a core", "mean", "mean share", "fullest", "fullest share"),
        rows=rows,
    )


def attention_section(report: Report) -> Section:
    """Three counts of each attention product, per input."""
    n = report.trace.inputs
    return Section(
        title="Attention, operations per input",
        columns=("layer", "event-driven", "effective", "rate x dense"),
        rows=tuple(
            (row.name, *(count(v / n) for v in (a.event_driven, a.effective, a.rate_times_dense)))
            for row in report.layers
            if (a := row.attention)
        ),
        notes=(
            "event-driven: accumulates really done. effective: those with both operands non-zero. "
            "rate x dense: dense operations times the mean spike rates, as papers print.",
        ),
    )


def placement_section(report: Report) -> Section:
    """Estimated cost of each placement method."""
    costs, chosen = report.program.placement_costs, report.program.origin.placement
    base = costs.get("row-major")
    rows = tuple(
        (name, count(cost), percent(cost / base) if base else "-", "chosen" if name == chosen else "")
        for name, cost in costs.items()
    )
    return Section(title="Placement", columns=("method", "neuron hops", "of row-major", ""), rows=rows)


def busiest_section(report: Report) -> Section:
    """Which core, processor and link to blame."""
    n = report.trace.inputs
    seconds = float(report.trace.tick_ns.sum()) * 1e-9
    rows: list[Row] = []
    d = report.to_dict()["busiest"]
    for name in ("core", "processor"):
        if core := d[name]:
            share = f"{quantity(core['busy_seconds'] / n, 's')}, {_share(core['busy_seconds'], seconds)} of the latency"
            where = f"core {core['core']} of chip {core['chip']} at router {_at(core['router'])}"
            rows.append((name, where, share, ", ".join(core["layers"])))
    if link := d["link"]:
        kind = "between chips" if link["between_chips"] else "inside a chip"
        load = f"{count(link['packets'] / n)} packets"
        rows.append(("link", f"{_at(link['from'])} to {_at(link['to'])}", load, kind))
    return Section(title="Busiest, per input", columns=("what", "where", "load", "holds"), rows=tuple(rows))


def gap_section(report: Report) -> Section:
    """Figures the bill and the clock assume, and those they lack."""
    rows = [("assumed", line) for line in report.chip.assumed]
    if report.chip.not_published:
        rows.append(("not published", ", ".join(report.chip.not_published)))
    return Section(title=f"What profile {report.chip.profile} does not know", columns=("", "figure"), rows=tuple(rows))


def check_section(report: Report) -> Section:
    """What ``--check`` compared."""
    if report.check is None:
        rows: tuple[Row, ...] = (("exact", "not checked; run with --check"),)
    else:
        rows = tuple((key.replace("_", " "), value) for key, value in report.check.items() if value is not None)
    return Section(title="Equal to the integer reference", columns=("fact", "value"), rows=rows)


def _share(part: float | None, whole: float) -> str:
    return "" if part is None or not whole else percent(part / whole)


def _at(router: list[int]) -> str:
    return f"({router[0]}, {router[1]})"
