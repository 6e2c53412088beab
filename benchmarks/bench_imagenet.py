"""Full-size spiking transformers: compile, simulate one image, move every packet; beside PyTorch and bare addition."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import run_job
from benchmarks.models import MODELS, Model, noise_images
from benchmarks.settings import CHIP, ROOT, Results, Settings
from benchmarks.table import Row, print_table

THREADS = 2
REPEAT = 3
IMAGE_SEED = 1

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model with its number of steps, and its files in the cache."""

    model: Model
    steps: int
    checkpoint: Path
    program: Path
    images: Path

    @property
    def name(self) -> str:
        """As the user names it."""
        return f"{self.model.name}@{self.steps}"


def run(settings: Settings) -> Results:
    """Every model the user chose; each prints its rows as soon as it is done."""
    tables: dict[str, list[Row]] = {}
    details = {}
    for name in settings.models:
        facts = measure(prepare(name, settings.cache), settings)
        details[name] = facts
        for title, rows in report(name, facts).items():
            print_table(title, rows)
            tables[title] = rows
    return Results(
        tables={"Full-size models": [summary(n, f) for n, f in details.items()]},
        details={"models": details, "each": tables},
    )


def prepare(name: str, cache: Path) -> Case:
    """Files of the case ``model@steps``, made on first use."""
    model_name, _, steps = name.partition("@")
    if model_name not in MODELS or not steps.isdecimal():
        raise ValueError(f"--model {name}: expected NAME@T with NAME one of {', '.join(MODELS)}")
    model = MODELS[model_name]
    checkpoint = model.checkpoint(cache, int(steps))
    images = cache / f"noise-{model.image}.npy"
    if not images.exists():
        np.save(images, noise_images(np.random.default_rng(IMAGE_SEED), 1, model.image))
    return Case(
        model=model, steps=int(steps), checkpoint=checkpoint, program=checkpoint.with_suffix(".ncp"), images=images
    )


def measure(case: Case, settings: Settings) -> Facts:
    """Compile, simulate with both networks, and run PyTorch, each in a process of its own, one after the other."""
    facts: Facts = {
        "compile": run_job({
            "job": "compile", "model": str(case.checkpoint), "chip": CHIP, "settings": case.model.options(case.steps),
            "output": str(case.program), "repeat": 1,
        })
    }  # fmt: skip
    job = {"job": "simulate", "program": str(case.program), "x": str(case.images), "threads": THREADS}
    facts["analytic"] = run_job({**job, "noc": "analytic", "repeat": REPEAT, "warm_up": True, "profile": True})
    if settings.torch_python is not None:
        facts["torch"] = _torch(case, settings.torch_python)
    if settings.packet_noc:
        facts["packet"] = run_job({**job, "noc": "packet", "repeat": 1, "warm_up": False, "profile": False})
    return facts


def _torch(case: Case, python: Path) -> Facts:
    script = Path(__file__).parent / "torch_spikformer.py"
    arguments = [case.checkpoint, case.images, case.steps, case.model.settings["num_heads"], THREADS, REPEAT]
    done = subprocess.run(
        [str(python), str(script), *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{python} cannot run the model in SpikingJelly:\n{done.stderr}")
    found: Facts = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(name: str, facts: Facts) -> Row:
    """One line for one model."""
    compiled, run = facts["compile"], facts["analytic"]
    program = compiled["program"]
    speed = run["synaptic_operations"] / run["wall_s"] / THREADS
    row: dict[str, object] = {
        "model": name,
        "compile, s": compiled["runs"][0]["total_s"],
        "compile, GB": compiled["peak_bytes"] / 1e9,
        "program / weights": compiled["program_bytes"] / compiled["weight_bytes"],
        "cores": program["cores"],
        "over bound": program["cores"] / program["lower_bound_cores"],
        "chips": program["chips"],
        "simulate, s": run["wall_s"],
        "simulate, GB": run["peak_bytes"] / 1e9,
        "G accumulates": run["synaptic_operations"] / 1e9,
        "G/s and core": speed / 1e9,
        "of bare": speed / run["bare_rate"],
        "token kernel of bare": _token_share(run),
        "of SpikingJelly": None,
        "packet NoC, s": None,
        "M hops/s": None,
    }
    if "torch" in facts:
        row["of SpikingJelly"] = run["wall_s"] / min(facts["torch"]["seconds"])
    if "packet" in facts:
        row["packet NoC, s"] = facts["packet"]["wall_s"]
        row["M hops/s"] = facts["packet"]["hops"] / facts["packet"]["wall_s"] / 1e6
    return row


def report(name: str, facts: Facts) -> dict[str, list[Row]]:
    """Tables of one model: stages, hot spots, traffic, agreement with PyTorch."""
    compiled, run = facts["compile"], facts["analytic"]
    packets = run["packets_by_kind"]
    program = compiled["program"]
    tables: dict[str, list[Row]] = {
        f"{name}: compile": [{"stage": k, "seconds": s} for k, s in compiled["runs"][0]["stages_s"].items()],
        f"{name}: simulate, one thread, hottest functions": run["hottest"],
        f"{name}: packets by kind of sender": [
            {"kind": k, "packets": n, "share": n / max(run["packets"], 1)}
            for k, n in sorted(packets.items(), key=lambda item: -item[1])
        ],
        f"{name}: placement": [{"method": k, "neuron hops": v} for k, v in program["placement_costs"].items()],
        f"{name}: run": [summary(name, facts)],
        f"{name}: firing": [dict(zip(("mean rate", "least", "largest"), run["rates"], strict=True))],
    }
    if "torch" in facts:
        ours, theirs = np.array(run["logits"]), np.array(facts["torch"]["logits"])
        tables[f"{name}: SpikingJelly beside ours (8-bit weights)"] = [
            {
                "theirs, s": min(facts["torch"]["seconds"]),
                "ours, s": run["wall_s"],
                "their spikes": sum(facts["torch"]["spikes"].values()),
                "correlation of logits": float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]),
            }
        ]
    if "packet" in facts:
        tables[f"{name}: packet network"] = [{"figure": k, "value": v} for k, v in facts["packet"]["noc"].items()]
    return tables


def _token_share(run: Facts) -> float | None:
    kernel = run["token_kernel"]
    if not kernel["seconds"] or not kernel["bare_rate"]:
        return None
    return float(kernel["operations"] / kernel["seconds"] / kernel["bare_rate"])
