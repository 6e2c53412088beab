"""Small networks with one attention layer, and Loihi-like chips that can do all five methods."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compiler.legal.attention import AttentionMethods
from compiler.legal.target import Choices
from compiler.lower.balance import balance
from compiler.mapping.map import map_network
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Dense, Gated, Matrix, Pool, Product, Source, narrowest
from neurochip.program.image import Origin, Program

METHODS = ("processor", "unit", "plastic", "coincidence", "graded")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """``height`` x ``width`` tokens, ``heads`` of ``depth`` channels, T steps; ``threshold`` of the neurons behind."""

    height: int = 2
    width: int = 2
    heads: int = 1
    depth: int = 2
    timesteps: int = 1
    threshold: int = 3


def attention_network(sizes: Sizes, chip: ChipSpec, seed: int = 0) -> tuple[Network, NDArray[np.float64]]:
    """Spikes -> q, k, v -> q (k^T v) -> neurons -> readout, by the rules of ``chip``; and random spikes."""
    rng = np.random.default_rng(seed)
    inputs, channels = 6, sizes.heads * sizes.depth
    rules = chip.arithmetic
    shift = max(rules.threshold_shift, chip.weight_format().shift_low)
    unit, late = 1 << shift, rules.fires == "gt"

    def population(name: str, size: int, neuron: Neuron, high: int = 1) -> Population:
        return Population(
            name=name, height=sizes.height, width=sizes.width, channels=size, neuron=neuron, origin=name, high=high
        )

    def fires_at(value: int) -> Neuron:
        return Neuron(kind="lif", threshold=(value - late) * unit)

    def dense(target: str, source: str, rows: int, columns: int) -> Dense:
        weight = rng.integers(-1, 3, (rows, columns)).astype(np.int8)
        return Dense(
            name=f"{target}.w", sources=(Source(source),), target=target, origin=target, weight=weight, shift=shift
        )

    tokens = sizes.height * sizes.width
    populations = (
        population("x", inputs, Neuron(kind="source")),
        *(population(name, channels, fires_at(2)) for name in "qkv"),
        population("attention", channels, Neuron(kind="product"), high=tokens * sizes.depth),
        population("y", channels, fires_at(sizes.threshold)),
        population("out", 3, Neuron(kind="readout")),
    )
    projections = (
        *(dense(name, "x", inputs, channels) for name in "qkv"),
        Product(
            name="attention.product", sources=tuple(Source(n) for n in "qkv"), target="attention", origin="attention",
            heads=sizes.heads,
        ),
        Pool(name="y.w", sources=(Source("attention"),), target="y", origin="y", shift=shift),
        dense("out", "y", channels, 3),
    )  # fmt: skip
    network = Network(
        name="attention", timesteps=sizes.timesteps, populations=populations, projections=projections,
        input=InputSpec(shape=(inputs, sizes.height, sizes.width), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0,) * 3), arithmetic=rules,
    )  # fmt: skip
    x = rng.random((sizes.timesteps, 2, inputs, sizes.height, sizes.width)) < rng.uniform(0.3, 0.9)
    return network, x.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class WeightedSizes:
    """DSSA on a grid: ``heads`` of ``depth`` channels; the convolution's ``kernel``, ``stride`` and ``padding``."""

    height: int = 2
    width: int = 2
    heads: int = 1
    depth: int = 2
    kernel: int = 2
    stride: int = 2
    padding: int = 0
    over: Literal["channels", "positions"] = "channels"
    timesteps: int = 1
    bias: bool = True
    largest: int = 9


def weighted_network(
    sizes: WeightedSizes, chip: ChipSpec, seed: int = 0, bits: int | None = None
) -> tuple[Network, NDArray[np.float64]]:
    """Spikes -> a, z -> z times a convolution y of a -> neurons -> readout, by the rules of ``chip``; random spikes."""
    rng, rules, inputs = np.random.default_rng(seed), chip.arithmetic, 5
    weights = chip.weight_format(bits)
    shift = max(rules.threshold_shift, weights.shift_low)
    unit, late = 1 << shift, rules.fires == "gt"
    outputs, largest = sizes.heads * sizes.depth, min(sizes.largest, weights.high)
    rows, columns = ((n + 2 * sizes.padding - sizes.kernel) // sizes.stride + 1 for n in (sizes.height, sizes.width))
    read, made = outputs, sizes.heads * rows * columns
    read, made = (read, made) if sizes.over == "channels" else (made, read)
    weight = rng.integers(-largest, largest + 1, (sizes.kernel, sizes.kernel, 3, outputs))
    bias = rng.integers(-largest, largest + 1, outputs) * sizes.bias
    bound = max(1, int(np.abs(weight).sum(axis=(0, 1, 2)).max()) + int(np.abs(bias).max()))

    def population(name: str, channels: int, neuron: Neuron, **more: object) -> Population:
        return Population(
            name=name, height=sizes.height, width=sizes.width, channels=channels, neuron=neuron, origin=name, **more
        )

    def dense(target: str, source: str, before: int, after: int) -> Dense:
        some = rng.integers(-1, 2, (before, after)).astype(np.int8)
        return Dense(
            name=f"{target}.w", sources=(Source(source),), target=target, origin=target, weight=some, shift=shift
        )

    fires = Neuron(kind="lif", threshold=(1 - late) * unit)
    high = bound * (sizes.depth if sizes.over == "channels" else rows * columns)
    populations = (
        population("x", inputs, Neuron(kind="source")),
        population("a", 3, fires),
        population("z", read, fires),
        population("dssa", made, Neuron(kind="product"), high=high, signed=True),
        population("y", made, Neuron(kind="lif", threshold=(2 - late) * unit)),
        population("out", 3, Neuron(kind="readout")),
    )
    projections = (
        dense("a", "x", inputs, 3),
        dense("z", "x", inputs, read),
        Matrix(
            name="dssa.matrix", sources=(Source("a"),), target="dssa", origin="dssa", weight=narrowest(weight),
            bias=bias.astype(np.int32), stride=(sizes.stride,) * 2, padding=(sizes.padding,) * 2,
        ),
        Gated(
            name="dssa.gated", sources=(Source("z"),), target="dssa", origin="dssa", heads=sizes.heads,
            over=sizes.over,
        ),
        Pool(name="y.w", sources=(Source("dssa"),), target="y", origin="y", shift=shift),
        dense("out", "y", made, 3),
    )  # fmt: skip
    network = Network(
        name="dssa", timesteps=sizes.timesteps, populations=populations, projections=projections,
        input=InputSpec(shape=(inputs, sizes.height, sizes.width), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0,) * 3), arithmetic=rules,
    )  # fmt: skip
    x = rng.random((sizes.timesteps, 2, inputs, sizes.height, sizes.width)) < rng.uniform(0.3, 0.9)
    return network, x.astype(np.float64)


def able_chip(payload: int = 12, learning: int = 9, neurons: int = 1024) -> ChipSpec:
    """The attention chip's cores with every method: payloads, learning synapses, units and processors."""
    data = json.loads(load_chip("attention_chip").to_json())
    data["name"], data["attention"] = "able", list(METHODS)
    data["neuron"]["product"] = True
    data["spikes"]["payload"]["value"] = payload
    data["learning"]["weight"]["value"] = learning
    data["core"]["neurons"]["value"] = neurons
    return ChipSpec.model_validate(data)


def lowered(network: Network, chip: ChipSpec, method: str) -> Network:
    """``network`` with its attention by ``method``, and depths and delays."""
    choices = Choices(weight_bits=chip.default_weight_bits, attention=method)
    return balance(AttentionMethods().run(network, chip, choices), chip.max_delay)


def mapped(network: Network, chip: ChipSpec, method: str) -> Program:
    """A program of a network with depths and delays."""
    origin = Origin(
        model="attention", model_sha256="", family="attention", compiler_version="test",
        weight_bits=chip.default_weight_bits, attention=method, placement="hilbert", profile=chip.default_profile,
        seed=0,
    )  # fmt: skip
    return map_network(network, chip, origin, ())


def five_tokens() -> tuple[Network, ChipSpec, Choices]:
    """Five tokens of three channels by coincidence: pairs, three digits of their counts, masked digits."""
    chip = able_chip()
    network, _ = attention_network(Sizes(height=1, width=5, depth=3, timesteps=2), chip)
    return network, chip, Choices(weight_bits=8, attention="coincidence")


def weighted_payloads() -> tuple[Network, ChipSpec, Choices]:
    """DSSA by payloads: y above and below zero, what z lets pass of each."""
    chip = able_chip()
    network, _ = weighted_network(WeightedSizes(heads=2, depth=1), chip)
    return network, chip, Choices(weight_bits=8, attention="graded")


ATTENTION_CASES = {"attention": five_tokens, "attention+dssa": weighted_payloads}
"""Golden cases of the legalisation pass."""
