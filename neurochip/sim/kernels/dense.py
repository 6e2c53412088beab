"""Matrix products for what is dense: where most sums of a projection change, adding whole rows costs more.

``current[p] += counts[p] @ weight`` with counts 0..255 and int8 weights, in the processor's own dot products of four
bytes (AVX-512 VNNI): exact, since 32-bit sums do not saturate. Elsewhere, or without the compiler, ``AVAILABLE`` is
False and events add rows as ever. The accumulates booked are those of the events either way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from neurochip.sim.kernels.events import Events
from neurochip.sim.kernels.synapses import Window

AVAILABLE = not config.DISABLE_JIT and "+avx512vnni" in cpu_target.target_context.codegen().magic_tuple()[2]
LANES, VECTORS = 16, 4
PANEL = LANES * VECTORS
"""Columns of the weight matrix that lie together, four rows of each side by side."""

I32, I8 = ir.IntType(32), ir.IntType(8)
VECTOR = ir.VectorType(I32, LANES)


def _tile(rows: int) -> Any:
    """Intrinsic: ``out[r, :PANEL] += x[r, :4 * quads] @ weights`` for ``rows`` rows, all sums in registers."""

    @intrinsic
    def tile(
        _context: Any,
        x: Any,
        x_at: Any,
        x_step: Any,
        weights: Any,
        at: Any,
        out: Any,
        out_at: Any,
        step: Any,
        quads: Any,
    ) -> Any:
        n = types.intp
        signature = types.void(x, n, n, weights, n, out, n, n, n)
        return signature, _emit(rows)

    return tile


def _emit(rows: int) -> Callable[..., Any]:
    """Code of a tile. Arguments: x and the offset and step of its rows, weights and offset, out likewise, quads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def data(i: int, kind: Any) -> Any:
            array = context.make_array(signature.args[i])(context, builder, arguments[i])
            return builder.gep(builder.bitcast(array.data, kind.as_pointer()), [arguments[i + 1]])

        def at(pointer: Any, *terms: Any) -> Any:
            offset = number(0)
            for term in terms:
                offset = builder.add(offset, term)
            return builder.bitcast(builder.gep(pointer, [offset]), VECTOR.as_pointer())

        def number(value: int) -> Any:
            return ir.Constant(arguments[1].type, value)

        x, weights, out = data(0, I8), data(3, I8), data(5, I32)
        kind = ir.FunctionType(VECTOR, [VECTOR, VECTOR, VECTOR])
        dot = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        places = [(r, j) for r in range(rows) for j in range(VECTORS)]
        sums = {place: cgutils.alloca_once(builder, VECTOR) for place in places}
        targets = {(r, j): at(out, builder.mul(arguments[7], number(r)), number(LANES * j)) for r, j in places}
        for place in places:
            builder.store(builder.load(targets[place], align=4), sums[place])
        nothing, first = ir.Constant(VECTOR, ir.Undefined), ir.Constant(VECTOR, None)
        with cgutils.for_range(builder, arguments[8]) as loop:
            begin = builder.mul(loop.index, number(4 * PANEL))
            columns = [builder.load(at(weights, begin, number(4 * LANES * j)), align=1) for j in range(VECTORS)]
            for r in range(rows):
                row = builder.add(builder.mul(arguments[2], number(r)), builder.mul(loop.index, number(4)))
                quad = builder.load(builder.bitcast(builder.gep(x, [row]), I32.as_pointer()), align=1)
                every = builder.shuffle_vector(
                    builder.insert_element(nothing, quad, ir.Constant(I32, 0)), nothing, first
                )
                for j in range(VECTORS):
                    builder.store(builder.call(dot, [builder.load(sums[r, j]), every, columns[j]]), sums[r, j])
        for place in places:
            builder.store(builder.load(sums[place]), targets[place], align=4)
        return context.get_dummy_value()

    return generate


four_rows, two_rows, one_row = _tile(4), _tile(2), _tile(1)


def panels(weight: NDArray[np.int8], kernel_y: int) -> NDArray[np.int8]:
    """Weight rows (kernel_y * n, C_out) as (C_out / PANEL, kernel_y, n / 4, PANEL, 4); n and C_out must divide."""
    rows, columns = weight.shape
    quads = rows // kernel_y // 4
    split = weight.reshape(kernel_y, quads, 4, columns // PANEL, PANEL)
    return np.ascontiguousarray(split.transpose(3, 0, 1, 4, 2))


@njit(cache=True, nogil=True)
def add_counts(events: Events, padding: tuple[int, int], counts: NDArray[np.uint8]) -> None:
    """Add events to dense counts (B, height + 2 padding, width + 2 padding, C)."""
    n_inputs, high, wide, _ = counts.shape
    p = 0
    for item in range(n_inputs):
        for y in range(padding[0], high - padding[0]):
            for x in range(padding[1], wide - padding[1]):
                row = counts[item, y, x]
                for j in range(events.start[p], events.start[p + 1]):
                    row[events.channel[j]] += 1
                p += 1


@njit(cache=True, nogil=True)
def multiply(
    counts: NDArray[np.uint8],
    window: Window,
    weight: NDArray[np.int8],
    place: tuple[int, int, int, int],
    current: NDArray[np.int32],
) -> None:
    """Dense and convolutional projections: ``current`` (T, n, panels * PANEL) += windows of ``counts`` @ ``weight``.

    ``counts`` (T * inputs, padded height, padded width, C_in); ``weight`` from ``panels``; ``place``: input, inputs,
    first and last + 1 row of the targets, which are the n of ``current``.
    """
    item, inputs, y0, y1 = place
    _, high, wide, n_in = counts.shape
    n_steps, n, n_out = current.shape
    quads = weight.shape[2]
    x, w, out = counts.reshape(-1), weight.reshape(-1), current.reshape(-1)
    rows, width, step = y1 - y0, window.out_width, window.stride_x * n_in
    plain = wide == width and window.kernel_y == 1 and window.kernel_x == 1 and window.stride_y == 1
    if plain and window.stride_x == 1:  # positions follow each other: whole tiles
        rows, width = 1, n
    for panel in range(weight.shape[0]):
        for row in range(n_steps * rows):
            lane, y = row // rows * inputs + item, y0 + row % rows
            for dy in range(window.kernel_y):
                begin = (lane * high + y * window.stride_y + dy) * wide * n_in
                to = row * width * n_out + panel * PANEL
                at = (panel * window.kernel_y + dy) * quads * (4 * PANEL)
                p = 0
                while p + 4 <= width:
                    four_rows(x, begin + p * step, step, w, at, out, to + p * n_out, n_out, quads)
                    p += 4
                if p + 2 <= width:
                    two_rows(x, begin + p * step, step, w, at, out, to + p * n_out, n_out, quads)
                    p += 2
                if p < width:
                    one_row(x, begin + p * step, step, w, at, out, to + p * n_out, n_out, quads)


@njit(cache=True, nogil=True)
def count_dense_ops(
    arriving: NDArray[np.int64], window: Window, slice_width: int, n_channels: int, ops: NDArray[np.int64]
) -> None:
    """Accumulates (B * P_out, n_slices) that ``arriving`` (B, height, width) events cause; added to ``ops``."""
    for row in range(len(ops)):
        item, p = row // (window.out_height * window.out_width), row % (window.out_height * window.out_width)
        top = p // window.out_width * window.stride_y - window.padding_y
        left = p % window.out_width * window.stride_x - window.padding_x
        total = np.int64(0)
        for y in range(max(top, 0), min(top + window.kernel_y, window.height)):
            for x in range(max(left, 0), min(left + window.kernel_x, window.width)):
                total += arriving[item, y, x]
        for piece in range(ops.shape[1]):
            ops[row, piece] += total * (min((piece + 1) * slice_width, n_channels) - piece * slice_width)
