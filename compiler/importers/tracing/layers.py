"""Functions with weights, pools, norms, products of values, and sums along axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from compiler.importers.tracing.arithmetic import _times
from compiler.importers.tracing.recorder import ONE, SAMPLES, VALUE, Dim, Symbol
from compiler.importers.tracing.session import Session, describe, with_dims
from compiler.ir.ops import (
    Affine,
    AvgPool,
    BatchNorm,
    Broadcast,
    Conv2d,
    Embedding,
    LayerNorm,
    Linear,
    MatMul,
    MaxPool,
    Mean,
    Op,
    Scale,
    Softmax,
    Sum,
    SumPool,
    Transpose,
    Weights,
)


def linear(session: Session, result: Any, x: Any, weight: Any, bias: Any = None) -> Symbol:
    symbol = session.recorder.solid(session.symbol(x))
    if symbol.dims[-1] != VALUE:
        session.fail(f"a linear layer on {describe(symbol.dims)}; expected an axis of the value last")
    op = Linear(weight=session.constant(weight), bias=None if bias is None else session.constant(bias))
    return session.record(op, symbol)


def conv(rank: int) -> Callable[..., Symbol]:
    """Convolutions over ``rank`` axes; those over one become ones over two whose first has size 1."""

    def apply(
        session: Session, result: Any, x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Symbol:  # fmt: skip
        symbol = session.recorder.solid(session.symbol(x))
        lead = session.sample_dims(symbol, rank + 1)
        kernel = session.constant(weight)
        steps, holes = _tuple(stride, rank), _tuple(dilation, rank)
        pads = _padding(session, padding, kernel.shape[2:], holes)
        if rank == 1:
            channels, length = session.recorder.shape(symbol)
            symbol = replace(symbol, node=session.recorder.reshaped(symbol, (channels, 1, length)))
            kernel, steps, pads, holes = kernel[:, :, None], (1, *steps), (0, *pads), (1, *holes)
        op = Conv2d(
            weight=_dilated(kernel, holes), bias=None if bias is None else session.constant(bias),
            stride=(steps[0], steps[1]), padding=(pads[0], pads[1]), groups=groups,
        )  # fmt: skip
        made = session.record(op, symbol, dims=(*lead, *[VALUE] * (rank + 1)))
        if rank == 2:
            return made
        channels, _, length = session.recorder.types[made.node].shape
        return replace(made, node=session.recorder.reshaped(made, (channels, length)))

    return apply


def _tuple(value: Any, count: int) -> tuple[int, ...]:
    values = [value] * count if isinstance(value, int) else list(value)
    return tuple(int(v) for v in (values * count if len(values) == 1 else values))


def _padding(session: Session, padding: Any, kernel: tuple[int, ...], holes: tuple[int, ...]) -> tuple[int, ...]:
    if padding == "valid":
        return (0,) * len(kernel)
    if padding == "same":
        total = [hole * (size - 1) for hole, size in zip(holes, kernel, strict=True)]
        if any(n % 2 for n in total):
            session.fail(f"padding 'same' with a kernel of even size {kernel}; pad with torch.nn.functional.pad")
        return tuple(n // 2 for n in total)
    return _tuple(padding, len(kernel))


def _dilated(kernel: Weights, holes: tuple[int, ...]) -> Weights:
    """The kernel with zeros between its elements."""
    if set(holes) == {1}:
        return kernel
    rows, columns = ((size - 1) * hole + 1 for size, hole in zip(kernel.shape[2:], holes, strict=True))
    wide = np.zeros((*kernel.shape[:2], rows, columns), kernel.dtype)
    wide[:, :, :: holes[0], :: holes[1]] = kernel
    return wide


def batch_norm(
    session: Session, result: Any, x: Any, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: Any = 0.1, eps: float = 1e-5, *_: Any,
) -> Symbol:  # fmt: skip
    if training or running_mean is None:
        session.fail("batch norm with the statistics of the batch; call module.eval() first, and track statistics")
    symbol = session.symbol(x)
    if symbol.dims[1] != VALUE:
        session.fail(f"batch norm on {describe(symbol.dims)}; expected an axis of the value second")
    mean, var = session.constant(running_mean), session.constant(running_var)
    gamma = np.ones_like(mean) if weight is None else session.constant(weight)
    beta = np.zeros_like(mean) if bias is None else session.constant(bias)
    op = BatchNorm(gamma=gamma, beta=beta, mean=mean, var=var, eps=float(eps), axis=symbol.value_axis(1))
    return session.record(op, symbol)


def layer_norm(
    session: Session, result: Any, x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
    eps: float = 1e-5, *_: Any,
) -> Symbol:  # fmt: skip
    shape = tuple(int(n) for n in normalized_shape)
    symbol = session.recorder.solid(session.symbol(x))
    if symbol.dims[len(symbol.dims) - len(shape) :] != (VALUE,) * len(shape):
        session.fail(f"layer norm over batch or time: {describe(symbol.dims)}")
    gamma = np.ones(shape, np.float32) if weight is None else session.constant(weight)
    beta = np.zeros(shape, np.float32) if bias is None else session.constant(bias)
    return session.record(LayerNorm(gamma=gamma, beta=beta, eps=float(eps)), symbol)


def group_norm(
    session: Session,
    result: Any,
    x: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *_: Any,
) -> Symbol:
    """A layer norm of each group, then the channels' gains and offsets."""
    symbol = session.recorder.solid(session.symbol(x))
    shape = session.recorder.shape(symbol)
    session.sample_dims(symbol, len(shape))
    size = prod(shape) // num_groups
    grouped = replace(symbol, node=session.recorder.reshaped(symbol, (num_groups, size)))
    op = LayerNorm(gamma=np.ones(size, np.float32), beta=np.zeros(size, np.float32), eps=float(eps))
    made = session.record(op, grouped, dims=symbol.dims, name="group_norm")
    made = replace(made, node=session.recorder.reshaped(made, shape))
    if weight is None:
        return made
    wide = (-1, *[1] * (len(shape) - 1))
    gain, offset = (session.constant(p).reshape(wide) if p is not None else None for p in (weight, bias))
    return session.record(Affine(gain=gain, offset=offset), made)


def pool(kind: type[MaxPool] | type[AvgPool]) -> Callable[..., Any]:
    def apply(session: Session, result: Any, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
              *rest: Any, **named: Any) -> Any:  # fmt: skip
        names = (
            ("dilation", "ceil_mode", "return_indices")
            if kind is MaxPool
            else ("ceil_mode", "count_include_pad", "divisor_override")
        )
        options = dict(zip(names, rest, strict=False)) | named
        symbol = session.recorder.solid(session.symbol(x))
        lead = session.sample_dims(symbol, 3)
        kernel, pads = _tuple(kernel_size, 2), _tuple(padding, 2)
        strides = kernel if stride is None or stride == [] else _tuple(stride, 2)
        if set(_tuple(options.get("dilation", 1), 2)) != {1} or options.get("divisor_override") is not None:
            session.fail("a pool with dilation or another divisor")
        if options.get("count_include_pad") is False and any(pads):
            session.fail("an average pool that leaves its padding out; use count_include_pad=True")
        op = kind(kernel=(kernel[0], kernel[1]), stride=(strides[0], strides[1]), padding=(pads[0], pads[1]))
        made = session.record(op, symbol, dims=(*lead, VALUE, VALUE, VALUE))
        first = result[0] if isinstance(result, tuple) else result
        if session.recorder.types[made.node].shape != tuple(first.shape[-3:]):
            session.fail("a pool whose ceil_mode makes windows that hang over the edge; use ceil_mode=False")
        return [made, None] if isinstance(result, tuple) else made

    return apply


def lp_pool(session: Session, result: Any, x: Any, norm_type: Any, *arguments: Any, **named: Any) -> Any:
    """The norm of order 1 of what is not negative: a sum."""
    if norm_type != 1:
        session.fail(f"a pool of order {norm_type}; only sums (order 1) can be traced")
    average = pool(AvgPool)(session, result, x, *arguments, **named)
    op = session.recorder.operation(average.node)
    return session.record(SumPool(kernel=op.kernel, stride=op.stride, padding=op.padding), session.symbol(x))


def adaptive_pool(axes: int) -> Callable[..., Symbol]:
    """Means over all positions of ``axes`` axes, or over equal windows."""

    def apply(session: Session, result: Any, x: Any, *_: Any, **__: Any) -> Symbol:
        symbol = session.recorder.solid(session.symbol(x))
        lead = session.sample_dims(symbol, axes + 1)
        shape, target = session.recorder.shape(symbol)[-axes:], tuple(result.shape[-axes:])
        if set(target) == {1}:
            return session.record(Mean(axes=tuple(range(1, axes + 1))), symbol, dims=(*lead, VALUE, *[ONE] * axes))
        if axes == 1 or any(n % m for n, m in zip(shape, target, strict=True)):
            session.fail(f"an adaptive pool from {shape} to {target}; only equal windows over two axes can be traced")
        kernel = (shape[0] // target[0], shape[1] // target[1])
        return session.record(AvgPool(kernel=kernel, stride=kernel), symbol)

    return apply


def embedding(session: Session, result: Any, x: Any, weight: Any, *_: Any, **__: Any) -> Symbol:
    symbol = session.recorder.solid(session.symbol(x))
    return session.record(Embedding(weight=session.constant(weight)), symbol, dims=(*symbol.dims, VALUE))


def softmax(session: Session, result: Any, x: Any, dim: Any = None, *_: Any, **__: Any) -> Symbol:
    symbol = session.recorder.solid(session.symbol(x))
    if dim is None or symbol.dims[dim] != VALUE:
        session.fail(f"softmax over batch or time, or over no stated axis: {describe(symbol.dims)}")
    return session.record(Softmax(axis=symbol.value_axis(dim % len(symbol.dims))), symbol)


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
    return _reduced(session, x, dim, keepdim, total=False)


def total(session: Session, result: Any, x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Symbol:
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
    "linear": linear,
    "conv1d": conv(1),
    "conv2d": conv(2),
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "embedding": embedding,
    "scaled_dot_product_attention": attention,
    "einsum": einsum,
    "mean": mean,
    "sum": total,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), pool(MaxPool)),
    "avg_pool2d": pool(AvgPool),
    "lp_pool2d": lp_pool,
    "adaptive_avg_pool1d": adaptive_pool(1),
    "adaptive_avg_pool2d": adaptive_pool(2),
    **dict.fromkeys(("matmul", "__matmul__", "bmm", "mm"), matmul),
    "__rmatmul__": rmatmul,
    "softmax": softmax,
}
