"""Small networks and chips that the golden tests of the legalisation passes are run on, by name of the pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from compiler.legal import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Bias, Conv, Dense, Projection, Source
from tests.small_chips import small_chip
from tests.stream_networks import residual

Case = tuple[Network, ChipSpec, Choices]
EIGHT_BITS = Choices(weight_bits=8)


def layers(*weights: list[list[int]], timesteps: int = 1, arithmetic: Arithmetic | None = None) -> Network:
    """Spike input, a ``lif`` layer for each weight matrix but the last, and a readout: ``a``, ``b``, ``c``..."""
    rules = Arithmetic() if arithmetic is None else arithmetic
    names = "abcdefgh"
    populations = [_population("a", len(weights[0]), Neuron(kind="source"))]
    projections: list[Projection] = []
    for number, weight in enumerate(weights, start=1):
        last = number == len(weights)
        neuron = (
            Neuron(kind="readout") if last else Neuron(kind="lif", decay=2048, threshold=2 << rules.threshold_shift)
        )
        populations.append(_population(names[number], len(weight[0]), neuron))
        projections.append(
            Dense(
                name=f"{names[number]}.synapses",
                sources=(Source(names[number - 1]),),
                target=names[number],
                origin=names[number],
                weight=np.array(weight, np.int8),
                shift=rules.threshold_shift,
            )
        )
    return Network(
        name="layers",
        timesteps=timesteps,
        populations=tuple(populations),
        projections=tuple(projections),
        input=InputSpec(shape=(len(weights[0]),), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(
            population=populations[-1].name, scale=1.0, divisor=timesteps, bias=(0.0,) * populations[-1].channels
        ),
        arithmetic=rules,
    )


def _population(name: str, channels: int, neuron: Neuron) -> Population:
    return Population(name=name, height=1, width=1, channels=channels, neuron=neuron, origin=name)


def split_fan_in() -> Case:
    """Six inputs, cores of four axons, neurons that can send their sums as bursts."""
    rules = Arithmetic(fires="ge", soft_reset=True)
    weights = [[2, -2], [4, 0], [-2, 2], [6, 2], [-4, 2], [0, -2]]
    chip = small_chip(input_axons=4, arithmetic=rules, weight_sharing=False)
    return layers(weights, [[1], [-1]], arithmetic=rules, timesteps=3), chip, EIGHT_BITS


def split_rows() -> Case:
    """Two groups of one channel each, whose windows of three no core of two axons takes."""
    rules = Arithmetic(fires="ge", soft_reset=True)
    network = layers([[1, 0], [0, 1]], [[1], [-1]], arithmetic=rules, timesteps=2)
    source, lif, readout = (replace(p, height=3, width=1) for p in network.populations)
    weight = np.array([[[[2, -1]], [[1, 3]]], [[[-2, 1]], [[1, 1]]], [[[1, 0]], [[-1, 2]]]], np.int8)[:, :1]
    conv = Conv(
        name="b.synapses", sources=(Source("a"),), target="b", origin="b", shift=rules.threshold_shift,
        weight=weight, padding=(1, 0), groups=2,
    )  # fmt: skip
    made = replace(network, populations=(source, lif, readout), projections=(conv, network.projections[1]))
    made = replace(made, input=replace(made.input, shape=(2, 3, 1)))
    return made, small_chip(input_axons=2, arithmetic=rules, weight_sharing=False), EIGHT_BITS


def signed_rows() -> Case:
    """A layer of both signs and one of one sign, with a bias, on rows of one sign."""
    network = layers([[2, -2], [4, 0], [-2, 2]], [[1], [1]])
    bias = Bias(
        name="b.bias", sources=(), target="b", origin="b", weight=np.array([[3, -1], [1, 2]], np.int16), shifts=(6, 13)
    )
    return replace(network, projections=(*network.projections, bias)), small_chip(signed_rows=True), EIGHT_BITS


def fit_weights() -> Case:
    """Four-bit weights: 24 and -40 are three and minus five times eight."""
    return layers([[24, -40], [8, 16]], [[1], [-7]]), small_chip(), Choices(weight_bits=4)


def streams() -> Case:
    """Four layers on one residual stream of currents; cores that cannot hold the synapses of the last."""
    return residual(4, 8, top=3), small_chip(words=28), EIGHT_BITS


CASES: dict[str, Callable[[], Case]] = {
    "fit-weights": fit_weights,
    "signed-rows": signed_rows,
    "split-fan-in": split_fan_in,
    "split-fan-in+rows": split_rows,
    "streams": streams,
}
"""Add a pass's golden case here; then ``pytest tests/golden --update-golden`` writes ``golden/legal/NAME.txt``."""
