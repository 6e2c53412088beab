"""The texts and numbers of the HTML page, as plain values for its template."""

from __future__ import annotations

from typing import Any

from neurochip.program.image import HOST, PROCESSOR
from neurochip.report.layers import LayerReport
from neurochip.report.render import (
    attention_section,
    busiest_section,
    check_section,
    kind_name,
    placement_section,
    resources,
    warnings,
)
from neurochip.report.report import RULE_LINES, Report
from neurochip.report.units import NOT_PUBLISHED, count, percent, quantity

Facts = dict[str, Any]


def page(report: Report) -> Facts:
    """Everything the template shows besides the drawings."""
    program = report.program
    return {
        "model": program.origin.model,
        "chip": program.chip.title,
        "subtitle": subtitle(report),
        "check": check_badge(report),
        "warnings": warnings(report),
        "cards": cards(report),
        "bills": bills(report),
        "chip_kinds": chip_kinds(report),
        "profile": report.chip.profile,
        "layers": layer_rows(report),
        "kinds": sorted({row.kind for row in report.layers}),
        "resources": [resource(r) for r in resources(report)],
        "n_cores": program.n_cores,
        "has_processors": bool((program.cores["kind"] == PROCESSOR).any()),
        "has_hosts": bool((program.cores["kind"] == HOST).any()),
        "placement": placement(report),
        "attention": attention_section(report),
        "busiest": busiest_section(report),
        "checked": check_section(report),
        "placements": placement_section(report),
        "assumed": report.chip.assumed,
        "not_published": report.chip.not_published,
        "not_modelled": program.chip.not_modelled,
        "rules": RULE_LINES,
        "provenance": provenance(report),
        "settings": program.origin.settings,
        "ignored": program.origin.ignored,
        "inputs": report.trace.inputs,
    }


def subtitle(report: Report) -> str:
    """One line under the title."""
    program, n = report.program, report.trace.inputs
    steps = program.network.timesteps
    return (
        f"{n:,} input{'' if n == 1 else 's'}, {steps} step{'' if steps == 1 else 's'}, "
        f"{program.origin.weight_bits}-bit weights, cost profile {program.origin.profile}"
    )


def check_badge(report: Report) -> Facts:
    """Whether the run equals the integer reference, in words."""
    if report.check is None:
        return {"state": "unknown", "text": "Not compared with the integer reference"}
    if report.check["exact"]:
        return {"state": "good", "text": "Every spike and readout equals the integer reference"}
    return {"state": "bad", "text": "Differs from the integer reference"}


def cards(report: Report) -> list[Facts]:
    """Headline figures."""
    d = report.to_dict()
    n, latency, per_input = d["inputs"], d["latency"], d["per_input"]
    chip_note = "published figures alone" if _incomplete(report) else "all kinds of events"

    def card(label: str, value: str, note: str) -> Facts:
        return {"label": label, "value": value, "note": note}

    def counted(label: str, name: str, note: str = "") -> Facts:
        return card(label, count(d[name] / n), note or f"{count(d[name])} in all")

    accuracy = [] if d["accuracy"] is None else [card("Accuracy", percent(d["accuracy"]), f"of {n:,} labelled inputs")]
    return [
        *accuracy,
        card("Latency", quantity(latency["seconds"], "s"), f"{count(latency['ticks'])} ticks an input"),
        card("Energy, chip", _at_least(report, per_input["energy_chip_j"]), chip_note),
        card("Energy, 45 nm", quantity(per_input["energy_ops_45nm_j"], "J"), "AC and MAC alone"),
        card(
            "Cores",
            count(d["cores"]),
            f"on {d['chips']:,} chip{'' if d['chips'] == 1 else 's'}; at least {count(d['lower_bound_cores'])} needed",
        ),
        counted("Spikes", "spikes"),
        counted("AC", "ac"),
        counted("MAC", "mac", f"{count(d['mac_every_step'] / n)} if done at every step"),
        counted("Packets", "packets"),
        counted("Hops", "hops", f"{count(d['chip_crossings'] / n)} between chips"),
    ]


def bills(report: Report) -> list[Facts]:
    """The three energies per input, each with its parts and their shares."""
    n, ops = report.trace.inputs, report.ops_45nm
    dense = sum(row.dense_macs for row in report.layers)
    parts = [
        _part(f"{count(sum(r.ac for r in report.layers) / n)} AC at 0.9 pJ", ops.ac_j / n, ops.total_j / n),
        _part(f"{count(sum(r.mac for r in report.layers) / n)} MAC at 4.6 pJ", ops.mac_j / n, ops.total_j / n),
    ]
    groups = chip_kinds(report)
    known = [k for k in groups if k["share"] > 0]
    return [
        {
            "title": "Spiking operations, 45 nm",
            "total": quantity(ops.total_j / n, "J"),
            "note": "Arithmetic alone, as papers count it. No memory, no network, no leakage.",
            "parts": parts,
        },
        {
            "title": f"The chip's own bill: {report.program.chip.name}",
            "total": _at_least(report, report.chip.total_j / n),
            "note": chip_note(report),
            "parts": sorted(known, key=lambda k: -k["share"])[:4],
        },
        {
            "title": "Same model as an ANN, 45 nm",
            "total": quantity(report.ann_j / n, "J"),
            "note": "Every multiply-accumulate of the same layers, once. Arithmetic alone.",
            "parts": [_part(f"{count(dense)} MAC at 4.6 pJ", report.ann_j / n, report.ann_j / n)],
        },
    ]  # fmt: skip


def chip_note(report: Report) -> str:
    """What the chip's total leaves out, in words."""
    missing = [kind_name(kind) for kind, joules in report.chip.kinds.items() if joules is None]
    if not missing:
        return "Everything this chip spends by its cost profile, static power included."
    return f"What this chip spends by its cost profile. No figure is published for: {', '.join(missing)}."


def chip_kinds(report: Report) -> list[Facts]:
    """The chip's bill by kind, per input; ``missing`` marks kinds without a published figure."""
    n, total = report.trace.inputs, report.chip.total_j
    return [
        {**_part(kind_name(kind), None if j is None else j / n, total / n), "missing": j is None}
        for kind, j in report.chip.kinds.items()
    ]


def layer_rows(report: Report) -> list[Facts]:
    """One row per layer: shown text, sort value and bar length (0..1) of every column."""
    n = report.trace.inputs
    most = {
        "rate": max((row.rate for row in report.layers), default=0.0),
        "ac": max((row.ac for row in report.layers), default=0),
        "energy": max((row.dynamic_j for row in report.layers), default=0.0),
        "packets": max((row.packets for row in report.layers), default=0),
    }
    return [_layer(row, n, most) for row in report.layers]


def _layer(row: LayerReport, n: int, most: dict[str, float]) -> Facts:
    def cell(text: str, value: float, bar: float | None = None) -> Facts:
        return {"text": text, "value": f"{value:.12g}", "bar": bar}

    def bar(value: float, key: str) -> float:
        return round(100 * value / most[key], 1) if most[key] else 0.0

    payload = row.kind == "attention"
    return {
        "name": row.name,
        "origin": row.origin,
        "kind": row.kind,
        "cells": [
            cell("payload" if payload else percent(row.rate), row.rate, bar(row.rate, "rate")),
            cell(count(row.ac / n), row.ac, bar(row.ac, "ac")),
            cell(count(row.packets / n), row.packets, bar(row.packets, "packets")),
            cell(quantity(row.dynamic_j / n, "J"), row.dynamic_j, bar(row.dynamic_j, "energy")),
            cell(quantity(row.ops_45nm_j / n, "J"), row.ops_45nm_j),
            cell(count(row.spikes / n), row.spikes),
            cell(count(row.mac / n), row.mac),
            cell(count(row.hops / n), row.hops),
            cell(count(row.neurons), row.neurons),
            cell(count(row.cores), row.cores),
        ],
    }


def resource(found: Any) -> Facts:
    """A resource with its histogram as bar heights (0..1)."""
    tallest = max(found.histogram, default=0)
    return {
        "name": found.name.replace("_", " "),
        "limit": f"{found.limit:,}" if found.limit else "no limit",
        "mean": percent(found.mean / found.limit) if found.limit else count(found.mean),
        "largest": percent(found.largest / found.limit) if found.limit else count(found.largest),
        "bars": [
            {"cores": cores, "height": round(54 * cores / tallest, 1) if tallest else 0.0, "low": 10 * i}
            for i, cores in enumerate(found.histogram)
        ],
    }


def placement(report: Report) -> list[Facts]:
    """Estimated cost of every placement method, the chosen one marked."""
    costs = report.program.placement_costs
    worst = max(costs.values(), default=0.0)
    base = costs.get("row-major")
    return [
        {
            "name": name,
            "cost": count(cost),
            "relative": f"{percent(cost / base)} of row-major" if base else "",
            "bar": round(100 * cost / worst, 1) if worst else 0.0,
            "chosen": name == report.program.origin.placement,
        }
        for name, cost in costs.items()
    ]


def provenance(report: Report) -> list[tuple[str, str]]:
    """How to make this run again."""
    origin, chip = report.program.origin, report.program.chip
    return [
        ("model", origin.model),
        ("model file, SHA-256", origin.model_sha256 or "not compiled from a file"),
        ("model family", origin.family),
        ("chip", f"{chip.name} ({chip.title})"),
        ("chip description, SHA-256", chip.digest),
        ("cost profile", origin.profile),
        ("compiler version", origin.compiler_version),
        ("weights", f"{origin.weight_bits} bits"),
        ("attention method", origin.attention),
        ("placement method", origin.placement),
        ("seed", str(origin.seed)),
        ("network timing", "packet simulation" if report.trace.noc else "analytic bound"),
    ]


def _part(label: str, joules: float | None, total: float) -> Facts:
    share = joules / total if joules is not None and total else 0.0
    text = NOT_PUBLISHED if joules is None else quantity(joules, "J")
    return {"label": label, "text": text, "share": round(100 * share, 1), "percent": percent(share)}


def _incomplete(report: Report) -> bool:
    return any(joules is None for joules in report.chip.kinds.values())


def _at_least(report: Report, joules: float) -> str:
    return f"{'≥ ' if _incomplete(report) else ''}{quantity(joules, 'J')}"
