"""The digits models on every shipped chip: exact or refused, cores, ticks, energy, accuracy; and accuracy by width."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import chips_page
from benchmarks.settings import DIGITS, Results, Settings
from benchmarks.table import Row, text
from compiler.ir.graph import Graph
from compiler.passes import PASSES, Target
from neurochip import api
from neurochip.chip.load import shipped_chips
from neurochip.chip.spec import ChipSpec
from neurochip.errors import NeurochipError

MODELS = ("spikformer", "meta", "qk")
"""Files of ``examples/digits``: Spikformer with T = 4; SDSA-3 and QK attention with T = 1."""

WIDTHS = (*range(1, 9), 12, 16)
QUICK_CHIPS = ("loihi", "tianjic", "truenorth")
QUICK_WIDTHS = (2, 4, 8)


def run(settings: Settings) -> Results:
    """Both tables, of a few chips, widths and images if quick; else with ``docs/digits-on-chips.md`` and README's."""
    images = np.load(DIGITS / "test_images.npz")["images"]
    labels = np.load(DIGITS / "test_labels.npy")
    if settings.quick:
        images, labels = images[::10], labels[::10]
    chips = [api.load_chip(name) for name in (QUICK_CHIPS if settings.quick else shipped_chips())]
    matrix = [on_chip(model, chip, images, labels) for model in MODELS for chip in chips]
    widths = [by_width(model, images, labels, QUICK_WIDTHS if settings.quick else WIDTHS) for model in MODELS]
    if not settings.quick:
        chips_page.write(matrix, widths)
    tables: dict[str, list[Row]] = {
        f"Digits models on chips, {len(images)} images": [
            {**row, "why": str(row.get("why", "-"))[:60]} for row in matrix
        ],
        "Accuracy by weight width, quantised graph": widths,
    }
    return Results(tables=tables)


def on_chip(model: str, chip: ChipSpec, images: np.ndarray, labels: np.ndarray) -> Row:
    """One cell of the matrix: a compiled and checked run, or why the chip refuses the model."""
    row: dict[str, object] = {"model": model, "chip": chip.name}
    try:
        program = api.compile(DIGITS / f"{model}.pt", chip)
        result = api.simulate(program, images, labels=labels, check=True)
    except NeurochipError as refusal:
        return {**row, "exact": "refused", "why": str(refusal)}
    facts = result.to_dict()
    return {
        **row, "exact": "exact" if result.exact else "DIFFERS", "bits": program.origin.weight_bits,
        "attention": program.origin.attention, "cores": program.n_cores, "chips": program.n_chips,
        "ticks": facts["latency"]["ticks"], "latency, us": facts["latency"]["seconds"] * 1e6,
        "chip, uJ": energy(facts),
        "45 nm, uJ": facts["per_input"]["energy_ops_45nm_j"] * 1e6, "accuracy": facts["accuracy"],
    }  # fmt: skip


def by_width(model: str, images: np.ndarray, labels: np.ndarray, widths: tuple[int, ...]) -> Row:
    """Accuracy of one model in float and with weights of each width, in the arithmetic of the first chip."""
    graph = api.load_model(DIGITS / f"{model}.pt")
    row: dict[str, object] = {"model": model, "float": _accuracy(graph, images, labels)}
    for bits in widths:
        high = max(1, (1 << (bits - 1)) - 1)
        row[f"{bits} bits"] = _accuracy(_quantised(graph, bits, high), images, labels)
    return row


def _quantised(graph: Graph, bits: int, high: int) -> Graph:
    rules = api.load_chip("loihi").arithmetic
    target = Target(
        arithmetic=rules, weight_low=-high, weight_high=high, weight_zero=bits > 1, encoder_weight_bits=max(8, bits)
    )
    for item in PASSES:
        graph = item.run(graph, target)
    return graph


def _accuracy(graph: Graph, images: np.ndarray, labels: np.ndarray) -> float:
    logits = graph.run(images).logits.reshape(len(images), -1)
    return float((logits.argmax(axis=1) == labels).mean())


def energy(facts: dict[str, Any]) -> str:
    """Microjoules of one input on the chip; ">" where a price is missing, "-" where all are."""
    joules = facts["per_input"]["energy_chip_j"]
    missing = any(part is None for part in facts["energy"]["chip"].values())
    return "-" if not joules else f"{'> ' if missing else ''}{text(joules * 1e6)}"
