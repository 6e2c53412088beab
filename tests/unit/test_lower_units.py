"""Registers of a chip from integers of a model: shifts, thresholds, leaks and bias digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.ops import Neuron as NeuronOp
from compiler.ir.ops import RegisterNeuron
from compiler.lower.units import bias_digits
from compiler.passes.registers import Demand, is_exact, neuron_registers
from neurochip.chip.load import load_chip
from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Neuron
from neurochip.network.reference import update

LOIHI = Arithmetic()
LIF = Demand(name="lif", tau=2.0, threshold=100, fires="ge", reset="hard", low=-500, high=500, timesteps=4)
SHIFTS = range(15)


def test_leak_of_four_steps_gets_three_fractional_bits_below_the_threshold_grid() -> None:
    neuron, shift = neuron_registers(LIF, LOIHI, SHIFTS)
    assert shift == 6 + 3
    assert neuron == Neuron(kind="lif", decay=2048, threshold=(100 << 9) - 64, threshold_offset=64)


@given(
    tau=st.sampled_from([None, 1.0, 4 / 3, 2.0, 3.0, 4.0]),
    fires=st.sampled_from(["ge", "gt"]),
    chip_fires=st.sampled_from(["ge", "gt"]),
    bound=st.sampled_from([3, 100, 9000, 200_000]),
    timesteps=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_registers_called_exact_fire_as_the_model_does(tau, fires, chip_fires, bound, timesteps, seed) -> None:
    rng, rules = np.random.default_rng(seed), Arithmetic(fires=chip_fires)
    theta = int(rng.integers(1, bound + 1))
    demand = Demand(
        name="lif", tau=tau, threshold=theta, fires=fires, reset="hard", low=-bound, high=bound, timesteps=timesteps
    )
    try:
        neuron, shift = neuron_registers(demand, rules, SHIFTS)
    except UnsupportedError:
        return  # no memory, too much to forget
    x = rng.integers(-bound, bound + 1, (timesteps, 1, 200)).astype(np.float64)
    x[:, :, ::2] = np.where(rng.random((timesteps, 1, 100)) < 0.5, theta, theta / 2).astype(np.int64)
    model = NeuronOp(tau=tau, decay_input=False, threshold=theta, fires=fires)
    chip = RegisterNeuron(
        shift=shift, decay=neuron.decay, threshold=neuron.threshold, threshold_offset=neuron.threshold_offset,
        rules=rules.model_dump_json(exclude_defaults=True),
    )  # fmt: skip
    if is_exact(demand, rules, neuron, shift):
        np.testing.assert_array_equal(model.reference(x), chip.reference(x))


def test_usual_neurons_are_exact() -> None:
    for tau, timesteps in ((2.0, 4), (None, 8), (1.0, 3), (3.0, 1)):
        demand = replace(LIF, tau=tau, timesteps=timesteps, low=-30, high=30, threshold=20)
        assert is_exact(demand, LOIHI, *neuron_registers(demand, LOIHI, SHIFTS))


def test_integrate_and_fire_needs_no_fraction_and_no_leak() -> None:
    neuron, shift = neuron_registers(replace(LIF, tau=None), LOIHI, SHIFTS)
    assert (shift, neuron.decay, neuron.threshold) == (6, 0, (100 << 6) - 64)


def test_model_that_fires_above_its_threshold_keeps_it_on_a_chip_that_does_too() -> None:
    neuron, shift = neuron_registers(replace(LIF, fires="gt"), LOIHI, SHIFTS)
    assert (neuron.threshold, neuron.threshold_offset) == (100 << shift, 0)


def test_large_currents_take_a_smaller_shift_until_they_fit() -> None:
    neuron, shift = neuron_registers(replace(LIF, high=40_000), LOIHI, SHIFTS)
    assert 40_000 << shift < 1 << 23 <= 40_000 << (shift + 1)
    assert neuron.threshold % 64 == 0


def test_current_that_no_shift_can_hold_is_refused_with_the_limit() -> None:
    with pytest.raises(UnsupportedError) as error:
        neuron_registers(replace(LIF, high=1 << 23), LOIHI, SHIFTS)
    assert str(error.value) == (
        "layer 'lif': a step's current can reach 8388608 units of its weights, more than the 24-bit current holds "
        "(8388607); use fewer input channels or a smaller kernel, or a chip with wider sums"
    )


def test_threshold_that_no_shift_can_hold_is_told_from_a_current() -> None:
    with pytest.raises(UnsupportedError, match=r"layer 'lif': its threshold is 8388608 units of its weights"):
        neuron_registers(replace(LIF, threshold=1 << 23), LOIHI, SHIFTS)


def test_soft_reset_is_refused_where_the_chip_resets_to_zero() -> None:
    with pytest.raises(UnsupportedError, match="subtracts its threshold on a spike, this chip resets to 0"):
        neuron_registers(replace(LIF, reset="soft"), LOIHI, SHIFTS)
    neuron, _ = neuron_registers(replace(LIF, reset="soft", timesteps=1), LOIHI, SHIFTS)
    assert neuron.reset == "hard"


def test_exponential_leak_is_refused_on_a_chip_with_another_leak() -> None:
    linear = LOIHI.model_copy(update={"leak": "linear"})
    with pytest.raises(UnsupportedError, match=r"its leak is exponential \(tau 2\), the chip's is linear; use T = 1"):
        neuron_registers(LIF, linear, SHIFTS)
    assert neuron_registers(replace(LIF, timesteps=1), linear, SHIFTS)[0].decay == 0


@pytest.mark.parametrize("tau", [1.5, 2.0, 4.0])
def test_linear_leak_that_was_asked_for_is_the_least_squares_fit(tau: float) -> None:
    rules = LOIHI.model_copy(update={"leak": "linear", "max_decay": 1 << 15, "threshold_shift": 0})
    demand = replace(LIF, tau=tau, approximate_leak=True)
    neuron, shift = neuron_registers(demand, rules, SHIFTS)
    membranes = np.arange(neuron.threshold)
    wanted = membranes * (1 - 1 / tau)
    errors = [((np.maximum(membranes - leak, 0) - wanted) ** 2).sum() for leak in range(neuron.threshold)]
    assert abs(neuron.decay - np.argmin(errors)) <= 0.02 * neuron.threshold
    assert not is_exact(demand, rules, neuron, shift), "the graph must take the chip's leak"


def test_leak_that_was_asked_for_is_none_on_chips_without_leak_and_as_large_as_the_register_holds() -> None:
    demand = replace(LIF, approximate_leak=True)
    assert neuron_registers(demand, LOIHI.model_copy(update={"leak": "none"}), SHIFTS)[0].decay == 0
    narrow = LOIHI.model_copy(update={"leak": "linear", "max_decay": 9})
    assert neuron_registers(demand, narrow, SHIFTS)[0].decay == 9
    wide = LOIHI.model_copy(update={"leak": "linear"})
    neuron, shift = neuron_registers(demand, wide, SHIFTS)
    assert neuron.decay == round((100 << shift) / 3), "a coarser unit rather than a leak that is cut"


def test_chips_with_the_models_leak_keep_it_whatever_may_be_approximated() -> None:
    assert neuron_registers(replace(LIF, approximate_leak=True), LOIHI, SHIFTS) == neuron_registers(LIF, LOIHI, SHIFTS)


def test_neuron_without_memory_forgets_what_did_not_fire() -> None:
    demand = replace(LIF, tau=1.0, threshold=2, low=0, high=3)
    neuron, shift = neuron_registers(demand, LOIHI, SHIFTS)
    membrane = np.zeros(1, np.int64)
    for spikes, fires in ((1, 0), (1, 0), (2, 1), (1, 0), (3, 1)):
        fired, membrane, _ = update(neuron, LOIHI, membrane, np.array([spikes << shift]))
        assert fired[0] == fires


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-500, 500), min_size=4, max_size=4),
    st.integers(1, 400),
    st.sampled_from([None, 2.0]),
    st.sampled_from(["ge", "gt"]),
)
def test_registers_fire_exactly_when_the_model_does(
    currents: list[int], threshold: int, tau: float | None, fires: str
) -> None:
    """On the grid that a dyadic leak reaches, Loihi's > with its rounding is the model's >= or >."""
    neuron, shift = neuron_registers(replace(LIF, tau=tau, threshold=threshold, fires=fires), LOIHI, SHIFTS)
    v, membrane = 0.0, np.zeros(1, np.int64)
    for current in currents:
        v = v * (1.0 if tau is None else 1 - 1 / tau) + current
        expected = v >= threshold if fires == "ge" else v > threshold
        v = 0.0 if expected else v
        fired, membrane, _ = update(neuron, LOIHI, membrane, np.array([current << shift]))
        assert bool(fired[0]) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-20_000, 20_000), min_size=1, max_size=8), st.integers(0, 9), st.sampled_from([4, 8]))
def test_bias_digits_add_up_to_the_bias_within_the_weight_format(bias: list[int], shift: int, bits: int) -> None:
    weights = load_chip("loihi").weight_format(bits)
    digits, shifts = bias_digits(np.array(bias), max(shift, weights.shift_low), weights, "layer")
    base = max(shift, weights.shift_low)
    total = sum(row.astype(np.int64) << s for row, s in zip(digits, shifts, strict=True))
    assert np.array_equal(total, np.array(bias) << base)
    assert np.abs(digits).max() <= weights.high
    assert all(weights.shift_low <= s <= weights.shift_high for s in shifts)


@pytest.mark.parametrize("rules", [LOIHI, Arithmetic(leak="linear", max_decay=40_000)])
def test_a_neuron_without_memory_starts_every_step_from_zero(rules: Arithmetic) -> None:
    gate = replace(LIF, tau=1, threshold=2, low=-3, high=5)
    neuron, shift = neuron_registers(gate, rules, SHIFTS)
    for left in range(-3, 2):
        for x in range(-3, 6):
            fired, _, _ = update(neuron, rules, np.array([left << shift]), np.array([x << shift]))
            assert bool(fired[0]) == (x >= 2)


@pytest.mark.parametrize(
    "rules",
    [
        Arithmetic(leak="none", max_decay=0),
        Arithmetic(leak="linear", max_decay=255),
        Arithmetic(leak="linear", max_decay=40_000, leak_order="after"),
        Arithmetic(leak="linear", max_decay=40_000, linear_leak="past_zero"),
    ],
)
def test_a_neuron_without_memory_is_refused_where_no_leak_clears_it(rules: Arithmetic) -> None:
    gate = replace(LIF, tau=1, threshold=2, low=-3, high=500)
    with pytest.raises(UnsupportedError, match=f"in one step, which the chip's {rules.leak} leak cannot; use T = 1"):
        neuron_registers(gate, rules, range(6, 15))
    assert neuron_registers(replace(gate, timesteps=1), rules, range(6, 15))[0].decay == 0
