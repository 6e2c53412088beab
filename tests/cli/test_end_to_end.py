"""The main job from the command line on the shipped digits model: compile, check, simulate, inspect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from compiler.mapping.check import check_program
from neurochip.cli.main import cli
from neurochip.program.file import load_program

DIGITS = Path(__file__).parents[2] / "examples" / "digits"
MODEL, IMAGES, LABELS = (DIGITS / name for name in ("spikformer.pt", "test_images.npz", "test_labels.npy"))


def run(*arguments):
    return CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("digits")


@pytest.fixture(scope="module")
def program(folder):
    result = run("compile", MODEL, "--chip", "loihi", "-o", folder / "digits.ncp", "--json", folder / "compile.json")
    assert result.exit_code == 0, result.output
    return folder / "digits.ncp"


@pytest.fixture(scope="module")
def facts(program):
    result = run("simulate", program, "--input", IMAGES, "--labels", LABELS, "--limit", 2, "--check", "--json", "-")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_compiled_program_passes_the_independent_checker(program):
    check_program(load_program(program))


def test_compiling_again_gives_the_same_bytes(program, folder):
    assert run("compile", MODEL, "--chip", "loihi.yaml", "-o", folder / "again.ncp").exit_code == 0
    assert (folder / "again.ncp").read_bytes() == program.read_bytes()


def test_the_simulation_is_exact_and_its_document_is_complete(facts):
    assert facts["check"]["exact"] is True
    assert facts["inputs"] == 2
    assert facts["timesteps"] == 4
    assert 0 <= facts["accuracy"] <= 1
    for key in ("spikes", "packets", "hops", "ac", "mac", "cores", "chips"):
        assert facts[key] > 0, key
    assert facts["energy"]["ops_45nm"]["total_j"] == pytest.approx(0.9e-12 * facts["ac"] + 4.6e-12 * facts["mac"])
    assert facts["energy"]["chip"]["total_j"] > 0
    assert facts["energy"]["ann_45nm"]["total_j"] > 0
    assert facts["latency"]["ticks"] > facts["timesteps"]
    assert facts["latency"]["seconds"] > 0
    assert sum(layer["ac"] for layer in facts["layers"]) == facts["ac"]


def test_the_summary_shows_what_the_document_holds(program, facts):
    result = run("simulate", program, "--input", IMAGES, "--labels", LABELS, "--limit", 2, "--check")
    assert result.exit_code == 0, result.output
    assert "spikformer-cifar on loihi" in result.stdout
    assert "not published" in result.stdout
    assert "Equal to the integer reference" in result.stdout
    for layer in facts["layers"]:
        assert layer["name"] in result.stdout


@pytest.mark.parametrize("stage", ["import", "quantise", "network", "mapping"])
def test_stages_are_printed_as_text(stage, folder):
    result = run(
        "compile", MODEL, "--chip", "loihi", "-o", folder / "p.ncp", "--placement", "row-major", "--print-after", stage
    )
    assert result.exit_code == 0, result.output
    assert "patch_embed" in result.stdout
    assert "Compiled" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--chip", "loihj"], "loihi"),
        (["--chip", "loihi", "--arch", "transformer"], "unknown architecture 'transformer'"),
        (["--chip", "loihi", "--set", "no_such=1"], "no_such"),
        (["--chip", "loihi", "--weight-bits", "12"], "12-bit"),
        (["--chip", "loihi", "--profile", "none"], "no profile 'none'"),
        (["--chip", "loihi", "--attention", "magic"], "magic"),
        (["--chip", "loihi", "--placement", "magic"], "magic"),
    ],
)
def test_options_that_make_no_sense_are_one_line(arguments, words, folder):
    result = run("compile", MODEL, *arguments, "-o", folder / "no.ncp")
    assert result.exit_code == 1, result.output
    assert result.stderr.splitlines()[-1].startswith("error: ") or "error: " in result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert not (folder / "no.ncp").exists()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 16, 16), np.float32), "expected shape"),
        (np.zeros((2, 1, 16, 17), np.float32), "expected shape"),
        (np.full((2, 1, 16, 16), np.nan, np.float32), "NaN"),
        (np.full((2, 1, 16, 16), 1e6, np.float32), "expected values in"),
        (np.full((2, 1, 16, 16), "a"), "expected an array of numbers"),
        (np.zeros((0, 1, 16, 16), np.float32), "at least one input"),
    ],
    ids=["channels", "size", "nan", "range", "text", "none"],
)
def test_input_that_does_not_fit_is_one_line(array, words, program, folder):
    np.save(folder / "x.npy", array)
    result = run("simulate", program, "--input", folder / "x.npy")
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("labels", "words"), [([1, 2], "expected 360"), ([10] * 360, "0..9")], ids=["length", "range"])
def test_labels_that_do_not_fit_are_one_line(labels, words, program, folder):
    np.save(folder / "y.npy", np.array(labels))
    result = run("simulate", program, "--input", IMAGES, "--labels", folder / "y.npy", "--limit", "1")
    assert result.exit_code == 1
    assert words in result.stderr


def test_a_damaged_program_is_one_line(program, folder):
    (folder / "half.ncp").write_bytes(program.read_bytes()[:100_000])
    result = run("simulate", folder / "half.ncp", "--input", IMAGES)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "damaged or incomplete" in result.stderr
