"""Targets are told beside what was measured: reached, missed by how much, or which command would measure them."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmarks import noc_traffic, run
from benchmarks.child import run_job
from benchmarks.models import model_of
from benchmarks.settings import BenchmarkError, Results, last_words
from benchmarks.targets import FLAGSHIP, target_rows


def model(work: float, seconds: float, **extra: object) -> dict:
    """Facts of one model as ``bench_imagenet`` collects them; eight images take nine times as long as one."""
    program = {"neurons": 1, "cores": 120, "lower_bound_cores": 80, "chips": 1}
    compiled = {
        "core_rows": [{"cores / at least": 1.2}],
        "runs": [{"total_s": 61.0, "cpu_s": 61.0}],
        "peak_bytes": 5e9, "weight_bytes": 30e6, "program_bytes": 80e6, "program": program,
    }  # fmt: skip
    run = {
        "wall_s": seconds, "cpu_s": seconds, "warm_up_s": 1, "setup_s": 1, "peak_bytes": 2e9, "packets": 1, "hops": 4e8,
        "synaptic_operations": work, "bare_rate": work, "inputs": 1, "logits": [0.0, 1.0], "latency_s": 1.0,
        "token_kernel": {"operations": work, "seconds": seconds, "bare_rate": work}, "noc": {},
    }  # fmt: skip
    eight = {**run, "inputs": 8, "synaptic_operations": 8 * work, "wall_s": 9 * seconds}
    return {"compile": compiled, "analytic": run, "eight": eight, "check": {"exact": True}, **extra}


@pytest.fixture
def found():
    torch = {"wall_s": 2.0, "cpu_s": 2.0, "spikes": {}, "logits": [0.0, 1.0]}
    packet = {**model(1e9, 1.0)["analytic"], "wall_s": 50.0}
    models = {
        "spikformer-8-384@4": model(1e9, 1.0),
        FLAGSHIP: model(2e9, 1.0, torch=torch, packet=packet),
        "refused@4": {"compile": {"refused": "too large"}},
    }
    curves = [{"router": "r", "pattern": "a", "latency, worst": 0.01, "saturation rate": -0.2}]
    return {"imagenet": {"models": models}, "noc": {"tables": {"8x8 mesh beside BookSim2": curves}}}


def test_targets_say_what_was_measured_and_whether_it_is_reached(found):
    rows = {row["target"]: row for row in target_rows(found)}
    reached = {name: row["reached"] for name, row in rows.items() if row["measured"] is not None}
    missed = {
        f"{FLAGSHIP}: packet network, M hops/s": 8.0,  # 400 M hops in 50 s
        f"{FLAGSHIP}: compile, s": 61.0,
        "compile, peak GB": 5.0,
        "saturation rate, share it differs from BookSim2's": 0.2,
        "Growth of simulation with synaptic operations: 8 images": 9 / 8,
    }
    assert {name for name, yes in reached.items() if yes == "NO"} == missed.keys()
    assert {name: rows[name]["measured"] for name in missed} == pytest.approx(missed)
    met = {
        f"{FLAGSHIP}: simulate / SpikingJelly": 0.5,
        f"{FLAGSHIP}: of bare row addition": 0.5,
        f"{FLAGSHIP}: packet network, s": 50.0,
        "program file less 1.2 x its weights, MB": 44.0,
        "cores over their lower bound": 1.2,
        "models that differ from the integer reference": 0.0,
        "Growth of simulation with synaptic operations: from model to model": 1.0,
    }
    assert {name: rows[name]["measured"] for name in met} == pytest.approx(met)
    assert all(reached[name] == "yes" for name in met)


def test_a_target_that_was_not_measured_names_the_command_that_would(found):
    del found["imagenet"]["models"][FLAGSHIP]["torch"]
    rows = {row["target"]: row for row in target_rows(found)}
    row = rows[f"{FLAGSHIP}: simulate / SpikingJelly"]
    assert row["reached"] == "-"
    assert row["of"] == f"not measured: run.py imagenet --model {FLAGSHIP} --torch-python PYTHON"
    assert not any("digits" in name or "placed" in name for name in rows), "of benchmarks that did not run"


def test_a_model_that_differs_from_the_reference_is_named(found):
    found["imagenet"]["models"]["spikformer-8-384@4"]["check"]["exact"] = False
    (row,) = [row for row in target_rows(found) if "integer reference" in str(row["target"])]
    assert (row["reached"], row["of"]) == ("NO", "spikformer-8-384@4")


def test_targets_of_placement_and_start_up_are_read_from_their_tables():
    from benchmarks.placement import MILLION_TABLE, PLACEMENT_TABLE

    graphs = [{"graph": "conv64", "ours, quick": 83_164, "ours, quick, CPU s": 0.9}]
    million = [{"graph": "a", "ours, s": 500.0, "peak GB": 1.0}, {"graph": "b", "ours, s": 700.0, "peak GB": 9.0}]
    starts = [{"command": "neurochip --help", "wall, s": 0.1, "target, s": 0.4}]
    tables = {PLACEMENT_TABLE: graphs, MILLION_TABLE: million}
    rows = {
        row["target"]: row for row in target_rows({"placement": {"tables": tables}, "cli": {"tables": {"": starts}}})
    }
    assert rows["conv64 placed in 1 s: cost"]["reached"] == "NO"
    assert rows["conv64 placed in 1 s: CPU s"]["reached"] == "yes"
    assert rows["conv64 placed in 60 s: cost"]["reached"] == "-"
    assert (rows["a million clusters placed, s"]["measured"], rows["a million clusters placed, s"]["of"]) == (
        700.0,
        "b",
    )
    assert rows["neurochip --help, s"]["reached"] == "yes"


def test_a_benchmark_that_fails_is_told_and_the_others_still_run(tmp_path, monkeypatch):
    def broken(_settings):
        raise BenchmarkError("no such program")

    def good(_settings):
        return Results(tables={"Start-up": [{"command": "neurochip --help", "wall, s": 0.9, "target, s": 0.4}]})

    modules = {"benchmarks.bench_sim": broken, "benchmarks.bench_cli": good}
    monkeypatch.setattr(run.importlib, "import_module", lambda name: SimpleNamespace(run=modules[name]))
    done = CliRunner().invoke(run.main, ["sim", "cli", "-o", str(tmp_path / "r.json"), "--cache", str(tmp_path)])
    assert done.exit_code == 1
    assert "Error: sim: no such program" in done.output
    assert "NO" in done.output.partition("Targets")[2]
    written = json.loads((tmp_path / "r.json").read_text())
    assert written["failed"] == {"sim": "no such program"}
    assert [row["reached"] for row in written["targets"]] == ["NO"]


@pytest.mark.parametrize("name", ["spikformer-9@4", "spikformer-8-512", "spikformer-8-512@0", "spikformer-8-512@4/"])
def test_a_misspelt_model_stops_the_run_before_it_starts(name, tmp_path):
    done = CliRunner().invoke(run.main, ["--model", name, "--cache", str(tmp_path)])
    assert done.exit_code == 2
    assert f"model '{name}': expected NAME@T or NAME@T/BITS" in done.output
    assert "Machine" not in done.output


def test_models_are_named_with_steps_and_bits():
    found, steps, bits = model_of("spikformer-8-512@4/6")
    assert (found.name, steps, bits) == ("spikformer-8-512", 4, 6)
    assert model_of("meta-spikeformer-15m@1")[2] is None


def test_an_output_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(run.main, ["cli", "-o", str(tmp_path / "file" / "r.json")])
    assert done.exit_code == 2
    assert "cannot be made" in done.output


def test_a_job_that_fails_says_why_in_one_line():
    with pytest.raises(BenchmarkError, match=r"No such file or directory|does not exist|cannot be read") as caught:
        run_job({"job": "check", "program": "missing.ncp", "x": "missing.npy"})
    assert "Traceback" not in str(caught.value)
    killed = subprocess.CompletedProcess([], -9, "", "")
    assert last_words(killed) == "ended by signal 9 (out of memory?)"


def test_the_traffic_script_runs_alone_and_refuses_a_simulator_that_says_nothing():
    script = noc_traffic.REFERENCE.parents[1] / "noc_traffic.py"
    options = ["--booksim", "/bin/true", "--pattern", "uniform", "--router", "lookahead", "--cycles", "40"]
    done = subprocess.run(
        [sys.executable, script, *options], capture_output=True, text=True, check=False, cwd=script.parent / "reference"
    )
    assert done.returncode == 1
    assert "no result for lookahead, uniform" in done.stderr
    assert "Traceback" not in done.stderr
