"""Units and whole thresholds: what quantise promises about numbers."""

from itertools import product

import numpy as np
import pytest

from compiler.ir.graph import Node
from compiler.ir.ops import Add, Conv2d, Input, Linear, Neuron, Requantise
from compiler.passes.encoder import input_levels
from compiler.passes.quantise import Quantise
from compiler.passes.units import Levels, Synapses, choose_threshold, choose_unit, threshold_of_integers
from tests.spiking_graphs import Model, data, target


def spikes_of(op, timesteps):
    """Spikes of ``op`` on every sequence of whole currents 0..4, as (T, 1, sequences)."""
    currents = np.array(list(product(range(5), repeat=timesteps)), dtype=float).T
    return op.reference(currents[:, None, :])


@pytest.mark.parametrize("fires", ["ge", "gt"])
@pytest.mark.parametrize(("tau", "timesteps"), [(None, 4), (1.0, 4), (2.0, 1), (3.0, 1)])
@pytest.mark.parametrize("threshold", [0.3, 1.0, 2.5, 3.9, 6.93])
def test_whole_thresholds_are_exact_where_no_membrane_lies_between(tau, timesteps, threshold, fires):
    op = Neuron(tau=tau, decay_input=False, threshold=threshold, fires=fires)
    theta = threshold_of_integers(op, timesteps)
    whole = Neuron(tau=tau, decay_input=False, threshold=theta, fires=fires)
    np.testing.assert_array_equal(spikes_of(whole, timesteps), spikes_of(op, timesteps))


def test_leaky_thresholds_snap_to_the_grid_of_reachable_membranes():
    near = Neuron(decay_input=False, threshold=2.9)
    assert threshold_of_integers(near, 4) == 3
    np.testing.assert_array_equal(spikes_of(near, 4), spikes_of(Neuron(decay_input=False, threshold=3.0), 4))
    assert threshold_of_integers(Neuron(decay_input=False, threshold=2.8), 4) is None


def test_leaky_thresholds_move_by_at_most_a_sixteenth():
    assert threshold_of_integers(Neuron(decay_input=False, threshold=11.3), 4) == 11
    assert threshold_of_integers(Neuron(decay_input=False, threshold=5.5), 4) is None


def test_rounding_of_float_arithmetic_does_not_count():
    assert threshold_of_integers(Neuron(threshold=0.7 / 0.1), 4) == 7


def test_the_unit_clips_rare_large_weights():
    weight = np.append(np.random.default_rng(0).normal(size=4000), 12.0)
    assert choose_unit([Synapses(weight=weight)], Levels(-8, 7)) < 0.7 * 12 / 7


def test_weights_of_zero_have_a_unit():
    zeros = np.zeros((2, 3))
    assert choose_unit([Synapses(weight=zeros)], Levels(-128, 127)) == 1.0
    assert choose_threshold([Synapses(weight=zeros)], 1.0, Levels(-128, 127), 1000) == 1
    with_bias = Synapses(weight=zeros, bias=np.array([0.5, 0.25]))
    assert choose_threshold([with_bias], 1.0, Levels(-128, 127), 1000) % 4 == 0


def test_thresholds_stay_within_the_register():
    tiny = Synapses(weight=np.full((2, 2), 1e-6))
    assert choose_threshold([tiny], 1.0, Levels(-128, 127), 1000) == 1000


class TestInputLevels:
    def levels(self, op, bits=8):
        return input_levels(Node("input", op), op, bits)

    def test_pixels_of_8_bits_stay_exact(self):
        op = self.levels(Input(shape=(1,), low=0, high=1))
        pixels = np.arange(256)
        np.testing.assert_array_equal(op.reference(pixels / 255), pixels)

    def test_negative_data_gets_symmetric_levels_no_wider_than_its_range(self):
        op = self.levels(Input(shape=(1,), low=-0.5, high=1))
        assert (op.low, op.high) == (-64, 127)
        assert op.scale == pytest.approx(1 / 127)

    def test_whole_numbers_stay_as_they_are(self):
        op = self.levels(Input(shape=(1,), integer=True, low=-3, high=7))
        assert (op.scale, op.low, op.high) == (1.0, -3, 7)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_encoder_fills_the_bias_register_and_follows_the_real_current(bits):
    m = Model(1)
    x = m.add("input", Input(shape=(3, 6, 6), low=-2, high=3))
    x = m.add("conv", Conv2d(weight=m.weight(4, 3, 3, 3), bias=m.weight(4), padding=(1, 1)), x)
    graph = m.graph(m.add("lif", Neuron(decay_input=False, threshold=2.0), x))
    result = Quantise().run(graph, target(encoder_weight_bits=bits, input_bits=bits))
    bounds = result.types["conv.requantise"]
    assert 4000 < max(-bounds.low, bounds.high) <= 4095
    x = data(graph, 1)
    real = graph.run(x, record="values").values["conv"]
    whole = result.run(x, record="values").values["conv.requantise"]
    unit = 2.0 / result.node("lif").op.threshold
    error = np.abs(whole * unit - real).max() / np.abs(real).max()
    assert error < (0.03 if bits == 8 else 0.002)


def test_layers_that_meet_in_a_neuron_share_its_unit():
    m = Model(2)
    x = m.spikes(6)
    a = m.add("a", Linear(weight=m.weight(4, 6)), x)
    b = m.add("b", Linear(weight=10 * m.weight(4, 6)), x)
    graph = m.graph(m.add("lif", Neuron(decay_input=False, threshold=2.0), m.add("sum", Add(), a, b)))
    result = Quantise().run(graph, target())
    unit = 2.0 / result.node("lif").op.threshold
    for name in "ab":
        kept = np.clip(graph.node(name).op.weight, -128 * unit, 127 * unit)
        np.testing.assert_allclose(result.node(name).op.weight * unit, kept, atol=unit / 2 * 1.001)


def test_neurons_that_share_a_layer_share_its_unit():
    m = Model(3)
    x = m.add("fc", Linear(weight=m.weight(4, 6)), m.spikes(6))
    low = m.add("low", Neuron(decay_input=False, threshold=1.0), x)
    high = m.add("high", Neuron(decay_input=False, threshold=2.0), x)
    result = Quantise().run(m.graph(low, high), target())
    assert result.node("high").op.threshold == 2 * result.node("low").op.threshold


def test_only_analog_input_gets_an_encoder():
    m = Model(4)
    graph = m.graph(
        m.add("lif", Neuron(decay_input=False), m.add("fc", Linear(weight=m.weight(4, 6)), m.spikes(6, high=3)))
    )
    assert not Quantise().run(graph, target()).of_type(Requantise)
