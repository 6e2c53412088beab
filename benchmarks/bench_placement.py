"""Placement of cores: layered graphs beside published methods (``benchmarks/placement.py``), and compiled models."""

from __future__ import annotations

from typing import Any

from benchmarks import placement
from benchmarks.bench_imagenet import THREADS, prepare
from benchmarks.child import run_job
from benchmarks.placed import measured
from benchmarks.settings import CHIP, Results, Settings
from benchmarks.table import Row


def run(settings: Settings) -> Results:
    """A second a graph if quick; otherwise a minute a graph, a million clusters, and the cut of every model."""
    tables = placement.tables(settings.quick)
    details: dict[str, Any] = {}
    cuts: list[Row] = []
    cores: list[Row] = []
    for name in settings.models:
        case = prepare(name, settings.cache)
        options = case.model.options(case.steps)
        job = {"job": "compile", "model": str(case.checkpoint), "chip": CHIP, "settings": options, "repeat": 1}
        run_job({**job, "output": str(case.program)})
        facts = measured(case.program, case.images, THREADS, cut=not settings.quick)
        tables[f"{name}: one image by method of placement"] = facts["methods"]
        cores.append({"model": name, **facts["cores"]})
        if "cut" in facts:
            cuts.append({"model": name, **facts["cut"]})
        details[name] = facts
    tables["Cores over their lower bound"] = cores
    if cuts:
        tables["Traffic that leaves its chip"] = cuts
    return Results(tables=tables, details={"models": details})
