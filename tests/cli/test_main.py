"""The command line: help without heavy imports, errors in one line with an exit code, never a traceback for a user."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import neurochip.api
from neurochip.cli.main import COMMANDS, cli
from neurochip.errors import CapacityError, CheckpointError
from neurochip.program.file import load_program, save_program
from tests.hand_programs import image_network, naive_program, spike_network

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits" / "spikformer.pt"


def run(*arguments):
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def failed(result, code=1):
    """The error line of a command that must have failed without output or traceback."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def saved(tmp_path):
    save_program(naive_program(spike_network()), tmp_path / "p.ncp")
    np.save(tmp_path / "x.npy", np.ones((4, 3, 20), np.float32))
    np.save(tmp_path / "y.npy", np.array([0, 1, 2]))
    return tmp_path


# Help


def test_help_lists_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for name, lazy in COMMANDS.items():
        assert name in result.stdout
        assert lazy.summary in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_that_starts_with_its_summary(command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert COMMANDS[command].summary in result.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['neurochip', '--help']\n"
        "from neurochip.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as leave: assert leave.code == 0\n"
        "heavy = {'numba', 'torch', 'pydantic', 'numpy', 'rich', 'ruamel', 'networkx', 'jinja2'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_version_is_printed():
    assert run("--version").stdout.startswith("neurochip, version ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["explode"], "No such command 'explode'"),
        (["compile", "x.pt"], "Missing option '--chip'"),
        (["compile", "x.pt", "--chip", "loihi", "--set", "T"], "expected KEY=VALUE, found 'T'"),
        (["compile", "x.pt", "--chip", "loihi", "--set", "T=4", "--set", "T=5"], "T is given twice"),
        (["compile", "x.pt", "--chip", "loihi", "--weight-bits", "0"], "--weight-bits"),
        (
            ["compile", "x.pt", "--chip", "loihi", "--print-after", "network", "--json", "-"],
            "both want standard output",
        ),
        (["simulate", "p.ncp"], "Missing option '--input'"),
        (["simulate", "p.ncp", "--input", "x.npy", "--noc", "magic"], "'magic' is not one of"),
        (["simulate", "p.ncp", "--input", "x.npy", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_usage_is_explained(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


# Errors


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (CapacityError("the model is too large"), 1, "error: the model is too large\n"),
        (MemoryError("Unable to allocate 1 TiB"), 1, "error: out of memory (Unable to allocate 1 TiB)"),
        (OSError(errno.EIO, "Input/output error", "x.bin"), 1, "error: x.bin: input/output error\n"),
        (OSError("odd"), 1, "error: odd\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_failure_is_one_line_and_a_code(error, code, words, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(neurochip.api, "load_program", fail)
    result = run("simulate", "p.ncp", "--input", "x.npy")
    assert words in failed(result, code)
    assert len(result.stderr.splitlines()) == 1


def test_a_bug_of_ours_shows_its_traceback(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(neurochip.api, "load_program", fail)
    result = run("simulate", "p.ncp", "--input", "x.npy")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "error: internal error (ZeroDivisionError)" in result.stderr


def test_a_closed_pipe_ends_quietly(saved):
    code = "from neurochip.cli.main import main; main()"
    save_program(naive_program(image_network()), saved / "big.ncp")
    command = [sys.executable, "-c", code, "inspect", str(saved / "big.ncp"), "--json", "-"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        child.stdout.close()
        _, errors = child.communicate()
    assert b"Traceback" not in errors


# compile


@pytest.fixture
def compiled(monkeypatch):
    """Replaces the compiler by one that knows a single program; collects its arguments."""
    calls = []

    def compile_(model, chip, *, on_stage, **options):
        calls.append((model, chip, options))
        for name in ("import", "network", "mapping"):
            on_stage(name, lambda name=name: f"text of {name}")
        return naive_program(spike_network())

    monkeypatch.setattr(neurochip.api, "compile", compile_)
    return calls


def test_compile_writes_a_program_and_says_what_it_is(compiled, tmp_path):
    result = run("compile", "m.pt", "--chip", "loihi", "-o", tmp_path / "out.ncp")
    assert result.exit_code == 0, result.output
    assert "Compiled" in result.stdout
    assert "text of" not in result.stdout
    assert "compile 1/" in result.stderr
    assert load_program(tmp_path / "out.ncp").network.name == "spikes"


def test_compile_passes_every_option_on(compiled, tmp_path):
    run(
        "compile", "m.pt", "--chip", "c.yaml", "-o", tmp_path / "o.ncp", "--arch", "spikformer", "--set", "T=4",
        "--set", "num_heads = 8", "--weight-bits", "4", "--attention", "processor", "--placement", "random",
        "--profile", "p", "--seed", "3", "--approximate", "leak", "--max-interval", "99", "--encoder", "core",
        "--sums", "none",
    )  # fmt: skip
    (call,) = compiled
    assert call == (
        "m.pt", "c.yaml",
        {"arch": "spikformer", "settings": {"T": "4", "num_heads": "8"}, "weight_bits": 4, "attention": "processor",
         "placement": "random", "profile": "p", "seed": 3, "ema": False, "approximate": ("leak",), "max_interval": 99,
         "encoder": "core", "sums": "none"},
    )  # fmt: skip


def test_the_program_goes_here_under_the_models_name(compiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("compile", "models/m.v2.pt", "--chip", "loihi").exit_code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m.v2.ncp"]


def test_compile_json_is_alone_on_standard_output(compiled, tmp_path):
    result = run("compile", "m.pt", "--chip", "loihi", "-o", tmp_path / "o.ncp", "--json", "-")
    facts = json.loads(result.stdout)
    assert facts["chip"] == "loihi"
    assert facts["bytes"] == (tmp_path / "o.ncp").stat().st_size


def test_a_stage_is_printed_alone(compiled, tmp_path):
    result = run("compile", "m.pt", "--chip", "loihi", "-o", tmp_path / "o.ncp", "--print-after", "network")
    assert result.stdout == "text of network\n"


def test_an_unknown_stage_is_refused_with_all_names(compiled, tmp_path):
    result = run("compile", "m.pt", "--chip", "loihi", "-o", tmp_path / "o.ncp", "--print-after", "netwrk")
    assert result.exit_code == 2
    assert "the stages are: import, " in result.stderr
    assert compiled == []


@pytest.mark.parametrize("option", ["-o", "--json"])
def test_a_place_that_cannot_be_written_is_found_before_compiling(compiled, tmp_path, option):
    result = run("compile", "m.pt", "--chip", "loihi", "-o", tmp_path / "o.ncp", option, tmp_path / "no" / "x")
    assert "error: " in failed(result)
    assert "there is no folder" in result.stderr
    assert compiled == []


def test_a_failed_compilation_leaves_the_old_program(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise CheckpointError("m.pt: not a checkpoint")

    monkeypatch.setattr(neurochip.api, "compile", fail)
    (tmp_path / "o.ncp").write_bytes(b"old")
    assert (
        failed(run("compile", "m.pt", "--chip", "loihi", "-o", tmp_path / "o.ncp")) == "error: m.pt: not a checkpoint\n"
    )
    assert (tmp_path / "o.ncp").read_bytes() == b"old"


# simulate

FACTS = {
    "accuracy": 0.9, "timesteps": 4, "inputs": 3, "spikes": 30, "packets": 60, "hops": 90, "ac": 300, "mac": 0,
    "model": "m.pt", "chip": "loihi", "profile": "p", "cores": 6, "chips": 1,
    "utilisation": {"neurons": 0.5, "axons": None},
    "energy": {"ops_45nm": {"ac_j": 1e-9, "mac_j": 0.0, "total_j": 1e-9}, "chip": {"static_j": None, "total_j": 2e-6}},
    "per_input": {"spikes": 10.0, "packets": 20.0, "hops": 30.0, "ac": 100.0, "mac": 0.0, "energy_ops_45nm_j": 3e-10,
                  "energy_chip_j": 7e-7, "energy_ann_45nm_j": 1e-6},
    "latency": {"ticks": 6, "seconds": 1e-5}, "busiest": {"core": None, "link": None}, "check": {"exact": True},
    "layers": [{"name": "fc1", "kind": "linear", "neurons": 16, "cores": 4, "spikes": 30, "rate": 0.25,
                "ac": 300, "mac": 0,
                "packets": 60, "ops_45nm_j": 1e-9, "dynamic_j": 1e-6}],
}  # fmt: skip


@pytest.fixture
def simulated(monkeypatch):
    """Replaces the simulator by one that always finds the same; collects its arguments."""
    calls = []

    def simulate(program, x, *, progress, **options):
        calls.append((x.shape, options))
        progress(3, 3)
        return SimpleNamespace(to_dict=lambda: FACTS, exact=FACTS["check"]["exact"], report="the report")

    monkeypatch.setattr(neurochip.api, "simulate", simulate)
    monkeypatch.setattr("neurochip.cli.simulate.print_report", lambda report: print(f"tables of {report}"))
    return calls


def test_simulate_prints_the_report(simulated, saved):
    result = run("simulate", saved / "p.ncp", "--input", saved / "x.npy", "--labels", saved / "y.npy", "--limit", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout == "tables of the report\n"
    assert result.stderr == "simulate 3/3\n"
    (shape, options), = simulated  # fmt: skip
    assert shape == (4, 3, 20)
    assert options.pop("labels").tolist() == [0, 1, 2]
    assert options == {"limit": 2, "noc": "analytic", "check": False, "check_sample": None, "profile": None}


def test_simulate_json_is_alone_on_standard_output(simulated, saved):
    result = run("simulate", saved / "p.ncp", "--input", saved / "x.npy", "--json", "-")
    assert json.loads(result.stdout) == FACTS


def test_a_difference_from_the_reference_is_an_error_after_the_results(simulated, saved, monkeypatch):
    monkeypatch.setitem(FACTS, "check", {"exact": False, "first_difference": "input 0, population 'p1', step 2"})
    result = run("simulate", saved / "p.ncp", "--input", saved / "x.npy", "--check", "--json", saved / "r.json")
    assert result.exit_code == 1
    assert "error: the simulation differs from the integer reference: input 0, population 'p1'" in result.stderr
    assert json.loads((saved / "r.json").read_text())["check"]["exact"] is False


@pytest.mark.parametrize(
    ("program", "x", "words"),
    [
        ("none.ncp", "x.npy", "none.ncp: cannot open the program: no such file"),
        ("x.npy", "x.npy", "expected a program file (.ncp), found a NumPy array"),
        ("p.ncp", "none.npy", "found no such file"),
        ("p.ncp", "p.ncp", "expected one array"),
    ],
)
def test_wrong_files_are_refused(saved, program, x, words):
    assert words in failed(run("simulate", saved / program, "--input", saved / x))


def test_a_missing_label_file_is_refused(saved):
    result = run("simulate", saved / "p.ncp", "--input", saved / "x.npy", "--labels", saved / "none.npy")
    assert "expected a file of labels" in failed(result)


# inspect


def test_inspect_shows_a_program(saved):
    result = run("inspect", saved / "p.ncp")
    assert result.exit_code == 0, result.output
    for words in ("p.ncp: program", "populations", "p1", "projections", "w1", "resources", "input axons", "placement"):
        assert words in result.stdout


def test_inspect_json_holds_the_same_facts(saved):
    facts = json.loads(run("inspect", saved / "p.ncp", "--json", "-").stdout)
    assert facts["kind"] == "program"
    assert {row["population"]: row["neurons"] for row in facts["populations"]} == {"p0": 20, "p1": 16, "p2": 5}
    weights = next(row["value"] for row in facts["program"] if row["fact"] == "weight bytes")
    assert weights == 20 * 16 + 16 * 5


def test_inspect_shows_a_chip_by_name_and_by_file(tmp_path):
    assert "loihi: chip" in run("inspect", "loihi").stdout
    copy = tmp_path / "program.ncp"
    copy.write_bytes((ROOT / "chips" / "loihi.yaml").read_bytes())
    result = run("inspect", copy)
    assert "program.ncp: chip" in result.stdout
    assert "core.neurons" in result.stdout


@pytest.mark.skipif(not DIGITS.exists(), reason="the digits model is not there yet")
def test_inspect_shows_a_model():
    result = run("inspect", DIGITS)
    assert result.exit_code == 0, result.output
    for words in ("spikformer.pt: model", "timesteps", "settings", "nodes", "conv2d", "tensors"):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "error: "), (b"\x00\x01\x02", "error: "), (b"PK\x03\x04", "error: "), (b"name: [", "error: ")],
    ids=["empty", "binary", "zip", "yaml"],
)
def test_inspect_refuses_other_files(content, words, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(content)
    assert words in failed(run("inspect", path))


def test_inspect_refuses_names_that_are_nothing():
    assert "no such file, and no shipped chip" in failed(run("inspect", "nowhere"))
