"""Projections: who adds what to whom. Weights are shared by positions and stored once."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

STORED_IF_SET = {"stored": "if not the default"}
"""Metadata of fields that files leave out at their default, so that files without them stay as they were."""

BiasPlace = Literal["axon", "register", "threshold", "lift", "drop", "hold"]

STROBES: tuple[BiasPlace, ...] = ("lift", "drop", "hold")
"""Always-on axons of neurons that wait: what drops in the tick after a neuron's own tick is lifted in the next one,
and what holds cancels the leak of each tick between."""

Weights = NDArray[np.int8 | np.int16]
"""Synaptic weights: bytes, or 16-bit words where a chip's weights have more than 8 bits."""

MAX_BYTE, MAX_WORD = 127, 32767
"""Largest weights of each; weights are symmetric, as the range of a width is (``WeightFormat``)."""


def narrowest(weight: NDArray[np.integer]) -> Weights:
    """``weight`` in the narrowest type that holds it; raises ``ValueError`` beyond +-``MAX_WORD``."""
    most = max(int(weight.max(initial=0)), -int(weight.min(initial=0)))
    if most > MAX_WORD:
        raise ValueError(f"a weight of {most} does not fit 16 bits")
    return np.asarray(weight, np.int8 if most <= MAX_BYTE else np.int16)


@dataclass(frozen=True, slots=True)
class Source:
    """One source population of a projection and its axonal delay in ticks (emission to integration, >= 1).

    ``steps_back``: the target's step t reads the source's step t - steps_back (nothing before step 0); at least 1 on
    one edge of every loop. ``types``, on crossbars: the axons each of its neurons takes on a target core, by axon type;
    all of them carry every spike (``Projection.base``).
    """

    population: str
    delay: int = 1
    steps_back: int = field(default=0, metadata=STORED_IF_SET)
    types: tuple[int, ...] = field(default=(), metadata=STORED_IF_SET)

    @property
    def lines(self) -> int:
        """Axons that one neuron takes on a target core."""
        return max(1, len(self.types))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Projection:
    """Base of all projections: ``target`` receives ``(sum of weights of arriving spikes) << shift``.

    Attributes:
        sources: populations of one shape whose spikes add up on shared axons (SEW addition).
        origin: the Graph node whose synapses these are.
        counted: the accumulates belong to the model's arithmetic (AC); ``False`` for relays, pools and biases,
            which the chip pays for and the 45 nm operation count leaves out.
        base: on crossbars, (lines, C_out) int16: what a neuron of each target channel receives from each line of its
            sources (raw units, ``shift`` included) if their crosspoint is set; every ``weight << shift`` is the sum of
            some of its column. Lines of one axon type have equal rows.
    """

    kind: ClassVar[str] = "projection"
    name: str
    sources: tuple[Source, ...]
    target: str
    origin: str
    shift: int = 0
    counted: bool = True
    base: NDArray[np.int16] | None = field(default=None, metadata=STORED_IF_SET)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dense(Projection):
    """Same position: ``u[p, j] += sum_i x[p, i] * weight[i, j]``; weight (C_in, C_out)."""

    kind: ClassVar[str] = "dense"
    weight: Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv(Projection):
    """Cross-correlation over the grid, zero padding; weight (kh, kw, C_in / groups, C_out).

    ``channels``: the range of the sources' channels that it reads, of which C_in counts only these; all if None.
    ``rows``: (first, whole): the weight has only some of the kernel's ``whole`` rows, from ``first`` on, and the others
    have no synapses; all if None. Padding is that of the whole kernel.
    """

    kind: ClassVar[str] = "conv"
    weight: Weights
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    channels: tuple[int, int] | None = field(default=None, metadata=STORED_IF_SET)
    rows: tuple[int, int] | None = field(default=None, metadata=STORED_IF_SET)

    @property
    def lead(self) -> tuple[int, int]:
        """How far before the grid the first window begins, down and across; negative where it begins inside."""
        return self.padding[0] - (0 if self.rows is None else self.rows[0]), self.padding[1]

    @property
    def whole_weight(self) -> Weights:
        """The weight with all rows of the kernel, zero where there are no synapses."""
        if self.rows is None:
            return self.weight
        first, whole = self.rows
        return np.pad(self.weight, ((first, whole - first - len(self.weight)), (0, 0), (0, 0), (0, 0)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaxConv(Projection):
    """Maxima of a convolution: a neuron has a compartment for each position of a window, and joins their currents.

    ``u[p, j] += sum over the block of p of (max over a window of (the convolution of x)[., j])``: the target's grid
    divides the grid of maxima into equal blocks, mostly of one. Positions beyond the border never win.

    Attributes:
        weight, stride, padding, groups: the convolution, as ``Conv``.
        pool_kernel, pool_stride, pool_padding: the windows on its result.
    """

    kind: ClassVar[str] = "max_conv"
    weight: Weights
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    pool_kernel: tuple[int, int]
    pool_stride: tuple[int, int]
    pool_padding: tuple[int, int] = (0, 0)

    def grids(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(rows, columns) of the convolution and of its maxima, for a source grid of height x width."""
        sizes = (height, width)
        conv = [(sizes[a] + 2 * self.padding[a] - self.weight.shape[a]) // self.stride[a] + 1 for a in (0, 1)]
        pooled = [(conv[a] + 2 * self.pool_padding[a] - self.pool_kernel[a]) // self.pool_stride[a] + 1 for a in (0, 1)]
        return (conv[0], conv[1]), (pooled[0], pooled[1])

    def compartments(self, positions: int) -> int:
        """Compartments of a neuron that adds up ``positions`` maxima: a leaf for each current, a joint for each sum."""
        leaves = self.pool_kernel[0] * self.pool_kernel[1]
        return positions * (leaves + (positions > 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool(Projection):
    """Channel-wise window sum times one integer ``weight``; kernel (1, 1) is one-to-one."""

    kind: ClassVar[str] = "pool"
    weight: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    counted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gather(Projection):
    """Every position of a block into one position: ``u[b, j] += sum_{p in block b, i} x[p, i] * weight[i, j]``.

    The target's grid divides the source's grid into equal blocks; a readout is usually one block, the whole grid.
    """

    kind: ClassVar[str] = "gather"
    weight: Weights


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bias(Projection):
    """Always-on axons, one spike each per step of the target's window: ``u[p, j] += sum_d weight[d, j] << shifts[d]``.

    Attributes:
        weight: (digits, C_out) int16, each within the chip's weight range; shifts: one per digit.
        place: ``axon``: as above; ``register``: each neuron's own, added in every step; ``threshold``: taken off each
            neuron's own threshold, which nobody can tell from adding it where no membrane outlives a step; ``lift``,
            ``drop``, ``hold``: always-on axons whose spikes come in other ticks (``STROBES``), a hold's in each tick
            but the neurons' own.
        types: on crossbars, the axon type of each digit's axon, which then serves all positions of a core.
    """

    kind: ClassVar[str] = "bias"
    weight: NDArray[np.int16]
    shifts: tuple[int, ...]
    counted: bool = False
    place: BiasPlace = field(default="axon", metadata=STORED_IF_SET)
    types: tuple[int, ...] = field(default=(), metadata=STORED_IF_SET)

    @property
    def on_axons(self) -> bool:
        """Whether it comes by axons, one for each digit."""
        return self.place not in ("register", "threshold")

    def spikes_a_step(self, interval: int) -> int:
        """Ticks in which its axons spike, of the ``interval`` ticks of a step."""
        return interval - 1 if self.place == "hold" else int(self.on_axons)

    @property
    def total(self) -> NDArray[np.int64]:
        """What it adds to each channel in a step, raw units, (C_out,); nothing if it cancels a leak (``hold``)."""
        shifts = np.array(self.shifts, np.int64)[:, None]
        total: NDArray[np.int64] = (self.weight.astype(np.int64) << shifts).sum(axis=0)
        return total if self.place != "hold" else 0 * total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Encoder(Projection):
    """Integer convolution of the quantised input on the host, written into the target's bias registers.

    ``u[p, j] += ((acc * multiplier + 2**(down - 1)) >> down) << shift``; ``acc`` = the convolution plus ``bias``, or
    its maxima over windows (``pool_kernel``, ``pool_stride``, ``pool_padding``).

    Attributes:
        weight: (kh, kw, C_in, C_out) int16; bias: (C_out,) int64 in units of ``acc``; multiplier >= 1; down >= 1.
    """

    kind: ClassVar[str] = "encoder"
    weight: NDArray[np.int16]
    bias: NDArray[np.int64]
    multiplier: int
    down: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    pool_kernel: tuple[int, int] = field(default=(1, 1), metadata=STORED_IF_SET)
    pool_stride: tuple[int, int] = field(default=(1, 1), metadata=STORED_IF_SET)
    pool_padding: tuple[int, int] = field(default=(0, 0), metadata=STORED_IF_SET)

    def conv_grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of the convolution, before maxima, for an input of height x width."""
        sizes = (height, width)
        rows, columns = ((sizes[a] + 2 * self.padding[a] - self.weight.shape[a]) // self.stride[a] + 1 for a in (0, 1))
        return rows, columns


ProductMethod = Literal["processor", "unit", "plastic"]
WeightedMethod = Literal["processor", "unit"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product(Projection):
    """Spiking attention: sources are (q, k, v); per head, ``S = q min(k^T v, limit)`` in integers.

    The channels of the target are split evenly over ``heads``. S is the payload of a product population; with the
    method ``plastic`` it is the current of ordinary neurons, whose synapses hold ``k^T v`` while a step lasts.

    Attributes:
        method: who multiplies: an embedded processor, an attention unit, or synapses that learn.
        limit: largest element of ``k^T v`` that synapses can hold; 0 = no limit.
    """

    kind: ClassVar[str] = "product"
    heads: int = 1
    method: ProductMethod = field(default="processor", metadata=STORED_IF_SET)
    limit: int = field(default=0, metadata=STORED_IF_SET)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrix(Projection):
    """The matrix of a weighted product: ``y``, a convolution of spikes that its ``method`` keeps for a step.

    Each head has the matrix (d, M): its d = C_out / heads channels at the M positions of ``y`` (``Gated.heads``).

    Attributes:
        weight: (kh, kw, C_in, C_out); bias: (C_out,) int32; stride, padding: as ``Conv``.
        words: accumulators of an attention unit that a sum takes; also of ``Gated``.
    """

    kind: ClassVar[str] = "matrix"
    weight: Weights
    bias: NDArray[np.int32]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    method: WeightedMethod = field(default="processor", metadata=STORED_IF_SET)
    words: int = field(default=1, metadata=STORED_IF_SET)

    @property
    def operations(self) -> int:
        """Operations of an accumulate: on a unit one for the weight and one for each word of its sum."""
        return 1 + self.words if self.method == "unit" else 1

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of ``y`` for a source grid of height x width."""
        sizes = (height, width)
        rows, columns = ((sizes[a] + 2 * self.padding[a] - self.weight.shape[a]) // self.stride[a] + 1 for a in (0, 1))
        return rows, columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gated(Projection):
    """Spikes z that add up rows of the ``Matrix`` y beside it: the payloads of a product population.

    At each position of z, per head: ``S[m] = sum_i z[i] y[i, m]`` over the head's ``channels``, or
    ``S[i] = sum_m z[m] y[i, m]`` over the ``positions`` of y.
    """

    kind: ClassVar[str] = "gated"
    heads: int = 1
    over: Literal["channels", "positions"] = "channels"
    method: WeightedMethod = field(default="processor", metadata=STORED_IF_SET)
    words: int = field(default=1, metadata=STORED_IF_SET)

    @property
    def operations(self) -> int:
        """Operations of an accumulate: on a unit one for each word of its sum."""
        return self.words


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Einsum(Projection):
    """Connections by index: ``u[target axes] += weight * sum of x[source axes]`` over the axes that only x has.

    Axes are letters, row-major, in three groups: rows, columns, channels of a grid. From ``",s,hc"`` to
    ``"n,s,hc"`` every source neuron (s, h, c) reaches the neurons (n, s, h, c) of all n; from ``"n,s,he"`` to
    ``",n,he"`` every target neuron (n, h, e) sums over all s. All synapses have one weight, and none is stored
    beyond the axes.

    Attributes:
        axes: groups of the source and of the target; a letter stands at most once in each.
        sizes: (letter, size) of every axis.
    """

    kind: ClassVar[str] = "einsum"
    axes: tuple[str, str]
    sizes: tuple[tuple[str, int], ...]
    weight: int = 1

    @property
    def size_of(self) -> dict[str, int]:
        """Letter -> size."""
        return dict(self.sizes)

    @property
    def fan_in(self) -> int:
        """Source neurons that each target neuron sums over."""
        source, target = (set(groups) - {","} for groups in self.axes)
        return prod(self.size_of[letter] for letter in source - target)


PROJECTIONS: tuple[type[Projection], ...] = (
    Dense,
    Conv,
    MaxConv,
    Pool,
    Gather,
    Bias,
    Encoder,
    Product,
    Einsum,
    Matrix,
    Gated,
)
