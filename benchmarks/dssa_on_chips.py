"""What dual spike self-attention (DSSA) costs on each chip: one product of spikes z with a convolution y of spikes x.

As in ``attention_on_chips``, the layer stands alone: x and z keep some of the input's channels at random, so that a
neuron fires in a fifth of the steps. Each head multiplies the 64 channels of y at its M positions with those of the N
tokens of z (y^T z). Weights are whole numbers -2..2, the same for all chips, so that sums fit registers of 16 bits.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.attention_on_chips import CHIPS, HEAD, INPUT_RATE, RATE, Case, Measured, measured
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Conv, Gated, Gather, Matrix, Pool, Source, narrowest

LARGEST_WEIGHT = 2


def cases(*, quick: bool) -> list[Case]:
    """Windows of 2 x 2; the smallest layer if quick."""
    small = Case(tokens=16, width=64, timesteps=1, patch=2)
    return [small] if quick else [small, replace(small, tokens=64), replace(small, tokens=64, width=256)]


def dssa_network(case: Case, chip: ChipSpec) -> Network:
    """The layer by the rules of ``chip``: input -> x, z -> z times the convolution of x -> y -> readout."""
    shape, rules, weights = case.shape, chip.arithmetic, chip.weight_format()
    rng = np.random.default_rng(0)
    shift = min(max(rules.threshold_shift, weights.shift_low), weights.shift_high)
    unit, late = 1 << shift, rules.fires == "gt"
    rows, columns = shape.height // case.patch, shape.width // case.patch
    made = shape.heads * rows * columns
    weight = rng.integers(
        -LARGEST_WEIGHT, LARGEST_WEIGHT + 1, (case.patch, case.patch, case.width, case.width), np.int64
    )
    bound = int(np.maximum(np.maximum(weight, 0).sum(axis=(0, 1, 2)), -np.minimum(weight, 0).sum(axis=(0, 1, 2))).max())

    def population(name: str, kind: Neuron, channels: int = case.width, high: int = 1) -> Population:
        return Population(
            name=name, height=shape.height, width=shape.width, channels=channels, neuron=kind, origin=name, high=high
        )

    def kept(name: str) -> Conv:
        some = (rng.random((1, 1, 1, case.width)) < RATE / INPUT_RATE).astype(np.int8)
        return Conv(
            name=f"{name}.w", sources=(Source("input"),), target=name, origin=name, weight=some, groups=case.width,
            shift=shift,
        )  # fmt: skip

    once = Neuron(kind="lif", threshold=(1 - late) * unit)
    threshold = max(2, round(LARGEST_WEIGHT * RATE * (RATE * HEAD * case.patch * case.patch) ** 0.5))
    populations = (
        population("input", Neuron(kind="source")),
        *(population(name, once) for name in "xz"),
        replace(population("attention", Neuron(kind="product"), made, bound * HEAD), signed=True),
        population("y", Neuron(kind="lif", threshold=(threshold - late) * unit), made),
        replace(population("out", Neuron(kind="readout"), 2), height=1, width=1),
    )
    projections = (
        *(kept(name) for name in "xz"),
        Matrix(
            name="attention.matrix", sources=(Source("x"),), target="attention", origin="attention",
            weight=narrowest(weight), bias=np.zeros(case.width, np.int32), stride=(case.patch, case.patch),
        ),
        Gated(
            name="attention.gated", sources=(Source("z"),), target="attention", origin="attention", heads=shape.heads
        ),
        Pool(name="y.w", sources=(Source("attention"),), target="y", origin="y", shift=shift),
        Gather(
            name="out.w", sources=(Source("y"),), target="out", origin="out", shift=weights.shift_low,
            weight=np.ones((made, 2), np.int8),
        ),
    )  # fmt: skip
    return Network(
        name="dssa", timesteps=case.timesteps, populations=populations, projections=projections,
        input=InputSpec(shape=(case.width, shape.height, shape.width), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0, 0.0)), arithmetic=rules,
    )  # fmt: skip


def measured_dssa(*, quick: bool, chips: tuple[str, ...] = CHIPS) -> list[Measured]:
    """Every method of every chip, with a line of progress each."""
    return measured(cases(quick=quick), dssa_network, quick=True, chips=chips)
