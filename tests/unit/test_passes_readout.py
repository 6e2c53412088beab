"""Readouts in the integers of a chip with narrow membranes."""

from __future__ import annotations

import numpy as np

from compiler.ir.ops import Readout
from compiler.passes import PASSES
from neurochip.network.arithmetic import Arithmetic
from tests.spiking_graphs import target, tiny_spikformer


def readout_of(membrane_bits: int) -> Readout:
    graph = tiny_spikformer()
    goal = target(8, arithmetic=Arithmetic(membrane_bits=membrane_bits, threshold_shift=0), shift_high=0)
    for item in PASSES:
        graph = item.run(graph, goal)
    (node,) = graph.of_type(Readout)
    assert isinstance(node.op, Readout)
    return node.op


def test_readout_weights_take_fewer_bits_when_a_membrane_is_narrow() -> None:
    wide, narrow = readout_of(24), readout_of(13)
    spikes = 4 * 4  # steps times addends of the residual stream: stem, position embedding, attention, MLP
    assert spikes * np.abs(wide.weight.astype(int)).sum(axis=1).max() >= 1 << 12
    assert spikes * np.abs(narrow.weight.astype(int)).sum(axis=1).max() < 1 << 12
    assert narrow.scale > wide.scale
