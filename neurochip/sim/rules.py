"""A population's registers and the chip's arithmetic as the plain integers of the neuron kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, Einsum, Encoder, Gated, Gather, Matrix, MaxConv, Pool, Product
from neurochip.sim.kernels.neurons import Rules

LINEAR = ("toward_zero", "past_zero", "down")


def update_rules(network: Network, population: Population, shift: int) -> Rules:
    """The chip's arithmetic and the population's registers as plain integers for the kernel."""
    rules, neuron = network.arithmetic, population.neuron
    linear = LINEAR.index(rules.linear_leak or LINEAR[0]) + 1 if rules.leak == "linear" and neuron.decay else 0
    keep = (1 << rules.decay_bits) - (0 if linear else neuron.decay)
    power = keep & (keep - 1) == 0
    halvings = rules.decay_bits - keep.bit_length() + 1 if power else -1
    plain = rules.leak_rounding == "toward_zero" and rules.membrane_overflow == "clip" and neuron.reset == "hard"
    plain = plain and not linear and (rules.leak_order != "after" or not neuron.decay)
    top = (1 << (min(rules.current_bits, 31) - 1)) - 1
    most = current_bound(network, population)
    plain = plain and power and rules.membrane_bits < 31
    return Rules(
        keep=keep,
        decay_bits=rules.decay_bits,
        halvings=halvings,
        round_down=int(rules.leak_rounding == "down"),
        threshold=neuron.threshold,
        soft=int(neuron.reset == "soft"),
        reset_by=neuron.threshold + neuron.threshold_offset,
        fires_ge=int(rules.fires == "ge"),
        readout=int(neuron.kind == "readout"),
        current_bits=rules.current_bits,
        current_wraps=int(rules.current_overflow == "wrap"),
        membrane_bits=rules.membrane_bits,
        membrane_wraps=int(rules.membrane_overflow == "wrap"),
        shift=shift,
        safe=int(plain and most <= top),
        linear=linear,
        leak_by=neuron.decay if linear else 0,
        leak_last=int(rules.leak_order == "after"),
        narrow=int(plain and rules.current_bits < 32 and most < 1 << 31),
    )


def current_bound(network: Network, population: Population) -> int:
    """Largest magnitude one step's current can reach, raw units, whatever spikes arrive."""
    total, constant = 0, np.zeros(1, np.int64)
    for projection in network.incoming[population.name]:
        if isinstance(projection, Product):
            operand = network.by_name[projection.sources[0].population]
            held = operand.channels // projection.heads * (projection.limit or operand.positions)
            total += held << projection.shift
            continue
        if isinstance(projection, Matrix | Gated):
            continue  # a processor's integers
        if isinstance(projection, Bias):
            constant = constant + projection.total
            continue
        if isinstance(projection, Encoder):
            levels = max(abs(network.input.low), abs(network.input.high))
            acc = int(np.abs(projection.weight.astype(np.int64)).sum(axis=(0, 1, 2)).max()) * levels + int(
                np.abs(projection.bias).max(initial=0)
            )
            total += ((acc * projection.multiplier >> projection.down) + 1) << projection.shift
            continue
        source = network.by_name[projection.sources[0].population]
        high = sum(network.by_name[s.population].high for s in projection.sources)
        if isinstance(projection, Pool):
            total += abs(projection.weight) * projection.kernel[0] * projection.kernel[1] * high << projection.shift
            continue
        if isinstance(projection, Einsum):
            total += abs(projection.weight) * projection.fan_in * high << projection.shift
            continue
        weight = getattr(projection, "weight", np.zeros((1, 1), np.int8))
        positions = source.positions // population.positions if isinstance(projection, Gather) else 1
        if isinstance(projection, MaxConv):
            rows, columns = projection.grids(source.height, source.width)[1]
            positions = rows * columns // population.positions
        total += _rows_bound(weight) * positions * high << projection.shift
    return total + int(np.abs(constant).max())


def _rows_bound(weight: NDArray[np.integer[Any]]) -> int:
    """Largest magnitude a sum of inputs 0..1 can have at one output; outputs are the last axis."""
    rows = weight.reshape(-1, weight.shape[-1])
    up = np.maximum(rows, 0).sum(axis=0, dtype=np.int64).max(initial=0)
    return int(max(up, -np.minimum(rows, 0).sum(axis=0, dtype=np.int64).min(initial=0)))
