"""Functions of single elements: sums and products with broadcasting, comparisons, rounding, what networks apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from compiler.importers.tracing.layout import fitted
from compiler.importers.tracing.recorder import ONE, VALUE, Dim, Symbol
from compiler.importers.tracing.session import Session, describe
from compiler.ir.ops import (
    Add,
    Affine,
    AndNot,
    Broadcast,
    Clip,
    Gelu,
    IntegerNeuron,
    Mul,
    Neuron,
    Op,
    Relu,
    Scale,
    Sigmoid,
    Silu,
    Tanh,
    Weights,
)


def add(session: Session, result: Any, a: Any, b: Any, *, alpha: Any = 1, **_: Any) -> Symbol:
    """a + alpha * b."""
    if alpha != 1:
        b = _times(session, b, float(alpha))
    for x, y in ((a, b), (b, a)):
        if not isinstance(y, Symbol) and not session.knows(y):
            return _plus(session, x, y)
    grown = _grown_total(session, a, b)
    return grown if grown is not None else _pair(session, Add(), a, b)


def _grown_total(session: Session, a: Any, b: Any) -> Symbol | None:
    """The sum over one more step, where a loop adds up what it makes."""
    found = [x if isinstance(x, Symbol) else session.find(x) for x in (a, b)]
    for so_far, new in (found, found[::-1]):
        if so_far is None or new is None or so_far.step is None or new.step is None or new.total:
            continue
        follows = so_far.node == new.node and so_far.dims == new.dims and new.step == so_far.step + 1
        if follows and (so_far.total or so_far.step == 0):
            return replace(new, total=True)
    return None


def subtract(session: Session, result: Any, a: Any, b: Any, *, alpha: Any = 1, **_: Any) -> Symbol:
    """a - alpha * b."""
    if not session.knows(b):
        return _plus(session, a, b, -float(alpha))
    return add(session, result, a, _times(session, b, -float(alpha)))


def subtract_from(session: Session, result: Any, a: Any, b: Any, *, alpha: Any = 1) -> Symbol:
    """b - alpha * a."""
    return add(session, result, _times(session, a, -float(alpha)), b)


def multiply(session: Session, result: Any, a: Any, b: Any, **_: Any) -> Symbol:
    """a * b; 1 - s times x is x where the spikes s are silent."""
    for x, y in ((a, b), (b, a)):
        if not session.knows(y):
            return _times(session, x, y)
    for x, y in ((a, b), (b, a)):
        spikes = _silent(session, y)
        if spikes is not None:
            return _pair(session, AndNot(), x, spikes)
    return _pair(session, Mul(), a, b)


def _silent(session: Session, tensor: Any) -> Symbol | None:
    """The binary spikes s if ``tensor`` is 1 - s."""
    symbol, recorder = session.symbol(tensor), session.recorder
    added = recorder.producer(symbol.node)
    if not isinstance(added.op, Affine) or added.op.gain is not None or added.op.offset is None:
        return None
    negated = recorder.producer(added.inputs[0])
    if not isinstance(negated.op, Scale) or negated.op.factor != -1 or not (added.op.offset == 1).all():
        return None
    return replace(symbol, node=negated.inputs[0]) if recorder.types[negated.inputs[0]].is_binary else None


def divide(session: Session, result: Any, a: Any, b: Any, *, rounding_mode: Any = None) -> Symbol:
    """a / b with a constant b; the sum over all T steps divided by T is their mean."""
    if rounding_mode is not None or session.knows(b):
        session.fail("a division by values that depend on the input, or one that rounds, cannot be traced")
    symbol = session.find(a)
    steps = session.recorder.timesteps
    if symbol is not None and symbol.total and symbol.step == steps - 1 and _number(session, b) == steps:
        return Symbol(node=session.recorder.time_mean(symbol.node), dims=symbol.dims)
    with session.paused():
        inverse = 1.0 / (b.double() if isinstance(b, torch.Tensor) else float(b))
    return _times(session, a, inverse)


def _number(session: Session, value: Any) -> float | None:
    """A constant that is one number; None for larger tensors."""
    if isinstance(value, torch.Tensor):
        return float(session.constant(value).reshape(())) if value.numel() == 1 else None
    return float(value)


def negate(session: Session, result: Any, x: Any) -> Symbol:
    """-x."""
    return _times(session, x, -1.0)


def power(session: Session, result: Any, x: Any, exponent: Any = 2, **_: Any) -> Symbol:
    """The square of x."""
    if session.knows(exponent) or _number(session, exponent) != 2:
        session.fail("only the second power can be traced")
    return _pair(session, Mul(), x, x)


def _plus(session: Session, x: Any, constant: Any, sign: float = 1.0) -> Symbol:
    """x + sign * constant."""
    array = _array(session, constant) * sign
    if not array.any() and array.size == 1:
        found = x if isinstance(x, Symbol) else session.find(x)
        return found if found is not None else session.symbol(x)
    return _affine(session, x, constant, lambda a: Affine(offset=a * np.float32(sign)), name="add")


def _times(session: Session, x: Any, constant: Any) -> Symbol:
    """x * constant."""
    number = _number(session, constant)
    if number is None:
        return _affine(session, x, constant, lambda a: Affine(gain=a), name="mul")
    symbol = x if isinstance(x, Symbol) else session.symbol(x)
    if number == 1:
        return symbol
    if number == 0:
        shape = (1,) * len(session.recorder.shape(symbol))
        return session.record(Affine(gain=np.zeros(shape, np.float32)), symbol, name="mul")
    return session.record(Scale(factor=number), symbol, name="mul")


def _array(session: Session, constant: Any) -> Weights:
    return session.constant(constant) if isinstance(constant, torch.Tensor) else np.array(float(constant))


def _affine(session: Session, x: Any, constant: Any, op: Callable[[Weights], Op], *, name: str) -> Symbol:
    symbol = session.recorder.solid(x if isinstance(x, Symbol) else session.symbol(x))
    tensor = constant if isinstance(constant, torch.Tensor) else torch.tensor(float(constant), dtype=torch.float64)
    count = max(len(symbol.dims), tensor.dim())
    dims: tuple[Dim, ...] = (*[ONE] * (count - len(symbol.dims)), *symbol.dims)
    array = fitted(session, tensor, dims)
    symbol = session.recorder.solid(replace(symbol, dims=dims))
    shape = session.recorder.shape(symbol)
    wide = np.broadcast_shapes(shape, array.shape)
    if wide != shape:
        symbol = session.record(Broadcast(shape=wide), symbol)
    if not array.any() and name == "add":
        return symbol
    return session.record(op(array), symbol, name=name)


def _pair(session: Session, op: Op, a: Any, b: Any) -> Symbol:
    """An op on two values, each repeated along its axes of size 1."""
    symbols = [x if isinstance(x, Symbol) else session.symbol(x) for x in (a, b)]
    count = max(len(symbol.dims) for symbol in symbols)
    padded = [(*[ONE] * (count - len(symbol.dims)), *symbol.dims) for symbol in symbols]
    dims: list[Dim] = []
    for pair in zip(*padded, strict=True):
        kinds = {dim for dim in pair if dim != ONE}
        if len(kinds) > 1:
            found = " and ".join(describe(symbol.dims) for symbol in symbols)
            session.fail(f"values whose axes do not correspond meet: {found}")
        dims.append(kinds.pop() if kinds else ONE)
    nodes = []
    for symbol, own in zip(symbols, padded, strict=True):
        sizes = iter(session.recorder.shape(symbol))
        shape = tuple(next(sizes) if mine == VALUE else 1 for mine, dim in zip(own, dims, strict=True) if dim == VALUE)
        nodes.append(replace(symbol, node=session.recorder.reshaped(symbol, shape)))
    if isinstance(op, Add):
        wide = np.broadcast_shapes(*(session.recorder.shape(symbol) for symbol in nodes))
        nodes = [s if session.recorder.shape(s) == wide else session.record(Broadcast(shape=wide), s) for s in nodes]
    return session.record(op, *nodes, dims=dims)


def where_at_least(fires: str) -> Callable[..., Symbol]:
    """``x >= c`` or ``x > c`` with a constant c: neurons without memory."""

    def compare(session: Session, result: Any, x: Any, bound: Any) -> Symbol:
        if not session.knows(x) or session.knows(bound):
            session.fail("only comparisons 'value >= constant' and 'value > constant' can be traced, as spikes")
        level, symbol = _number(session, bound), session.symbol(x)
        if level is None:
            symbol, level = _plus(session, x, bound, -1.0), 0.0
        op = Neuron(tau=1.0, decay_input=False, threshold=level, fires="ge" if fires == "ge" else "gt")
        if not (symbol.has_time or symbol.step is not None or session.recorder.types[symbol.node].timed):
            session.fail("a comparison after a mean over time")
        return session.record(op, symbol, name="fires")

    return compare


def clamp(session: Session, result: Any, x: Any, min: Any = None, max: Any = None) -> Symbol:
    """x limited to min..max."""
    low, high = (
        default if bound is None else session.number(bound) for bound, default in ((min, -np.inf), (max, np.inf))
    )
    op: Op = Relu() if (low, high) == (0, np.inf) else Clip(low=float(low), high=float(high))
    return session.record(op, session.symbol(x))


def rounded(rounding: str) -> Callable[..., Symbol]:
    """``round(clamp(x, 0, n))`` or ``floor(clamp(x, 0, n) + 0.5)``: neurons that fire up to n spikes."""

    def apply(session: Session, result: Any, x: Any) -> Symbol:
        symbol = session.symbol(x)
        node = session.recorder.producer(symbol.node)
        how = rounding
        offset = node.op.offset if isinstance(node.op, Affine) and node.op.gain is None else None
        if rounding == "down" and offset is not None and (offset == 0.5).all():
            how, node = "up", session.recorder.producer(node.inputs[0])
        clip = node.op
        if how == "down" or not isinstance(clip, Clip) or clip.low != 0 or not float(clip.high).is_integer():
            session.fail(
                "rounding; only round(clamp(x, 0, n)) and floor(clamp(x, 0, n) + 0.5) can be traced, as up to n spikes"
            )
        op = IntegerNeuron(levels=int(clip.high), rounding="even" if how == "even" else "up")
        return session.record(op, replace(symbol, node=node.inputs[0]), name="fires")

    return apply


def simple(make: Callable[[], Op]) -> Callable[..., Symbol]:
    """A function of one tensor without parameters."""

    def apply(session: Session, result: Any, x: Any, *_: Any, **__: Any) -> Symbol:
        return session.record(make(), session.symbol(x))

    return apply


def gelu(session: Session, result: Any, x: Any, *, approximate: str = "none") -> Symbol:
    """torch.nn.functional.gelu."""
    return session.record(Gelu(approximate=approximate == "tanh"), session.symbol(x))


def relu6(session: Session, result: Any, x: Any, *_: Any, **__: Any) -> Symbol:
    """x limited to 0..6."""
    return session.record(Clip(low=0.0, high=6.0), session.symbol(x))


def hardtanh(session: Session, result: Any, x: Any, min_val: Any = -1, max_val: Any = 1, *_: Any) -> Symbol:
    """x limited to min_val..max_val."""
    return session.record(Clip(low=float(min_val), high=float(max_val)), session.symbol(x))


def same(session: Session, result: Any, x: Any, *_: Any, **__: Any) -> Symbol:
    """Copies, casts, and what does nothing outside training."""
    found = session.find(x)
    return found if found is not None else session.symbol(x)


def dropout(session: Session, result: Any, x: Any, p: Any = 0.5, training: bool = True, *_: Any, **__: Any) -> Symbol:
    """x itself; fails in training mode."""
    if training and p:
        session.fail("dropout in training mode; call module.eval() first")
    return same(session, result, x)


def _family(names: Sequence[str], handler: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return dict.fromkeys(names, handler)


SAME = (
    "clone", "contiguous", "detach", "to", "float", "double", "half", "bfloat16", "type", "type_as", "cpu", "cuda",
    "requires_grad_", "data.__get__", "alias", "positive", "identity", "copy", "__pos__", "__deepcopy__", "detach_",
    "bool", "int", "long", "byte", "real.__get__", "as_tensor",
)  # fmt: skip
"""Functions that leave the numbers as they are (casts of spikes among them)."""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **_family(("add", "__add__", "__radd__", "add_", "__iadd__"), add),
    **_family(("sub", "subtract", "__sub__", "sub_", "__isub__"), subtract),
    **_family(("rsub", "__rsub__"), subtract_from),
    **_family(("mul", "multiply", "__mul__", "__rmul__", "mul_", "__imul__", "logical_and", "__and__"), multiply),
    **_family(("div", "divide", "true_divide", "__truediv__", "__div__", "div_", "__itruediv__"), divide),
    **_family(("neg", "negative", "__neg__"), negate),
    **_family(("pow", "__pow__", "square"), power),
    **_family(("ge", "__ge__", "greater_equal"), where_at_least("ge")),
    **_family(("gt", "__gt__", "greater"), where_at_least("gt")),
    **_family(("clamp", "clip", "clamp_", "clip_", "clamp_min"), clamp),
    **_family(("round", "round_"), rounded("even")),
    **_family(("floor", "floor_"), rounded("down")),
    **_family(("relu", "relu_"), simple(Relu)),
    **_family(("sigmoid", "sigmoid_"), simple(Sigmoid)),
    **_family(("tanh", "tanh_"), simple(Tanh)),
    **_family(("silu", "swish"), simple(Silu)),
    "gelu": gelu,
    "relu6": relu6,
    "hardtanh": hardtanh,
    **_family(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout"), dropout),
    **_family(SAME, same),
}
