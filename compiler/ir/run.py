"""Evaluate a graph in float64: the meaning that every pass must keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.ir.graph import Graph, Node
from compiler.ir.ops.base import Floats
from compiler.ir.ops.feedback import Feedback
from compiler.ir.ops.input import Input
from neurochip.errors import GraphError, InputError

Record = Literal["counts", "spikes", "values"]

ROUNDING = 1e-6
"""Real inputs may exceed their bounds by this fraction."""

VALUE_BYTES = 256 * 2**20
"""Images are evaluated in batches whose largest value stays below this size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphRun:
    """What came out of ``Graph.run``.

    Attributes:
        outputs: (B, ...) float64 for untimed outputs, (T, B, ...) for others.
        spikes: for each neuron node the spikes of each step and image, (T, B) int64.
        values: recorded arrays (T, B, ...), T = 1 if untimed or equal in all steps: those of the neurons with
            ``record="spikes"``, of all nodes with ``record="values"``.
    """

    outputs: dict[str, Floats]
    spikes: dict[str, NDArray[np.int64]]
    values: dict[str, Floats] = field(default_factory=dict)

    @property
    def logits(self) -> Floats:
        """The only output; raises ValueError if there are several."""
        (output,) = self.outputs.values()
        return output

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.outputs.items())
        total = sum(int(counts.sum()) for counts in self.spikes.values())
        return f"<GraphRun: {shapes}; {total} spikes in {len(self.spikes)} neuron layers>"


def run_graph(graph: Graph, x: ArrayLike | Mapping[str, ArrayLike], *, record: Record = "counts") -> GraphRun:
    """Run ``graph`` on ``x``: (B, *shape), the same in every step, or (T, B, *shape), one for each step.

    Args:
        x: one array, or one for each input by name; any real dtype.
        record: ``counts`` keeps spike counts only, ``spikes`` also all spikes, ``values`` every value.

    Raises InputError for a wrong shape, dtype, a NaN, or an element outside the input's range.
    """
    fed = _feed(graph, x)
    batch = next(iter(fed.values())).shape[1]
    largest = max((graph.types[node.name].size for node in graph.nodes), default=1)
    block = max(1, VALUE_BYTES // (8 * graph.timesteps * largest))
    if any(node.op.whole_batch for node in graph.nodes):
        block = batch
    parts = []
    for start in range(0, batch, block):
        part = {name: array[:, start : start + block] for name, array in fed.items()}
        parts.append(_run_block(graph, part, record))
    return _joined(graph, parts)


def _run_block(graph: Graph, fed: dict[str, Floats], record: Record) -> GraphRun:
    """One batch; a value is dropped after its last reader."""
    fed = fed | _run_loops(graph, fed)
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    readers.update(graph.outputs)
    alive: dict[str, Floats] = {}
    spikes: dict[str, NDArray[np.int64]] = {}
    values: dict[str, Floats] = {}
    for node in graph.nodes:
        y = fed[node.name] if node.name in fed else _evaluate(graph, node, alive)
        alive[node.name] = y
        if node.op.is_neuron:
            counts = node.op.spike_counts(y)
            spikes[node.name] = counts.reshape(*y.shape[:2], -1).sum(axis=2).astype(np.int64)
        if record == "values" or (record == "spikes" and node.op.is_neuron):
            values[node.name] = y
        for name in node.inputs:
            readers[name] -= 1
            if readers[name] == 0:
                del alive[name]
    outputs = {name: alive[name] for name in graph.outputs}
    return GraphRun(outputs=outputs, spikes=spikes, values=values)


def _evaluate(graph: Graph, node: Node, alive: Mapping[str, Floats]) -> Floats:
    """The value of one node from those of its inputs."""
    arguments = [alive[name] for name in node.inputs]
    if node.op.per_step:
        arguments = [_in_every_step(x, graph.timesteps) for x in arguments]
    return node.op.reference(*arguments)


def _in_every_step(x: Floats, timesteps: int) -> Floats:
    return x if len(x) == timesteps else np.broadcast_to(x, (timesteps, *x.shape[1:]))


def _run_loops(graph: Graph, fed: Mapping[str, Floats]) -> dict[str, Floats]:
    """What comes back in every step, by the name of the feedback node.

    Each pass over the loops gets at least one more step right, as the first steps depend on nothing that comes later;
    a pass that changes nothing has found the only solution.
    """
    backs = {node.name: node.op for node in graph.nodes if isinstance(node.op, Feedback)}
    if not backs:
        return {}
    upstream = graph.with_nodes(graph.nodes, [op.source for op in backs.values()]).needed()
    still: dict[str, Floats] = dict(fed)
    moving = [*backs]
    for node in graph.nodes:
        if node.name in upstream and node.name not in fed and node.name not in backs:
            if any(name in moving for name in node.inputs):
                moving.append(node.name)
            else:
                still[node.name] = _evaluate(graph, node, still)
    body = [node for node in graph.nodes if node.name in set(moving) - set(backs)]
    batch = next(iter(fed.values())).shape[1]
    back = {name: np.zeros((graph.timesteps, batch, *op.shape)) for name, op in backs.items()}
    for _ in range(graph.timesteps + 1):
        alive = still | back
        for node in body:
            alive[node.name] = _evaluate(graph, node, alive)
        following = {name: _one_later(alive[op.source], graph.timesteps) for name, op in backs.items()}
        if all(np.array_equal(following[name], back[name], equal_nan=True) for name in back):
            return back
        back = following
    raise GraphError(f"graph '{graph.name}': a loop reads later steps, so that it has no solution")


def _one_later(x: Floats, timesteps: int) -> Floats:
    return np.concatenate([np.zeros((1, *x.shape[1:])), _in_every_step(x, timesteps)[:-1]])


def _joined(graph: Graph, parts: list[GraphRun]) -> GraphRun:
    """The batches of a run behind each other; outputs get their final layout."""
    outputs: dict[str, Floats] = {}
    for name in graph.outputs:
        array = np.concatenate([part.outputs[name] for part in parts], axis=1)
        timed = graph.types[name].timed
        outputs[name] = np.array(_in_every_step(array, graph.timesteps)) if timed else array[0]
    spikes = {name: np.concatenate([p.spikes[name] for p in parts], axis=1) for name in parts[0].spikes}
    values = {name: np.concatenate([p.values[name] for p in parts], axis=1) for name in parts[0].values}
    return GraphRun(outputs=outputs, spikes=spikes, values=values)


def _feed(graph: Graph, x: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, Floats]:
    """Checked arrays (T or 1, B, *shape) for every input node."""
    names = [node.name for node in graph.inputs]
    if not isinstance(x, Mapping):
        if len(names) != 1:
            raise InputError(f"graph '{graph.name}' has inputs {names}; give a mapping from name to array")
        x = {names[0]: x}
    if set(x) != set(names):
        raise InputError(f"expected arrays for the inputs {names}, got {list(x)}")
    fed = {}
    for node in graph.inputs:
        if isinstance(node.op, Input):
            fed[node.name] = checked_input(x[node.name], node.name, node.op, graph.timesteps)
    batches = {name: array.shape[1] for name, array in fed.items()}
    if len(set(batches.values())) != 1:
        raise InputError(f"expected one number of images for all inputs, got {batches}")
    return fed


def checked_input(x: ArrayLike, name: str, op: Input, timesteps: int) -> Floats:
    """``x`` as float64 (T or 1, B, *shape); raises InputError for data the model cannot take."""
    array: NDArray[Any] = np.asarray(x)
    where = f"input '{name}'"
    if array.dtype.kind not in "fiub":
        raise InputError(f"{where}: expected real numbers (float, integer or bool), got dtype {array.dtype}")
    per_step = array.ndim == len(op.shape) + 2
    lead = 2 if per_step else 1
    if array.ndim != len(op.shape) + lead or array.shape[lead:] != op.shape:
        raise InputError(_shape_message(where, array.shape, op, timesteps))
    if per_step and len(array) != timesteps:
        raise InputError(f"{where}: the model runs {timesteps} steps, but the data holds {len(array)}: {array.shape}")
    values = array if per_step else array[None]
    if values.shape[1] == 0:
        raise InputError(f"{where}: no images, shape {array.shape}")
    floats: Floats = values.astype(np.float64)
    _check_values(floats, where, op, per_step)
    return floats


def _shape_message(where: str, got: tuple[int, ...], op: Input, timesteps: int) -> str:
    sizes = ", ".join(map(str, op.shape))
    text = f"{where}: expected shape (B, {sizes}) or ({timesteps}, B, {sizes}), got {got}"
    if got == op.shape:
        return f"{text}; add a batch axis: x[None]"
    if len(op.shape) == 3 and got[-3:] == (*op.shape[1:], op.shape[0]):
        return f"{text}; move the channels first: np.moveaxis(x, -1, -3)"
    return text


def _check_values(x: Floats, where: str, op: Input, per_step: bool) -> None:
    """Raise InputError at the first element that is not finite, not whole or out of range."""
    checks = [("a finite number", ~np.isfinite(x))]
    if op.integer:
        checks.append(("a whole number", x != np.rint(x)))
    # Bounds such as (1 - mean) / std are met only up to the rounding of float32 data.
    slack = 0.0 if op.integer else ROUNDING * max([abs(b) for b in (op.low, op.high) if isfinite(b)], default=0.0)
    checks.append((f"a number in {op.low:g}..{op.high:g}", (x < op.low - slack) | (x > op.high + slack)))
    for expected, wrong in checks:
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            index = place if per_step else place[1:]
            raise InputError(f"{where}: expected {expected}, got {x[place]:g} at {index} ({wrong.sum()} such elements)")
