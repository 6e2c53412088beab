"""Neurons that compute with whole numbers and forget: AND, digits of a sum; and weights that are powers of two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.spec import WeightFormat
from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Neuron
from neurochip.network.reference import leaked

Ints = NDArray[np.int64]
MOST_TRIED = 1 << 24
"""Sums on remainders tried at once: 128 MB."""

MAX_REMAINDERS = 1 << 12
"""Remainders of earlier steps that a gate may be proven for; more means that its leak does not forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a population of gates must do: fire in a step in which its sum reaches ``threshold``, and in no other.

    Attributes:
        name: layer, for errors. low, high: proven bounds of one step's sum.
        timesteps: steps from rest; a single step leaves nothing to forget.
    """

    name: str
    threshold: int
    low: int
    high: int
    timesteps: int

    @property
    def remembers(self) -> bool:
        """Whether a sum below the threshold would stay for the next step."""
        return self.timesteps > 1 and (self.low < 0 or self.threshold > 1)


@cache
def gate_registers(gate: Gate, rules: Arithmetic, weights: WeightFormat) -> tuple[Neuron, int]:
    """Registers of ``gate`` and its weight shift: the membrane holds ``sum << shift``.

    A leak must take away what a step left behind. Proven, not assumed: every sum is tried on every remainder that
    earlier steps can leave. The shift is the least that works. Raises ``UnsupportedError`` if the chip has none.
    """
    top = (1 << (min(rules.current_bits, rules.membrane_bits) - 1)) - 1
    bound = max(gate.high, -gate.low, 1)
    for shift in range(weights.shift_low, weights.shift_high + 1):
        for decay in _decays(gate, rules, shift, bound):
            span = _separation(gate, rules, shift, decay) if bound << shift <= top else None
            raw = None if span is None else _threshold(*span, rules)
            if raw is not None:
                return Neuron(kind="lif", decay=decay, threshold=raw), shift
    why = (
        f"forgets sums below {gate.threshold} between steps with a {rules.leak} leak; use T = 1"
        if gate.remembers
        else (f"tells a sum of {gate.threshold} from one of {gate.threshold - 1}")
    )
    raise UnsupportedError(
        f"layer {gate.name!r}: no registers of this chip make a neuron that {why}, or choose another attention method"
    )


def _decays(gate: Gate, rules: Arithmetic, shift: int, bound: int) -> list[int]:
    """Leaks worth trying."""
    if not gate.remembers:
        return [0]
    if rules.leak == "exponential":
        return [rules.max_decay]
    if rules.leak == "none":
        return []
    return [d for d in ((gate.threshold - 1) << shift, bound << shift) if d <= rules.max_decay]


def _separation(gate: Gate, rules: Arithmetic, shift: int, decay: int) -> tuple[int, int] | None:
    """Largest membrane that must not fire and smallest that must, over all remainders; None if they overlap."""
    sums: Ints = np.arange(gate.low, gate.high + 1, dtype=np.int64)[None, :] << shift
    fires = (sums >> shift >= gate.threshold)[0]
    after = rules.leak_order == "after"
    left: Ints = np.zeros(1, np.int64) if after else leaked(np.zeros(1, np.int64), decay, rules)
    while len(left) * sums.size <= MOST_TRIED:
        full = leaked(left[:, None] + sums, decay, rules) if after else left[:, None] + sums
        below, reached = int(full[:, ~fires].max(initial=-(1 << 40))), int(full[:, fires].min(initial=1 << 40))
        if below >= reached:
            return None
        if not gate.remembers:
            return below, reached
        rest = full[:, ~fires].ravel()
        grown = np.unique(np.concatenate([left, rest if after else leaked(rest, decay, rules)]))
        if len(grown) == len(left):
            return below, reached
        if len(grown) > MAX_REMAINDERS:
            return None
        left = grown
    return None


def _threshold(below: int, reached: int, rules: Arithmetic) -> int | None:
    """A threshold register between the two membranes, the largest one."""
    unit = 1 << rules.threshold_shift
    raw = (reached - 1 if rules.fires == "gt" else reached) // unit * unit
    separates = raw >= below if rules.fires == "gt" else raw > below
    return raw if separates and 0 <= raw >> rules.threshold_shift < 1 << rules.threshold_bits else None


def weights_of(value: int, shift: int, weights: WeightFormat) -> list[tuple[int, int]]:
    """``value << shift`` as few synapses (weight, shift): one if an exponent allows it, else several that add up."""
    size, sign = abs(value), -1 if value < 0 else 1
    for extra in range(weights.shift_high - shift + 1):
        if size % (1 << extra) == 0 and size >> extra <= weights.high:
            return [(sign * (size >> extra), shift + extra)]
    whole, rest = divmod(size, weights.high)
    return [(sign * weights.high, shift)] * whole + ([(sign * rest, shift)] if rest else [])
