"""Compile time of the digits model by stage: first ever (kernels compiled), in a fresh process, and again in it."""

from __future__ import annotations

import tempfile

from benchmarks.child import run_job
from benchmarks.settings import CHIP, DIGITS, Results, Settings


def run(settings: Settings) -> Results:
    """Seconds of every stage."""
    job = {
        "job": "compile",
        "model": str(DIGITS / "spikformer.pt"),
        "chip": CHIP,
        "settings": {},
        "output": None,
        "repeat": 3,
    }
    with tempfile.TemporaryDirectory() as empty:
        first = run_job({**job, "repeat": 1}, {"NUMBA_CACHE_DIR": empty})
    run_job(job)
    warm = run_job(job)
    again = min(warm["runs"][1:], key=lambda run: run["total_s"])
    columns = {"first ever": first["runs"][0], "fresh process": warm["runs"][0], "again": again}
    rows = [
        {"stage": stage, **{f"{name}, s": run["stages_s"][stage] for name, run in columns.items()}}
        for stage in again["stages_s"]
    ]
    rows.append({"stage": "all stages", **{f"{name}, s": run["total_s"] for name, run in columns.items()}})
    whole = {
        "first ever, s": first["process_s"],
        "fresh process, s": warm["process_s"] - sum(r["total_s"] for r in warm["runs"][1:]),
    }
    rows.append({"stage": "whole process", **whole})
    return Results(tables={"Compile the digits model": rows}, details={"first": first, "warm": warm})
