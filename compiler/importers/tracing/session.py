"""The PyTorch side of a trace: which tensor stands for what, and where in the module one is."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import torch

from compiler.importers.tracing.recorder import VALUE, Dim, Recorder, Symbol
from compiler.ir.ops import Floats, Op, Weights
from neurochip.errors import GraphError, UnsupportedError

LIBRARIES = ("torch", "spikingjelly", "snntorch", "norse", "sinabs", "timm", "einops", "torchvision")
"""Packages whose source lines are not where a user's module does something."""


class Session:
    """One run of a module that is recorded.

    Attributes:
        recorder: the graph so far.
        batch: how many examples the tensors hold.
        calls: how often each single-step neuron was called, by module path.
        runs: paths of the neurons that have run over all steps.
        filling: tensors that are written step by step, and what was written so far.
    """

    def __init__(self, recorder: Recorder, batch: int) -> None:
        self.recorder = recorder
        self.batch = batch
        self.calls: dict[str, int] = {}
        self.runs: set[str] = set()
        self.filling: dict[int, tuple[Any, dict[int, Symbol]]] = {}
        self.path: list[str] = []
        self.layer = ""
        self._paused = 0
        self._symbols: dict[int, tuple[Any, int, Symbol | Callable[[], Symbol]]] = {}
        self._arrays: dict[int, tuple[Any, int, Weights]] = {}

    # Tensors.

    def register(self, tensor: Any, symbol: Symbol | Callable[[], Symbol]) -> Any:
        """``tensor`` stands for ``symbol``, or for what the function gives when somebody needs it."""
        self._symbols[id(tensor)] = tensor, tensor._version, symbol
        return tensor

    def knows(self, value: object) -> bool:
        """Whether ``value`` is a tensor that depends on the input."""
        return id(value) in self._symbols

    def find(self, tensor: Any) -> Symbol | None:
        """What ``tensor`` stands for; None for a constant. Fails if it was changed through another tensor's memory."""
        if id(tensor) not in self._symbols:
            return None
        _, version, symbol = self._symbols[id(tensor)]
        if tensor._version != version:
            self.fail("a tensor is used after it was changed in place through a view of it; change a copy instead")
        if isinstance(symbol, Symbol):
            return symbol
        symbol = symbol()
        self.register(tensor, symbol)
        return symbol

    def symbol(self, tensor: Any) -> Symbol:
        """What ``tensor`` stands for, sums over time settled; fails for a constant."""
        found = self.find(tensor)
        if found is None:
            self.fail("expected a value that depends on the input, got a constant")
        try:
            return self.recorder.settled(found)
        except UnsupportedError as error:
            self.fail(str(error))

    def constant(self, tensor: Any) -> Weights:
        """A constant tensor as an array: float32 if nothing is lost, else float64."""
        if self.knows(tensor):
            self.fail("a weight depends on the input; only constant weights can be traced")
        remembered = self._arrays.get(id(tensor))
        if remembered is not None and remembered[1] == tensor._version:
            return remembered[2]
        with self.paused():
            array = smallest(tensor.detach().cpu().double().numpy())
        self._arrays[id(tensor)] = tensor, tensor._version, array
        return array

    def number(self, value: Any) -> float:
        """A constant number, or a constant tensor of one element."""
        if isinstance(value, torch.Tensor):
            array = self.constant(value)
            if array.size != 1:
                self.fail(f"expected one number, got a tensor of shape {tuple(array.shape)}")
            return float(array.reshape(()))
        return float(value)

    # Nodes.

    def record(self, op: Op, *symbols: Symbol, dims: Sequence[Dim] | None = None, name: str = "") -> Symbol:
        """``op`` on values that share a step; ``dims`` are those of the first symbol unless given."""
        try:
            step = self.recorder.common_step(symbols)
        except UnsupportedError as error:
            self.fail(str(error))
        node = self.node(op, [symbol.node for symbol in symbols], name or op.mnemonic, step=step)
        return Symbol(node=node, dims=tuple(symbols[0].dims if dims is None else dims), step=step)

    def node(self, op: Op, inputs: Sequence[str], name: str, *, step: int | None = None, key: object = None) -> str:
        """A node called after the layer one is in, or after the module and ``name``."""
        firing = self.current.removesuffix(".surrogate_function") if op.is_neuron else ""
        stem = self.layer or firing or ".".join(filter(None, (self.current, name)))
        try:
            return self.recorder.add(op, inputs, stem, step=step, key=key)
        except GraphError as error:
            self.fail(f"{op.mnemonic}: {error}")
        except UnsupportedError as error:
            self.fail(str(error))

    @property
    def current(self) -> str:
        """The path of the module that runs."""
        return self.path[-1] if self.path else ""

    # Where.

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Run PyTorch without recording."""
        self._paused += 1
        try:
            with torch._C.DisableTorchFunction():
                yield
        finally:
            self._paused -= 1

    @property
    def is_paused(self) -> bool:
        """Whether nothing is recorded at the moment."""
        return self._paused > 0

    def fail(self, message: str) -> NoReturn:
        """Raise UnsupportedError with the module's path and the line of its source."""
        module = f"module '{self.current}'" if self.current else "the module"
        place = _source_line()
        raise UnsupportedError(f"{module}{f' ({place})' if place else ''}: {message}") from None

    # Dims.

    def sample_dims(self, symbol: Symbol, count: int) -> tuple[Dim, ...]:
        """The first axes of a tensor whose last ``count`` are axes of the value; fails if they are not."""
        solid = self.recorder.solid(symbol)
        lead = solid.dims[: len(solid.dims) - count]
        if solid.dims[len(lead) :] != (VALUE,) * count or VALUE in lead:
            self.fail(f"expected batch (and time) first and {count} axes behind them, got {describe(symbol.dims)}")
        return lead


def smallest(array: Floats) -> Weights:
    """The same numbers as float32 if it can hold them."""
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    return single if np.array_equal(single, array, equal_nan=True) else array


def describe(dims: Sequence[Dim]) -> str:
    """Axes for people: ``(time, batch, value, value)``."""
    words = {"T": "time", "B": "batch", "v": "value", "1": "1"}
    return f"({', '.join('*'.join(words[part] for part in dim) for dim in dims)})"


def with_dims(symbol: Symbol, dims: Sequence[Dim]) -> Symbol:
    """The same value in a tensor of other axes."""
    return replace(symbol, dims=tuple(dims))


def _source_line() -> str:
    """File and line of the innermost frame that is neither ours nor a library's."""
    here = os.path.dirname(__file__)
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        parts = file.replace("\\", "/").split("/")
        ours = file.startswith(here) or parts[-2:] == ["importers", "trace.py"] or parts[-1] in ("contextlib.py",)
        if not ours and not any(name in parts for name in LIBRARIES) and not file.startswith("<"):
            return f"{file}:{frame.f_lineno}"
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    return ""
