"""Full-size spiking transformers: compile, simulate one image, move every packet; beside PyTorch and bare addition."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import run_job
from benchmarks.models import MODELS, Model, model_of, noise_images
from benchmarks.settings import CHIP, ROOT, BenchmarkError, Results, Settings, last_words
from benchmarks.table import Row, print_table

THREADS = 2
REPEAT = 3
IMAGE_SEED = 1
ADDRESSED_CHIPS = 16384
"""Chips that Loihi's protocol addresses (``chips/loihi.yaml``): for models that no system built can hold."""
SAMPLE = 16
"""Positions of each population that are compared with the integer reference where not all are."""

SHOWN = 10
"""Populations printed of each model; JSON has all of them."""

GROWTH = "Growth of simulation with synaptic operations"

IN_TORCH = tuple(name for name in MODELS if name.startswith(("spikformer-4", "spikformer-8")))
"""Models that ``torch_spikformer.py`` can build."""
SYSTEMS = {"built": "the largest one built", "refused": f"{ADDRESSED_CHIPS} chips"}

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model with its number of steps, and its files in the cache. ``bits``: of a weight; None = the chip's own."""

    model: Model
    steps: int
    bits: int | None
    checkpoint: Path
    program: Path
    images: Path
    eight_images: Path

    @property
    def name(self) -> str:
        """As the user names it."""
        return f"{self.model.name}@{self.steps}" + (f"/{self.bits}" if self.bits else "")


def run(settings: Settings) -> Results:
    """Every model the user chose; each prints its rows as soon as it is done."""
    tables: dict[str, list[Row]] = {}
    details = {}
    for name in settings.models:
        facts: Facts = {}
        for part in measure(prepare(name, settings.cache), settings):
            facts |= part
            for title, rows in report(name, part, facts).items():
                print_table(title, rows)
                tables[title] = rows
        details[name] = facts
    rows = [summary(name, facts) for name, facts in details.items()]
    summaries = {"Full-size models": rows, GROWTH: growth(details)}
    return Results(tables=summaries, details={"models": details, "each": tables})


def prepare(name: str, cache: Path) -> Case:
    """Files of the case ``model@steps`` or ``model@steps/bits``, made on first use."""
    model, steps, bits = model_of(name)
    checkpoint = model.checkpoint(cache, steps)
    images = {count: cache / f"noise-{model.image}-{count}.npy" for count in (1, 8)}
    for count, path in images.items():
        if not path.exists():
            np.save(path, noise_images(np.random.default_rng(IMAGE_SEED), count, model.image))
    return Case(
        model=model,
        steps=steps,
        bits=bits,
        checkpoint=checkpoint,
        program=checkpoint.with_suffix(f".{bits}.ncp" if bits else ".ncp"),
        images=images[1],
        eight_images=images[8],
    )


def measure(case: Case, settings: Settings) -> Iterator[Facts]:
    """Compile, simulate with both networks, and run PyTorch, each in a process of its own, one after the other."""
    options = case.model.options(case.steps)
    job: Facts = {"job": "compile", "model": str(case.checkpoint), "chip": CHIP, "settings": options}
    job |= {"output": str(case.program), "repeat": 1, "weight_bits": case.bits}
    compiled = run_job(job)
    if "refused" in compiled:
        compiled = {**run_job({**job, "chips": ADDRESSED_CHIPS}), "built": compiled["refused"]}
    yield {"compile": compiled}
    if "refused" in compiled:
        return
    job = {"job": "simulate", "program": str(case.program), "x": str(case.images), "threads": THREADS}
    yield {"analytic": run_job({**job, "noc": "analytic", "repeat": REPEAT, "warm_up": True, "profile": True})}
    job_of_eight = {**job, "x": str(case.eight_images), "noc": "analytic", "repeat": REPEAT, "warm_up": True}
    yield {"eight": run_job(job_of_eight)}
    if settings.torch_python is not None and case.model.name in IN_TORCH:
        yield {"torch": _torch(case, settings.torch_python)}
    sample = None if settings.check else SAMPLE
    check: Facts = {"job": "check", "program": str(case.program), "x": str(case.images), "sample": sample}
    yield {"check": run_job(check)}
    if settings.packet_noc:
        yield {"packet": run_job({**job, "noc": "packet", "repeat": 1})}


def _torch(case: Case, python: Path) -> Facts:
    script = Path(__file__).parent / "torch_spikformer.py"
    arguments = [case.checkpoint, case.images, case.steps, case.model.settings["num_heads"], THREADS, REPEAT]
    done = subprocess.run(
        [str(python), str(script), *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{python} cannot run the model in SpikingJelly: {last_words(done)}")
    found: Facts = json.loads(done.stdout.splitlines()[-1])
    return found


def report(name: str, part: Facts, facts: Facts) -> dict[str, list[Row]]:
    """Tables of what has just been measured of one model (``part``), beside what was before (``facts``)."""
    tables: dict[str, list[Row]] = {}
    if "compile" in part:
        compiled = part["compile"]
        refusals: list[Row] = [
            {"system": name, "refusal": compiled[key]} for key, name in SYSTEMS.items() if key in compiled
        ]
        if refusals:
            tables["refused"] = refusals
    if "compile" in part and "refused" not in part["compile"]:
        program = compiled["program"]
        stages = {**compiled["runs"][0]["stages_s"], "save": compiled["save_s"]}
        tables["compile"] = [{"stage": stage, "seconds": seconds} for stage, seconds in stages.items()]
        tables["placement"] = [{"method": k, "neuron hops": v} for k, v in program["placement_costs"].items()]
        tables["cores over their bound, populations with most to save"] = most_to_save(compiled["core_rows"])
        tables["compiled"] = [compiled_row(name, compiled)]
    if "analytic" in part:
        run = part["analytic"]
        tables["simulate, one thread, hottest functions"] = run["hottest"]
        tables["neurons and packets by kind of population"] = _shares(run["neurons_by_kind"], run["packets_by_kind"])
        tables["firing"] = [dict(zip(("mean rate", "least", "largest"), run["rates"], strict=True))]
        tables["simulated"] = [simulated_row(name, run)]
    if "eight" in part:
        tables["eight images side by side, as multiples of one"] = [eight_row(facts["analytic"], part["eight"])]
    if "torch" in part:
        tables["SpikingJelly beside ours, weights of 8 bits"] = [torch_row(facts["analytic"], part["torch"])]
    if "check" in part:
        tables["compared with the integer reference"] = [part["check"]]
    if "packet" in part:
        tables["packet network"] = [packet_row(part["packet"], facts["analytic"])]
    return {f"{name}: {title}": rows for title, rows in tables.items()}


def most_to_save(core_rows: list[Row]) -> list[Row]:
    """Of ``compiler.mapping.bounds.core_rows``: the populations that are furthest above their bound, and the sum."""
    *populations, whole = core_rows
    return [*sorted(populations, key=lambda row: float(str(row["at least"])) - float(str(row["cores"])))[:SHOWN], whole]


def summary(name: str, facts: Facts) -> Row:
    """One line for one model."""
    if "refused" in facts["compile"]:
        return {"model": name, "compile, s": "refused"}
    row = {**compiled_row(name, facts["compile"]), **simulated_row(name, facts["analytic"])}
    if "torch" in facts:
        row["of SpikingJelly"] = torch_row(facts["analytic"], facts["torch"])["ours / theirs"]
    row["per image of 8"] = eight_row(facts["analytic"], facts["eight"])["wall of an image"]
    if "packet" in facts:
        packets = packet_row(facts["packet"], facts["analytic"])
        row |= {f"packet {key}": packets[key] for key in ("s", "M hops/s", "latency, analytic / packet")}
    return row


def growth(details: dict[str, Facts]) -> list[Row]:
    """Seconds of simulation for each G of synaptic operations, of each model and of 1 and 8 images.

    Cost that grows no faster than the work has ratios of at most 1: ``of the first model``, of as many images;
    ``of one image``, of the same model.
    """
    rows: list[Row] = []
    first: dict[int, float] = {}
    for name, facts in details.items():
        one: dict[str, float] = {}
        for part in ("analytic", "eight") if "eight" in facts else ():
            run = facts[part]
            work, images = run["synaptic_operations"] / 1e9, run["inputs"]
            wall, cpu = run["wall_s"] / work, run["cpu_s"] / work
            one.setdefault("wall", wall)
            rows.append({
                "model": name, "images": images, "G synaptic operations": work, "simulate, s": run["wall_s"],
                "s per G": wall, "CPU s per G": cpu, "of the first model": wall / first.setdefault(images, wall),
                "of one image": wall / one["wall"],
            })  # fmt: skip
    return rows


def compiled_row(name: str, compiled: Facts) -> dict[str, Any]:
    """Seconds, memory and sizes of one compiled model."""
    program = compiled["program"]
    return {
        "model": name,
        "compile, s": compiled["runs"][0]["total_s"],
        "CPU, s": compiled["runs"][0]["cpu_s"],
        "compile, GB": compiled["peak_bytes"] / 1e9,
        "weights, MB": compiled["weight_bytes"] / 1e6,
        "program, MB": compiled["program_bytes"] / 1e6,
        "neurons": program["neurons"],
        "cores": program["cores"],
        "over bound": compiled["core_rows"][-1]["cores / at least"],
        "over pooled": program["cores"] / program["lower_bound_cores"],
        "chips": program["chips"],
    }


def simulated_row(name: str, run: Facts) -> dict[str, Any]:
    """Seconds, memory and speed of one simulated image."""
    speed = run["synaptic_operations"] / run["wall_s"] / THREADS
    return {
        "model": name,
        "simulate, s": run["wall_s"],
        "first run, s": run["warm_up_s"],
        "set-up, s": run["setup_s"],
        "simulate, GB": run["peak_bytes"] / 1e9,
        "G accumulates": run["synaptic_operations"] / 1e9,
        "G/s and core": speed / 1e9,
        "of bare": speed / run["bare_rate"],
        "token kernel of bare": _token_share(run),
        "M packets": run["packets"] / 1e6,
        "M hops": run["hops"] / 1e6,
    }


def torch_row(run: Facts, torch: Facts) -> dict[str, Any]:
    """SpikingJelly's forward pass beside ours."""
    ours, theirs = np.array(run["logits"]), np.array(torch["logits"])
    return {
        "theirs, s": torch["wall_s"],
        "ours, s": run["wall_s"],
        "ours / theirs": run["wall_s"] / torch["wall_s"],
        "CPU, ours / theirs": run["cpu_s"] / torch["cpu_s"],
        "their spikes": sum(torch["spikes"].values()),
        "correlation of logits": float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]),
    }


def eight_row(one: Facts, eight: Facts) -> dict[str, Any]:
    """Eight images as multiples of one."""
    return {
        "wall of an image": eight["wall_s"] / eight["inputs"] / one["wall_s"],
        "accumulates of an image": eight["synaptic_operations"] / eight["inputs"] / one["synaptic_operations"],
        "memory": eight["peak_bytes"] / one["peak_bytes"],
        "memory, GB": eight["peak_bytes"] / 1e9,
    }


def packet_row(run: Facts, analytic: Facts) -> dict[str, Any]:
    """The packet network, and how far the analytic one is from it."""
    return {
        "s": run["wall_s"],
        "CPU s": run["cpu_s"],
        "M hops": run["hops"] / 1e6,
        "M hops/s": run["hops"] / run["wall_s"] / 1e6,
        "latency, analytic / packet": analytic["latency_s"] / run["latency_s"],
        "memory, GB": run["peak_bytes"] / 1e9,
        **run["noc"],
    }


def _shares(neurons: dict[str, int], packets: dict[str, int]) -> list[Row]:
    """Counts and shares of each kind, most packets first."""
    every_neuron, every_packet = sum(neurons.values()), max(sum(packets.values()), 1)
    return [
        {"kind": kind, "M neurons": neurons[kind] / 1e6, "of neurons": neurons[kind] / every_neuron,
         "M packets": count / 1e6, "of packets": count / every_packet}
        for kind, count in sorted(packets.items(), key=lambda item: -item[1])
    ]  # fmt: skip


def _token_share(run: Facts) -> float | None:
    kernel = run["token_kernel"]
    if not kernel["seconds"] or not kernel["bare_rate"]:
        return None
    return float(kernel["operations"] / kernel["seconds"] / kernel["bare_rate"])
