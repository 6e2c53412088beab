"""Damaged input files, saved graphs and programs: an error of ours or a result, never anything else."""

from __future__ import annotations

import random
import warnings
import zlib

import numpy as np
import pytest

from compiler.importers import load_model
from compiler.importers.graph_file import save_graph
from neurochip.errors import NeurochipError
from neurochip.input_data.recordings import read_recording
from neurochip.inputs import load_input
from neurochip.program.file import load_program, save_program
from tests.graphs import random_graph
from tests.hand_programs import naive_program, spike_network
from tests.unit.test_checkpoint_fuzz import MUTATIONS, without_checksums
from tests.unit.test_recordings import SHAPE, aedat2, aedat3

ROUNDS = 250


def header(descr):
    """An .npy file whose header says ``descr``."""
    text = descr.encode()
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + bytes(48)


def hdf5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name in "xypt":
            file[name] = np.arange(6) % 2 if name == "p" else np.arange(6)


KINDS = {
    "x.npy": (lambda path: np.save(path, np.ones((2, 3))), load_input),
    "x.npz": (lambda path: np.savez_compressed(path, images=np.ones((2, 3))), load_input),
    "events.npz": (lambda path: np.savez(path, **{n: np.arange(4) // 2 for n in "xypt"}), None),
    "two.aedat": (aedat2, None),
    "three.aedat": (aedat3, None),
    "x.h5": (hdf5, None),
    "graph.pt": (lambda path: save_graph(random_graph(4), path), load_model),
    "x.ncp": (lambda path: save_program(naive_program(spike_network()), path), load_program),
}


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused(tmp_path, name):
    write, read = KINDS[name]
    read = read or (lambda path: read_recording(path, SHAPE))
    path, rng = tmp_path / name, random.Random(zlib.crc32(name.encode()))
    write(path)
    read(path)
    whole, refused = path.read_bytes(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, about headers of Python 2
        for _ in range(ROUNDS):
            data = bytearray(whole)
            for _ in range(rng.choice((1, 1, 2, 4))):
                rng.choice(MUTATIONS)(data, rng)
            without_checksums(data)
            path.write_bytes(data)
            try:
                read(path)
            except NeurochipError:
                refused += 1
    assert refused


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', (",
        "(" * 9000,
        "{'descr': '<f8', b'shape': (3,), 'fortran_order': False, 'shape': (3,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -3)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1 << 70,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999999,)}",
        "{'descr': ['x'], 'fortran_order': False, 'shape': (3,)}",
        "{'descr': 'O', 'fortran_order': False, 'shape': (3,)}",
        "1L if \x00",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_headers_made_to_deceive_are_refused(tmp_path, text):
    (tmp_path / "x.npy").write_bytes(header(text))
    with pytest.raises(NeurochipError):
        load_input(tmp_path / "x.npy")
