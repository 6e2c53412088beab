"""The report of a run as tables on standard output; every figure comes from the same document as ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neurochip.cli.console import print_table, quantity_text

Facts = Mapping[str, Any]


def print_report(facts: Facts) -> None:
    """Print ``Result.to_dict()``: summary, energy, layers."""
    print_table("Result", [{"fact": name, "value": value} for name, value in _summary(facts).items()])
    print_table("Energy, all inputs", _energy(facts["energy"]))
    print_table("Layers, sums over all inputs", [_layer(row) for row in facts["layers"]])


def _summary(facts: Facts) -> dict[str, Any]:
    latency, per_input, check = facts["latency"], facts["per_input"], facts.get("check", {})
    rows: dict[str, Any] = {
        "model on chip": f"{facts.get('model')} on {facts.get('chip')} ({facts.get('profile')})",
        "inputs": facts["inputs"],
        "timesteps": facts["timesteps"],
        "accuracy": None if facts["accuracy"] is None else f"{facts['accuracy']:.4f}",
        "equal to the integer reference": check.get("exact"),
        "cores, chips": f"{facts['cores']:,}, {facts['chips']:,}",
        "latency per input": f"{latency['ticks']:,} ticks, {quantity_text(latency['seconds'], 's')}",
        "energy per input, chip": quantity_text(per_input["energy_chip_j"], "J"),
        "energy per input, 45 nm operations": quantity_text(per_input["energy_ops_45nm_j"], "J"),
        "energy per input, same model as an ANN": quantity_text(per_input["energy_ann_45nm_j"], "J"),
    }
    for name in ("spikes", "packets", "hops", "ac", "mac"):
        rows[f"{name.upper() if len(name) < 4 else name} per input"] = per_input[name]
    rows |= _busiest(facts.get("busiest", {}))
    for name, share in facts.get("utilisation", {}).items():
        rows[f"mean use: {name.replace('_', ' ')}"] = None if share is None else f"{share:.1%}"
    return rows


def _busiest(busiest: Facts) -> dict[str, str]:
    rows, core, link = {}, busiest.get("core"), busiest.get("link")
    if core:
        rows["busiest core"] = f"core {core['core']} at router {tuple(core['router'])}: {', '.join(core['layers'])}"
    if link:
        rows["busiest link"] = f"{tuple(link['from'])} to {tuple(link['to'])}: {link['packets']:,} packets"
    return rows


def _energy(energy: Facts) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for bill, entries in energy.items():
        for name, value in entries.items():
            if name.endswith("_j"):
                kind = name.removesuffix("_j").replace("_", " ")
                rows.append({"bill": bill, "kind": kind, "energy": quantity_text(value, "J")})
    return rows


def _layer(row: Facts) -> dict[str, object]:
    return {
        "layer": row["name"],
        "kind": row["kind"],
        "neurons": row["neurons"],
        "cores": row["cores"],
        "spikes": row["spikes"],
        "rate": row["rate"],
        "AC": row["ac"],
        "MAC": row["mac"],
        "packets": row["packets"],
        "45 nm": quantity_text(row["ops_45nm_j"], "J"),
        "chip, dynamic": quantity_text(row["dynamic_j"], "J"),
    }
