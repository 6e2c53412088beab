"""Values of earlier steps: the way back in a recurrent network, and delays of one step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compiler.ir.graph import Node
from compiler.ir.ops.feedback import Feedback
from compiler.lower.state import Lowering
from compiler.lower.values import Spikes, Value, value_grid
from neurochip.errors import UnsupportedError
from neurochip.network.network import Neuron
from neurochip.network.projections import Projection, Source


def lower_feedback(state: Lowering, node: Node) -> Value:
    """Spikes of a later node, one step late: a population that stands for them until ``with_steps_back``."""
    op = node.op
    assert isinstance(op, Feedback)
    if not op.integer or op.low < 0:
        raise UnsupportedError(
            f"node {node.name!r} ('feedback'): what comes back from {op.source!r} is not spikes; let a neuron send it"
        )
    grid, index = value_grid(op.shape)
    state.add_population(node.name, grid, Neuron(kind="source"), node.name, high=int(op.high))
    return Spikes((node.name,), grid, index)


def lower_delay(state: Lowering, node: Node) -> Value:
    """Spikes of an earlier node, one step late."""
    value = state.values[node.inputs[0]]
    if not isinstance(value, Spikes):
        raise UnsupportedError(f"node {node.name!r} ('delay'): only spikes can be delayed; put a neuron before it")
    high = sum(state.populations[source].high for source in value.sources)
    state.add_population(node.name, value.grid, Neuron(kind="source"), node.name, high=high)
    return replace(value, sources=(node.name,))


def with_steps_back(state: Lowering) -> None:
    """Put the populations that really send in the place of those that stood for them; they read steps back."""
    late = {n.name: late_value(state, n) for n in state.graph.nodes if n.op.mnemonic in ("feedback", "delay")}
    if not late:
        return
    state.projections = [with_real_sources(p, late) for p in state.projections]
    for name in late:
        del state.populations[name]


def late_value(state: Lowering, node: Node) -> Spikes:
    """What ``node`` gives one step late. Raises ``UnsupportedError`` if that is not spikes in the same layout."""
    before = node.op.source if isinstance(node.op, Feedback) else node.inputs[0]
    value, here = state.values[before], state.values[node.name]
    assert isinstance(here, Spikes)
    if not isinstance(value, Spikes):
        raise UnsupportedError(
            f"node {node.name!r} ('feedback'): what comes back from {before!r} is not spikes; let a neuron send it"
        )
    if value.grid != here.grid or not np.array_equal(value.index, here.index):
        raise UnsupportedError(
            f"node {node.name!r} ('feedback'): {before!r} lies otherwise in memory than it comes back; "
            "let what comes back have the shape of its neurons"
        )
    return value


def with_real_sources(projection: Projection, late: dict[str, Spikes]) -> Projection:
    """``projection`` with every source that stands for earlier steps replaced by what it stands for."""
    sources: list[Source] = []
    for source in projection.sources:
        sources.extend(real_sources(source, late))
    if len({s.population for s in sources}) < len(sources):
        raise UnsupportedError(
            f"layer {projection.origin!r}: adds the same spikes of two steps; give each step a layer of its own"
        )
    return replace(projection, sources=tuple(sources))


def real_sources(source: Source, late: dict[str, Spikes]) -> list[Source]:
    """The sources that ``source`` stands for; values delayed again and again are that many steps back."""
    if source.population not in late:
        return [source]
    before = late[source.population].sources
    steps = source.steps_back + 1
    return [real for name in before for real in real_sources(replace(source, population=name, steps_back=steps), late)]
