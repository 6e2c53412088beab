"""Passes by name, small ops, and the check that a pass refuses a graph word for word."""

import re

import numpy as np
import pytest

from compiler.ir.ops import (
    BatchNorm,
    Conv2d,
    Linear,
    Neuron,
)
from compiler.passes import PASSES
from neurochip.errors import UnsupportedError
from tests.spiking_graphs import target

BY_NAME = {each.name: each for each in PASSES}
NORM = BatchNorm(gamma=np.array([1.0, 2]), beta=np.zeros(2), mean=np.zeros(2), var=np.ones(2), axis=0)
CANONICAL = Neuron(decay_input=False)


def assert_refused(pass_name, graph, message, **to):
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        BY_NAME[pass_name].run(graph, target(**to))


def linear(outputs, inputs, bias=None):
    return Linear(weight=np.linspace(-1, 1, outputs * inputs).reshape(outputs, inputs), bias=bias)


def conv(outputs, inputs, kernel, **more):
    return Conv2d(weight=np.ones((outputs, inputs, kernel, kernel)), **more)
