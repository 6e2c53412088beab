"""What cannot become whole numbers is refused by name, with the reason and a remedy."""

from dataclasses import replace

import numpy as np

from compiler.ir.ops import (
    Add,
    Conv2d,
    Input,
    Linear,
    Scale,
)
from neurochip.network.arithmetic import Arithmetic
from tests.refusals import CANONICAL, assert_refused, linear
from tests.spiking_graphs import Model


class TestQuantise:
    image = Input(shape=(2, 4, 4), low=0, high=1)

    def refused(self, graph, message, **to):
        assert_refused("quantise", graph, message, **to)

    def encoder(self, *, image=None, weight=1.0, bias=None, threshold=1.0):
        m = Model()
        op = Conv2d(weight=np.full((1, 2, 1, 1), weight), bias=bias)
        x = m.add("conv", op, m.add("input", image or self.image))
        return m.graph(m.add("lif", replace(CANONICAL, threshold=threshold), x))

    def test_an_input_of_unknown_range(self):
        self.refused(
            self.encoder(image=Input(shape=(2, 4, 4))),
            "input 'input': its range -inf..inf does not tell how to make it whole numbers; "
            "say what the data holds: --set input.low=…,input.high=…",
        )

    def test_analog_input_straight_into_neurons(self):
        m = Model()
        self.refused(
            m.graph(m.add("lif", CANONICAL, m.add("input", self.image))),
            "input 'input': analog input feeds neuron 'lif'; only a conv2d or linear layer can encode it: "
            "put one before it, or give the model spikes (whole numbers >= 0)",
        )

    def test_a_chip_without_bias_registers(self):
        self.refused(
            self.encoder(),
            "conv2d 'conv': reads analog input, and this chip has no bias register to take its current; "
            "encode the input as spikes, or choose another chip",
            arithmetic=Arithmetic(bias_bits=0),
        )

    def test_a_first_layer_far_above_its_threshold(self):
        self.refused(
            self.encoder(weight=1.0, threshold=1e-4),
            "conv2d 'conv': its current can reach 2, more than 4095 times the threshold 0.0001 behind it, so that the "
            "bias register cannot hold both; narrow the input's range",
        )

    def test_a_bias_beyond_32_bits(self):
        self.refused(
            self.encoder(bias=np.array([1e9])),
            "conv2d 'conv': a bias of 32385000000000 does not fit 32 bits in units of 3.09e-05; "
            "rescale the layer or its input",
        )
        m = Model()
        x = m.add("fc", Linear(weight=np.array([[1.0]]), bias=np.array([1e10])), m.spikes(1))
        self.refused(
            m.graph(m.add("lif", CANONICAL, x)),
            "linear 'fc': a bias of 10000000000 does not fit 32 bits in units of 1; train with weight decay on biases",
        )

    def test_a_weight_layer_on_real_values_inside_the_model(self):
        m = Model()
        x = m.add("first", linear(3, 4), m.spikes(4))
        self.refused(
            m.graph(m.add("lif", CANONICAL, m.add("second", linear(2, 3), x))),
            "linear 'second': reads real[3] from linear 'first', but only the first layer may read real values; "
            "put a neuron between them",
        )

    def test_two_analog_inputs_of_one_layer(self):
        m = Model()
        x = m.add("fc", linear(3, 4), m.add("input", Input(shape=(4,), low=0, high=1)), m.spikes(4, name="events"))
        self.refused(
            m.graph(m.add("lif", CANONICAL, x)),
            "linear 'fc': reads real{0..1}[4] from input 'input', but only the first layer may read real values, "
            "and an analog input must be its only one; put a neuron between them",
        )

    def test_a_weight_layer_without_neurons(self):
        m = Model()
        self.refused(
            m.graph(m.add("fc", linear(3, 4), m.spikes(4))),
            "linear 'fc': feeds the output with real values; put a neuron between them",
        )

    def test_neurons_on_reals(self):
        m = Model()
        x = m.add("total", Scale(factor=0.3), m.spikes(4))
        self.refused(
            m.graph(m.add("lif", CANONICAL, x)),
            "neuron 'lif': reads real{0..0.3}[4] from scale 'total'; put a conv2d or linear layer before the neuron",
        )

    def test_weighted_and_whole_currents_together(self):
        m = Model()
        x = m.spikes(4)
        x = m.add("sum", Add(), m.add("fc", linear(4, 4), x), x)
        self.refused(
            m.graph(m.add("lif", CANONICAL, x)),
            "neuron 'lif': adds up weighted and whole currents (linear 'fc', input 'input'), which have no unit in "
            "common; put a weight layer before each of them",
        )

    def test_two_layers_on_the_analog_input_in_one_neuron(self):
        m = Model()
        x = m.add("input", Input(shape=(4,), low=0, high=1))
        a, b = m.add("a", linear(4, 4), x), m.add("b", linear(4, 4), x)
        self.refused(
            m.graph(m.add("lif", CANONICAL, m.add("sum", Add(), a, b))),
            "neuron 'lif': adds up two layers that read the analog input (linear 'a', linear 'b'), and there is one "
            "bias register; make them one convolution",
        )

    def test_neurons_that_fire_by_themselves(self):
        m = Model()
        x = m.add("fc", linear(3, 4), m.spikes(4))
        self.refused(
            m.graph(m.add("lif", replace(CANONICAL, threshold=-0.5), x)),
            "neuron 'lif': its threshold -0.5 lets it fire without input; train with one above v_reset",
        )
        m = Model()
        self.refused(
            m.graph(m.add("lif", replace(CANONICAL, threshold=0.0), m.spikes(4))),
            "neuron 'lif': its currents are whole numbers, of which its threshold 0 lets it fire without input; "
            "train with one above v_reset",
        )
