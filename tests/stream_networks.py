"""Networks whose neuron layers read the currents, or the spikes, of all layers before them, as shortcuts make them."""

from __future__ import annotations

import numpy as np

from compiler.legal.stream_cuts import Plan, streams_of
from compiler.legal.stream_sums import sum_of
from neurochip.chip.spec import ChipSpec
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Bias, Conv, Dense, Gather, Pool, Projection, Source


def residual(
    depth: int, channels: int, side: int = 1, timesteps: int = 1, seed: int = 0, top: int = 9, kernels: int = 1
) -> Network:
    """Spikes ``x``, layers ``l0``, ``l1``, ... that read the currents of ``x`` and of all layers before, a readout.

    Every other current comes from a convolution with ``kernels`` x ``kernels`` taps; odd layers have a bias.
    """
    rng = np.random.default_rng(seed)
    rules = Arithmetic()

    def grid(name: str, neuron: Neuron, size: int = side) -> Population:
        return Population(name=name, height=size, width=size, channels=channels, neuron=neuron, origin=name)

    names = [f"l{i}" for i in range(depth)]
    weights = {i: rng.integers(-top, top + 1, (kernels, kernels, channels, channels)) for i in range(depth)}
    populations = [grid("x", Neuron(kind="source"))]
    projections: list[Projection] = []
    for i, name in enumerate(names):
        populations.append(grid(name, Neuron(kind="lif", decay=2048, threshold=top << 6)))
        for j in range(i + 1):
            told = f"c{j}" if i == j else f"c{j}@{name}"
            source, weight = (Source(("x", *names)[j]),), weights[j].astype(np.int8)
            common = {"name": told, "sources": source, "target": name, "origin": f"c{j}", "counted": i == j, "shift": 6}
            projections.append(
                Conv(**common, weight=weight, padding=(kernels // 2, kernels // 2))
                if j % 2
                else Dense(**common, weight=weight[0, 0])
            )
        if i % 2:
            bias = rng.integers(-top, top + 1, (1, channels)).astype(np.int16)
            projections.append(
                Bias(name=f"{name}.bias", sources=(), target=name, origin=name, weight=bias, shifts=(6,))
            )
    populations.append(grid("y", Neuron(kind="readout"), 1))
    last = rng.integers(-top, top + 1, (channels, channels)).astype(np.int8)
    projections.append(
        Gather(name="y.synapses", sources=(Source(names[-1]),), target="y", origin="y", weight=last, shift=6)
    )
    return network_of("residual", populations, projections, rules, timesteps)


def plans_at(network: Network, levels: set[int], chip: ChipSpec) -> tuple[Plan, ...]:
    """Sums at the given levels of every stream, whether or not they pay."""
    found = []
    for stream in streams_of(network):
        sums = [sum_of(network, stream, i, chip, 8) for i in sorted(levels) if i < len(stream)]
        found.append(Plan(levels=stream, sums=tuple(s for s in sums if s is not None), before=1.0, after=0.0))
    return tuple(found)


def stacked(
    depth: int,
    channels: int,
    side: int = 1,
    timesteps: int = 1,
    seed: int = 0,
    top: int = 9,
    readers: int = 1,
    rules: Arithmetic | None = None,
) -> Network:
    """Spikes ``x``, then ``s0``, ``s1``, ...: ``s(l)`` is two layers behind ``x`` or behind all spikes s0 to s(l - 1).

    The first of the two, ``h(l)`` and further ``readers``, reads them as one projection (SEW addition), every other a
    convolution of 3 x 3; odd ones have a bias. The readout adds up all of them, and an OR reads the last level.
    """
    rng, rules = np.random.default_rng(seed), rules or Arithmetic()
    unit, half = rules.threshold_shift, 1 << (rules.decay_bits - 1) if rules.leak == "exponential" else 0
    populations: list[Population] = []
    projections: list[Projection] = []

    def add(name: str, neuron: Neuron, size: int = side, width: int = channels) -> None:
        populations.append(Population(name=name, height=size, width=size, channels=width, neuron=neuron, origin=name))

    def synapses(target: str, sources: tuple[str, ...], wide: bool) -> None:
        weight = rng.integers(-top, top + 1, (3, 3, channels, channels) if wide else (channels, channels))
        common = {"name": f"{target}.synapses", "sources": tuple(map(Source, sources)), "target": target,
                  "origin": target, "shift": unit, "weight": weight.astype(np.int8)}  # fmt: skip
        projections.append(Conv(**common, padding=(1, 1)) if wide else Dense(**common))

    fires = Neuron(kind="lif", decay=half, threshold=top << unit)
    add("x", Neuron(kind="source"))
    stream: tuple[str, ...] = ()
    for level in range(depth):
        for number in range(readers):
            name = f"h{level}{'abc'[number] if number else ''}"
            add(name, fires)
            synapses(name, stream or ("x",), wide=level % 2 == 1)
            if number % 2:
                bias = rng.integers(-top, top + 1, (1, channels)).astype(np.int16)
                projections.append(
                    Bias(name=f"{name}.bias", sources=(), target=name, origin=name, weight=bias, shifts=(unit,))
                )
        add(f"s{level}", fires)
        synapses(f"s{level}", (f"h{level}",), wide=False)
        stream = (*stream, f"s{level}")
    add("any", Neuron(kind="lif", threshold=0 if rules.fires == "gt" else 1 << unit))
    projections.append(
        Pool(name="any.synapses", sources=tuple(map(Source, stream)), target="any", origin="any", shift=unit)
    )
    add("y", Neuron(kind="readout"), 1)
    for name, read in (("y.all", stream), ("y.any", ("any",))):
        last = rng.integers(-top, top + 1, (channels, channels)).astype(np.int8)
        projections.append(
            Gather(name=name, sources=tuple(map(Source, read)), target="y", origin="y", weight=last, shift=unit)
        )
    return network_of("stacked", populations, projections, rules, timesteps)


def network_of(
    name: str, populations: list[Population], projections: list[Projection], rules: Arithmetic, timesteps: int
) -> Network:
    """Spikes into the first population, as it is shaped; the readout is ``y``."""
    first = populations[0]
    return Network(
        name=name,
        timesteps=timesteps,
        populations=tuple(populations),
        projections=tuple(projections),
        input=InputSpec(shape=(first.channels, first.height, first.width), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="y", scale=1.0, divisor=timesteps, bias=(0.0,) * first.channels),
        arithmetic=rules,
    )
