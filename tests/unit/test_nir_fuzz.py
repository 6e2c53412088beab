"""Damaged NIR files: always an error of ours or a graph, never anything else."""

from __future__ import annotations

import random

import numpy as np
import pytest

h5py = pytest.importorskip("h5py")

from compiler.exporters import save_nir  # noqa: E402
from compiler.importers import load_model  # noqa: E402
from neurochip.errors import CheckpointError, UnsupportedError  # noqa: E402
from tests.graphs import random_graph  # noqa: E402
from tests.unit.test_checkpoint_fuzz import cut, flip, saturate  # noqa: E402

ROUNDS = 60


def outcome(path, data):
    path.write_bytes(data)
    try:
        load_model(path)
    except (CheckpointError, UnsupportedError) as error:
        assert str(error).removeprefix(str(path)).isprintable()  # noqa: PT017
        return "refused"
    return "read"


@pytest.mark.parametrize("seed", [3, 7])
def test_damaged_files_are_read_or_refused(tmp_path, seed):
    path, rng = tmp_path / "x.nir", random.Random(seed)
    save_nir(random_graph(seed), path)
    whole = path.read_bytes()
    assert outcome(path, whole) == "read"
    seen = set()
    for _ in range(ROUNDS):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice((flip, cut, saturate))(data, rng)
        seen.add(outcome(path, bytes(data)))
    assert seen == {"read", "refused"}


def test_a_file_cut_short_is_refused(tmp_path):
    path = tmp_path / "x.nir"
    save_nir(random_graph(3), path)
    whole = path.read_bytes()
    for length in range(8, len(whole), len(whole) // 40):
        assert outcome(path, whole[:length]) == "refused"


def test_values_of_a_wrong_kind_are_refused(tmp_path):
    """Every data set in turn becomes text, a negative number, nothing, or an array of four axes."""
    path, rng = tmp_path / "x.nir", np.random.default_rng(0)
    save_nir(random_graph(5), path)
    names = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    whole = path.read_bytes()
    for name in names:
        for value in ("x", -1, 1e300, np.zeros((0,)), rng.normal(size=(1, 2, 1, 2))):
            path.write_bytes(whole)
            with h5py.File(path, "r+") as file:
                del file[name]
                file[name] = value
            assert outcome(path, path.read_bytes()) in ("read", "refused")
