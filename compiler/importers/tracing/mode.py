"""What stands between a module and PyTorch while it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name

from compiler.importers.tracing import arithmetic, layers, layout, products, writing
from compiler.importers.tracing.neurons import Leaf
from compiler.importers.tracing.recorder import ONE, TIME, Symbol
from compiler.importers.tracing.session import Session, describe
from compiler.ir.ops import Add, Feedback, Neuron, Op, Scale, SerialNeuron
from neurochip.errors import UnsupportedError

FUNCTIONS = layout.FUNCTIONS | arithmetic.FUNCTIONS | layers.FUNCTIONS | products.FUNCTIONS | writing.FUNCTIONS
"""What each function of PyTorch does to symbols, by the last part of its name."""

QUESTIONS = frozenset((
    "__format__", "__hash__", "__len__", "__repr__", "_version", "data_ptr", "device", "dim", "dtype",
    "element_size", "grad", "grad_fn", "is_complex", "is_conj", "is_contiguous", "is_cpu", "is_cuda",
    "is_floating_point", "is_inference", "is_leaf", "is_meta", "is_mkldnn", "is_neg", "is_nested",
    "is_quantized", "is_signed", "is_sparse", "itemsize", "layout", "names", "nbytes", "ndim", "nelement",
    "numel", "output_nr", "requires_grad", "retains_grad", "shape", "size", "storage_offset", "stride",
))  # fmt: skip
"""Functions that tell about a tensor and not what it holds."""

TELLS_VALUES = frozenset((
    "item", "tolist", "__bool__", "__int__", "__float__", "__index__", "numpy", "__array__",
    "equal", "any", "all", "nonzero", "allclose",
))  # fmt: skip
"""Functions by which a module could do one thing for one input and another for the next."""


def recording(session: Session) -> AbstractContextManager[object]:
    """While it is entered, every function is computed as PyTorch does, and what the results stand for is followed."""

    def called(
        _mode: object, function: Any, _types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _followed(session, function, args, kwargs or {})

    mode: AbstractContextManager[object] = type("Recording", (TorchFunctionMode,), {"__torch_function__": called})()
    return mode


def _followed(session: Session, function: Any, args: Sequence[Any], named: dict[str, Any]) -> Any:
    """What ``function`` returns; its symbols are registered."""
    if session.is_paused or not any(session.knows(value) for value in _leaves((args, named))):
        return function(*args, **named)
    name = _name_of(function)
    if name in QUESTIONS:
        return function(*args, **named)
    handler = FUNCTIONS.get(name)
    if handler is None:
        session.fail(_refusal(function, name))
    if not (_is_in_place(name) or named.get("inplace")):
        result = function(*args, **named)
        return _registered(session, result, handler(session, result, *args, **named))
    # The handler must see what the tensor held before.
    symbol = handler(session, args[0], *args, **named)
    result = function(*args, **named)
    session.register(args[0], symbol)
    return result


def _is_in_place(name: str) -> bool:
    return name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _name_of(function: Any) -> str:
    """The last part of a function's name; of a property ``name`` for questions and ``name.__get__`` for tensors."""
    name = resolve_name(function) or getattr(function, "__name__", str(function))
    parts = name.split(".")
    if parts[-1] == "__get__":
        return parts[-2] if parts[-2] in QUESTIONS else ".".join(parts[-2:])
    return str(parts[-1])


def _refusal(function: Any, name: str) -> str:
    if name in TELLS_VALUES:
        return (
            f"'{name}' looks at the numbers of a tensor; what a module does must not depend on its input, "
            "and sums over all examples cannot be traced"
        )
    return f"the function '{resolve_name(function) or name}' has no op; write it with functions that have one"


def _leaves(value: Any) -> Iterator[Any]:
    """Tensors in nested arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)


def _registered(session: Session, result: Any, symbols: Any) -> Any:
    """``result`` with what it stands for."""
    if isinstance(symbols, list):
        parts = list(result)
        for part, symbol in zip(parts, symbols, strict=True):
            if symbol is not None:
                session.register(part, symbol)
        return result if isinstance(result, tuple) and hasattr(result, "_fields") else type(result)(parts)
    return session.register(result, symbols)


def neuron_forward(
    session: Session, path: str, original: Callable[..., Any], make: Callable[[tuple[int, ...]], Leaf]
) -> Callable[..., Any]:
    """A forward pass that computes what the neuron module does and records its op."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        x = args[0]
        with session.paused():
            result = original(*args, **kwargs)
            owner: Any = getattr(original, "__self__", None)
            hidden = getattr(owner, "spk", None)
            if isinstance(hidden, torch.Tensor):  # snnTorch keeps its spikes in single precision
                owner.spk = hidden.to(x.dtype)
        if not session.knows(x):
            return result
        symbol = session.recorder.solid(session.symbol(x)) if ONE not in session.symbol(x).dims else session.symbol(x)
        many = isinstance(result, tuple)
        spikes = result[0] if many else result
        spikes = spikes.to(x.dtype) if spikes.dtype != x.dtype else spikes
        made, membrane = _record_neuron(session, path, symbol, make)
        session.register(spikes, made)
        if not many:
            return spikes
        if membrane is not None:
            session.register(result[-1], membrane)
        rest = result[1:]
        return type(result)(spikes, *rest) if hasattr(result, "_fields") else (spikes, *rest)

    return forward


def _record_neuron(
    session: Session, path: str, symbol: Symbol, make: Callable[[tuple[int, ...]], Leaf]
) -> tuple[Symbol, Callable[[], Symbol] | None]:
    """What the spikes of a neuron module stand for, and its membrane (made when it is needed)."""
    try:
        leaf = make(_value_shape(session, symbol))
        symbol = _timed(session, leaf, symbol)
    except UnsupportedError as error:
        session.fail(str(error))
    symbol = session.recorder.solid(symbol)
    if symbol.dims[0] == ("T", "B") and leaf.time == 0:
        leaf = _serial(session, leaf)
    count = session.calls.get(path, 0)
    if leaf.time is not None:
        if path in session.runs:
            session.fail("a neuron module that runs over all steps is called twice; give each layer neurons of its own")
        session.runs.add(path)
    else:
        if count >= session.recorder.timesteps:
            session.fail(f"a neuron module is called more often than there are steps ({session.recorder.timesteps})")
        if symbol.step not in (None, count):
            session.fail(
                f"a neuron module gets step {symbol.step} in its step {count}; recurrent connections cannot be traced"
            )
        session.calls[path] = count + 1
    step = count if leaf.time is None else None
    node = _with_way_back(session, path, symbol.node, leaf.recurrent, step)
    for op in leaf.ops[:-1]:
        node = session.node(op, [node], f"{op.mnemonic}", step=step)
    before = node
    session.layer = path
    node = session.node(leaf.ops[-1], [node], "", step=step, key=path)
    session.layer = ""
    if leaf.recurrent and node != path:
        session.fail(f"a recurrent neuron needs the name '{path}' in the graph, but another node has it")
    if leaf.factor != 1:
        node = session.node(Scale(factor=leaf.factor), [node], "graded", step=step)
    made = replace(symbol, node=node, step=step)
    if leaf.membrane is None:
        return made, None
    membrane = leaf.membrane

    def read() -> Symbol:
        return replace(made, node=session.node(membrane, [before], "membrane", key=path))

    return made, read


def _with_way_back(session: Session, path: str, node: str, ops: tuple[Op, ...], step: int | None) -> str:
    """A neuron's input and what its spikes of the step before add to it."""
    if not ops:
        return node
    shape = session.recorder.types[node].shape
    spikes = Feedback(source=path, shape=shape, integer=True, low=0.0, high=1.0)
    back = session.node(spikes, [], "before", step=step, key=path)
    for op in ops:
        back = session.node(op, [back], "recurrent", step=step, key=path)
    return session.node(Add(), [node, back], "sum", step=step)


def _serial(session: Session, leaf: Leaf) -> Leaf:
    """The neurons if their first axis is time and batch in one, so that examples follow each other in time."""
    (op,) = leaf.ops
    if len(leaf.ops) > 1 or not isinstance(op, Neuron):
        session.fail("neurons of this kind run over time and batch in one axis; unflatten it first")
    return replace(leaf, ops=(SerialNeuron(**{field.name: getattr(op, field.name) for field in fields(op)}),))


def _value_shape(session: Session, symbol: Symbol) -> tuple[int, ...]:
    solid = session.recorder.solid(symbol)
    shape = session.recorder.shape(solid)
    # A new first axis of a single step is the time, not an axis of the value.
    return shape[1:] if symbol.dims[0] == ONE else shape


def _timed(session: Session, leaf: Leaf, symbol: Symbol) -> Symbol:
    """The input with its time axis where the module expects it."""
    steps = session.recorder.timesteps
    if leaf.time is None:
        if symbol.has_time:
            raise UnsupportedError(
                f"a neuron module that runs one step at a time gets {describe(symbol.dims)}; set it to several steps "
                "(step_mode='m'), or trace the module with each_step=True"
            )
        return symbol
    if symbol.step is not None:
        raise UnsupportedError("a neuron module that runs over all steps gets one step; set it to single steps")
    expected = ("B", "T") if leaf.time == -1 else TIME
    place = max(leaf.time, 0)
    if symbol.dims[place] == expected or (leaf.time == 0 and symbol.dims[0] == ("T", "B")):
        return symbol
    if symbol.dims[place] == ONE and steps == 1 and leaf.time >= 0:
        return replace(symbol, dims=(*symbol.dims[:place], TIME, *symbol.dims[place + 1 :]))
    raise UnsupportedError(
        f"a neuron module runs over axis {place} as time, but gets {describe(symbol.dims)}; say how the example "
        "is laid out (axes='TB' or 'BT'), how many steps there are (timesteps), or repeat the input for every step"
    )
