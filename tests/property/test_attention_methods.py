"""All attention methods give the same integers: in the integer reference, and tick by tick on a chip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from compiler.mapping.check import check_program
from neurochip.chip.load import load_chip
from neurochip.network.network import Network, NetworkRun
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from tests.attention_networks import METHODS, Sizes, able_chip, attention_network, lowered, mapped

ABLE = able_chip()
SMALL = able_chip(neurons=24)
SIZES = st.builds(
    Sizes,
    height=st.integers(1, 2),
    width=st.integers(1, 4),
    heads=st.integers(1, 2),
    depth=st.integers(1, 5),
    timesteps=st.integers(1, 3),
    threshold=st.integers(1, 6),
)
SEEDS = st.integers(0, 1000)
QUICK = {"deadline": None, "phases": (Phase.explicit, Phase.generate)}
"""Failing networks are small already, and making them smaller takes minutes."""


def same_integers(before: Network, after: Network, x: np.ndarray) -> NetworkRun:
    """Spikes of every population that both networks have, and the readout, are equal; returns the run of ``after``."""
    ideal, found = before.run(x), after.run(x)
    for name in set(ideal.spikes) & set(found.spikes):
        assert np.array_equal(ideal.spikes[name], found.spikes[name]), name
    assert np.array_equal(ideal.readout, found.readout)
    return found


@settings(max_examples=25, **QUICK)
@given(SIZES, SEEDS)
def test_every_method_gives_the_integers_of_the_ideal_network(sizes: Sizes, seed: int) -> None:
    network, x = attention_network(sizes, ABLE, seed)
    for method in METHODS:
        found = same_integers(network, lowered(network, ABLE, method), x)
        assert found.saturations == 0, method


@settings(max_examples=15, **QUICK)
@given(SIZES, SEEDS, st.sampled_from(["loihi", "loihi2", "truenorth"]))
def test_coincidence_is_exact_in_the_arithmetic_of_each_chip(sizes: Sizes, seed: int, name: str) -> None:
    chip = load_chip(name)
    network, x = attention_network(sizes, chip, seed)
    same_integers(network, lowered(network, chip, "coincidence"), x)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=4, **QUICK)
@given(SIZES, SEEDS)
def test_programs_on_many_small_cores_reproduce_every_spike(method: str, sizes: Sizes, seed: int) -> None:
    network, x = attention_network(sizes, SMALL, seed)
    made = lowered(network, SMALL, method)
    program = mapped(made, SMALL, method)
    check_program(program)
    check = Check(made, x)
    trace = run_program(program, x, observe=check.observe)
    assert check.difference is None
    assert trace.saturations == made.run(x).saturations


@pytest.mark.parametrize("method", ["plastic", "graded"])
def test_saturation_is_counted_alike_and_changes_the_result(method: str) -> None:
    """Two bits of payload, or of a learning weight, hold 3 or 1; four tokens count to 4."""
    narrow = able_chip(payload=1, learning=2)
    sizes = Sizes(height=2, width=4, depth=3, threshold=8)
    network, x = attention_network(sizes, narrow, seed=1)
    made = lowered(network, narrow, method)
    found = made.run(np.ones_like(x))
    assert found.saturations > 0
    trace = run_program(mapped(made, narrow, method), np.ones_like(x))
    assert trace.saturations == found.saturations
    assert np.array_equal(trace.readout, found.readout)


def test_a_saturated_product_is_that_of_clipped_weights() -> None:
    """The plastic method's reference is q times the clipped k^T v, written out here."""
    narrow = able_chip(learning=2)
    network, x = attention_network(Sizes(width=3, depth=3, heads=2), narrow, seed=3)
    made = lowered(network, narrow, "plastic")
    run = made.run(x)
    q, k, v = (run.spikes[name].reshape(2, 6, 2, 3).astype(int) for name in "qkv")  # B, N, heads, d
    outer = np.einsum("bnhc,bnhe->bhce", k, v)
    held = np.minimum(outer, 1)
    current = np.einsum("bnhc,bhce->bnhe", q, held)
    assert run.saturations == (outer > 1).sum() > 0
    assert np.array_equal(run.spikes["y"].reshape(2, 6, 2, 3) > 0, current >= 3)
