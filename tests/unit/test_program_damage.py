"""Program files with a right seal and damaged content: refused by name, or run, never a crash; both versions."""

from __future__ import annotations

import io
import json
import random
import zipfile

import numpy as np
import pytest

from neurochip import api
from neurochip.errors import NeurochipError, ProgramError
from neurochip.program.archive import Member, write_archive
from neurochip.program.file import load_program, save_program
from tests.hand_programs import naive_program, spike_network

EDITS = 30
TABLES = ("cores", "tiles", "ports", "synapses", "use")


@pytest.fixture(scope="module")
def program():
    return naive_program(spike_network())


@pytest.fixture(scope="module")
def saved(program, tmp_path_factory):
    path = tmp_path_factory.mktemp("programs") / "whole.ncp"
    save_program(program, path)
    return path


def forged(saved, path, edit):
    """``saved`` with its manifest and arrays changed by ``edit``, sealed anew."""
    with zipfile.ZipFile(saved) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        arrays = {name: np.load(io.BytesIO(archive.read(name))) for name in manifest["members"]}
    edit(manifest, arrays)
    members = [Member.of(name, array) for name, array in arrays.items()]
    manifest["members"] = {member.name: member.digest for member in members}
    with open(path, "wb+") as stream:
        write_archive(stream, json.dumps(manifest).encode(), members)
    return path


def as_version_1(program, manifest, arrays):
    manifest["version"] = 1
    arrays["tables/routes.npy"] = program.routes


@pytest.mark.parametrize("version", [1, 2])
def test_a_projection_without_synapses_is_refused_by_name(version, program, saved, tmp_path):
    def edit(manifest, arrays):
        if version == 1:
            as_version_1(program, manifest, arrays)
        rows = arrays["tables/synapses.npy"]
        arrays["tables/synapses.npy"] = rows[rows["projection"] != 1]

    name = program.network.projections[1].name
    with pytest.raises(ProgramError, match=f"synapses: no block of projection '{name}'"):
        load_program(forged(saved, tmp_path / "cut.ncp", edit))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("noc", ["analytic", "packet"])
def test_damaged_tables_are_refused_or_run(version, noc, program, saved, tmp_path):
    rng = random.Random(version)
    x = (np.random.default_rng(0).random((program.network.timesteps, 1, *program.network.input.shape)) < 0.4).astype(
        int
    )
    refused = 0
    for number in range(EDITS):

        def edit(manifest, arrays):
            if version == 1:
                as_version_1(program, manifest, arrays)
            name = f"tables/{rng.choice(TABLES)}.npy"
            rows = arrays[name].copy()
            column, row = rng.choice(rows.dtype.names), rng.randrange(len(rows))
            limits = np.iinfo(rows.dtype[column])
            value = rng.choice([-1, 0, 1, limits.max, limits.min, int(rows[column][row]) + 1])
            rows[column][row] = np.clip(value, limits.min, limits.max)
            cut = rng.randrange(len(rows)) if rng.random() < 0.2 else len(rows)
            arrays[name] = rows[:cut]

        try:
            loaded = load_program(forged(saved, tmp_path / f"{number}.ncp", edit))
            assert api.simulate(loaded, x, noc=noc).to_dict()["inputs"] == 1
        except NeurochipError:
            refused += 1
    assert refused > 0
