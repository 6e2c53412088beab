"""``neurochip chips``: what it prints, as tables and as JSON, and how it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.cli.chips import chips
from neurochip.errors import ChipError


def run(*arguments):
    return CliRunner().invoke(chips, arguments)


def test_list_names_the_shipped_chips():
    result = run("list")
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert lines[0][:3] == ["name", "title", "cores"]
    assert ["loihi", "Intel Loihi", "128", "1024", "768"] in [line[:5] for line in lines]


def test_list_json_is_alone_on_standard_output():
    rows = json.loads(run("list", "--json", "-").stdout)
    loihi = next(row for row in rows if row["name"] == "loihi")
    assert loihi["profiles"] == ["loihi_davies2018", "loihi_sanafe_nahuku"]


def test_show_prints_every_figure_with_its_source():
    output = run("show", "loihi").stdout
    assert "core.neurons\t1024 neurons\tdavies2018\tV2" in output
    assert "Profile loihi_sanafe_nahuku" in output
    assert "\nspike.energy\tnot published\tdavies2018" in output
    assert "\nspike.energy\t69.3 pJ\tsana_fe" in output
    assert "membrane_overflow\tclip" in output
    assert "Not modelled" in output
    assert "frady2020: E. P. Frady" in output


def test_show_json_restores_the_chip(tmp_path):
    file = tmp_path / "chip.json"
    assert run("show", "loihi", "--json", str(file)).stdout.startswith("Intel Loihi")
    facts = json.loads(file.read_text())
    assert ChipSpec.model_validate_json(json.dumps(facts["chip"])) == load_chip("loihi")
    assert facts["digest"] == load_chip("loihi").digest


def test_a_terminal_gets_drawn_tables_with_whole_keys(monkeypatch):
    monkeypatch.setattr("neurochip.cli.chips.sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True)))
    assert "─" in run("list").stdout
    shown = run("show", "loihi").stdout
    assert "Profile loihi_davies2018" in shown
    assert "…" not in shown


def test_validate_counts_the_figures(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(load_chip("loihi").to_yaml())
    result = run("validate", str(file))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{file}: valid: Intel Loihi (")


def test_validate_refuses_a_wrong_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("a: 1\na: 2\n")
    result = run("validate", str(file))
    assert isinstance(result.exception, ChipError)
    assert str(result.exception) == f"{file}:2: duplicate key 'a'; first given on line 1"
    told = run("validate", str(file), "--json", "-")
    assert told.exit_code == 1
    assert json.loads(told.stdout)["errors"] == [str(result.exception)]


@pytest.mark.parametrize("arguments", [(), ("--json", "-")])
def test_schema_is_json(arguments):
    assert json.loads(run("schema", *arguments).stdout)["title"] == "ChipSpec"


def test_importing_the_command_does_not_load_pydantic():
    code = "import sys, neurochip.cli.chips; sys.exit('pydantic' in sys.modules or 'rich' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0


def test_without_a_command_the_chips_are_listed():
    listed = run("list").stdout
    assert listed
    assert run().stdout == listed


def test_show_tells_kinds_limits_and_why_a_chip_is_not_simulated():
    shown = run("show", "brainscales2").stdout
    assert "Not simulated: chip 'brainscales2' computes in continuous time" in shown
    assert "weights.sign\trow" in shown
    shown = run("show", "spinnaker2").stdout
    assert "core.software.mac_array.lanes\t64 MACs per cycle" in shown
    assert "mesh.multicast\ttree" in shown
    assert "Not simulated" not in shown
