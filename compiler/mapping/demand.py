"""What a tile asks of a core: neurons, input axons, synapse memory. One rule per kind of projection.

Figures are arrays over candidate tile shapes (th, tw, tc) = rows, columns, channels, so that a search is vectorised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.axes import reached, read_sizes
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network, Population
from neurochip.network.projections import (
    Bias,
    Conv,
    Dense,
    Einsum,
    Encoder,
    Gated,
    Gather,
    Matrix,
    MaxConv,
    Pool,
    Product,
    Projection,
)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """Receptive field along one axis: output o reads ``kernel`` inputs from o * stride - padding, cut to the grid."""

    kernel: int
    stride: int
    padding: int
    size: int

    def span(self, length: Ints) -> Ints:
        """Largest number of inputs that ``length`` neighbouring outputs read."""
        return np.minimum((length - 1) * self.stride + self.kernel, self.size)

    def inputs(self, start: Ints, stop: Ints) -> tuple[Ints, Ints]:
        """Input range [begin, end) read by outputs [start, stop)."""
        begin = np.clip(start * self.stride - self.padding, 0, self.size)
        end = np.clip((stop - 1) * self.stride - self.padding + self.kernel, 0, self.size)
        return begin, np.maximum(end, begin)


def windows(projection: Projection, source: Population, target: Population) -> tuple[Window, Window]:
    """Receptive field of ``projection`` along rows and columns."""
    if isinstance(projection, Conv):
        kernel, stride, padding = projection.weight.shape[:2], projection.stride, projection.lead
    elif isinstance(projection, MaxConv):
        kernel, stride, padding = _window_of_maxima(projection, source, target)
    elif isinstance(projection, Pool):
        kernel, stride, padding = projection.kernel, projection.stride, projection.padding
    elif isinstance(projection, Gather):
        kernel = stride = (source.height // target.height, source.width // target.width)
        padding = (0, 0)
    elif isinstance(projection, Product | Matrix):  # every token needs all tokens
        kernel, stride = (source.height, source.width), (0, 0)
        padding = (0, 0)
    else:
        kernel = stride = (1, 1)
        padding = (0, 0)
    return (
        Window(kernel[0], stride[0], padding[0], source.height),
        Window(kernel[1], stride[1], padding[1], source.width),
    )


def _window_of_maxima(
    projection: MaxConv, source: Population, target: Population
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and padding of all that a neuron reads: blocks of windows of windows."""
    pooled = projection.grids(source.height, source.width)[1]
    found = []
    for axis, positions in ((0, target.height), (1, target.width)):
        block, stride = pooled[axis] // positions, projection.stride[axis]
        step = projection.pool_stride[axis] * stride
        reach = (block - 1) * step + (projection.pool_kernel[axis] - 1) * stride + projection.weight.shape[axis]
        found.append((reach, block * step, projection.pool_padding[axis] * stride + projection.padding[axis]))
    (k0, s0, p0), (k1, s1, p1) = found
    return (k0, k1), (s0, s1), (p0, p1)


def channel_groups(projection: Projection, source: Population, target: Population) -> int:
    """How many separate blocks of channels a projection couples: 1 = all to all, channels = channel by channel."""
    if isinstance(projection, Pool):
        return target.channels
    if isinstance(projection, Conv | MaxConv):
        return projection.groups
    if isinstance(projection, Product | Gated):
        return projection.heads
    return 1


def source_channels(
    projection: Projection, source: Population, target: Population, c0: Ints, c1: Ints
) -> tuple[Ints, Ints]:
    """Channel range of the source that feeds target channels [c0, c1)."""
    groups = channel_groups(projection, source, target)
    first, last = channels_read(projection, source)
    per_in, per_out = (last - first) // groups, target.channels // groups
    return first + c0 // per_out * per_in, first - (-c1 // per_out) * per_in


def channels_read(projection: Projection, source: Population) -> tuple[int, int]:
    """First channel of ``source`` that ``projection`` reads, and one past the last."""
    part = projection.channels if isinstance(projection, Conv) else None
    return part if part is not None else (0, source.channels)


def payload_bits(population: Population) -> int:
    """Axons a position's payload takes where a spike is one bit: an integer that is sent as its binary digits.

    Digits of negative integers of a product have axons of their own, with negative weights.
    """
    if population.coding == "digits":
        return population.digits
    digits = population.neuron.kind == "product" and population.coding != "graded"
    return population.high.bit_length() * (2 if population.signed else 1) if digits else 1


def corrections(population: Population, tc: Ints, chip: ChipSpec, bits: int) -> tuple[int, Ints]:
    """What neurons need beside their readers to take what they send off their sums (``Population.returns``).

    Returns the output axons of a neuron, which are also input axons of its position, and the words of their lists in a
    tile of ``tc`` channels.
    """
    own = population.returns
    return own, np.asarray(own * tc * list_words(np.ones_like(tc), True, chip, bits))


def lines_of(projection: Projection) -> int:
    """Axons that one neuron of its sources takes on a target core."""
    return projection.sources[0].lines


def roles(projection: Projection) -> int:
    """Axons that the sources of one projection take beside each other: q and k share theirs, v has its own."""
    return 2 if isinstance(projection, Product) else 1


def bias_axons(bias: Bias) -> int:
    """Always-on axons of one position, or of a tile on a crossbar, where any neuron can connect to them."""
    return len(bias.shifts) if bias.on_axons else 0


def input_axons(
    projection: Projection, source: Population | None, target: Population, th: Ints, tw: Ints, tc: Ints, chip: ChipSpec
) -> Ints:
    """Axon-table entries of a tile for one projection."""
    if isinstance(projection, Bias):
        return bias_axons(projection) * (1 if chip.limits.axon_types else th * tw) + 0 * th * tw * tc
    if isinstance(projection, Encoder):
        return np.zeros_like(th * tw * tc)
    assert source is not None
    if isinstance(projection, Einsum):
        height, width, channels = read_sizes(projection, (th, tw, tc))
        return height * width * (1 if chip.weight_sharing else channels) * lines_of(projection)
    rows, columns = windows(projection, source, target)
    positions = rows.span(th) * columns.span(tw) * payload_bits(source) * lines_of(projection) * roles(projection)
    if chip.weight_sharing:
        return positions + 0 * tc
    groups = channel_groups(projection, source, target)
    first, last = channels_read(projection, source)
    per_in, per_out = (last - first) // groups, target.channels // groups
    touched = np.minimum((tc - 1 + per_out - 1) // per_out + 1, groups) if per_out > 1 else tc
    return positions * touched * per_in


def synapse_words(
    projection: Projection, source: Population | None, target: Population, th: Ints, tw: Ints, tc: Ints, chip: ChipSpec,
    bits: int,
) -> Ints:  # fmt: skip
    """Synapse-memory words of a tile for one projection: one list per source channel.

    Its positions share the list where the chip can; else each position listened to has its own. On a crossbar every
    axon has its row.
    """
    if chip.limits.axon_types:
        return input_axons(projection, source, target, th, tw, tc, chip)
    if isinstance(projection, Einsum):
        height, width, channels = read_sizes(projection, (th, tw, tc))
        lists = channels * (1 if chip.weight_sharing else height * width)
        return lists * list_words(reached(projection, (th, tw, tc)), True, chip, bits)
    words = shared_words(projection, source, target, tc, chip, bits)
    if chip.weight_sharing or source is None:
        return words
    rows, columns = windows(projection, source, target)
    return words * rows.span(th) * columns.span(tw)


def shared_words(
    projection: Projection, source: Population | None, target: Population, tc: Ints, chip: ChipSpec, bits: int
) -> Ints:
    """Synapse-memory words of a tile whose positions share their lists."""

    def lists(count: Ints | int, synapses: Ints | int, indexed: bool) -> Ints:
        return np.asarray(count * list_words(np.asarray(synapses), indexed, chip, bits) + 0 * tc)

    if isinstance(projection, Encoder):
        return np.zeros_like(tc)
    if isinstance(projection, Bias):
        return lists(bias_axons(projection), tc, indexed=has_gaps(projection, chip, bits))
    assert source is not None
    if isinstance(projection, Pool):  # each digit has its own weight, so its own lists
        return lists(tc * max(1, source.digits), projection.kernel[0] * projection.kernel[1], indexed=True)
    if isinstance(projection, Conv | MaxConv):
        per_in = projection.weight.shape[2]
        per_out = target.channels // projection.groups
        if projection.groups == 1:
            gaps, repeated = has_gaps(projection, chip, bits), repeated_lists(projection, target, chip)
            whole = lists(per_in, taps(projection) * tc, indexed=True)
            return np.minimum(whole, lists(per_in * repeated, tc, indexed=gaps)) if repeated else whole
        touched = np.minimum((tc - 1 + per_out - 1) // per_out + 1, projection.groups) if per_out > 1 else tc
        return lists(touched * per_in, taps(projection) * np.minimum(tc, per_out), indexed=True)
    if isinstance(projection, Product):  # k^T v of each head, as synapses
        depth = target.channels // projection.heads
        touched = np.minimum((tc - 2 + depth) // depth + 1, projection.heads)
        return lists(touched * depth, np.minimum(tc, depth), indexed=True)
    assert isinstance(projection, Dense | Gather)
    return lists(source.channels, tc, indexed=has_gaps(projection, chip, bits))


def has_gaps(projection: Projection, chip: ChipSpec, bits: int) -> bool:
    """Whether lists that otherwise need no index must skip synapses: weights of 0 where the format has none."""
    return not chip.weight_format(bits).zero and bool((np.asarray(getattr(projection, "weight", 1)) == 0).any())


def taps(projection: Conv | MaxConv) -> int:
    """Synapses of a source neuron onto one channel: of a convolution with maxima, one in each compartment."""
    compartments = projection.pool_kernel if isinstance(projection, MaxConv) else (1, 1)
    return int(np.prod(projection.weight.shape[:2]) * np.prod(compartments))


def repeated_lists(projection: Projection, target: Population, chip: ChipSpec) -> int:
    """Distinct lists of a source channel where a convolution reaches one position only and some of its taps are equal;
    else 0.

    Each source position can then have a list of its own, of one tap, which positions with equal weights share: the sum
    of a convolution over all positions has nine distinct taps, whatever the size of the grid.
    """
    if not isinstance(projection, Conv) or projection.groups > 1 or target.positions > 1 or not chip.weight_sharing:
        return 0
    kh, kw = projection.weight.shape[:2]
    distinct = len({tap.tobytes() for row in projection.weight for tap in row})
    return distinct if distinct < kh * kw else 0


def list_words(synapses: Ints, indexed: bool, chip: ChipSpec, bits: int) -> Ints:
    """Words of one list of ``synapses``, in blocks with a header each (``neurochip.chip.sections.SynapseMemory``)."""
    limits = chip.limits
    width = chip.weight_format(bits).stored_bits + limits.delay_bits + limits.tag_bits
    width += limits.index_bits if indexed else 0
    whole, rest = np.divmod(synapses, limits.block_synapses)
    full = -(-(limits.header_bits + limits.block_synapses * width) // limits.word_bits)
    return np.asarray(whole * full + np.where(rest > 0, -(-(limits.header_bits + rest * width) // limits.word_bits), 0))


def source_of(network: Network, projection: Projection) -> Population | None:
    """First source population (all sources of a projection have one shape); None for encoders and biases."""
    return network.by_name[projection.sources[0].population] if projection.sources else None
