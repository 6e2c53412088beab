"""The graph side of a trace: nodes that are made once however often a module repeats them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from compiler.ir.graph import Node
from compiler.ir.literals import constant_hash
from compiler.ir.ops import Op, Reshape, Scale, TimeMean, Weights
from compiler.ir.types import TensorType
from neurochip.errors import UnsupportedError

Dim = tuple[str, ...]
"""What an axis of a tensor is: time, batch, both (outer first), an axis of the value, or a new axis of size 1."""

TIME: Dim = ("T",)
BATCH: Dim = ("B",)
VALUE: Dim = ("v",)
ONE: Dim = ("1",)
SAMPLES: tuple[Dim, ...] = (TIME, BATCH, ("T", "B"), ("B", "T"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """What a tensor of the trace stands for.

    Attributes:
        node: the value of the graph; its axes are the ``VALUE`` dims, in order.
        dims: of the tensor. Without time and without a step it is the same in every step (or untimed).
        step: the tensor holds this step alone (loops over time).
        total: it holds the sum over the steps 0..step.
    """

    node: str
    dims: tuple[Dim, ...]
    step: int | None = None
    total: bool = False

    @property
    def has_time(self) -> bool:
        """Whether one of the axes runs over all steps."""
        return any("T" in dim for dim in self.dims)

    def value_axis(self, dim: int) -> int:
        """Which axis of the value the tensor's axis ``dim`` is."""
        return sum(d == VALUE for d in self.dims[:dim])


class Recorder:
    """Collects nodes; equal ops on equal inputs are one node, so that a loop over time leaves the graph of one step."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self._operations: dict[str, Node] = {}
        self.types: dict[str, TensorType] = {}
        self._known: dict[object, str] = {}
        self._hashes: dict[int, tuple[Weights, str]] = {}

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, in order."""
        return tuple(self._operations.values())

    def add(self, op: Op, inputs: Sequence[str], stem: str, *, step: int | None = None, key: object = None) -> str:
        """The name of the value of ``op``, called after ``stem`` if it is new; ``key`` tells states apart.

        Raises GraphError if the op does not fit its inputs, UnsupportedError if a later step does something new.
        """
        identity = (type(op), self._attributes(op), tuple(inputs), key)
        if identity not in self._known:
            if step:
                raise UnsupportedError(
                    f"in step {step} of its loop over time the module does something that it did not do in step 0 "
                    f"({op.mnemonic} of {', '.join(inputs)}); let every step do the same, without state outside neurons"
                )
            self._known[identity] = self._append(op, tuple(inputs), stem)
        return self._known[identity]

    def _append(self, op: Op, inputs: tuple[str, ...], stem: str) -> str:
        name, number = stem, 0
        while name in self.types:
            number += 1
            name = f"{stem}.{number}"
        self.types[name] = op.infer(*(self.types[i] for i in inputs))
        self._operations[name] = Node(name, op, inputs)
        return name

    def _attributes(self, op: Op) -> tuple[object, ...]:
        values = (getattr(op, field.name) for field in fields(op))
        return tuple(self._hash(value) if isinstance(value, np.ndarray) else value for value in values)

    def _hash(self, array: Weights) -> str:
        """Of the contents; remembered, because layers show the same array in every step."""
        if id(array) not in self._hashes:
            self._hashes[id(array)] = array, constant_hash(array)
        return self._hashes[id(array)][1]

    def operation(self, node: str) -> Any:
        """The op that makes a value."""
        return self._operations[node].op

    def producer(self, node: str) -> Node:
        """The node of a value."""
        return self._operations[node]

    def shape(self, symbol: Symbol) -> tuple[int, ...]:
        """Of the value."""
        return self.types[symbol.node].shape

    def reshaped(self, symbol: Symbol, shape: tuple[int, ...]) -> str:
        """The value's elements under another shape."""
        if self.shape(symbol) == shape:
            return symbol.node
        return self.add(Reshape(shape=shape), [symbol.node], f"{symbol.node}.reshape", step=symbol.step)

    def solid(self, symbol: Symbol) -> Symbol:
        """The same with new axes of size 1 as axes of the value."""
        if ONE not in symbol.dims:
            return symbol
        sizes = iter(self.shape(symbol))
        kept = [dim for dim in symbol.dims if dim in (ONE, VALUE)]
        node = self.reshaped(symbol, tuple(1 if dim == ONE else next(sizes) for dim in kept))
        return replace(symbol, node=node, dims=tuple(VALUE if dim == ONE else dim for dim in symbol.dims))

    def settled(self, symbol: Symbol) -> Symbol:
        """A sum over all steps as the untimed value that it is.

        Raises UnsupportedError for a sum over some of the steps.
        """
        if not symbol.total:
            return symbol
        if symbol.step != self.timesteps - 1:
            raise UnsupportedError(
                f"a sum over {(symbol.step or 0) + 1} of {self.timesteps} steps is used; only one over all can be"
            )
        mean = self.time_mean(symbol.node)
        node = self.add(Scale(factor=float(self.timesteps)), [mean], f"{symbol.node}.time_sum")
        return Symbol(node=node, dims=symbol.dims)

    def time_mean(self, node: str) -> str:
        """The mean of a value over all steps."""
        return self.add(TimeMean(), [node], f"{node}.time_mean")

    def common_step(self, symbols: Sequence[Symbol]) -> int | None:
        """The step that all of them belong to; raises UnsupportedError if they are of different steps."""
        steps = {symbol.step for symbol in symbols if symbol.step is not None}
        if len(steps) > 1 or (steps and any(symbol.has_time for symbol in symbols)):
            found = ", ".join(sorted("all steps" if s.has_time else f"step {s.step}" for s in symbols))
            raise UnsupportedError(
                f"values of different time steps meet ({found}), as in a recurrent connection, which cannot be traced"
            )
        return steps.pop() if steps else None
