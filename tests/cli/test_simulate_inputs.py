"""``neurochip simulate`` on images and encodings, from the command line."""

from __future__ import annotations

import json

import numpy as np
from click.testing import CliRunner

from neurochip.cli.main import cli
from neurochip.program.file import save_program
from tests.hand_programs import image_network, naive_program, spike_network


def run(*arguments):
    return CliRunner().invoke(cli, ["simulate", *(str(a) for a in arguments)])


def test_recordings_in_folders_are_simulated_with_their_labels(tmp_path):
    network = image_network()
    save_program(naive_program(network), tmp_path / "p.ncp")
    _, height, width = network.input.shape
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "events" / name).mkdir(parents=True)
        x, y = rng.integers(width, size=300), rng.integers(height, size=300)
        columns = {"x": x, "y": y, "p": rng.integers(2, size=300), "t": np.arange(300)}
        np.savez(tmp_path / "events" / name / "r.npz", **columns)
    result = run(tmp_path / "p.ncp", "--input", tmp_path / "events", "--binary-events", "--json", "-", "--check")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["inputs"] == 2
    assert facts["accuracy"] is not None


def test_rates_become_spikes_by_the_seed(tmp_path):
    network = spike_network()
    save_program(naive_program(network), tmp_path / "p.ncp")
    np.save(tmp_path / "x.npy", np.full((3, *network.input.shape), 0.5))
    first, again, other = (
        json.loads(
            run(
                tmp_path / "p.ncp", "--input", tmp_path / "x.npy", "--encode", "rate", "--seed", s, "--json", "-"
            ).stdout
        )
        for s in (1, 1, 2)
    )
    assert first["spikes"] == again["spikes"]
    assert first["packets"] != other["packets"] or first["spikes"] != other["spikes"]


def test_bad_choices_are_one_line(tmp_path):
    save_program(naive_program(spike_network()), tmp_path / "p.ncp")
    np.save(tmp_path / "x.npy", np.full((3, 20), 7.0))
    result = run(tmp_path / "p.ncp", "--input", tmp_path / "x.npy", "--encode", "rate")
    assert result.exit_code == 1
    assert "expected values in 0..1, found 7" in result.stderr
    result = run(tmp_path / "p.ncp", "--input", tmp_path / "x.npy", "--normalise", "0.5")
    assert "expected mean=M,std=S" in result.stderr
