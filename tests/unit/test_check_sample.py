"""``--check-sample``: neurons at some positions, recomputed from the spikes they received."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurochip.network.positions import current_at
from neurochip.network.projections import Gated
from neurochip.network.reference import gated, matrix_beside, projected
from neurochip.sim.sample import SampledCheck
from tests.strategies import random_network


def layered(seed: int) -> tuple[SampledCheck, dict[str, np.ndarray], np.ndarray]:
    """A check of two positions of each population, and the true spikes and readout of the first input."""
    network, x = random_network(seed, rare=True)
    run = network.run(x)
    spikes = {name: counts[0] for name, counts in run.spikes.items()}
    return SampledCheck(network, x, positions=2, seed=seed), spikes, run.readout[0]


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_what_the_reference_emits_passes(seed: int) -> None:
    check, spikes, readout = layered(seed)
    check.observe(0, spikes, readout)
    found = check.result()
    assert found["exact"], found["first_difference"]
    assert 0 < found["neurons_compared"] <= found["neurons"]


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_wrong_spike_at_a_drawn_position_is_named(seed: int) -> None:
    check, spikes, readout = layered(seed)
    population = next(p for p in check.network.populations if p.neuron.kind == "lif")
    wrong = spikes[population.name].copy()
    wrong[0, check.drawn[population.name][-1], 0] ^= 1
    check.observe(0, {**spikes, population.name: wrong}, readout)
    assert not check.result()["exact"]
    assert f"population {population.name!r}, step 0" in str(check.difference)


def test_a_wrong_readout_is_found() -> None:
    check, spikes, readout = layered(3)
    check.observe(0, spikes, readout + 1)
    assert "readout 0" in str(check.difference)


@pytest.mark.parametrize("seed", range(30))
def test_every_kind_of_projection_adds_what_the_reference_adds(seed: int) -> None:
    check, spikes, _ = layered(seed)
    network, frame = check.network, check_frame(check)
    for projection in network.projections:
        target = network.by_name[projection.target]
        grids = {
            s.population: spikes[s.population][0].reshape(1, p.height, p.width, p.channels).astype(np.int64)
            for s in projection.sources
            for p in (network.by_name[s.population],)
        }
        if isinstance(projection, Gated):
            matrix = matrix_beside(network, projection)
            (x,) = (network.by_name[s.population] for s in matrix.sources)
            grids[x.name] = spikes[x.name][0].reshape(1, x.height, x.width, x.channels).astype(np.int64)
            whole = gated(projection, matrix, grids)
        else:
            whole = projected(projection, target, grids, frame[None])
        shape = (1, target.height, target.width, target.channels)
        everywhere = np.arange(target.positions)
        found = current_at(network, projection, target, everywhere, spikes, 0, frame)
        assert np.array_equal(found, np.broadcast_to(whole, shape).reshape(-1, target.channels))


def check_frame(check: SampledCheck) -> np.ndarray:
    """The quantised input of the first step of the first input."""
    from neurochip.network.inputs import quantise_input
    from neurochip.sim.check import input_of

    levels = quantise_input(check.network.input, input_of(check.network, check.x, 0), check.network.timesteps)
    return np.asarray(levels[0, 0])
