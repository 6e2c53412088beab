"""Checker, part three: every number is one the chip can hold, and no sum can leave its accumulator."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

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
from neurochip.program.image import Program

Ints = NDArray[np.int64]
SUMS = 1 << 31
"""Sums of weights are 32-bit integers wherever a program runs, before a chip's own width clips or wraps them."""


def arithmetic_problems(program: Program) -> Iterator[str]:
    """Every weight, shift, threshold, delay or sum of ``program`` that its chip cannot hold."""
    network, chip = program.network, program.chip
    if network.arithmetic != chip.arithmetic:
        yield f"network: its arithmetic is not that of {chip.name!r}"
    for population in network.populations:
        yield from _neuron(program, population)
    for projection in network.projections:
        where = f"projection {projection.name!r}"
        yield from (f"{where}: {fault}" for fault in (*_values(program, projection), *_delays(program, projection)))
    for population in network.populations:
        yield from _sums(network, population)


def _neuron(program: Program, population: Population) -> Iterator[str]:
    rules, neuron, where = program.chip.arithmetic, population.neuron, f"population {population.name!r}"
    if neuron.kind == "product":
        projection = program.network.incoming[population.name][0]
        if isinstance(projection, Matrix | Gated):
            yield from _weighted(program.network, population, program.chip)
        if isinstance(projection, Product):
            needed = largest_product(program.network, projection)
            if population.high < needed:
                yield f"{where}: payloads reach {needed}, but high is {population.high}"
        return
    if not 0 <= neuron.decay <= rules.max_decay or (neuron.decay and rules.leak == "none"):
        yield f"{where}: decay {neuron.decay}, the chip's largest is {0 if rules.leak == 'none' else rules.max_decay}"
    if neuron.kind == "burst":
        yield from _burst(program, population)
    if population.coding in ("digits", "unary"):
        yield from _serial(program, population)
    if neuron.kind not in ("lif", "burst"):
        return
    mantissa, rest = divmod(neuron.threshold, 1 << rules.threshold_shift)
    if rest or not 0 <= mantissa < 1 << rules.threshold_bits:
        yield (
            f"{where}: threshold {neuron.threshold} is not a whole number of 0 to {(1 << rules.threshold_bits) - 1} "
            f"times {1 << rules.threshold_shift}"
        )
    if neuron.reset == "soft" and not rules.soft_reset:
        yield f"{where}: the chip has no soft reset"


def _burst(program: Program, population: Population) -> Iterator[str]:
    """A burst must have been sent before the next one starts, and its neuron must forget what is left of it."""
    where, neuron, network = f"population {population.name!r}", population.neuron, program.network
    unit = neuron.threshold + neuron.threshold_offset
    sums = [current_range(network, p)[1] for p in network.incoming[population.name]]
    most = max(0, int(np.sum(sums, axis=0).max(initial=0))) // unit
    if most > population.high or population.high > network.interval:
        yield f"{where}: bursts reach {most}, high is {population.high}, the interval is {network.interval} ticks"
    if neuron.decay or neuron.reset != "soft":
        yield f"{where}: a burst counts down by soft resets, without leak"


def _serial(program: Program, population: Population) -> Iterator[str]:
    """Digits or unit spikes hold every sum, none is below 0, and the chip has neurons that send them.

    Digits need compartments that add and fire; unit spikes such a compartment, or a soft reset.
    """
    where, unit = f"population {population.name!r}", population.neuron.threshold
    dendrites, compartments = program.chip.neuron.dendrites, population.compartments
    ranges = [current_range(program.network, p) for p in program.network.incoming[population.name]]
    low, high = (int(pick(np.sum([r[i] for r in ranges], axis=0))) for i, pick in enumerate((np.min, np.max)))
    if low < 0 or high // unit > population.high:
        what = "digits" if population.coding == "digits" else "spikes"
        yield f"{where}: payloads of {low // unit} to {high // unit}, its {what} hold 0 to {population.high}"
    if compartments == 1 and not program.chip.arithmetic.soft_reset:
        yield f"{where}: counts down by soft resets, the chip has none"
    if compartments == 1:
        return
    if dendrites is None or "add" not in dendrites.joins or compartments > dendrites.compartments.value:
        yield f"{where}: sends {population.coding} from {compartments} compartments that add, the chip has none such"


def largest_product(network: Network, projection: Product) -> int:
    """Largest element of q (k^T v): tokens x channels of a head, times the largest value of each operand."""
    q, k, v = (network.by_name[s.population] for s in projection.sources)
    return k.positions * (k.channels // projection.heads) * q.high * k.high * v.high


def _weighted(network: Network, population: Population, chip: ChipSpec) -> Iterator[str]:
    """Payloads of a weighted product lie within what ``high`` and ``signed`` say."""
    incoming = network.incoming[population.name]
    matrix = next(p for p in incoming if isinstance(p, Matrix))
    gated = next(p for p in incoming if isinstance(p, Gated))
    x, z = (network.by_name[p.sources[0].population] for p in (matrix, gated))
    ends = []
    for sign in (0, 1):
        sums = _clipped(matrix.weight, sign).sum(axis=(0, 1)) * x.high + matrix.bias
        part = (np.maximum(sums, 0) if sign else np.minimum(sums, 0)).reshape(gated.heads, -1)
        rows, columns = matrix.grid(x.height, x.width)
        most = part.sum(axis=1) if gated.over == "channels" else part * rows * columns
        ends.append(int((most.max() if sign else most.min()) * z.high))
    unit = chip.attention_unit
    if unit is not None and matrix.method == "unit":
        held = 1 << (gated.words * unit.accumulator.value - 1)
        if max(ends[1], -ends[0]) >= held:
            yield f"population {population.name!r}: payloads of {ends[0]} to {ends[1]}, a unit's sums hold {held - 1}"
    if ends[1] > population.high or ends[0] < (-population.high if population.signed else 0):
        yield f"population {population.name!r}: payloads of {ends[0]} to {ends[1]}, but high is {population.high}"


def _values(program: Program, projection: Projection) -> Iterator[str]:
    if isinstance(projection, Product | Matrix | Gated) or program.network.by_name[projection.target].home == "host":
        return
    if isinstance(projection, Bias) and (projection.place != "axon" or projection.types):
        return  # see check_crossbar
    if isinstance(projection, Encoder):
        rules = program.chip.arithmetic
        low, high = encoder_range(program.network, projection)
        top = 1 << (rules.bias_bits - 1) if rules.bias_bits else 0
        if projection.shift > rules.bias_shift_max or low < -top or high > top - 1:
            yield (
                f"currents of {low} to {high} << {projection.shift} do not fit a bias register of {rules.bias_bits} "
                f"bits << 0 to {rules.bias_shift_max}"
            )
        return
    allowed = program.chip.weight_format(program.origin.weight_bits)
    weight = (
        np.asarray(projection.weight)
        if isinstance(projection, Dense | Conv | MaxConv | Gather | Pool | Bias | Einsum)
        else np.zeros(1)
    )
    low, high = int(weight.min(initial=0)), int(weight.max(initial=0))
    if low < allowed.low or high > allowed.high:
        yield f"weights of {low} to {high}, a weight of {allowed.bits} bits is {allowed.low} to {allowed.high}"
    if isinstance(projection, Bias) and program.chip.core.modes is not None:
        return  # see check_modes
    shifts = projection.shifts if isinstance(projection, Bias) else (projection.shift,)
    if not all(allowed.shift_low <= shift <= allowed.shift_high for shift in shifts):
        yield f"shift {shifts}, the chip's are {allowed.shift_low} to {allowed.shift_high}"


def _delays(program: Program, projection: Projection) -> Iterator[str]:
    by_name, limit, interval = program.network.by_name, program.chip.max_delay, program.network.interval
    target = by_name[projection.target]
    for source in projection.sources:
        sender = by_name[source.population]
        last = sender.depth - source.steps_back * interval + source.delay
        last += sender.duration - 1
        first = sender.depth - source.steps_back * interval + source.delay
        opens = target.depth if target.neuron.kind == "burst" else target.depth - interval + 1
        if first < opens or last > target.depth or not 1 <= source.delay <= limit:
            back = f" + {source.steps_back} steps of {interval}" if source.steps_back else ""
            yield (
                f"delay {source.delay} from {source.population!r}: expected depth {target.depth} - {sender.depth}"
                f"{back}, between 1 and the chip's longest, {limit}"
            )


def _sums(network: Network, population: Population) -> Iterator[str]:
    rules, incoming = network.arithmetic, network.incoming[population.name]
    if population.neuron.kind in ("product", "source"):
        return
    low = np.zeros(population.channels, np.int64)
    high = np.zeros(population.channels, np.int64)
    for projection in incoming:
        least, most = current_range(network, projection)
        low, high = low + least, high + most
    unit = min((p.shift for p in incoming if not isinstance(p, Bias | Encoder)), default=0)
    if (low >> unit).min(initial=0) < -SUMS or (high >> unit).max(initial=0) >= SUMS:
        yield f"population {population.name!r}: sums of {low.min()} to {high.max()} >> {unit} leave 32 bits"
    if rules.current_overflow == "clip":
        return
    top = 1 << (rules.current_bits - 1)
    worst = int(np.maximum(-low - 1, high).argmax())
    if low[worst] < -top or high[worst] > top - 1:
        yield (
            f"population {population.name!r}, channel {worst}: currents of {low[worst]} to {high[worst]} can wrap in "
            f"{rules.current_bits} bits"
        )


def current_range(network: Network, projection: Projection) -> tuple[Ints, Ints]:
    """Smallest and largest current of any neuron of each target channel from ``projection``, (C_out,) int64 each."""
    if isinstance(projection, Encoder):
        ends = encoder_range(network, projection)
        n_out = projection.weight.shape[-1]
        return np.full(n_out, ends[0] << projection.shift), np.full(n_out, ends[1] << projection.shift)
    if isinstance(projection, Bias):
        return projection.total, projection.total
    source = network.by_name[projection.sources[0].population]
    target = network.by_name[projection.target]
    if isinstance(projection, Product):
        held = source.channels // projection.heads * (projection.limit or source.positions)
        return np.zeros(target.channels, np.int64), np.full(target.channels, held << projection.shift, np.int64)
    spikes = sum(network.by_name[s.population].high for s in projection.sources)
    if isinstance(projection, Dense | Gather):
        taps = projection.weight[None, None]
        times = source.positions // target.positions if isinstance(projection, Gather) else 1
        least, most = _clipped(taps, 0)[0, 0] * times, _clipped(taps, 1)[0, 0] * times
    elif isinstance(projection, Conv):
        grids = (source.height, source.width), (target.height, target.width)
        padding = projection.padding[0] - (0 if projection.rows is None else projection.rows[0]), projection.padding[1]
        least, most = _window_range(projection.weight, projection.stride, padding, grids)
    elif isinstance(projection, MaxConv):
        conv, pooled = projection.grids(source.height, source.width)
        grids = (source.height, source.width), conv
        least, most = _window_range(projection.weight, projection.stride, projection.padding, grids)
        times = pooled[0] * pooled[1] // target.positions
        least, most = least * times, most * times
    elif isinstance(projection, Einsum):
        value = np.full(target.channels, projection.weight * projection.fan_in, np.int64)
        least, most = np.minimum(value, 0), np.maximum(value, 0)
    elif is_link(projection, network):
        ranges = [current_range(network, p) for p in network.incoming[source.name]]
        sent = [np.sum([r[i] for r in ranges], axis=0) // source.neuron.threshold for i in (0, 1)]
        weighted = np.stack([np.clip(n, 0, source.high) * projection.weight for n in sent])
        return weighted.min(axis=0) << projection.shift, weighted.max(axis=0) << projection.shift
    elif isinstance(projection, Pool):
        taps = np.full((*projection.kernel, 1, target.channels), projection.weight, np.int64)
        grids = (source.height, source.width), (target.height, target.width)
        least, most = _window_range(taps, projection.stride, projection.padding, grids)
    else:
        raise TypeError(f"no bound for projection {projection.name!r} of kind {projection.kind!r}")
    if any(network.by_name[s.population].signed for s in projection.sources):
        most = np.maximum(most, -least)
        least = -most
    return least * spikes << projection.shift, most * spikes << projection.shift


def is_link(projection: Projection, network: Network) -> TypeGuard[Pool]:
    """Whether it brings the payload of one graded neuron to another neuron."""
    if not isinstance(projection, Pool) or projection.kernel != (1, 1) or len(projection.sources) > 1:
        return False
    return network.by_name[projection.sources[0].population].neuron.kind == "graded"


def _clipped(weight: NDArray[np.integer], sign: int) -> Ints:
    """Sum over the input channels of the weights of one sign (0: negative, 1: positive); (kh, kw, C_out)."""
    part: Ints = (np.maximum(weight, 0) if sign else np.minimum(weight, 0)).sum(axis=2, dtype=np.int64)
    return part


def _window_range(
    weight: NDArray[np.integer],
    stride: tuple[int, int],
    padding: tuple[int, int],
    grids: tuple[tuple[int, int], tuple[int, int]],
) -> tuple[Ints, Ints]:
    """Extreme sums over the windows that really occur: at a border, or on a small grid, fewer taps are inside."""
    extremes = []
    for sign, pick in ((0, np.min), (1, np.max)):
        taps = _clipped(weight, sign)
        spans = [
            sorted({_inside(o, taps.shape[a], stride[a], padding[a], grids[0][a]) for o in range(grids[1][a])})
            for a in (0, 1)
        ]
        sums = [taps[y0:y1, x0:x1].sum(axis=(0, 1)) for (y0, y1), (x0, x1) in product(*spans)]
        extremes.append(pick(sums, axis=0))
    return extremes[0], extremes[1]


def _inside(output: int, kernel: int, stride: int, padding: int, size: int) -> tuple[int, int]:
    """Taps [first, last) of the window of ``output`` that fall on the grid."""
    start = output * stride - padding
    return max(0, -start), max(0, min(kernel, size - start))


def encoder_range(network: Network, projection: Encoder) -> tuple[int, int]:
    """Smallest and largest mantissa that the host can write: the extremes of the requantised convolution."""
    low, high = min(network.input.low, 0), max(network.input.high, 0)
    weight = projection.weight.astype(np.int64)
    positive, negative = (np.clip(weight, *ends).sum(axis=(0, 1, 2)) for ends in ((0, None), (None, 0)))
    ends = (negative * high + positive * low + projection.bias, positive * high + negative * low + projection.bias)
    half = 1 << (projection.down - 1)
    least, most = int(ends[0].min()), int(ends[1].max())
    scale, down = projection.multiplier, projection.down
    return (least * scale + half) >> down, (most * scale + half) >> down
