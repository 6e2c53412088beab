"""Op by op, which NIR nodes say the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from compiler.importers.nir_extension import EXTENSION
from compiler.ir.graph import Graph, Node
from compiler.ir.ops import (
    Accumulate,
    Add,
    Affine,
    AndNot,
    AvgPool,
    BatchNorm,
    Conv2d,
    Delay,
    Feedback,
    Filter,
    Floats,
    Input,
    LeakyNeuron,
    Linear,
    MaxPool,
    Mean,
    Mul,
    Neuron,
    Op,
    Reshape,
    Scale,
    Sum,
    SumPool,
)

MAX_DIAGONAL = 1 << 22
"""Largest diagonal matrix that stands for constants of each channel."""


class NirTree:
    """The nodes and edges so far, and what other readers will not see.

    Attributes:
        made: for each value of the graph the NIR node that gives it.
        late: values of later nodes and the NIR nodes that read their step before.
    """

    def __init__(self, graph: Graph, dt: float) -> None:
        self.graph, self.dt = graph, dt
        self.nodes: dict[str, dict[str, Any]] = {}
        self.edges: list[tuple[str, str]] = []
        self.made: dict[str, str] = {}
        self.late: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a value of the graph."""
        return self.graph.types[name].shape

    def add(self, name: str, kind: str, sources: tuple[str, ...], values: dict[str, Any], **metadata: Any) -> str:
        """A node of NIR that reads nodes of NIR; returns its name, which has a number if it was taken."""
        plain = name.replace("/", "|")
        plain = plain if plain.strip(".") else f"_{plain}"
        unique, number = plain, 1
        while unique in self.nodes:
            unique, number = f"{plain}.{number}", number + 1
        if unique != name:
            metadata["name"] = name
        self.nodes[unique] = {"type": kind, **values, "metadata": metadata}
        self.edges += [(source, unique) for source in sources]
        return unique

    def summands(self, node: Node) -> tuple[str, ...]:
        """NIR nodes that an op's inputs, which are added, come from; each once, as edges are."""
        counts = Counter(node.inputs)
        return tuple(self.times(name, count, f"{node.name}.{name}") for name, count in counts.items())

    def times(self, name: str, factor: float, called: str) -> str:
        """The NIR node of ``factor`` times a value."""
        if factor == 1:
            return self.made[name]
        return self.add(called, "Scale", (self.made[name],), {"scale": np.full(self.shape(name), float(factor))})

    def close_loops(self) -> None:
        """Add the edges that lead back, once all nodes are there."""
        self.edges += [(self.made[value], name) for value, name in self.late]

    def output(self, number: int, value: str, readout: str) -> None:
        """Output ``number`` of the graph; HDF5 keeps no order."""
        name, shape = f"output.{number}" if number else "output", _sizes(self.shape(value))
        self.add(name, "Output", (self.made[value],), {"shape": shape}, readout=readout, number=number)


def emit(tree: NirTree, node: Node) -> None:
    """Add what says the same as ``node``: primitives, or an extension node."""
    for kind, rule in RULES:
        if type(node.op) is kind:
            name = rule(tree, node, node.op)
            if name is not None:
                tree.made[node.name] = name
                return
    tree.made[node.name] = _extension(tree, node)


def _extension(tree: NirTree, node: Node) -> str:
    found = {f.name: getattr(node.op, f.name) for f in fields(node.op)}
    arrays = {key: value for key, value in found.items() if isinstance(value, np.ndarray)}
    plain = {key: _plain(value) for key, value in found.items() if key not in arrays}
    sources = tuple(tree.made[name] for name in node.inputs)
    values = {
        "op": node.op.mnemonic,
        "attributes": json.dumps(plain),
        "inputs": json.dumps(sources),
        "arrays": arrays,
    }
    tree.notes.append(f"node '{node.name}': NIR has no primitive for {node.op.mnemonic}, so only neurochip reads it")
    return tree.add(node.name, EXTENSION, tuple(dict.fromkeys(sources)), values)


def _input(tree: NirTree, node: Node, op: Any) -> str:
    bounds = {"integer": int(op.integer), "low": float(op.low), "high": float(op.high)}
    return tree.add(node.name, "Input", (), {"shape": _sizes(op.shape)}, **bounds)


def _conv2d(tree: NirTree, node: Node, op: Any) -> str | None:
    height, width = tree.shape(node.inputs[0])[1:]
    values = {
        "input_shape": _sizes((height, width)),
        "weight": op.weight,
        "stride": _sizes(op.stride),
        "padding": _sizes(op.padding),
        "dilation": _sizes((1, 1)),
        "groups": op.groups,
        "bias": np.zeros(len(op.weight)) if op.bias is None else op.bias,
    }
    return tree.add(node.name, "Conv2d", tree.summands(node), values)


def _linear(tree: NirTree, node: Node, op: Any) -> str | None:
    if len(tree.shape(node.inputs[0])) != 1:
        return None
    if op.bias is None:
        return tree.add(node.name, "Linear", tree.summands(node), {"weight": op.weight})
    return tree.add(node.name, "Affine", tree.summands(node), {"weight": op.weight, "bias": op.bias})


def _batch_norm(tree: NirTree, node: Node, op: Any) -> str | None:
    shape = tree.shape(node.inputs[0])
    axis = op.axis % len(shape)
    gain, offset = op.gain_and_offset()
    full = [1] * len(shape)
    full[axis] = -1
    return _constants(tree, node, gain.reshape(full), offset.reshape(full))


def _affine(tree: NirTree, node: Node, op: Any) -> str | None:
    ones = np.ones((1,) * len(tree.shape(node.inputs[0])))
    gain = ones if op.gain is None else op.gain.astype(np.float64)
    offset = 0 * ones if op.offset is None else op.offset.astype(np.float64)
    return _constants(tree, node, gain, offset)


def _constants(tree: NirTree, node: Node, gain: Floats, offset: Floats) -> str | None:
    """A scale, or a diagonal matrix or 1 x 1 convolution with a bias."""
    shape = tree.shape(node.inputs[0])
    source = (tree.made[node.inputs[0]],)
    if not offset.any():
        return tree.add(node.name, "Scale", source, {"scale": np.broadcast_to(gain, shape).copy()})
    by_channel = all(n == 1 for a in (gain, offset) for n in a.shape[1:])
    if len(shape) not in (1, 3) or not by_channel or shape[0] ** 2 > MAX_DIAGONAL:
        return None
    diagonal = np.diag(np.broadcast_to(gain.reshape(-1), shape[:1]))
    bias = np.broadcast_to(offset.reshape(-1), shape[:1]).copy()
    if len(shape) == 1:
        return tree.add(node.name, "Affine", source, {"weight": diagonal, "bias": bias})
    one, none = _sizes((1, 1)), _sizes((0, 0))
    values = {"input_shape": _sizes(shape[1:]), "weight": diagonal[:, :, None, None], "stride": one, "padding": none}
    return tree.add(node.name, "Conv2d", source, {**values, "dilation": one, "groups": 1, "bias": bias})


def _neuron(tree: NirTree, node: Node, op: Any) -> str:
    shape = tree.shape(node.name)

    def full(value: float) -> Floats:
        return np.full(shape, float(value))

    values = {"v_threshold": full(op.threshold), "v_reset": full(op.v_reset)}
    if op.tau is None:
        kind, values = "IF", {"r": full(1 / tree.dt), **values}
    else:
        gain = 1.0 if op.decay_input else op.tau
        leak = {"tau": full(op.tau * tree.dt), "r": full(gain), "v_leak": full(op.rest)}
        kind, values = "LIF", {**leak, **values}
    metadata: dict[str, Any] = {"reset": op.reset, "fires": op.fires}
    if op.reset == "soft":
        tree.notes.append(f"node '{node.name}': its soft reset is metadata; NIR's own neurons reset to v_reset")
    if op.fires == "ge":
        tree.notes.append(f"node '{node.name}': that it fires at the threshold, too, is metadata; NIR's fire above it")
    return tree.add(node.name, kind, (tree.made[node.inputs[0]],), values, **metadata)


def _leaky(tree: NirTree, node: Node, op: Any) -> str | None:
    """LIF with constants for each neuron; only of neurons that start and reset as NIR's do."""
    decay, rest, bottom, start = (np.asarray(value, np.float64) for value in (op.decay, op.rest, op.v_reset, op.start))
    at_start = (
        np.array_equal(start, bottom)
        if op.reset == "hard"
        else op.reset == "soft" and not (start.any() or bottom.any())
    )
    plain = op.floor is None and op.subtract is None and bool(((decay >= 0) & (decay < 1)).all())
    if not (at_start and plain):
        return None
    shape = tree.shape(node.name)
    k = 1 - decay
    constants = {
        "tau": tree.dt / k, "r": np.asarray(op.gain, np.float64) / k, "v_leak": rest,
        "v_threshold": np.asarray(op.threshold, np.float64), "v_reset": bottom,
    }  # fmt: skip
    values = {key: np.broadcast_to(value, shape).copy() for key, value in constants.items()}
    return tree.add(node.name, "LIF", (tree.made[node.inputs[0]],), values, reset=op.reset, fires=op.fires)


def _filter(tree: NirTree, node: Node, op: Any) -> str | None:
    k = 1 - np.broadcast_to(np.asarray(op.decay, np.float64), tree.shape(node.name))
    if not (k > 0).all():
        return None
    values = {"tau": tree.dt / k, "r": 1 / k, "v_leak": np.zeros(k.shape)}
    return tree.add(node.name, "LI", (tree.made[node.inputs[0]],), values)


def _pool(tree: NirTree, node: Node, op: Any) -> str:
    kind = "SumPool2d" if isinstance(op, SumPool) else "AvgPool2d"
    return tree.add(node.name, kind, (tree.made[node.inputs[0]],), _window(op))


def _max_pool(tree: NirTree, node: Node, op: Any) -> str | None:
    """Of spikes: whether a window holds any."""
    if not tree.graph.types[node.inputs[0]].is_binary:
        return None
    total = tree.add(f"{node.name}.sum", "SumPool2d", (tree.made[node.inputs[0]],), _window(op))
    return tree.add(node.name, "Threshold", (total,), {"threshold": np.full(tree.shape(node.name), 0.5)})


def _add(tree: NirTree, node: Node, op: Any) -> str:
    return tree.add(node.name, "Scale", tree.summands(node), {"scale": np.ones(tree.shape(node.name))})


def _mul(tree: NirTree, node: Node, op: Any) -> str | None:
    """Of spikes of one shape: whether both are there."""
    kinds = [tree.graph.types[name] for name in node.inputs]
    if not all(kind.is_binary and kind.shape == kinds[0].shape for kind in kinds):
        return None
    return tree.add(node.name, "Threshold", tree.summands(node), {"threshold": np.full(kinds[0].shape, 1.5)})


def _and_not(tree: NirTree, node: Node, op: Any) -> str | None:
    a, b = node.inputs
    kinds = [tree.graph.types[name] for name in node.inputs]
    if a == b or not all(kind.is_binary and kind.shape == kinds[0].shape for kind in kinds):
        return None
    sources = (tree.made[a], tree.times(b, -1, f"{node.name}.not"))
    return tree.add(node.name, "Threshold", sources, {"threshold": np.full(kinds[0].shape, 0.5)})


def _scale(tree: NirTree, node: Node, op: Any) -> str:
    return tree.times(node.inputs[0], op.factor, node.name)


def _reshape(tree: NirTree, node: Node, op: Any) -> str | None:
    """Neighbouring axes made one."""
    shape = tree.shape(node.inputs[0])
    if op.shape == shape:
        return tree.made[node.inputs[0]]
    for start in range(len(shape)):
        end = start + len(shape) - len(op.shape)
        if end > start and op.shape[:start] == shape[:start] and op.shape[start + 1 :] == shape[end + 1 :]:
            return _flatten(tree, node.name, tree.made[node.inputs[0]], shape, (start, end))
    return None


def _flatten(tree: NirTree, name: str, source: str, shape: tuple[int, ...], axes: tuple[int, int]) -> str:
    values = {"input_type": _sizes(shape), "start_dim": axes[0], "end_dim": axes[1] if axes[1] < len(shape) - 1 else -1}
    return tree.add(name, "Flatten", (source,), values)


def _reduce(tree: NirTree, node: Node, op: Any) -> str | None:
    """Over both axes of an image."""
    shape = tree.shape(node.inputs[0])
    if len(shape) != 3 or tuple(sorted(axis % 3 for axis in op.axes)) != (1, 2):
        return None
    kind = "AvgPool2d" if isinstance(op, Mean) else "SumPool2d"
    size = _sizes(shape[1:])
    window = {"kernel_size": size, "stride": size, "padding": _sizes((0, 0))}
    if len(tree.shape(node.name)) == 3:
        return tree.add(node.name, kind, (tree.made[node.inputs[0]],), window)
    pooled = tree.add(f"{node.name}.window", kind, (tree.made[node.inputs[0]],), window)
    return _flatten(tree, node.name, pooled, (shape[0], 1, 1), (0, 2))


def _delay(tree: NirTree, node: Node, op: Any) -> str:
    delay = np.full(tree.shape(node.name), tree.dt)
    return tree.add(node.name, "Delay", (tree.made[node.inputs[0]],), {"delay": delay})


def _feedback(tree: NirTree, node: Node, op: Any) -> str:
    bounds = {"integer": int(op.integer), "low": float(op.low), "high": float(op.high)}
    name = tree.add(node.name, "Scale", (), {"scale": np.ones(tree.shape(node.name))}, feedback=1, **bounds)
    tree.late.append((op.source, name))
    return name


def _accumulate(tree: NirTree, node: Node, op: Any) -> str | None:
    if op.mean:
        return None
    return tree.add(node.name, "I", (tree.made[node.inputs[0]],), {"r": np.full(tree.shape(node.name), 1 / tree.dt)})


def _window(op: Any) -> dict[str, Any]:
    return {"kernel_size": _sizes(op.kernel), "stride": _sizes(op.stride), "padding": _sizes(op.padding)}


def _sizes(values: tuple[int, ...]) -> Any:
    return np.array(values, dtype=np.int64)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


RULES: tuple[tuple[type[Op], Callable[[NirTree, Node, Any], str | None]], ...] = (
    (Input, _input),
    (Conv2d, _conv2d),
    (Linear, _linear),
    (BatchNorm, _batch_norm),
    (Affine, _affine),
    (Neuron, _neuron),
    (LeakyNeuron, _leaky),
    (Filter, _filter),
    (AvgPool, _pool),
    (SumPool, _pool),
    (MaxPool, _max_pool),
    (Add, _add),
    (Mul, _mul),
    (AndNot, _and_not),
    (Scale, _scale),
    (Reshape, _reshape),
    (Mean, _reduce),
    (Sum, _reduce),
    (Delay, _delay),
    (Accumulate, _accumulate),
    (Feedback, _feedback),
)
"""Op -> NIR; a rule that gives None has met a case that NIR cannot say."""
