"""The neuron kernel against the integer reference, on random membranes, currents and rules of no and of every chip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Neuron
from neurochip.network.reference import bounded, leaked, update
from neurochip.sim.kernels.neurons import Rules
from neurochip.sim.kernels.neurons import update as kernel
from neurochip.sim.rules import update_rules
from tests.small_networks import one_population
from tests.strategies import random_arithmetic


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 1 << 30))
def test_kernel_and_reference_update_alike(seed):
    rng, rules = np.random.default_rng(seed), random_arithmetic(seed)
    neuron = Neuron(
        kind=rng.choice(["lif", "lif", "readout"]),
        decay=int(rng.integers(0, rules.max_decay + 1)),
        threshold=int(rng.integers(-100, 3000)),
        reset="soft" if rules.soft_reset and rng.random() < 0.5 else "hard",
        threshold_offset=int(rng.integers(0, 64)),
    )
    top = 1 << (rules.membrane_bits - 1)
    membrane = rng.integers(1 - top, top, (5, 7))
    membrane[0] = rng.integers(-3, 4, 7)
    current, constant = rng.integers(-5000, 5000, (5, 7)), rng.integers(-300, 300, (1, 7))
    u, wraps = bounded(current + constant, rules.current_bits, rules.current_overflow)
    fired, after, clips = update(neuron, rules, membrane, u)
    plain = update_rules(*one_population(neuron, rules), 0)
    kept = membrane.astype(np.int32)
    events, kernel_wraps, kernel_clips = kernel(
        current.astype(np.int32), constant, kept, Rules(*plain), np.zeros((5, 1), np.int64), 7
    )
    spikes = np.zeros((5, 7), np.int64)
    spikes[np.repeat(np.arange(5), np.diff(events.start)), events.channel] = 1
    assert np.array_equal(kept, after)
    assert np.array_equal(spikes, fired)
    assert (kernel_wraps, kernel_clips) == (wraps, clips)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("toward_zero", [-7, 0, 0, 0, 0, 0, 7]),
        ("past_zero", [-7, 2, 1, 0, -1, -2, 7]),
        ("down", [-13, -4, -5, -3, -1, -2, 7]),
    ],
)
def test_linear_leaks_by_hand(rule, expected):
    rules = Arithmetic(leak="linear", linear_leak=rule)
    values = np.array([-10, -1, -2, 0, 2, 1, 10])
    assert leaked(values, 3, rules).tolist() == expected


def test_the_order_of_leak_and_input_matters_where_it_should():
    neuron, v, u = Neuron(kind="lif", decay=3, threshold=100), np.array([2]), np.array([2])
    before = update(neuron, Arithmetic(leak="linear"), v, u)
    after = update(neuron, Arithmetic(leak="linear", leak_order="after"), v, u)
    assert (before[1].tolist(), after[1].tolist()) == ([2], [1])
