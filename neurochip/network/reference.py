"""The integer reference: what the chip must compute, in obvious dense NumPy, one step at a time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from neurochip.network.arithmetic import Arithmetic
from neurochip.network.axes import shape_of
from neurochip.network.inputs import quantise_input
from neurochip.network.network import Network, NetworkRun, Neuron, Population
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

Int = NDArray[np.int64]


class Lost(NamedTuple):
    """Currents that wrapped, membranes that clipped and payloads beyond the largest."""

    wraps: int = 0
    clips: int = 0
    saturations: int = 0


def run_network(network: Network, x: NDArray[np.generic]) -> NetworkRun:
    """Run ``x`` (B, *shape) or (T, B, *shape) step by step, every population in depth order.

    Delays only align pipeline stages, so step t of every population depends on step t of its sources: the reference
    needs no ticks, whatever the network's interval. Returns every spike of every neuron (see ``NetworkRun``).
    Raises ``InputError`` for a bad ``x``.
    """
    levels = quantise_input(network.input, x, network.timesteps)  # (T or 1, B, H, W, C)
    batch = levels.shape[1]
    membranes = {p.name: np.zeros((batch, p.height, p.width, p.channels), np.int64) for p in network.populations}
    spikes: dict[str, list[Int]] = {p.name: [] for p in network.populations}
    wraps = clips = saturations = 0
    for step in range(network.timesteps):
        now: dict[str, Int] = {}
        frame = levels[min(step, len(levels) - 1)]
        for population in sorted(network.populations, key=lambda p: p.depth):
            if population.neuron.kind == "source":
                now[population.name] = frame
                continue
            incoming = network.incoming[population.name]
            total = np.zeros_like(membranes[population.name])
            for projection in incoming:
                emitted = seen(projection, now, spikes, membranes)
                if isinstance(projection, Gated):
                    total += gated(projection, matrix_beside(network, projection), emitted)
                else:
                    total += projected(projection, population, emitted, frame)
                saturations += saturated(projection, emitted)
            fired, membranes[population.name], lost = stepped(
                population, network.arithmetic, membranes[population.name], total
            )
            now[population.name] = fired
            wraps, clips, saturations = wraps + lost.wraps, clips + lost.clips, saturations + lost.saturations
        for name, counts in now.items():
            spikes[name].append(counts)
    readout = membranes[network.readout.population].sum(axis=(1, 2))
    spec = network.readout
    return NetworkRun(
        spikes={
            p.name: np.stack(spikes[p.name], axis=1)
            .reshape(batch, network.timesteps, p.positions, p.channels)
            .astype(np.int32)
            for p in network.populations
            if p.neuron.kind != "readout"
        },
        readout=readout,
        logits=readout * spec.scale / spec.divisor + np.asarray(spec.bias),
        wraps=wraps,
        clips=clips,
        saturations=saturations,
    )


def stepped(population: Population, rules: Arithmetic, membrane: Int, total: Int) -> tuple[Int, Int, Lost]:
    """What neurons send in a step that charges them with ``total``, their membranes after it, and what was lost."""
    if population.neuron.kind == "product":
        return total, membrane, Lost()
    current, wraps = bounded(total, rules.current_bits, rules.current_overflow)
    if population.neuron.kind == "burst":
        return burst(population.neuron, rules, current), membrane, Lost(wraps)
    if population.neuron.kind == "graded":
        payload = np.maximum(current // population.neuron.threshold, 0)
        beyond = int((payload > population.high).sum())
        return np.minimum(payload, population.high), membrane, Lost(wraps, 0, beyond)
    fired, membrane, clips = update(population.neuron, rules, membrane, current)
    return fired, membrane, Lost(wraps, clips)


def seen(
    projection: Projection, now: dict[str, Int], before: dict[str, list[Int]], like: dict[str, Int]
) -> dict[str, Int]:
    """What each source of ``projection`` emitted in the step that is read: ``now``, or that many steps ``before``.

    Before the first step there is nothing: zeros, shaped as in ``like``.
    """
    back = {s.population: s.steps_back for s in projection.sources}
    if not any(back.values()):
        return now
    return {
        name: now[name] if not lag else before[name][-lag] if lag <= len(before[name]) else np.zeros_like(like[name])
        for name, lag in back.items()
    }


def burst(neuron: Neuron, rules: Arithmetic, current: Int) -> Int:
    """Spikes that leave, one a tick, while ``current`` stays above the threshold: each takes one unit off it."""
    above = current - neuron.threshold - (1 if rules.fires == "gt" else 0)
    return np.asarray(np.maximum(above // (neuron.threshold + neuron.threshold_offset) + 1, 0))


def update(neuron: Neuron, rules: Arithmetic, membrane: Int, current: Int) -> tuple[Int, Int, int]:
    """One neuron update: leak, integrate, clip, fire, reset. Returns (spikes, new membrane, overflows)."""
    if rules.leak_order == "after":
        full = leaked(membrane + current, neuron.decay, rules)
    else:
        full = leaked(membrane, neuron.decay, rules) + current
    v, overflows = bounded(full, rules.membrane_bits, rules.membrane_overflow)
    if neuron.kind == "readout":
        return np.zeros_like(v), v, overflows
    fired = v > neuron.threshold if rules.fires == "gt" else v >= neuron.threshold
    rest = v - (neuron.threshold + neuron.threshold_offset) if neuron.reset == "soft" else np.zeros_like(v)
    return fired.astype(np.int64), np.where(fired, rest, v), overflows


def leaked(membrane: Int, decay: int, rules: Arithmetic) -> Int:
    """``membrane`` after one step of leak by the chip's rule (see ``Arithmetic``)."""
    if decay == 0:
        return membrane
    if rules.leak == "linear":
        if rules.linear_leak == "down":
            return membrane - decay
        size = np.abs(membrane) - decay
        return np.asarray(np.sign(membrane) * (size if rules.linear_leak == "past_zero" else np.maximum(size, 0)))
    keep = (1 << rules.decay_bits) - decay
    if rules.leak_rounding == "down":
        return (membrane * keep) >> rules.decay_bits
    kept: Int = np.sign(membrane) * ((np.abs(membrane) * keep) >> rules.decay_bits)
    return kept


def bounded(value: Int, bits: int, overflow: str) -> tuple[Int, int]:
    """Wrap ``value`` to ``bits`` (two's complement) or clip it to +-(2**(bits-1) - 1); counts what changed."""
    top = 1 << (bits - 1)
    kept: Int = (value + top) % (2 * top) - top if overflow == "wrap" else np.clip(value, -(top - 1), top - 1)
    return kept, int((kept != value).sum())


def projected(projection: Projection, target: Population, now: dict[str, Int], frame: Int) -> Int:
    """What ``projection`` adds to the current of ``target`` in this step: (B, H, W, C) or broadcastable to it."""
    if isinstance(projection, Encoder):
        acc = correlate(frame, projection.weight, projection.stride, projection.padding, 1) + projection.bias
        acc = maxima(acc, projection.pool_kernel, projection.pool_stride, projection.pool_padding)
        scaled: Int = (acc * projection.multiplier + (1 << (projection.down - 1))) >> projection.down
        return scaled << projection.shift
    if isinstance(projection, Bias):
        return projection.total
    if isinstance(projection, Product):
        q, k, v = (now[s.population] for s in projection.sources)
        return product(q, k, v, projection.heads, projection.limit) << projection.shift
    if isinstance(projection, Matrix):  # adds nothing itself: see ``gated``
        return np.zeros(1, np.int64)
    x = sum((now[s.population] for s in projection.sources[1:]), now[projection.sources[0].population])
    if isinstance(projection, Dense):
        total = matmul(x, projection.weight)
    elif isinstance(projection, Conv):
        read = x if projection.channels is None else x[..., slice(*projection.channels)]
        total = correlate(read, projection.whole_weight, projection.stride, projection.padding, projection.groups)
    elif isinstance(projection, MaxConv):
        total = correlate(x, projection.weight, projection.stride, projection.padding, projection.groups)
        total = maxima(total, projection.pool_kernel, projection.pool_stride, projection.pool_padding)
        total = block_sums(total, target.height, target.width)
    elif isinstance(projection, Gather):
        total = matmul(block_sums(x, target.height, target.width), projection.weight)
    elif isinstance(projection, Pool):
        channels = x.shape[-1]
        kernel = np.full((*projection.kernel, 1, channels), projection.weight, np.int64)
        total = correlate(x, kernel, projection.stride, projection.padding, channels)
    elif isinstance(projection, Einsum):
        total = connected(x, projection) * projection.weight
    else:
        raise TypeError(f"no reference for projection {projection.name!r} of kind {projection.kind!r}")
    return total << projection.shift


def maxima(x: Int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Int:
    """Largest element of each window of (B, H, W, C); positions beyond the border never win."""
    if kernel == stride == (1, 1) and padding == (0, 0):
        return x
    (kh, kw), (sy, sx), (py, px) = kernel, stride, padding
    padded = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)), constant_values=np.iinfo(np.int64).min)
    height, width = (padded.shape[1] - kh) // sy + 1, (padded.shape[2] - kw) // sx + 1
    windows = [
        padded[:, dy : dy + sy * height : sy, dx : dx + sx * width : sx][:, :height, :width]
        for dy in range(kh)
        for dx in range(kw)
    ]
    return np.asarray(np.max(windows, axis=0))


def block_sums(x: Int, height: int, width: int) -> Int:
    """Sum (B, H, W, C) over the equal blocks of a (height, width) grid."""
    batch, rows, columns, channels = x.shape
    blocks = x.reshape(batch, height, rows // height, width, columns // width, channels)
    return np.asarray(blocks.sum(axis=(2, 4)))


def connected(x: Int, projection: Einsum) -> Int:
    """``x`` (B, H, W, C) summed over axes that only the source has, repeated along those that only the target has."""
    sizes = projection.size_of
    source, target = (groups.replace(",", "") for groups in projection.axes)
    kept = [letter for letter in target if letter in source]
    total = x.reshape(len(x), *(sizes[letter] for letter in source))
    total = total.sum(axis=tuple(1 + i for i, letter in enumerate(source) if letter not in target))
    total = total.transpose(0, *(1 + [a for a in source if a in target].index(letter) for letter in kept))
    total = total.reshape(len(x), *(sizes[letter] if letter in source else 1 for letter in target))
    full = np.broadcast_to(total, (len(x), *(sizes[letter] for letter in target)))
    return np.asarray(full.reshape(len(x), *shape_of(projection.axes[1], sizes)))


def product(q: Int, k: Int, v: Int, heads: int, limit: int = 0) -> Int:
    """Per head ``q min(k^T v, limit)`` over all positions; arrays (B, H, W, C), C split evenly over ``heads``."""
    held = outer_product(k, v, heads)
    out = matmul(by_head(q, heads), np.minimum(held, limit) if limit else held)
    return out.transpose(0, 2, 1, 3).reshape(q.shape)


def matrix_beside(network: Network, projection: Gated) -> Matrix:
    """The matrix whose rows ``projection`` adds up."""
    return next(p for p in network.incoming[projection.target] if isinstance(p, Matrix))


def gated(projection: Gated, matrix: Matrix, now: dict[str, Int]) -> Int:
    """Per head the product of spikes z with the integers y of ``matrix``, at each position of z: (B, H, W, C)."""
    x, z = now[matrix.sources[0].population], now[projection.sources[0].population]
    y = by_head(correlate(x, matrix.weight, matrix.stride, matrix.padding, 1) + matrix.bias, projection.heads)
    rows = y.transpose(0, 1, 3, 2) if projection.over == "channels" else y
    out = matmul(by_head(z, projection.heads), rows)
    return out.transpose(0, 2, 1, 3).reshape(*z.shape[:3], projection.heads * rows.shape[-1])


def outer_product(k: Int, v: Int, heads: int) -> Int:
    """``k^T v`` of each head, (B, heads, d, d)."""
    return matmul(by_head(k, heads).transpose(0, 1, 3, 2), by_head(v, heads))


def by_head(x: Int, heads: int) -> Int:
    """(B, H, W, C) as (B, heads, H * W, C / heads)."""
    return x.reshape(len(x), x.shape[1] * x.shape[2], heads, x.shape[3] // heads).transpose(0, 2, 1, 3)


def saturated(projection: Projection, now: dict[str, Int]) -> int:
    """Elements of a limited ``k^T v`` that are beyond the limit in this step."""
    if not isinstance(projection, Product) or not projection.limit:
        return 0
    _, k, v = (now[s.population] for s in projection.sources)
    return int((outer_product(k, v, projection.heads) > projection.limit).sum())


def matmul(a: Int, b: NDArray[np.integer]) -> Int:
    """Exact integer product by way of float64 BLAS: every partial sum here stays far below 2**53."""
    return np.rint(a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def correlate(
    x: Int, weight: NDArray[np.integer], stride: tuple[int, int], padding: tuple[int, int], groups: int
) -> Int:
    """Cross-correlation of (B, H, W, C_in) with (kh, kw, C_in / groups, C_out), zero padding; exact integers."""
    kh, kw, per_group, n_out = weight.shape
    (sy, sx), (py, px) = stride, padding
    padded = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)))
    height, width = (padded.shape[1] - kh) // sy + 1, (padded.shape[2] - kw) // sx + 1
    depthwise = per_group == 1 and groups == n_out
    out = np.zeros((len(x), height, width, n_out), np.int64)
    for dy in range(kh):
        for dx in range(kw):
            window = padded[:, dy : dy + sy * height : sy, dx : dx + sx * width : sx][:, :height, :width]
            if depthwise:
                out += window * weight[dy, dx, 0]
                continue
            step = n_out // groups
            for g in range(groups):
                part = window[..., g * per_group : (g + 1) * per_group]
                out[..., g * step : (g + 1) * step] += matmul(part, weight[dy, dx, :, g * step : (g + 1) * step])
    return out
