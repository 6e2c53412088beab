"""Simulation speed: digits in images a second; integrate-and-fire neurons in accumulates, beside bare row addition."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bare import ceiling
from benchmarks.settings import CHIP, DIGITS, ROOT, BenchmarkError, Results, Settings, last_words
from benchmarks.table import Row
from benchmarks.work import row_adds
from benchmarks.workloads import if_mlp, if_mlp_input
from compiler.mapping.map import map_network
from neurochip import api
from neurochip.network.projections import Dense
from neurochip.program.image import Origin, Program
from neurochip.sim.engine import run_program
from neurochip.version import VERSION

SIDE_BY_SIDE = (1, 16)
NEURONS_PER_CORE = 128
"""In SANA-FE, as the network fills a few tens of cores of ours."""
TARGET = 2e9
"""Accumulates per second on one core that the integrate-and-fire network must reach."""


def run(settings: Settings) -> Results:
    """Both workloads."""
    digits_rows = _digits(settings)
    mlp, mlp_rows = _mlp(settings)
    chip_row = {
        "spikes": mlp["spikes"], "packets": mlp["packets"], "hops": mlp["hops"], "cores": mlp["cores"],
        "energy, uJ": mlp["energy"]["chip"]["total_j"] * 1e6, "latency, us": mlp["latency"]["seconds"] * 1e6,
    }  # fmt: skip
    tables = {
        "Digits model": digits_rows,
        "1024-1024-1024-10 integrate-and-fire, T = 100, one core": mlp_rows,
        "The same on the chip, one input": [chip_row],
    }
    if settings.sanafe_python is not None:
        tables["The same in SANA-FE, detailed timing, one input"] = [sanafe(settings.sanafe_python, mlp_rows[0])]
    return Results(tables=tables, details={"mlp": mlp})


def _digits(settings: Settings) -> list[Row]:
    program = api.compile(DIGITS / "spikformer.pt", CHIP)
    images = np.load(DIGITS / "test_images.npz")["images"]
    rows: list[Row] = []
    for noc, count in (("analytic", 90 if settings.quick else 360), ("packet", 10 if settings.quick else 100)):
        for threads in sorted({1, os.cpu_count() or 1}):
            seconds, trace = _best(program, images[:count], noc=noc, threads=threads)
            rows.append({
                "network": noc, "images": count, "threads": threads, "images/s": count / seconds,
                "G accumulates/s": trace.synaptic_operations / seconds / 1e9,
                "M packet-hops/s": trace.hops / seconds / 1e6,
            })  # fmt: skip
    return rows


def mlp_program(seed: int = 0) -> Program:
    """The integrate-and-fire network mapped to the chip."""
    origin = Origin(
        model="if-mlp", model_sha256="", family="if-mlp", compiler_version=VERSION, weight_bits=8, attention="none",
        placement="anneal", profile=api.load_chip(CHIP).default_profile, seed=seed,
    )  # fmt: skip
    return map_network(if_mlp(seed), api.load_chip(CHIP), origin, ())


def _mlp(settings: Settings) -> tuple[dict[str, Any], list[Row]]:
    program = mlp_program()
    rows: list[Row] = []
    for inputs in SIDE_BY_SIDE:
        x = if_mlp_input(0, inputs)
        seconds, trace = _best(program, x, repeat=3 if settings.quick else 10)
        begun = time.process_time()
        for _ in range(10):
            run_program(program, x)
        cpu = (time.process_time() - begun) / 10
        speed, bare = trace.synaptic_operations / seconds, ceiling(row_adds(program.network, trace).values())
        rows.append({
            "inputs": inputs, "wall, ms": seconds * 1e3, "CPU, ms": cpu * 1e3, "G accumulates/s": speed / 1e9,
            "target, G/s": TARGET / 1e9, "bare kernel, G/s": bare / 1e9, "share of bare": speed / bare,
        })  # fmt: skip
    facts = api.simulate(program, if_mlp_input(0), threads=1).to_dict()
    chosen = {key: facts[key] for key in ("spikes", "packets", "hops", "ac", "energy", "latency", "cores", "chips")}
    return chosen, rows


def sanafe(python: Path, ours: Row) -> Row:
    """SANA-FE's seconds for one input without set-up, beside ours; same weights, thresholds and spikes."""
    network = if_mlp(0)
    dense = [p for p in network.projections if isinstance(p, Dense)]
    levels = [p.neuron.threshold >> dense[0].shift for p in network.populations if p.neuron.kind == "lif"]
    arrays = {f"weight{i}": p.weight for i, p in enumerate(dense)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.npz"
        np.savez(path, threshold=np.array(levels), spikes=if_mlp_input(0)[:, 0], **arrays)
        script = ROOT / "benchmarks" / "sanafe_mlp.py"
        command = [str(python), str(script), str(path), str(NEURONS_PER_CORE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{python} cannot run the network in SANA-FE: {last_words(done)}")
    theirs = json.loads(done.stdout.splitlines()[-1])
    wall, cpu = ours["wall, ms"], ours["CPU, ms"]
    return {
        "theirs, s": theirs["wall_s"], "ours, ms": wall, "times faster": theirs["wall_s"] * 1e3 / float(str(wall)),
        "CPU, times less": theirs["cpu_s"] * 1e3 / float(str(cpu)), "their synaptic events": theirs["spikes"],
        "their packets": theirs["packets_sent"], "their set-up, s": theirs["load_s"],
    }  # fmt: skip


def _best(program: Program, x: Any, *, noc: str = "analytic", threads: int = 1, repeat: int = 3) -> tuple[float, Any]:
    """Best wall seconds of ``repeat`` runs after one to warm up and set up, and the last trace."""
    trace = run_program(program, x, noc=noc, threads=threads)
    best = np.inf
    for _ in range(repeat):
        begun = time.perf_counter()
        trace = run_program(program, x, noc=noc, threads=threads)
        best = min(best, time.perf_counter() - begun)
    return float(best), trace
