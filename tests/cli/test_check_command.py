"""``neurochip check``: verdict, matrix, JSON and exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from neurochip import api
from neurochip.chip.load import shipped_chips
from neurochip.cli.main import cli
from tests.spiking_graphs import tiny_spikformer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.npz"
    api.save(tiny_spikformer(), path)
    return path


def run(*arguments: object):
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def test_a_model_that_fits_leaves_with_zero_and_tells_what_it_needs(model):
    result = run("check", model, "--chip", "loihi")
    assert result.exit_code == 0, result.output
    assert ": fits" in result.stdout.splitlines()[0]
    assert "ticks an input" in result.stdout
    assert "Layers, tightest first" in result.stdout


def test_a_model_that_is_refused_leaves_with_one_the_reason_and_what_helps(model):
    result = run("check", model, "--chip", "brainscales2", "--json", "-")
    facts = json.loads(result.stdout)
    assert result.exit_code == 1
    assert facts["fits"] is False
    assert "continuous time" in facts["refusals"][0]["message"]
    assert any("loihi takes the model" in fix for fix in facts["fixes"])
    assert run("check", model, "--chip", "brainscales2", "--no-fixes").stdout.count("what helps") == 0


def test_the_matrix_has_a_row_for_every_chip(model):
    result = run("check", model, "--all-chips", "--json", "-")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["chip"] for row in rows] == shipped_chips()
    assert {row["chip"]: row["fits"] for row in rows}["loihi"] is True
    table = run("check", model, "--all-chips").stdout
    assert all(name in table for name in shipped_chips())


def test_a_chip_or_all_chips_must_be_asked_for(model):
    for arguments in ((), ("--chip", "loihi", "--all-chips")):
        result = run("check", model, *arguments)
        assert result.exit_code == 2
        assert "give either --chip or --all-chips" in result.stderr


def test_who_convolves_and_the_mode_of_cores_are_told(tmp_path):
    path = tmp_path / "one.npz"
    api.save(replace(tiny_spikformer(), timesteps=1), path)
    shown = run("check", path, "--chip", "tianjic", "--json", "-", "--no-fixes")
    facts = json.loads(shown.stdout)
    assert facts["encoder"] == "core"
    modes = {layer["population"]: layer["mode"] for layer in facts["layers"]}
    assert modes["stem_lif"] == "graded"
    assert {mode for name, mode in modes.items() if name != "stem_lif"} == {"spiking"}
    text = run("check", path, "--chip", "tianjic").stdout
    assert "cores multiply it" in text
    assert "core mode" in text
    text = run("check", path, "--chip", "tianjic", "--encoder", "host").stdout
    assert "the host convolves it" in text
    refused = run("check", path, "--chip", "loihi", "--encoder", "core", "--no-fixes")
    assert refused.exit_code == 1
    assert "can take analog input on: host" in refused.stdout
