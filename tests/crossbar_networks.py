"""Small networks for the golden tests of the legalisation passes that crossbars need, by name of the pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from compiler.legal import Choices
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Bias, Dense, Encoder, Gather, Pool, Projection, Source
from tests.crossbar_chips import crossbar_chip

Case = tuple[Network, ChipSpec, Choices]
FOUR_BITS = Choices(weight_bits=4)


def network(populations: dict[str, tuple[int, Neuron]], *projections: Projection, analog: bool = False) -> Network:
    """Populations of one row of two positions each; the last is the readout."""
    made = tuple(
        Population(
            name=name, height=1, width=1 if neuron.kind == "readout" else 2, channels=n, neuron=neuron, origin=name
        )
        for name, (n, neuron) in populations.items()
    )
    channels = next(iter(populations.values()))[0]
    return Network(
        name="crossbar",
        timesteps=1,
        populations=made,
        projections=projections,
        input=InputSpec(
            shape=(channels, 1, 2), kind="analog" if analog else "spikes", scale=1.0, low=0, high=7 if analog else 1
        ),
        readout=ReadoutSpec(population=made[-1].name, scale=1.0, divisor=2, bias=(0.0,) * made[-1].channels),
        arithmetic=crossbar_chip().arithmetic,
    )


def lif(threshold: int) -> Neuron:
    """An integrate-and-fire neuron."""
    return Neuron(kind="lif", threshold=threshold)


def dense(target: str, weight: list[list[int]], *sources: str) -> Dense:
    """Synapses from ``sources`` on shared axons."""
    return Dense(
        name=f"{target}.synapses", sources=tuple(map(Source, sources)), target=target, origin=target,
        weight=np.array(weight, np.int8),
    )  # fmt: skip


def head(*sources: str) -> Gather:
    """A readout of two classes."""
    return Gather(
        name="head.synapses", sources=tuple(map(Source, sources)), target="head", origin="head",
        weight=np.array([[3, -1], [-2, 5]], np.int8),
    )  # fmt: skip


SPIKES, READOUT = (2, Neuron(kind="source")), (2, Neuron(kind="readout"))


def host_ends() -> Case:
    """Analog input through an encoder, and a readout."""
    encoder = Encoder(
        name="first", sources=(), target="first", origin="first", weight=np.full((1, 1, 1, 2), 3, np.int16),
        bias=np.array([0, 2]), multiplier=1, down=1,
    )  # fmt: skip
    populations = {"first": (2, lif(4)), "a": (2, lif(2)), "head": READOUT}
    net = network(populations, encoder, dense("a", [[1, 2], [-1, 1]], "first"), head("first", "a"), analog=True)
    return replace(net, input=replace(net.input, shape=(1, 1, 2))), crossbar_chip(), FOUR_BITS


def residual() -> Network:
    """Two sources on shared axons, read by a layer and by the head, which the host computes."""
    populations = {"in": SPIKES, "a": (2, lif(2)), "b": (2, lif(2)), "head": READOUT}
    net = network(
        populations, dense("a", [[1, 2], [-3, 1]], "in"), dense("b", [[2, -1], [1, 7]], "in", "a"), head("a", "b")
    )
    return replace(net, populations=(*net.populations[:-1], replace(net.populations[-1], home="host")))


def separate_axons() -> Case:
    """A residual sum."""
    return residual(), crossbar_chip(), FOUR_BITS


def place_biases() -> Case:
    """Biases below the threshold, far below zero, above the threshold, and beyond all that the neuron can lose."""
    bias = Bias(
        name="a.bias", sources=(), target="a", origin="a", weight=np.array([[1, -300, 6, 120]], np.int16), shifts=(0,)
    )
    populations = {"in": SPIKES, "a": (4, lif(4)), "head": READOUT}
    gather = Gather(
        name="head.synapses", sources=(Source("a"),), target="head", origin="head", weight=np.ones((4, 2), np.int8)
    )
    net = network(populations, dense("a", [[1, 2, -3, 4], [4, 1, 2, -7]], "in"), bias, gather)
    return net, crossbar_chip(), FOUR_BITS


def number_base() -> Case:
    """Four bits, ternary weights times a factor, one-to-one synapses beside others, and a bias on axons."""
    bias = Bias(name="b.bias", sources=(), target="b", origin="b", weight=np.array([[0, 9]], np.int16), shifts=(0,))
    populations = {"in": SPIKES, "a": (2, lif(2)), "b": (2, lif(2)), "c": (2, lif(2)), "head": READOUT}
    net = network(
        populations,
        dense("a", [[7, -7], [-3, 5]], "in"),
        dense("b", [[3, -3], [-3, 0]], "in"),
        Pool(name="b.shortcut", sources=(Source("a"),), target="b", origin="b", weight=1),
        bias,
        dense("c", [[1, 2], [3, 4]], "b"),
        head("c"),
    )
    return replace(net, populations=(*net.populations[:-1], replace(net.populations[-1], home="host"))), *(
        crossbar_chip(),
        FOUR_BITS,
    )


def splitters() -> Case:
    """A population whose three readers ask for five copies, on cores of four neurons."""
    chip, choices = crossbar_chip(neurons=4, axons=20), FOUR_BITS
    net = residual()
    more = Population(name="c", height=1, width=2, channels=2, neuron=lif(2), origin="c")
    reads = dense("c", [[1, -1], [3, 1]], "a")
    heads = replace(net.projections[-1], sources=(Source("a"), Source("b"), Source("c")))
    populations = (*net.populations[:-1], more, net.populations[-1])
    net = replace(net, populations=populations, projections=(*net.projections[:-1], reads, heads))
    from compiler.legal.number_base import NumberBase
    from compiler.legal.separate_axons import SeparateAxons

    for item in (SeparateAxons(), NumberBase()):
        net = item.run(net, chip, choices)
    return net, chip, choices


def strobes() -> Case:
    """Neurons that read a positive and a negative burst, with a bias in their thresholds."""
    burst = Neuron(kind="burst", threshold=1, reset="soft")
    populations = {"in": SPIKES, "plus": (2, burst), "minus": (2, burst), "a": (2, lif(4)), "head": READOUT}
    folded = Bias(
        name="a.bias", sources=(), target="a", origin="a", weight=np.array([[1, -3]], np.int16), shifts=(0,),
        place="threshold",
    )  # fmt: skip
    parts = [
        Pool(name=f"a.{name}", sources=(Source(name),), target="a", origin="a", weight=sign)
        for name, sign in (("plus", 1), ("minus", -1))
    ]
    net = network(
        populations, dense("plus", [[4, -3], [3, 2]], "in"), dense("minus", [[-4, 3], [-3, -2]], "in"),
        *parts, folded, head("a"),
    )  # fmt: skip
    made = tuple(replace(p, high=7) if p.neuron.kind == "burst" else p for p in net.populations)
    return replace(net, populations=made, interval=7), crossbar_chip(), FOUR_BITS


def strobes_over_steps() -> Case:
    """The same over three steps, with a leak and a bias: lowered, lifted and held in between."""
    net, chip, choices = strobes()
    leaky = replace(net.by_name["a"], neuron=replace(net.by_name["a"].neuron, decay=1))
    populations = tuple(leaky if p.name == "a" else p for p in net.populations)
    projections = tuple(replace(p, place="axon") if isinstance(p, Bias) else p for p in net.projections)
    return replace(net, timesteps=3, populations=populations, projections=projections), chip, choices


CROSSBAR_CASES: dict[str, Callable[[], Case]] = {
    "host-ends": host_ends,
    "separate-axons": separate_axons,
    "place-biases": place_biases,
    "number-base": number_base,
    "splitters": splitters,
    "strobes": strobes,
    "strobes+steps": strobes_over_steps,
}
"""Golden cases of the passes that crossbars need."""
