"""Remedies that work: which narrower weights would let a core hold a neuron."""

from __future__ import annotations

import numpy as np

from compiler.mapping.demand import source_of, synapse_words
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network, Population


def narrower(network: Network, population: Population, chip: ChipSpec, bits: int) -> str:
    """``--weight-bits B`` with the widest weights, narrower than ``bits``, with which a core has words for one neuron;
    else that none helps: a list takes a word however narrow its weights are.
    """
    for width in sorted((w for w in chip.weight_bits if w < bits), reverse=True):
        if neuron_words(network, population, chip, width) <= chip.limits.synapse_words:
            return f"use --weight-bits {width}, fewer inputs, or another chip"
    return "narrower weights do not help; use fewer inputs (smaller kernel, fewer layers added up) or another chip"


def neuron_words(network: Network, population: Population, chip: ChipSpec, bits: int) -> int:
    """Synapse-memory words of a core that holds one neuron of ``population``."""
    one = np.ones(1, np.int64)
    words = [
        synapse_words(p, source_of(network, p), population, one, one, one, chip, bits)
        for p in network.incoming[population.name]
    ]
    return int(np.sum(words))
