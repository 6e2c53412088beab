"""Products of values, and sums and means along axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from compiler.importers.tracing.arithmetic import _times
from compiler.importers.tracing.layers import linear
from compiler.importers.tracing.recorder import ONE, SAMPLES, VALUE, Dim, Symbol
from compiler.importers.tracing.session import Session, describe, with_dims
from compiler.ir.ops import (
    Broadcast,
    Linear,
    MatMul,
    Mean,
    Op,
    Scale,
    Softmax,
    Sum,
    Transpose,
)


def matmul(session: Session, result: Any, a: Any, b: Any, **_: Any) -> Symbol:
    """``a @ b``; one of them may be a constant matrix."""
    if not session.knows(b):
        if b.dim() != 2:
            session.fail(f"a product with a constant of shape {tuple(b.shape)}; only matrices can be traced")
        return linear(session, result, a, b.t())
    if not session.knows(a):
        if a.dim() != 2:
            session.fail(f"a product with a constant of shape {tuple(a.shape)}; only matrices can be traced")
        symbol = _swapped(session, session.recorder.solid(session.symbol(b)))
        made = session.record(Linear(weight=session.constant(a)), symbol)
        return _swapped(session, made)
    left, right = (session.recorder.solid(session.symbol(x)) for x in (a, b))
    for symbol in (left, right):
        if symbol.dims[-2:] != (VALUE, VALUE):
            session.fail(f"a product over batch or time: {describe(left.dims)} @ {describe(right.dims)}")
    return product(session, MatMul(), left, right)


def rmatmul(session: Session, result: Any, a: Any, b: Any) -> Symbol:
    """``b @ a``, from ``a.__rmatmul__(b)``."""
    return matmul(session, result, b, a)


def _swapped(session: Session, symbol: Symbol) -> Symbol:
    """The last two axes of the value swapped."""
    if symbol.dims[-2:] != (VALUE, VALUE):
        session.fail(f"a product over batch or time: {describe(symbol.dims)}")
    axes = len(session.recorder.shape(symbol))
    return session.record(Transpose(order=(*range(axes - 2), axes - 1, axes - 2)), symbol)


def product(session: Session, op: MatMul, left: Symbol, right: Symbol) -> Symbol:
    """A product of values whose leading axes correspond, repeated where they have size 1."""
    count = max(len(left.dims), len(right.dims))
    padded = [(*[ONE] * (count - len(s.dims)), *s.dims) for s in (left, right)]
    dims: list[Dim] = []
    for pair in zip(*padded, strict=True):
        kinds = {dim for dim in pair if dim != ONE}
        if len(kinds) > 1:
            session.fail(
                f"a product of values whose axes do not correspond: {describe(left.dims)}, {describe(right.dims)}"
            )
        dims.append(kinds.pop() if kinds else ONE)
    sides = []
    for symbol, own in zip((left, right), padded, strict=True):
        sizes = iter(session.recorder.shape(symbol))
        shape = tuple(next(sizes) if mine == VALUE else 1 for mine, dim in zip(own, dims, strict=True) if dim == VALUE)
        sides.append(replace(symbol, node=session.recorder.reshaped(symbol, shape)))
    shapes = [session.recorder.shape(side) for side in sides]
    batch = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    sides = [
        side if shape[:-2] == batch else session.record(Broadcast(shape=(*batch, *shape[-2:])), side)
        for side, shape in zip(sides, shapes, strict=True)
    ]
    return session.record(op, *sides, dims=dims)


def einsum(session: Session, result: Any, equation: str, *operands: Any) -> Symbol:
    """Two operands, with letters that are shared, summed, or of one operand only."""
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    terms, _, out = equation.replace(" ", "").partition("->")
    letters = terms.split(",")
    if len(tensors) != 2 or "." in equation or not out or any(len(set(term)) < len(term) for term in letters):
        session.fail(f"einsum '{equation}'; only products of two tensors with '->' and without '...' can be traced")
    kinds: dict[str, Dim] = {}
    symbols = []
    for term, tensor in zip(letters, tensors, strict=True):
        if not session.knows(tensor):
            session.fail(f"einsum '{equation}' with a constant; use a linear layer")
        symbol = session.recorder.solid(session.symbol(tensor))
        for letter, dim in zip(term, symbol.dims, strict=True):
            if kinds.setdefault(letter, dim) != dim:
                session.fail(f"einsum '{equation}': '{letter}' is batch or time in one operand only")
        symbols.append(symbol)
    first, second = letters
    samples = [letter for letter in out if kinds[letter] in SAMPLES]
    if any(
        kinds[letter] in SAMPLES and (letter not in out or letter not in term) for term in letters for letter in kinds
    ):
        session.fail(f"einsum '{equation}' sums over batch or time")
    values = [letter for letter in dict.fromkeys(first + second) if kinds[letter] == VALUE]
    shared = [c for c in values if c in first and c in second and c in out]
    summed = [c for c in values if c in first and c in second and c not in out]
    own = [[c for c in values if c in term and c not in other] for term, other in ((first, second), (second, first))]
    if any(c not in out for part in own for c in part):
        session.fail(f"einsum '{equation}' sums over an axis of one operand; sum it first")
    sizes: dict[str, int] = {}
    for term, symbol in zip(letters, symbols, strict=True):
        axes = [c for c in term if kinds[c] == VALUE]
        sizes |= dict(zip(axes, session.recorder.shape(symbol), strict=True))
    sides = []
    for index, (term, symbol) in enumerate(zip(letters, symbols, strict=True)):
        order = [*shared, *own[index], *summed] if index == 0 else [*shared, *summed, *own[index]]
        moved = _ordered(session, symbol, [c for c in term if kinds[c] == VALUE], order)
        rows = own[0] if index == 0 else summed
        columns = summed if index == 0 else own[1]
        shape = (*(sizes[c] for c in shared), prod(sizes[c] for c in rows), prod(sizes[c] for c in columns))
        sides.append(replace(moved, node=session.recorder.reshaped(moved, shape)))
    made = session.record(MatMul(), *sides, name="einsum")
    found = [*shared, *own[0], *own[1]]
    made = replace(made, node=session.recorder.reshaped(made, tuple(sizes[c] for c in found)))
    made = _ordered(session, made, found, [c for c in out if kinds[c] == VALUE])
    return with_dims(made, [kinds[c] if c in samples else VALUE for c in out])


def _ordered(session: Session, symbol: Symbol, found: Sequence[str], wanted: Sequence[str]) -> Symbol:
    if list(found) == list(wanted):
        return symbol
    return session.record(Transpose(order=tuple(list(found).index(c) for c in wanted)), symbol)


def attention(
    session: Session, result: Any, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: Any = None, enable_gqa: bool = False,
) -> Symbol:  # fmt: skip
    """torch.nn.functional.scaled_dot_product_attention without mask."""
    if attn_mask is not None or dropout_p or is_causal or enable_gqa:
        session.fail("attention with a mask, dropout or shared heads cannot be traced")
    q, k, v = (session.recorder.solid(session.symbol(x)) for x in (query, key, value))
    factor = float(scale) if scale is not None else query.shape[-1] ** -0.5
    y = product(session, MatMul(transpose_b=True), q, k)
    y = session.record(Scale(factor=factor), y)
    return product(session, MatMul(), session.record(Softmax(), y), v)


def mean(session: Session, result: Any, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Symbol:
    """Mean over axes of the value and over time."""
    return _reduced(session, x, dim, keepdim, total=False)


def total(session: Session, result: Any, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Symbol:
    """Sum over axes of the value and over time."""
    return _reduced(session, x, dim, keepdim, total=True)


def _reduced(session: Session, x: Any, dim: Any, keepdim: bool, *, total: bool) -> Symbol:
    symbol = session.recorder.solid(session.symbol(x))
    count = len(symbol.dims)
    axes = set(range(count)) if dim is None else {d % count for d in ([dim] if isinstance(dim, int) else dim)}
    if any(symbol.dims[axis] not in (VALUE, ("T",)) for axis in axes):
        session.fail(f"a sum or mean over the batch: axes {sorted(axes)} of {describe(symbol.dims)}")
    values = tuple(symbol.value_axis(axis) for axis in sorted(axes) if symbol.dims[axis] == VALUE)
    timed = any(symbol.dims[axis] == ("T",) for axis in axes)
    dims = tuple(ONE if axis in axes else d for axis, d in enumerate(symbol.dims) if keepdim or axis not in axes)
    if values:
        op: Op = Sum(axes=values) if total else Mean(axes=values)
        symbol = session.record(op, symbol)
    if timed:
        symbol = replace(symbol, node=session.recorder.time_mean(symbol.node))
        if total:
            symbol = _times(session, symbol, float(session.recorder.timesteps))
    return replace(symbol, dims=dims)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": attention,
    "einsum": einsum,
    "mean": mean,
    "sum": total,
    **dict.fromkeys(("matmul", "__matmul__", "bmm", "mm"), matmul),
    "__rmatmul__": rmatmul,
}
