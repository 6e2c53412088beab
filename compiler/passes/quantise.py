"""Real weights, biases and thresholds to integers in the unit of each population."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import (
    Add,
    Conv2d,
    Linear,
    MaxPool,
    Neuron,
    Op,
    QuantiseInput,
    Readout,
    Scale,
    SerialNeuron,
    Sum,
    WeightedProduct,
)
from compiler.ir.types import TensorType
from compiler.passes.encoder import encoded, finest_unit, with_quantised_inputs
from compiler.passes.registers import readout_limit
from compiler.passes.rewrite import LAYOUT, base_of, called, chain_back, readers, with_op
from compiler.passes.target import Target
from compiler.passes.units import (
    Levels,
    Synapses,
    choose_threshold,
    choose_unit,
    integer_bias,
    integer_weights,
    threshold_of_integers,
)
from neurochip.errors import UnsupportedError

LAYERS = (Conv2d, Linear, WeightedProduct)
"""Ops with weights that get the unit of the neurons behind them."""

MOST_GAIN = 127
"""Largest gain that makes a threshold nearly whole: within half a percent, and small beside any register."""

LINKS: tuple[type[Op], ...] = (*LAYOUT, MaxPool, Sum)
"""What may lie between a weight layer and the neurons whose unit its current has."""


@dataclass(frozen=True, slots=True)
class Quantise:
    """Give every population a unit q and hold weights, biases and thresholds as whole numbers of it.

    - Synapses: weight = round(w / q) in the chip's range, bias = round(b / q), threshold = v_th / q, where q is
      the v_th / theta with the least expected squared error. Layers that meet in one neuron share q.
    - Sums of spikes and attention are whole already: q = 1; thresholds as ``threshold_of_integers`` says. If it knows
      none, a Scale (``name.gain``) by a whole number makes the threshold nearly whole.
    - Readout: a unit of its own, kept in ``scale``; its bias stays real. Weights take fewer bits where the sums of one
      position would not fit a membrane.
    - Analog input on cores: ``QuantiseInput`` behind it, and synapses like any others, with weights for its levels.
    - Analog input on the host: ``QuantiseInput`` behind it, integers in the layer that reads it, and ``Requantise``
      behind that, to whole numbers that fit the chip's bias register whatever the input is.

    Requires: all other passes.
    Ensures: weights int8 (int16 in an encoder of more than 8 bits), biases int32, whole thresholds; every value but
        the analog input and the readout is a whole number with proven bounds. The result approximates the model:
        each weight is off by at most q / 2 unless clipped, each bias by q / 2; thresholds of synaptic currents are
        exact.
    Source: Davies et al. 2018, "Loihi", IEEE Micro 38(1), and Jacob et al. 2018, arXiv:1712.05877, section 2.2
        (fixed-point multiplier) for the integer forms; least squared error over clips as in Banner et al. 2019,
        arXiv:1810.05723.
    """

    name: ClassVar[str] = "quantise"

    def run(self, graph: Graph, target: Target) -> Graph:
        """Raises UnsupportedError naming the layer that cannot become integers, and a remedy."""
        _check_layers(graph)
        graph = with_quantised_inputs(graph, target)
        changes = {node.name: [node] for node in _quantised_readouts(graph, target)}
        for population in _populations(graph):
            graph, found = _quantised(graph, population, target)
            changes |= found
        return graph.replace_nodes(changes)


@dataclass(frozen=True, slots=True)
class _Population:
    """Neurons that must share one unit, and what their currents come from, by name."""

    neurons: tuple[str, ...]
    sources: tuple[str, ...]


def _check_layers(graph: Graph) -> None:
    """Every weight layer must read spikes, or one analog input, and feed neurons only."""
    layers = graph.of_type(*LAYERS)
    for layer, name in [(each, name) for each in layers for name in each.inputs]:
        base, kind = base_of(graph, name), graph.types[name]
        if kind.is_counts or (base in graph.inputs and len(layer.inputs) == 1):
            continue
        alone = ", and an analog input must be its only one" if base in graph.inputs else ""
        raise UnsupportedError(
            f"{called(layer)}: reads {kind} from {called(base)}, but only the first layer may read real values{alone}; "
            "put a neuron between them"
        )
    for layer in layers:
        for reader in readers(graph, layer.name, (*LINKS, Add)):
            if reader is None or not isinstance(reader.op, Neuron):
                found = "the output" if reader is None else called(reader)
                raise UnsupportedError(f"{called(layer)}: feeds {found} with real values; put a neuron between them")


def _populations(graph: Graph) -> list[_Population]:
    """Neurons grouped so that no weight layer feeds two groups."""
    groups: list[_Population] = []
    for neuron in graph.of_type(Neuron):
        sources = _current_sources(graph, neuron.inputs[0])
        layers = {name for name in sources if isinstance(graph.node(name).op, LAYERS)}
        merged = _Population((neuron.name,), tuple(dict.fromkeys(sources)))
        for group in [group for group in groups if layers.intersection(group.sources)]:
            groups.remove(group)
            together = tuple(dict.fromkeys((*group.sources, *merged.sources)))
            merged = _Population((*group.neurons, *merged.neurons), together)
        groups.append(merged)
    return groups


def _current_sources(graph: Graph, name: str) -> list[str]:
    """What is added up to a current."""
    node = chain_back(graph, name, LINKS)[-1]
    if isinstance(node.op, Add):
        return [source for part in node.inputs for source in _current_sources(graph, part)]
    return [node.name]


def _quantised(graph: Graph, population: _Population, target: Target) -> tuple[Graph, dict[str, list[Node]]]:
    """Nodes to replace in the graph returned, which has one node more if the population has an encoder."""
    neurons = [graph.node(name) for name in population.neurons]
    sources = [graph.node(name) for name in population.sources]
    layers = [node for node in sources if isinstance(node.op, LAYERS)]
    _check_units(graph, neurons, sources, layers)
    if not layers:
        return graph, {node.name: _on_integers(graph, node, target) for node in neurons}
    ops = [node.op for node in neurons if isinstance(node.op, Neuron)]
    for node, op in zip(neurons, ops, strict=True):
        if op.threshold <= 0:
            raise UnsupportedError(
                f"{called(node)}: its threshold {op.threshold:g} lets it fire without input; "
                "train with one above v_reset"
            )
    smallest = min(op.threshold for op in ops)
    limit = _largest_threshold(target)
    changes: dict[str, list[Node]] = {}
    encoders = [layer for layer in layers if _reads_levels(graph, layer)] if target.encoder == "host" else []
    first = next(iter(encoders), None)
    _refuse_mixed(graph, neurons, layers, target)
    others = [layer for layer in layers if layer is not first]
    if first is not None:
        limit = min(limit, finest_unit(graph, first, smallest, target))
    synapses = [_synapses(graph, layer) for layer in others]
    theta = choose_threshold(synapses, smallest, target.levels, limit) if others else limit
    while others and theta > 1 and not _holds(graph, population, _in_units(others, smallest / theta, target), target):
        limit = max(1, min(theta - 1, theta * 7 // 8))
        theta = choose_threshold(synapses, smallest, target.levels, limit)
    unit = smallest / theta
    changes = {layer.name: [layer] for layer in _in_units(others, unit, target)}
    if first is not None:
        graph = encoded(graph, first, unit, target)
    for name, op in zip(population.neurons, ops, strict=True):
        theta = max(1, round(op.threshold / unit))
        # A bias register lacks the fractional bits to make the chip's > act as >=, so the model adopts the chip's.
        fires = op.fires if first is None else target.arithmetic.fires
        changes[name] = [with_op(graph.node(name), replace(_one_image(op), threshold=float(theta), fires=fires))]
    return graph, changes


def _one_image(op: Neuron) -> Neuron:
    """Without the influence of other images of a batch: a chip takes one at a time."""
    if not isinstance(op, SerialNeuron):
        return op
    return Neuron(**{field.name: getattr(op, field.name) for field in fields(op)})


def _check_units(graph: Graph, neurons: list[Node], sources: list[Node], layers: list[Node]) -> None:
    """The currents of one population must be countable in one unit."""
    names = ", ".join(called(node) for node in neurons)
    for node in sources:
        kind = graph.type_of(node)
        if node not in layers and not kind.integer:
            raise UnsupportedError(
                f"{names}: reads {kind} from {called(node)}; put a conv2d or linear layer before the neuron"
            )
    listed = ", ".join(called(node) for node in sources)
    if layers and len(layers) < len(sources):
        raise UnsupportedError(
            f"{names}: adds up weighted and whole currents ({listed}), which have no unit in common; "
            "put a weight layer before each of them"
        )
    if sum(_reads_levels(graph, layer) for layer in layers) > 1:
        raise UnsupportedError(
            f"{names}: adds up two layers that read the analog input ({listed}), and there is one bias register; "
            "make them one convolution"
        )


def _refuse_mixed(graph: Graph, neurons: list[Node], layers: list[Node], target: Target) -> None:
    """On cores one unit cannot serve weights for levels, a hundred times smaller, and weights for spikes."""
    analog = [layer for layer in layers if _reads_levels(graph, layer)]
    if target.encoder == "core" and 0 < len(analog) < len(layers):
        raise UnsupportedError(
            f"{called(neurons[0])}: adds up analog input ({called(analog[0])}) and spikes, which cores that multiply "
            "the input cannot weigh in one unit; let the host encode (--encoder host)"
        )


def _reads_levels(graph: Graph, layer: Node) -> bool:
    return isinstance(base_of(graph, layer.inputs[0]).op, QuantiseInput)


def _largest_threshold(target: Target) -> int:
    """The largest one that every chip register holds without rounding."""
    rules = target.arithmetic
    return int(2 ** min(rules.threshold_bits, rules.membrane_bits - 1 - rules.threshold_shift)) - 1


def _on_integers(graph: Graph, node: Node, target: Target) -> list[Node]:
    """A neuron on whole currents, behind a gain if its threshold needs one."""
    op = node.op
    assert isinstance(op, Neuron)
    theta = threshold_of_integers(op, graph.timesteps)
    if theta is None and op.threshold > 0:
        gains = range(1, min(target.weight_high, MOST_GAIN) + 1)
        gain = min(gains, key=lambda k: (abs(max(1, round(k * op.threshold)) / (k * op.threshold) - 1), k))
        scale = Node(graph.fresh_name(f"{node.name}.gain"), Scale(factor=float(gain)), node.inputs)
        theta = max(1, round(gain * op.threshold))
        return [scale, Node(node.name, replace(_one_image(op), threshold=float(theta)), (scale.name,))]
    if theta is None or theta < 0 or (theta == 0 and op.fires == "ge"):
        raise UnsupportedError(
            f"{called(node)}: its currents are whole numbers, of which its threshold {op.threshold:g} lets it fire "
            "without input; train with one above v_reset"
        )
    return [with_op(node, replace(_one_image(op), threshold=float(theta)))]


def _holds(graph: Graph, population: _Population, layers: list[Node], target: Target) -> bool:
    """Whether a step's current, with the whole ``layers`` in place, provably fits the chip's registers.

    Sums of sums (DSSA) must also leave room for the grid of thresholds: nothing else makes them small.
    """
    rules = target.arithmetic
    top = (1 << (min(rules.current_bits, rules.membrane_bits) - 1)) - 1
    products = any(isinstance(layer.op, WeightedProduct) for layer in layers)
    shift = max(target.shift_low, rules.threshold_shift) if products else target.shift_low
    made = {node.name: node.op.infer(*(graph.types[name] for name in node.inputs)) for node in layers}
    kinds = [_type_with(graph, graph.node(name).inputs[0], made) for name in population.neurons]
    return all(max(kind.high, -kind.low) * 2.0**shift <= top for kind in kinds if kind.integer)


def _type_with(graph: Graph, name: str, made: dict[str, TensorType]) -> TensorType:
    """The type of ``name`` if the layers before it had the types ``made``."""
    node = graph.node(name)
    if name in made or not isinstance(node.op, (*LINKS, Add)):
        return made.get(name, graph.types[name])
    return node.op.infer(*(_type_with(graph, part, made) for part in node.inputs))


def _synapses(graph: Graph, layer: Node) -> Synapses:
    assert isinstance(layer.op, LAYERS)
    spikes = sum(kind.high for kind in graph.input_types(layer))
    return Synapses(weight=layer.op.weight, bias=layer.op.bias, spikes=spikes)


def _in_units(layers: list[Node], unit: float, target: Target) -> list[Node]:
    return [_in_unit(layer, unit, target) for layer in layers]


def _in_unit(layer: Node, unit: float, target: Target) -> Node:
    """The layer in whole numbers of ``unit``."""
    assert isinstance(layer.op, LAYERS)
    weight = integer_weights(layer.op.weight, unit, target.levels)
    try:
        bias = integer_bias(layer.op.bias, unit)
    except OverflowError as error:
        raise UnsupportedError(
            f"{called(layer)}: a bias of {error} in units of {unit:.3g}; train with weight decay on biases"
        ) from None
    return with_op(layer, replace(layer.op, weight=weight, bias=bias))


def _quantised_readouts(graph: Graph, target: Target) -> list[Node]:
    """Readouts in whole numbers; those that are added up share a unit."""
    changed = []
    for name in graph.outputs:
        output = graph.node(name)
        nodes = graph.producers(output) if isinstance(output.op, Add) else (output,)
        parts = [(node, node.op) for node in nodes if isinstance(node.op, Readout)]
        most, levels = [_most_spikes(graph, node) for node, _ in parts], target.levels
        top = readout_limit(target.arithmetic, graph.timesteps, target.shift_low)
        while True:
            unit = choose_unit([Synapses(weight=op.weight) for _, op in parts], levels)
            weights = [integer_weights(op.weight, unit, levels) for _, op in parts]
            bound = sum(
                n * np.abs(weight.astype(np.int64)).sum(1).max() for n, weight in zip(most, weights, strict=True)
            )
            if bound <= top or levels.high <= 1:
                break
            levels = Levels(-(levels.high // 2), levels.high // 2)
        for (node, op), weight in zip(parts, weights, strict=True):
            changed.append(with_op(node, replace(op, weight=weight, scale=op.scale * unit)))
    return changed


def _most_spikes(graph: Graph, node: Node) -> int:
    """Spikes that one element of a readout's input can bring to one integrator."""
    return graph.timesteps * int(sum(kind.high for kind in graph.input_types(node)))
