"""The first layer on analog input: whole numbers from the image to the neurons' bias registers."""

from __future__ import annotations

from dataclasses import replace
from math import floor, isfinite

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import Conv2d, Input, Linear, QuantiseInput, Requantise
from compiler.passes.rewrite import called, readers, spliced, with_op
from compiler.passes.target import Target
from compiler.passes.units import Levels, Synapses, choose_unit, integer_bias, integer_weights
from neurochip.errors import UnsupportedError

MULTIPLIER = 2**15
"""Bound of the multiplier of a Requantise; products with 32-bit sums stay within 53 bits."""

SHIFT = 30
"""Largest shift of a Requantise."""


def with_quantised_inputs(graph: Graph, target: Target) -> Graph:
    """A QuantiseInput behind every input that is not spikes; raises UnsupportedError if its range is unknown.

    Where cores multiply its levels, the layers that read them get weights for levels.
    """
    for node in graph.inputs:
        kind = graph.type_of(node)
        if kind.is_counts:
            continue
        for reader in readers(graph, node.name):
            if reader is None or not isinstance(reader.op, Conv2d | Linear):
                found = "the output" if reader is None else called(reader)
                raise UnsupportedError(
                    f"{called(node)}: analog input feeds {found}; only a conv2d or linear layer can encode it: "
                    "put one before it, or give the model spikes (whole numbers >= 0)"
                )
        assert isinstance(node.op, Input)
        op = input_levels(node, node.op, target.input_bits)
        levels = Node(graph.fresh_name(f"{node.name}.levels"), op, (node.name,))
        graph = spliced(graph, node.name, [node, levels], (), {node.name: levels.name})
        if target.encoder == "core":
            scaled = [_on_levels(layer, op.scale) for layer in readers(graph, levels.name) if layer is not None]
            graph = graph.replace_nodes({layer.name: [layer] for layer in scaled})
    return graph


def _on_levels(layer: Node, scale: float) -> Node:
    """``layer`` with weights for levels in the place of the input's own values: synapses like any others."""
    assert isinstance(layer.op, Conv2d | Linear)
    return with_op(layer, replace(layer.op, weight=(layer.op.weight * scale).astype(np.float32)))


def input_levels(node: Node, op: Input, bits: int) -> QuantiseInput:
    """Unsigned levels 0..2^bits - 1 if no element is negative, else symmetric signed ones; whole inputs stay whole."""
    if not (isfinite(op.low) and isfinite(op.high)) or op.low == op.high == 0:
        raise UnsupportedError(
            f"{called(node)}: its range {op.low:g}..{op.high:g} does not tell how to make it whole numbers; "
            f"say what the data holds: --set input.low=…,input.high=…"
        )
    largest = max(abs(op.low), abs(op.high))
    levels = 2**bits - 1 if op.low >= 0 else 2 ** (bits - 1) - 1
    scale = 1.0 if op.integer and largest <= levels else largest / levels
    return QuantiseInput(scale=scale, low=round(op.low / scale), high=round(op.high / scale))


def finest_unit(graph: Graph, layer: Node, threshold: float, target: Target) -> int:
    """The largest whole number that ``threshold`` may become, so that the current of ``layer``, which reads a
    QuantiseInput, provably fits the bias register in the unit that follows.
    """
    op, step = _integers(graph, layer, target)
    sums = op.infer(graph.type_of(layer.inputs[0]))
    largest = max(-sums.low, sums.high)
    bits = target.arithmetic.membrane_bits if target.host_neurons else target.arithmetic.bias_bits
    register = 2 ** (bits - 1) - 1 if bits > 1 else 0
    if register == 0:
        raise UnsupportedError(
            f"{called(layer)}: reads analog input, and this chip has no bias register to take its current; "
            "encode the input as spikes, or choose another chip"
        )
    finest = max(largest * step / register, step / 2 ** (MULTIPLIER.bit_length() - 3))
    if threshold < finest:
        raise UnsupportedError(
            f"{called(layer)}: its current can reach {largest * step:.4g}, more than {register} times the threshold "
            f"{threshold:.4g} behind it, so that the bias register cannot hold both; narrow the input's range"
        )
    return int(threshold / finest)


def encoded(graph: Graph, layer: Node, unit: float, target: Target) -> Graph:
    """Integers in ``layer``, which reads a QuantiseInput, and behind it a Requantise to the neurons' ``unit``."""
    op, step = _integers(graph, layer, target)
    requantise = Requantise(**_fixed_point(step / unit))
    behind = Node(graph.fresh_name(f"{layer.name}.requantise"), requantise, (layer.name,))
    return spliced(graph, layer.name, [with_op(layer, op), behind], (), {layer.name: behind.name})


def _integers(graph: Graph, layer: Node, target: Target) -> tuple[Conv2d | Linear, float]:
    """The first layer in whole numbers, and what one of them is worth."""
    op, levels = layer.op, graph.producer(layer)
    while not isinstance(levels.op, QuantiseInput):
        levels = graph.producer(levels)
    assert isinstance(op, Conv2d | Linear)
    top = 2 ** (target.encoder_weight_bits - 1) - 1
    range_ = Levels(-top, top)
    finest = choose_unit([Synapses(weight=op.weight)], range_)
    step = finest * levels.op.scale
    try:
        bias = integer_bias(op.bias, step)
    except OverflowError as error:
        raise UnsupportedError(
            f"{called(layer)}: a bias of {error} in units of {step:.3g}; rescale the layer or its input"
        ) from None
    return replace(op, weight=integer_weights(op.weight, finest, range_), bias=bias), step


def _fixed_point(ratio: float) -> dict[str, int]:
    """The finest multiplier / 2^shift not above ``ratio``, so that what fitted still fits."""
    shift = SHIFT
    while floor(ratio * 2**shift) >= MULTIPLIER and shift > 1:
        shift -= 1
    return {"multiplier": max(1, floor(ratio * 2**shift)), "shift": shift}
