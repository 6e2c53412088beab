"""Jobs that need a process of their own: peak memory and fresh caches are properties of a process.

``python -m benchmarks.child '{"job": ...}'`` prints one line of JSON; ``run_job`` calls it.
"""

from __future__ import annotations

import cProfile
import gc
import json
import math
import os
import pstats
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.settings import BenchmarkError, last_words

ROOT = Path(__file__).parents[1]
HOTTEST = 16

Facts = dict[str, Any]


def run_job(job: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Facts:
    """Run ``job`` in a new process and return what it measured, with ``process_s``, its whole wall time."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", json.dumps(job)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BenchmarkError(f"benchmark job {dict(job)}: {last_words(done)}")
    return {**json.loads(done.stdout.splitlines()[-1]), "process_s": time.perf_counter() - begun}


class Stopwatch:
    """Seconds between the ends of successive stages."""

    def __init__(self) -> None:
        self.begun = self._last = time.perf_counter()
        self.stages: dict[str, float] = {}

    def stage(self, name: str, _text: object) -> None:
        """A stage has ended; an ``on_stage`` of ``neurochip.compile``."""
        now = time.perf_counter()
        self.stages[name] = now - self._last
        self._last = now


def compile_job(
    model: str, chip: str, settings: dict[str, str], output: str | None, repeat: int, chips: int | None = None,
    weight_bits: int | None = None,
) -> Facts:  # fmt: skip
    """Compile ``repeat`` times; seconds of every stage each time. ``refused`` alone if the chip cannot hold the model.

    ``chips``: for a square system of so many of them, whatever the largest one built has. ``weight_bits``: None = the
    chip's own.
    """
    begun = time.perf_counter()
    from compiler.mapping.bounds import core_rows
    from neurochip import api
    from neurochip.errors import CapacityError, UnsupportedError

    imported = time.perf_counter() - begun
    runs = []
    for _ in range(repeat):
        watch, worked = Stopwatch(), time.process_time()
        try:
            target = chip if chips is None else _system(chip, chips)
            program = api.compile(model, target, settings=settings, weight_bits=weight_bits, on_stage=watch.stage)
        except (CapacityError, UnsupportedError) as error:
            return {"refused": str(error)}
        seconds = {"total_s": time.perf_counter() - watch.begun, "cpu_s": time.process_time() - worked}
        runs.append({**seconds, "stages_s": watch.stages})
    peak = peak_bytes()
    facts: Facts = {"import_s": imported, "runs": runs, "peak_bytes": peak, "program": program.summary()}
    facts["core_rows"] = core_rows(program)
    weights = [getattr(p, "weight", None) for p in program.network.projections]
    facts["weight_bytes"] = sum(int(w.nbytes) for w in weights if hasattr(w, "nbytes"))
    if output is not None:
        begun = time.perf_counter()
        api.save_program(program, output)
        facts |= {"save_s": time.perf_counter() - begun, "program_bytes": Path(output).stat().st_size}
    return facts


def _system(chip: str, chips: int) -> Any:
    """``chip`` in a square system of ``chips`` of them."""
    from neurochip.chip.load import load_chip

    spec, side = load_chip(chip), math.isqrt(chips)
    counts = {"max_chips": chips, "columns": side, "rows": side}
    boards = {name: getattr(spec.boards, name).model_copy(update={"value": n}) for name, n in counts.items()}
    return spec.model_copy(update={"boards": spec.boards.model_copy(update=boards)})


def simulate_job(
    program: str, x: str, noc: str, threads: int, repeat: int, warm_up: bool = False, profile: bool = False
) -> Facts:
    """Simulate ``repeat`` times, after a run apart if ``warm_up``; then once more under the profiler if ``profile``."""
    import numpy as np

    from benchmarks.bare import ceiling
    from benchmarks.work import by_kind, row_adds
    from neurochip import api
    from neurochip.sim.engine import run_program

    begun = time.perf_counter()
    loaded = api.load_program(program)
    images = np.load(x)
    facts: Facts = {"load_s": time.perf_counter() - begun}
    if warm_up:
        begun = time.perf_counter()
        warm = run_program(loaded, images, noc=noc, threads=threads)
        facts["warm_up_s"] = time.perf_counter() - begun
        facts["setup_s"] = warm.setup_seconds
    walls, cpus = [], []
    for _ in range(repeat):
        gc.collect()
        begun, worked = time.perf_counter(), time.process_time()
        trace = run_program(loaded, images, noc=noc, threads=threads)
        walls.append(time.perf_counter() - begun)
        cpus.append(time.process_time() - worked)
    facts |= {"wall_s": min(walls), "cpu_s": min(cpus), "threads": threads, "peak_bytes": peak_bytes()}
    work = row_adds(loaded.network, trace)
    facts |= {
        "inputs": trace.inputs,
        "synaptic_operations": trace.synaptic_operations,
        "row_operations": sum(w.operations for w in work.values()),
        "bare_rate": ceiling(work.values()),
        "packets": trace.packets,
        "hops": trace.hops,
        "chip_crossings": trace.crossings,
        "latency_s": float(trace.tick_ns.sum(axis=1).mean()) * 1e-9,
        "spikes": {name: int(p.spikes.sum()) for name, p in trace.populations.items()},
        "rates": _rates(loaded.network, trace),
        "neurons_by_kind": by_kind(loaded.network, {p.name: p.size for p in loaded.network.populations}),
        "packets_by_kind": by_kind(loaded.network, {n: p.packets for n, p in trace.populations.items()}),
        "noc": dict(trace.noc),
        "logits": trace.logits.tolist(),
    }
    if profile:
        facts |= _profiled(loaded, images, noc, work)
    return facts


def check_job(program: str, x: str, sample: int | None = None) -> Facts:
    """Compare every spike and readout with the integer reference, or those of ``sample`` positions of each population.

    The whole of it is slow and holds every spike of every step.
    """
    import numpy as np

    from neurochip import api

    begun = time.perf_counter()
    facts = api.simulate(program, np.load(x), check=sample is None, check_sample=sample).to_dict()["check"]
    return {**facts, "wall_s": time.perf_counter() - begun, "peak_bytes": peak_bytes()}


def _profiled(loaded: Any, images: Any, noc: str, work: Any) -> Facts:
    """One run on one thread, profiled: the hottest functions, and the token layers' kernel beside the bare one."""
    from benchmarks.bare import ceiling
    from benchmarks.work import token_layers
    from neurochip.sim.engine import run_program

    profiler = cProfile.Profile()
    profiler.enable()
    run_program(loaded, images, noc=noc, threads=1)
    profiler.disable()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    own = {f"{Path(file).name}:{name}": (row[1], row[2]) for (file, _, name), row in stats.items()}
    total = sum(seconds for _, seconds in own.values())
    hottest = sorted(own.items(), key=lambda item: -item[1][1])[:HOTTEST]
    tokens = [work[name] for name in token_layers(loaded.network)]
    token_seconds = _delivery_seconds(loaded, images, noc)
    seconds = sum(token_seconds[name] for name in token_layers(loaded.network))
    operations = sum(w.operations for w in tokens)
    return {
        "profile_s": total,
        "hottest": [{"function": n, "calls": calls, "seconds": s, "share": s / total} for n, (calls, s) in hottest],
        "token_kernel": {"operations": operations, "seconds": seconds, "bare_rate": ceiling(tokens)},
    }


def _delivery_seconds(loaded: Any, images: Any, noc: str) -> Counter[str]:
    """Seconds to deliver the spikes of each projection on one thread: by tick, with its booking, or by layer."""
    from neurochip.sim import engine
    from neurochip.sim.waves import blocks

    seconds: Counter[str] = Counter()
    plain, in_block = engine.Batch._deliver, blocks._deliver

    def timed(batch: Any, plan: Any, projection: Any, current: Any) -> None:
        begun = time.perf_counter()
        plain(batch, plan, projection, current)
        seconds[projection.projection.name] += time.perf_counter() - begun

    def timed_block(flight: Any, room: Any, layer: Any, number: int, *arguments: Any) -> None:
        begun = time.perf_counter()
        in_block(flight, room, layer, number, *arguments)
        seconds[layer.wave.incoming[number].plan.projection.name] += time.perf_counter() - begun

    with patch.object(engine.Batch, "_deliver", timed), patch.object(blocks, "_deliver", timed_block):
        engine.run_program(loaded, images, noc=noc, threads=1)
    return seconds


def _rates(network: Any, trace: Any) -> list[float]:
    """Mean, least and largest spikes per neuron and step over the populations of neurons."""
    rates = [
        float(trace.populations[p.name].spikes.sum()) / (p.size * network.timesteps * trace.inputs)
        for p in network.populations
        if p.neuron.kind == "lif"
    ]
    return [sum(rates) / len(rates), min(rates), max(rates)]


def peak_bytes() -> int:
    """Most memory this process has held; getrusage would count what the parent held before ``exec``."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def placed_job(**arguments: Any) -> Facts:
    """Every method of placement on one program; see ``benchmarks.placed``."""
    from benchmarks import placed

    return placed.placed_job(**arguments)


JOBS = {"compile": compile_job, "simulate": simulate_job, "check": check_job, "placed": placed_job}

if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    print(json.dumps(JOBS[arguments.pop("job")](**arguments)))
