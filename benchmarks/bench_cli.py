"""Start-up: what a person waits for at the shell, caches warm."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.settings import CHIP, DIGITS, ROOT, Results, Settings

COMMAND = [sys.executable, "-c", "from neurochip.cli.main import main; main()"]
TARGETS_S = {"neurochip --help": 0.4, "simulate one digits image": 2.0, "compile and simulate one digits image": 3.0}


def run(settings: Settings) -> Results:
    """Best wall time of a few runs of each command, and the CPU time of that run: what counts on a busy machine."""
    repeat = 2 if settings.quick else 5
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "digits.ncp")
        compile_digits = ["compile", str(DIGITS / "spikformer.pt"), "--chip", CHIP, "-o", program]
        simulate = ["simulate", program, "--input", str(DIGITS / "test_images.npz"), "--limit", "1"]
        jobs = {
            "neurochip --help": [["--help"]],
            "simulate one digits image": [simulate],
            "compile and simulate one digits image": [compile_digits, simulate],
        }
        _seconds([compile_digits, simulate])  # makes the program and warms the caches
        best = {name: min(_seconds(commands) for _ in range(repeat)) for name, commands in jobs.items()}
    rows = [
        {"command": name, "wall, s": wall, "CPU, s": cpu, "target, s": TARGETS_S[name]}
        for name, (wall, cpu) in best.items()
    ]
    return Results(tables={"Start-up, warm caches": rows})


def _seconds(commands: list[list[str]]) -> tuple[float, float]:
    """Wall and CPU seconds of ``commands``, one after the other."""
    begun, worked = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    for arguments in commands:
        subprocess.run([*COMMAND, *arguments], cwd=ROOT, check=True, capture_output=True)
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = done.ru_utime + done.ru_stime - worked.ru_utime - worked.ru_stime
    return time.perf_counter() - begun, cpu
