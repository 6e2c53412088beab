"""Comparing placements of a program: only places change, and the rows say what was measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import placed
from compiler.mapping.check_cores import core_problems
from compiler.mapping.traffic import Traffic
from neurochip import api
from tests.hand_programs import naive_program, spike_network


@pytest.fixture(scope="module")
def program():
    return naive_program(spike_network(sizes=(20, 60, 60, 5)))


@pytest.fixture(scope="module")
def images(program):
    shape = (program.network.timesteps, 2, *program.network.input.shape)
    return (np.random.default_rng(0).random(shape) < 0.4).astype(np.uint8)


@pytest.mark.parametrize("method", placed.METHODS)
def test_a_program_placed_anew_computes_the_same(program, images, method):
    anew, price, seconds = placed.replaced(program, method)
    assert not list(core_problems(anew))
    assert anew.origin.placement == method
    assert price > 0
    assert seconds >= 0
    assert np.array_equal(api.simulate(anew, images).logits, api.simulate(program, images).logits)


def test_tables_hold_every_method_and_plain_values(program, images, tmp_path):
    path, inputs = tmp_path / "p.ncp", tmp_path / "x.npy"
    api.save_program(program, path)
    np.save(inputs, images)
    facts = placed.placed_job(str(path), str(inputs), 1, cut=True)
    assert [row["method"] for row in facts["methods"]] == list(placed.METHODS)
    assert facts["cut"]["anneal, leaves"] == 0  # one chip
    assert json.loads(json.dumps(facts)) == facts


def test_a_packet_over_two_chips_crosses_two_borders(program):
    cores = program.cores.copy()
    cores["x"], cores["y"] = 0, 0
    cores["x"][1], cores["y"][1] = program.chip.mesh_columns, program.chip.mesh_rows
    traffic = Traffic(len(cores), np.array([0]), np.array([1]), np.array([3]))
    assert placed.borders(cores, traffic, program.chip) == 6
