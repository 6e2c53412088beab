"""The graph that grows while a NIR file is read, and what every primitive needs: parameters of a shape, constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from compiler.importers.nir_file import NirNode
from compiler.importers.options import Options
from compiler.ir.graph import Node
from compiler.ir.ops import Add, Affine, BatchNorm, Feedback, Floats, Op, Scale
from compiler.ir.types import TensorType
from neurochip.errors import CheckpointError, GraphError

RESETS = ("hard", "soft", "late", "delayed", "lagging", "blank", "none")
"""Of neurons, as in ``compiler.ir.ops.LeakyNeuron``; only the first two are NIR's and a chip's."""

FLOAT32_ROUNDING = 5e-7
"""A factor this close to 1 is 1: r = tau / dt, computed in float32 and multiplied back."""


class NirBuilder:
    """Nodes so far, their types and the settings."""

    def __init__(self, options: Options, timesteps: int) -> None:
        self.options, self.timesteps = options, timesteps
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self._said = {s.name for s in options.settings if s.origin == "--set"}

    @property
    def dt(self) -> float:
        """Seconds a step."""
        return self.options.number("dt")

    def add(self, name: str, op: Op, *inputs: str) -> str:
        """A new node; its name gets a number if it is taken. Raises CheckpointError if the op does not fit."""
        unique, number = name, 1
        while unique in self.types:
            unique, number = f"{name}.{number}", number + 1
        try:
            self.types[unique] = op.infer(*(self.types[i] for i in inputs))
        except GraphError as error:
            raise CheckpointError(f"node '{name}': {error}") from None
        self.nodes.append(Node(unique, op, inputs))
        return unique

    def feedback(self, name: str, source: str, kind: TensorType) -> str:
        """What comes back from the file's node ``source``; ``close_loops`` says later which node that became."""
        op = Feedback(source=source, shape=kind.shape, integer=kind.integer, low=kind.low, high=kind.high)
        return self.add(name, op)

    def close_loops(self, made: Mapping[str, str]) -> None:
        """Let what comes back come from the nodes that those of the file became."""
        for index, node in enumerate(self.nodes):
            if isinstance(node.op, Feedback):
                self.nodes[index] = replace(node, op=replace(node.op, source=made[node.op.source]))

    def sum_of(self, name: str, inputs: tuple[str, ...]) -> str:
        """What arrives over several edges is added."""
        return inputs[0] if len(inputs) == 1 else self.add(f"{name}.sum", Add(), *inputs)

    def choice(self, node: NirNode, name: str) -> str:
        """A choice for one node: ``--set`` wins over the node's metadata, which wins over what holds for the file."""
        local = node.metadata.get(name)
        if local is None or name in self._said:
            return self.options.choice(name)
        option = {"reset": RESETS, "fires": ("gt", "ge"), "readout": ("mean", "steps")}[name]
        if local not in option:
            raise CheckpointError(f"metadata '{name}': expected {' or '.join(option)}, found {local!r}")
        return str(local)

    def transform(self, name: str, x: str, gain: Floats, offset: Floats) -> str:
        """``gain * x + offset`` in the simplest op; the constants have as many axes as x."""
        factor = uniform(gain)
        if factor is not None and not offset.any() and factor != 0:
            return x if factor == 1 else self.add(name, Scale(factor=factor), x)
        gain, offset = _narrow(gain), _narrow(offset)
        shape = self.types[x].shape
        if shape and all(n == 1 for a in (gain, offset) for n in a.shape[1:]):
            gamma, beta = (np.broadcast_to(a.reshape(-1), (shape[0],)).copy() for a in (gain, offset))
            zero, one = np.zeros(shape[0]), np.ones(shape[0])
            return self.add(name, BatchNorm(gamma=gamma, beta=beta, mean=zero, var=one, eps=0.0, axis=0), x)
        return self.add(name, Affine(gain=gain, offset=offset if offset.any() else None), x)


def parameter(node: NirNode, name: str, key: str, shape: tuple[int, ...], default: float | None = None) -> Floats:
    """A parameter of a value of ``shape``: float64 with as many axes, each as long or of size 1.

    One number stands for all neurons; leading axes of size 1 (a batch) beyond those of ``shape`` are dropped.
    Raises CheckpointError if it is absent without default, not finite, or of another shape.
    """
    raw = node.values.get(key, default)
    if raw is None:
        raise CheckpointError(f"node '{name}' ({node.kind}): has no '{key}'")
    array = floats(raw, f"node '{name}' ({node.kind}): {key}")
    if array.size == 1:
        return array.reshape((1,) * len(shape))
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    if array.ndim != len(shape) or any(n not in (1, m) for n, m in zip(array.shape, shape, strict=True)):
        raise CheckpointError(
            f"node '{name}' ({node.kind}): '{key}' has shape {np.shape(raw)}, but what it receives has shape {shape}"
        )
    return array


def floats(raw: object, where: str) -> Floats:
    """Finite numbers as float64; raises CheckpointError."""
    array: Any = np.asarray(raw)
    if array.dtype.kind not in "fiub" or not array.size:
        raise CheckpointError(f"{where}: expected numbers, found {array.dtype} of shape {array.shape}")
    result: Floats = array.astype(np.float64)
    if not np.isfinite(result).all():
        raise CheckpointError(f"{where}: expected finite numbers, found NaN or infinity")
    return result


def uniform(array: Floats) -> float | None:
    """The value of all elements, or None if they differ."""
    first = float(array.flat[0])
    return first if bool((array == first).all()) else None


def _narrow(array: Floats) -> Floats:
    """The same constants with axes along which nothing changes cut to size 1."""
    for axis, size in enumerate(array.shape):
        first = array.take([0], axis=axis)
        if size > 1 and bool((array == first).all()):
            array = first
    return array
