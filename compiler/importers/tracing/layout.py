"""Functions that only rearrange elements: shapes, orders, new axes, joining and taking parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch

from compiler.importers.tracing.recorder import BATCH, ONE, SAMPLES, TIME, VALUE, Dim, Symbol
from compiler.importers.tracing.session import Session, describe, with_dims
from compiler.ir.ops import Broadcast, Concat, Pad, Slice, Transpose, Weights


def reshape(session: Session, result: Any, x: Any, *_: Any, **__: Any) -> Symbol:
    """Any function whose result has the elements of ``x`` in the same order under the shape of ``result``."""
    symbol = session.symbol(x)
    dims, sizes = regrouped(session, symbol, tuple(x.shape), tuple(result.shape))
    node = session.recorder.reshaped(symbol, sizes)
    return replace(symbol, node=node, dims=dims)


def regrouped(
    session: Session, symbol: Symbol, old: Sequence[int], new: Sequence[int]
) -> tuple[tuple[Dim, ...], tuple[int, ...]]:
    """The dims of a tensor reshaped from sizes ``old`` to ``new``, and the new shape of the value.

    Batch and time keep their place; the elements between them may be grouped in any way.
    """
    atoms: list[tuple[str, int]] = []
    sizes = {"T": session.recorder.timesteps, "B": session.batch}
    for dim, size in zip(symbol.dims, old, strict=True):
        atoms += [(part, sizes.get(part, size)) for part in dim]
    # Time that stands still has size 1 in the tensor.
    atoms = _values_merged(atoms)
    dims: list[Dim] = []
    shape: list[int] = []
    for size in new:
        if atoms and atoms[0][0] in "TB":
            (kind, count), *rest = atoms
            if size == count:
                dims.append((kind,))
                atoms = rest
                continue
            if rest and rest[0][0] in "TB" and size == count * rest[0][1]:
                dims.append((kind, rest[0][0]))
                atoms = rest[1:]
                continue
            if size != 1:
                session.fail(
                    f"a reshape from {tuple(old)} to {tuple(new)} mixes batch or time of {describe(symbol.dims)}"
                )
        if size == 1 or not atoms:
            dims.append(ONE)
            continue
        kind, count = atoms[0]
        if count % size:
            session.fail(f"a reshape from {tuple(old)} to {tuple(new)} mixes batch or time with other axes")
        dims.append(VALUE)
        shape.append(size)
        atoms = atoms[1:] if count == size else [(kind, count // size), *atoms[1:]]
    if prod(count for _, count in atoms) != 1:
        session.fail(f"a reshape from {tuple(old)} to {tuple(new)} cannot be followed through {describe(symbol.dims)}")
    return tuple(dims), tuple(shape)


def _values_merged(atoms: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Neighbouring axes of the value as one; axes of size 1 left out."""
    merged: list[tuple[str, int]] = []
    for kind, size in atoms:
        if kind == "1" or (kind == "v" and size == 1):
            continue
        if kind == "v" and merged and merged[-1][0] == "v":
            merged[-1] = ("v", merged[-1][1] * size)
        else:
            merged.append((kind, size))
    return merged


def permuted(session: Session, x: Any, order: Sequence[int]) -> Symbol:
    """Axis i of the result is axis ``order[i]`` of ``x``."""
    symbol = session.symbol(x)
    order = [axis % len(symbol.dims) for axis in order]
    values = [symbol.value_axis(axis) for axis in order if symbol.dims[axis] == VALUE]
    dims = [symbol.dims[axis] for axis in order]
    if values == sorted(values):
        return with_dims(symbol, dims)
    return session.record(Transpose(order=tuple(values)), symbol, dims=dims)


def permute(session: Session, result: Any, x: Any, *dims: Any, **named: Any) -> Symbol:
    """permute(dims), as one tuple or as arguments."""
    order = named.get("dims", dims)
    return permuted(session, x, order[0] if len(order) == 1 and not isinstance(order[0], int) else order)


def transpose(session: Session, result: Any, x: Any, *dims: Any, **named: Any) -> Symbol:
    """Two axes swapped; without arguments (t, T, mT) the last two."""
    first, second = dims or (named.get("dim0", named.get("axis0", -2)), named.get("dim1", named.get("axis1", -1)))
    order = list(range(x.dim()))
    order[first], order[second] = order[second], order[first]
    return permuted(session, x, order)


def reverse(session: Session, result: Any, x: Any, *_: Any) -> Symbol:
    """``x.T``."""
    return permuted(session, x, range(x.dim() - 1, -1, -1))


def movedim(session: Session, result: Any, x: Any, source: Any, destination: Any) -> Symbol:
    """Axes moved to other places; the others keep their order."""
    sources, targets = ([s] if isinstance(s, int) else list(s) for s in (source, destination))
    sources, targets = ([axis % x.dim() for axis in axes] for axes in (sources, targets))
    order = [axis for axis in range(x.dim()) if axis not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return permuted(session, x, order)


def unsqueeze(session: Session, result: Any, x: Any, dim: int) -> Symbol:
    """A new axis of size 1."""
    symbol = session.symbol(x)
    dims = list(symbol.dims)
    dims.insert(dim % (len(dims) + 1), ONE)
    return with_dims(symbol, dims)


def squeeze(session: Session, result: Any, x: Any, dim: Any = None) -> Symbol:
    """Axes of size 1 dropped: all, or those named."""
    symbol = session.symbol(x)
    axes = range(x.dim()) if dim is None else [d % x.dim() for d in ([dim] if isinstance(dim, int) else dim)]
    gone = [axis for axis in axes if x.shape[axis] == 1 and symbol.dims[axis] in (ONE, VALUE)]
    if len(gone) < sum(x.shape[axis] == 1 for axis in axes):
        session.fail(f"squeeze would drop batch or time of {describe(symbol.dims)}")
    values = {symbol.value_axis(axis) for axis in gone if symbol.dims[axis] == VALUE}
    shape = tuple(n for axis, n in enumerate(session.recorder.shape(symbol)) if axis not in values)
    node = session.recorder.reshaped(symbol, shape)
    return replace(symbol, node=node, dims=tuple(d for axis, d in enumerate(symbol.dims) if axis not in gone))


def enlarge(session: Session, result: Any, x: Any, *_: Any, **__: Any) -> Symbol:
    """expand and repeat: axes of size 1, or new ones in front, become longer; one of them may become the time."""
    symbol = session.symbol(x)
    dims = [ONE] * (result.dim() - x.dim()) + list(symbol.dims)
    sizes = [1] * (result.dim() - x.dim()) + list(x.shape)
    longer = [axis for axis in range(result.dim()) if sizes[axis] != result.shape[axis]]
    if any(sizes[axis] != 1 or dims[axis] not in (ONE, VALUE) for axis in longer):
        session.fail(f"only axes of size 1 can be repeated, got {tuple(x.shape)} to {tuple(result.shape)}")
    timed = symbol.has_time or symbol.step is not None
    for axis, dim in enumerate(dims):
        beside = BATCH in (dims[axis + 1] if axis + 1 < len(dims) else ONE, dims[axis - 1] if axis else ONE)
        if dim == ONE and result.shape[axis] == session.recorder.timesteps and beside and not timed:
            dims[axis], timed = TIME, True
    symbol = with_dims(symbol, dims)
    grown = [axis for axis in longer if dims[axis] != TIME]
    if not grown:
        return symbol
    symbol = session.recorder.solid(symbol)
    shape = tuple(int(result.shape[axis]) for axis, dim in enumerate(symbol.dims) if dim == VALUE)
    return session.record(Broadcast(shape=shape), symbol)


def stack(session: Session, result: Any, tensors: Sequence[Any], dim: int = 0) -> Symbol:
    """Steps side by side are the time; other values get a new axis."""
    dim %= result.dim()
    steps = _as_steps(session, tensors)
    if steps is not None:
        dims = list(steps.dims)
        dims.insert(dim, TIME)
        return Symbol(node=steps.node, dims=tuple(dims))
    parts = []
    for tensor in tensors:
        if not session.knows(tensor):
            session.fail("a constant is stacked with values that depend on the input; use cat")
        symbol = session.symbol(tensor)
        parts.append(session.recorder.solid(with_dims(symbol, (*symbol.dims[:dim], ONE, *symbol.dims[dim:]))))
    return _joined(session, parts, dim)


def _as_steps(session: Session, tensors: Sequence[Any]) -> Symbol | None:
    """The symbol of which ``tensors`` are all steps in order, or the same in every step."""
    if len(tensors) != session.recorder.timesteps or not all(session.knows(tensor) for tensor in tensors):
        return None
    found = [session.find(tensor) for tensor in tensors]
    return same_value([symbol for symbol in found if symbol is not None])


def same_value(symbols: Sequence[Symbol]) -> Symbol | None:
    """The value of which these are all steps in order, or the same in every step; without its step."""
    first = symbols[0]
    if any(s.total or s.has_time or s.node != first.node or s.dims != first.dims for s in symbols):
        return None
    steps = [symbol.step for symbol in symbols]
    return replace(first, step=None) if steps == list(range(len(steps))) or set(steps) == {None} else None


def cat(session: Session, result: Any, tensors: Sequence[Any], dim: int = 0) -> Symbol:
    """Along an axis of the value, constants included; or steps along a new axis."""
    dim %= result.dim()
    steps = _as_steps(session, tensors)
    if steps is not None and steps.dims[dim] == ONE:
        return Symbol(node=steps.node, dims=(*steps.dims[:dim], TIME, *steps.dims[dim + 1 :]))
    symbols = [session.recorder.solid(session.symbol(t)) if session.knows(t) else None for t in tensors]
    like = next(symbol for symbol in symbols if symbol is not None)
    if like.dims[dim] != VALUE:
        session.fail(f"cat along {describe(like.dims)[1:-1].split(', ')[dim]}; only axes of the value can be joined")
    known = [i for i, symbol in enumerate(symbols) if symbol is not None]
    arrays = [None if symbol else fitted(session, t, like.dims) for t, symbol in zip(tensors, symbols, strict=True)]
    axis, between = like.value_axis(dim), known[-1] - known[0] + 1
    if between != len(known):
        session.fail("cat with constants between values that depend on the input; put the constants first or last")
    before, after = (_glued(arrays[part], axis) for part in (slice(None, known[0]), slice(known[-1] + 1, None)))
    return _joined(session, [s for s in symbols if s is not None], dim, before, after)


def _joined(
    session: Session, parts: list[Symbol], dim: int, before: Weights | None = None, after: Weights | None = None
) -> Symbol:
    if len({part.dims for part in parts}) > 1:
        session.fail(f"values of different axes are joined: {', '.join(describe(part.dims) for part in parts)}")
    op = Concat(axis=parts[0].value_axis(dim), before=before, after=after)
    return session.record(op, *parts, name="cat")


def _glued(arrays: Sequence[Weights | None], axis: int) -> Weights | None:
    found = [array for array in arrays if array is not None]
    return np.concatenate(found, axis=axis) if found else None


def fitted(session: Session, tensor: Any, dims: Sequence[Dim]) -> Weights:
    """A constant that meets a tensor of ``dims``, as an array over the axes of the value (some of size 1).

    It must be the same for every example and step.
    """
    array = session.constant(tensor)
    array = array.reshape((1,) * (len(dims) - array.ndim) + array.shape)
    for axis, dim in enumerate(dims):
        if dim in SAMPLES and array.shape[axis] != 1:
            first = array.take([0], axis=axis)
            if not np.array_equal(np.broadcast_to(first, array.shape), array):
                session.fail("a constant differs between the examples of a batch or between time steps")
            array = first
    return array.reshape([size for size, dim in zip(array.shape, dims, strict=True) if dim not in SAMPLES])


def split(session: Session, result: Sequence[Any], x: Any, *arguments: Any, **named: Any) -> list[Symbol]:
    """chunk, split and unbind: consecutive parts along one axis."""
    dim = named.get("dim", arguments[-1] if len(arguments) > 1 else 0)
    return _parts(session, result, x, dim, drop=False)


def unbind(session: Session, result: Sequence[Any], x: Any, dim: int = 0) -> list[Symbol]:
    """The parts of size 1 along an axis, without it; along the time, its steps."""
    return _parts(session, result, x, dim, drop=True)


def _parts(session: Session, result: Sequence[Any], x: Any, dim: int, *, drop: bool) -> list[Symbol]:
    symbol, dim = session.symbol(x), dim % x.dim()
    if symbol.dims[dim] == TIME and drop:
        rest = (*symbol.dims[:dim], *symbol.dims[dim + 1 :])
        return [Symbol(node=symbol.node, dims=rest, step=step) for step in range(len(result))]
    symbol = session.recorder.solid(symbol)
    if symbol.dims[dim] != VALUE:
        session.fail(f"only axes of the value can be split, got {describe(symbol.dims)}")
    found, start = [], 0
    for part in result:
        length = 1 if drop else int(part.shape[dim])
        found.append(taken(session, symbol, dim, start, start + length, 1, drop=drop))
        start += length
    return found


def taken(session: Session, symbol: Symbol, dim: int, start: int, stop: int, step: int, *, drop: bool) -> Symbol:
    """Elements start..stop of an axis of the value; ``drop`` removes the axis."""
    axis = symbol.value_axis(dim)
    shape = session.recorder.shape(symbol)
    if (start, stop, step) != (0, shape[axis], 1):
        symbol = session.record(Slice(axis=axis, start=start, stop=stop, step=step), symbol)
    if not drop:
        return symbol
    node = session.recorder.reshaped(symbol, (*shape[:axis], *shape[axis + 1 :]))
    return replace(symbol, node=node, dims=(*symbol.dims[:dim], *symbol.dims[dim + 1 :]))


def select(session: Session, result: Any, x: Any, dim: int, index: int) -> Symbol:
    """The part ``index`` of an axis, without the axis."""
    return getitem(session, result, x, (*[slice(None)] * (dim % x.dim()), index))


def narrow(session: Session, result: Any, x: Any, dim: int, start: int, length: int) -> Symbol:
    """``length`` elements of an axis from ``start`` on."""
    return getitem(session, result, x, (*[slice(None)] * (dim % x.dim()), slice(start, start + length)))


def getitem(session: Session, result: Any, x: Any, index: Any) -> Symbol:
    """``x[...]`` with whole numbers, slices, None and an ellipsis; a number on the time axis takes that step."""
    symbol = session.symbol(x)
    dim = 0
    for item in _full_index(session, index, x.dim()):
        if item is None:
            symbol = with_dims(symbol, (*symbol.dims[:dim], ONE, *symbol.dims[dim:]))
            dim += 1
            continue
        kind, size = symbol.dims[dim], _size(session, symbol, dim)
        if isinstance(item, slice):
            start, stop, step = item.indices(size)
            if (start, stop, step) != (0, size, 1):
                if kind != VALUE:
                    session.fail(f"only axes of the value can be sliced, got {item} on {describe(symbol.dims)}")
                symbol = taken(session, symbol, dim, start, stop, step, drop=False)
            dim += 1
        elif kind == TIME:
            rest = (*symbol.dims[:dim], *symbol.dims[dim + 1 :])
            symbol = Symbol(node=symbol.node, dims=rest, step=item % size)
        elif kind == ONE:
            symbol = with_dims(symbol, (*symbol.dims[:dim], *symbol.dims[dim + 1 :]))
        elif kind == VALUE:
            symbol = taken(session, symbol, dim, item % size, item % size + 1, 1, drop=True)
        else:
            session.fail(f"one example of a batch is taken out of {describe(symbol.dims)}")
    return symbol


def _full_index(session: Session, index: Any, count: int) -> list[Any]:
    items = list(index) if isinstance(index, tuple) else [index]
    items = [int(i) if isinstance(i, torch.Tensor) and i.ndim == 0 and not session.knows(i) else i for i in items]
    if any(isinstance(i, bool) or not (i is None or i is ... or isinstance(i, int | slice)) for i in items):
        session.fail(
            "indexing with tensors, lists or truth values; only whole numbers, slices, None and ... can be traced"
        )
    used = sum(item is not None and item is not ... for item in items)
    fill = [slice(None)] * (count - used)
    at = items.index(...) if ... in items else len(items)
    return [*items[:at], *fill, *items[at + 1 :]]


def _size(session: Session, symbol: Symbol, dim: int) -> int:
    kind = symbol.dims[dim]
    if kind == VALUE:
        return session.recorder.shape(symbol)[symbol.value_axis(dim)]
    sizes = {"T": session.recorder.timesteps, "B": session.batch, "1": 1}
    return prod(sizes[part] for part in kind)


def pad(session: Session, result: Any, x: Any, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Symbol:
    """torch.nn.functional.pad with a constant; pairs from the last axis on."""
    if mode != "constant":
        session.fail(f"padding of mode '{mode}'; only constants can be traced")
    symbol = session.recorder.solid(session.symbol(x))
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)][::-1]
    pairs = [(0, 0)] * (x.dim() - len(pairs)) + pairs
    widths = [pair for pair, dim in zip(pairs, symbol.dims, strict=True) if dim == VALUE]
    if sum(map(sum, pairs)) != sum(map(sum, widths)) or min(min(pair) for pair in pairs) < 0:
        session.fail("padding of batch or time, or a negative one; only more elements of the value can be traced")
    before, after = (tuple(pair[end] for pair in widths) for end in (0, 1))
    return session.record(Pad(before=before, after=after, value=float(value or 0)), symbol)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("reshape", "view", "flatten", "unflatten", "view_as", "reshape_as", "ravel"), reshape),
    **dict.fromkeys(("transpose", "swapaxes", "swapdims", "t", "mT.__get__"), transpose),
    **dict.fromkeys(("expand", "expand_as", "repeat", "tile", "broadcast_to"), enlarge),
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "tensor_split"), split),
    "permute": permute,
    "T.__get__": reverse,
    "movedim": movedim,
    "moveaxis": movedim,
    **dict.fromkeys(("unsqueeze", "unsqueeze_"), unsqueeze),
    **dict.fromkeys(("squeeze", "squeeze_"), squeeze),
    "stack": stack,
    "unbind": unbind,
    "select": select,
    "narrow": narrow,
    "__getitem__": getitem,
    "pad": pad,
}
