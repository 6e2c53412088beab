"""Chips whose cores multiply, and small networks whose neurons read spikes, payloads or both."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from neurochip.chip.spec import ChipSpec
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Bias, Conv, Dense, Gather, Pool, Source
from tests.legal_networks import EIGHT_BITS, Case
from tests.small_chips import small_chip

UNIT = 6
"""Shift of a weight of one on these chips: their thresholds are multiples of 64."""


def graded_chip(
    activation: int = 8,
    payload: int = 8,
    kinds: tuple[str, ...] = ("spiking", "graded"),
    where: str = "core",
    also: str | None = "host",
    accumulator: int | None = None,
    neurons: int = 40,
    max_delay: int | None = None,
) -> ChipSpec:
    """``small_chip`` with a mode for each core and analog input on cores."""
    data = json.loads(small_chip(payload=payload, neurons=neurons, max_delay=max_delay).to_json())
    figure = {"value": activation, "unit": "bits", "source": "neurochip", "status": "assumed", "note": "test"}
    data["core"]["modes"] = {"kinds": list(kinds), "activation": figure}
    if accumulator is not None:
        data["core"]["modes"]["accumulator"] = {**figure, "value": accumulator}
    data["sources"]["neurochip"] = "a choice of this file"
    data["encoder"] = {"where": where, "also": also}
    return ChipSpec.model_validate(data)


def population(name: str, height: int, width: int, channels: int, neuron: Neuron, **more: object) -> Population:
    """A population that is its own origin."""
    plain = Population(name=name, height=height, width=width, channels=channels, neuron=neuron, origin=name)
    return replace(plain, **more)


def analog(low: int = 0, high: int = 255, seed: int = 0, timesteps: int = 2, chip: ChipSpec | None = None) -> Network:
    """Values of a 4 x 5 image of two channels -> a convolution of 3 x 3, whose neurons fire -> readout."""
    rng = np.random.default_rng(seed)
    rules = (chip or graded_chip()).arithmetic
    largest = max(high, -low)
    source = population("x", 4, 5, 2, Neuron(kind="source"), coding="graded", high=largest, signed=low < 0)
    theta = int(rng.integers(1, 40)) * largest
    first = Conv(
        name="conv", sources=(Source("x"),), target="first", origin="first", shift=0, padding=(1, 1),
        stride=(1, int(rng.integers(1, 3))), weight=rng.integers(-127, 128, (3, 3, 2, 3)).astype(np.int8),
    )  # fmt: skip
    columns = (5 + 2 - 3) // first.stride[1] + 1
    bias = Bias(
        name="bias", sources=(), target="first", origin="first", shifts=(7, 0),
        weight=rng.integers(-100, 101, (2, 3)).astype(np.int16),
    )  # fmt: skip
    head = Gather(
        name="head", sources=(Source("first"),), target="out", origin="out", shift=UNIT,
        weight=rng.integers(-9, 10, (3, 4)).astype(np.int8),
    )  # fmt: skip
    return Network(
        name="analog",
        timesteps=timesteps,
        populations=(
            source,
            population("first", 4, columns, 3, Neuron(kind="lif", decay=2048, threshold=(theta >> UNIT) + 1 << UNIT)),
            population("out", 1, 1, 4, Neuron(kind="readout")),
        ),
        projections=(first, bias, head),
        input=InputSpec(shape=(2, 4, 5), kind="analog", scale=0.5, low=low, high=high),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0,) * 4),
        arithmetic=rules,
    )


def mixed(seed: int | None = None, timesteps: int = 1) -> Network:
    """Spikes a -> b fires; a -> sums, sent as payloads; c reads b and the sums; readout."""
    rng = np.random.default_rng(seed)
    into = np.array([[2, 1], [1, 3], [-1, 2]]) if seed is None else rng.integers(-3, 4, (3, 2))
    on = np.array([[1, -1], [2, 1]]) if seed is None else rng.integers(-3, 4, (2, 2))

    def dense(name: str, source: str, target: str, weight: np.ndarray) -> Dense:
        return Dense(
            name=name,
            sources=(Source(source),),
            target=target,
            origin=target,
            shift=UNIT,
            weight=weight.astype(np.int8),
        )

    rules = graded_chip().arithmetic
    return Network(
        name="mixed",
        timesteps=timesteps,
        populations=(
            population("a", 1, 1, 3, Neuron(kind="source")),
            population("b", 1, 1, 2, Neuron(kind="lif", threshold=1 << UNIT)),
            population("sums", 1, 1, 2, Neuron(kind="graded", threshold=1 << UNIT), coding="graded", high=9),
            population("c", 1, 1, 2, Neuron(kind="lif", decay=2048, threshold=2 << UNIT)),
            population("out", 1, 1, 1, Neuron(kind="readout")),
        ),
        projections=(
            dense("ab", "a", "b", into),
            dense("as", "a", "sums", np.abs(into)),
            dense("bc", "b", "c", on),
            Pool(name="sc", sources=(Source("sums"),), target="c", origin="c", shift=UNIT),
            dense("co", "c", "out", np.array([[3], [-2]])),
        ),
        input=InputSpec(shape=(3,), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0,)),
        arithmetic=rules,
    )


def core_modes() -> Case:
    """Neurons that read spikes and payloads, on cores that take one of them."""
    return mixed(), graded_chip(), EIGHT_BITS


MODE_CASES = {"core-modes": core_modes}
