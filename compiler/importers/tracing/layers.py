"""Functions with weights, pools and norms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from compiler.importers.tracing.recorder import ONE, VALUE, Dim, Symbol
from compiler.importers.tracing.session import Session, describe, smallest
from compiler.ir.ops import (
    Affine,
    AvgPool,
    BatchNorm,
    Conv2d,
    Embedding,
    LayerNorm,
    Linear,
    MaxPool,
    Mean,
    Softmax,
    SumPool,
    Transpose,
    Weights,
)


def linear(session: Session, result: Any, x: Any, weight: Any, bias: Any = None) -> Symbol:
    """x @ weight.T + bias on the last axis."""
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
    """torch.nn.functional.batch_norm with the tracked statistics."""
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
    """torch.nn.functional.layer_norm over axes of the value."""
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
    """A maximum or an average over windows."""

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
            return _uneven_pool(session, symbol, target, lead)
        kernel = (shape[0] // target[0], shape[1] // target[1])
        return session.record(AvgPool(kernel=kernel, stride=kernel), symbol)

    return apply


def _uneven_pool(session: Session, symbol: Symbol, target: tuple[int, ...], lead: tuple[Dim, ...]) -> Symbol:
    """Windows that overlap, as matrices on one axis after the other: window i is floor(i n/m) to ceil((i+1) n/m)."""
    rank = len(target) + 1
    dims = (*lead, *[VALUE] * rank)
    for axis, outputs in enumerate(target, start=1):
        inputs = session.recorder.shape(symbol)[axis]
        weight = np.zeros((outputs, inputs), np.float64)
        for i in range(outputs):
            window = slice(i * inputs // outputs, -(-(i + 1) * inputs // outputs))
            weight[i, window] = 1 / len(range(inputs)[window])
        order = (*[a for a in range(rank) if a != axis], axis)
        back = tuple(int(place) for place in np.argsort(order))
        symbol = session.record(Transpose(order=order), symbol, dims=dims)
        symbol = session.record(Linear(weight=smallest(weight)), symbol, dims=dims)
        symbol = session.record(Transpose(order=back), symbol, dims=dims)
    return symbol


def pool3d(kind: type[MaxPool] | type[AvgPool]) -> Callable[..., Any]:
    """A maximum or an average over windows of one channel: kernels (1, k, k)."""

    def apply(session: Session, result: Any, x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
              *rest: Any, **named: Any) -> Any:  # fmt: skip
        kernel, pads = _tuple(kernel_size, 3), _tuple(padding, 3)
        strides = kernel if stride is None or stride == [] else _tuple(stride, 3)
        first = (kernel[0], strides[0], pads[0])
        if first != (1, 1, 0) or set(_tuple(named.pop("dilation", 1), 3)) != {1} or (kind is MaxPool and rest):
            session.fail(f"a pool over three axes {kernel}, stride {strides}; only kernels (1, k, k) can be traced")
        return pool(kind)(session, result, x, kernel[1:], strides[1:], pads[1:], *rest, **named)

    return apply


def adaptive_pool3d(session: Session, result: Any, x: Any, *_: Any, **__: Any) -> Symbol:
    """Means over the last two axes; the one before stays."""
    symbol = session.recorder.solid(session.symbol(x))
    lead = session.sample_dims(symbol, 3)
    shape, target = session.recorder.shape(symbol), tuple(result.shape[-3:])
    if target != (shape[0], 1, 1):
        session.fail(
            f"an adaptive pool from {shape} to {target}; over three axes only means of the last two can be traced"
        )
    return session.record(Mean(axes=(1, 2)), symbol, dims=(*lead, VALUE, ONE, ONE))


def embedding(session: Session, result: Any, x: Any, weight: Any, *_: Any, **__: Any) -> Symbol:
    """Rows of a table."""
    symbol = session.recorder.solid(session.symbol(x))
    return session.record(Embedding(weight=session.constant(weight)), symbol, dims=(*symbol.dims, VALUE))


def softmax(session: Session, result: Any, x: Any, dim: Any = None, *_: Any, **__: Any) -> Symbol:
    """torch.softmax over an axis of the value."""
    symbol = session.recorder.solid(session.symbol(x))
    if dim is None or symbol.dims[dim] != VALUE:
        session.fail(f"softmax over batch or time, or over no stated axis: {describe(symbol.dims)}")
    return session.record(Softmax(axis=symbol.value_axis(dim % len(symbol.dims))), symbol)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "linear": linear,
    "conv1d": conv(1),
    "conv2d": conv(2),
    "batch_norm": batch_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "embedding": embedding,
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), pool(MaxPool)),
    "avg_pool2d": pool(AvgPool),
    **dict.fromkeys(("max_pool3d", "max_pool3d_with_indices"), pool3d(MaxPool)),
    "avg_pool3d": pool3d(AvgPool),
    "lp_pool2d": lp_pool,
    "adaptive_avg_pool1d": adaptive_pool(1),
    "adaptive_avg_pool2d": adaptive_pool(2),
    "adaptive_avg_pool3d": adaptive_pool3d,
    "softmax": softmax,
}
