"""Registers of a population from its integers: the weight shift, the threshold, the leak field.

The membrane holds ``integer << shift``. The shift is chosen as large as useful: enough fractional bits that the leak of
``timesteps`` steps never rounds, so that the chip computes what the quantised model computes, and small enough that the
proven bound of the current fits the chip's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from neurochip.errors import UnsupportedError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import Neuron

FINER_LEAK = 3
"""Fractional bits that make the constant of an approximated leak finer, where its register is wide enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one graph neuron asks of a chip's arithmetic.

    Attributes:
        name: graph node, for errors. tau: None = no leak, 1 = no memory. threshold: in the population's unit.
        fires: ``ge`` or ``gt``, the model's comparison. reset: ``hard`` or ``soft``.
        low, high: proven bounds of one step's current, in the population's unit.
        timesteps: steps from rest to the end of an input.
        approximate_leak: a leak that the chip has not may become the nearest one it has; see ``linear_leak``.
    """

    name: str
    tau: float | None
    threshold: int
    fires: str
    reset: str
    low: int
    high: int
    timesteps: int
    approximate_leak: bool = False


def neuron_registers(demand: Demand, rules: Arithmetic, shifts: range) -> tuple[Neuron, int]:
    """Registers of one population and its weight shift (one of ``shifts``).

    Raises ``UnsupportedError`` when the current cannot be proven to fit, or the chip has no such leak or reset.
    """
    fraction = leak_bits(demand, rules)
    top = (1 << (min(rules.current_bits, rules.membrane_bits) - 1)) - 1
    bound = max(demand.high, -demand.low, demand.threshold, 1)
    fitting = [s for s in shifts if bound << s <= top and _threshold_fits(demand.threshold << s, rules)]
    if not fitting:
        raise UnsupportedError(_too_large(demand, rules, top >> min(shifts)))
    wanted = rules.threshold_shift + fraction
    if forgets(demand, rules):  # a leftover must vanish through the largest leak field
        fitting = [s for s in fitting if clearing_decay(bound << s, rules) is not None] or fitting[:1]
    shift = max((s for s in fitting if s <= wanted), default=fitting[0])
    threshold, offset = _threshold(demand, rules, shift, fraction)
    decay = _decay(demand, rules, shift)
    if demand.reset == "soft" and not rules.soft_reset and demand.timesteps > 1:
        raise UnsupportedError(
            f"layer {demand.name!r}: the neuron subtracts its threshold on a spike, this chip resets to 0; "
            "use T = 1, or a chip whose arithmetic has soft_reset"
        )
    return Neuron(
        kind="lif",
        decay=decay,
        threshold=threshold,
        reset="soft" if demand.reset == "soft" and demand.timesteps > 1 else "hard",  # after one step no reset shows
        threshold_offset=offset,
    ), shift


def _too_large(demand: Demand, rules: Arithmetic, most: int) -> str:
    """Why the registers cannot hold a population whose weights are as coarse as quantising makes them."""
    reach = max(demand.high, -demand.low)
    if reach > most:
        return (
            f"layer {demand.name!r}: a step's current can reach {reach} units of its weights, more than the "
            f"{min(rules.current_bits, rules.membrane_bits)}-bit current holds ({most}); use fewer input channels or a "
            "smaller kernel, or a chip with wider sums"
        )
    return (
        f"layer {demand.name!r}: its threshold is {demand.threshold} units of its weights, more than the registers of "
        "membrane and threshold hold; train with a lower threshold or larger weights, or use a chip with wider ones"
    )


def possible_shifts(rules: Arithmetic, weights: range, *, encoded: bool, weighted: bool) -> range:
    """Shifts of a current that enters by bias registers (``encoded``), by weights with ``weights`` shifts, or both."""
    registers = range(rules.bias_shift_max + 1)
    if not encoded:
        return weights
    return range(max(registers.start, weights.start), min(registers.stop, weights.stop)) if weighted else registers


def leak_bits(demand: Demand, rules: Arithmetic) -> int:
    """Fractional bits that ``timesteps`` steps of leak can produce; a leak that is not dyadic gets as many.

    A linear leak in the place of an exponential one produces none; some make its constant finer.
    """
    if demand.tau is None or demand.tau == 1 or demand.timesteps == 1:
        return 0
    if approximated(demand, rules):
        if rules.leak == "none":
            return 0
        bits = range(FINER_LEAK, -rules.threshold_shift - 1, -1)
        sizes = {b: linear_leak(demand.threshold << (rules.threshold_shift + b), demand.tau) for b in bits}
        return next((b for b in bits if sizes[b] <= rules.max_decay), bits[-1])
    keep = Fraction(1) - Fraction(1) / Fraction(demand.tau).limit_denominator(1 << 12)
    per_step = max(1, (keep.denominator - 1).bit_length())
    return min(per_step * (demand.timesteps - 1), 8)


def approximated(demand: Demand, rules: Arithmetic) -> bool:
    """Whether the neuron's leak becomes another kind of leak, because the user allowed it."""
    leaks = demand.tau is not None and demand.tau != 1 and demand.timesteps > 1
    return leaks and demand.approximate_leak and rules.leak != "exponential"


def linear_leak(threshold: int, tau: float) -> int:
    """What to take off in each step so that ``v - leak`` is nearest to ``v (1 - 1 / tau)``.

    Least squares over membranes that are spread evenly between 0 and the threshold: with a membrane never taken below
    0, the derivative of the squared error vanishes at ``threshold / (2 tau - 1)``.
    """
    return round(threshold / (2 * tau - 1))


def forgets(demand: Demand, rules: Arithmetic) -> bool:
    """True when a population without memory can keep a remainder that the leak must remove."""
    return demand.tau == 1 and demand.timesteps > 1 and (demand.low < 0 or demand.threshold > 1)


def clearing_decay(bound: int, rules: Arithmetic) -> int | None:
    """The leak field that makes every membrane of at most ``bound`` in size zero before the next input; None if none.

    An exponential leak clears what its factor rounds to zero, a linear one what it takes off at once. A leak that
    follows the input would act before the threshold is compared, and one that passes zero leaves the overshoot.
    """
    if rules.leak == "none" or rules.leak_order == "after":
        return None
    if rules.leak == "linear":
        toward_zero = rules.linear_leak in (None, "toward_zero")
        return bound if toward_zero and bound <= rules.max_decay else None
    if rules.leak_rounding == "down":  # -1 stays -1
        return None if rules.max_decay < 1 << rules.decay_bits else rules.max_decay
    kept = bound * ((1 << rules.decay_bits) - rules.max_decay)
    return rules.max_decay if kept < 1 << rules.decay_bits else None


def _threshold_fits(raw: int, rules: Arithmetic) -> bool:
    return raw >> rules.threshold_shift < 1 << rules.threshold_bits


def _threshold(demand: Demand, rules: Arithmetic, shift: int, fraction: int) -> tuple[int, int]:
    """Raw threshold, and what is taken off it so that the chip compares as the model does on the reachable grid."""
    unit, raw = 1 << rules.threshold_shift, demand.threshold << shift
    if rules.fires == demand.fires:
        return -(-raw // unit) * unit, 0
    if rules.fires == "ge":  # the model fires on >, the chip on >=
        return raw + unit, -unit
    if shift - max(fraction, 0) >= rules.threshold_shift:
        return raw - unit, unit
    return round(raw / unit) * unit, 0


def _decay(demand: Demand, rules: Arithmetic, shift: int) -> int:
    if demand.tau is None or demand.timesteps == 1:
        return 0
    if demand.tau == 1:
        if not forgets(demand, rules):
            return 0  # whatever arrives makes it fire, and firing clears it
        bound = max(demand.high, -demand.low) << shift
        decay = clearing_decay(bound, rules)
        if decay is None:
            raise UnsupportedError(
                f"layer {demand.name!r}: a neuron without memory must forget up to {bound} membrane units in one step, "
                f"which the chip's {rules.leak} leak cannot; use T = 1"
            )
        return decay
    if approximated(demand, rules):
        fitted = linear_leak(demand.threshold << shift, demand.tau)
        return min(fitted, rules.max_decay) if rules.leak == "linear" else 0
    if rules.leak != "exponential":
        raise UnsupportedError(
            f"layer {demand.name!r}: its leak is exponential (tau {demand.tau:g}), the chip's is {rules.leak}; "
            "use T = 1, a model with integrate-and-fire neurons, another chip, or accept a leak of another kind "
            "(--approximate leak) and look at the accuracy"
        )
    return round((1 << rules.decay_bits) / demand.tau)


def readout_limit(rules: Arithmetic, timesteps: int, shift: int) -> int:
    """Most that all steps may add to an integrator: its membrane holds it, and a step's current its share of it."""
    membrane, current = ((1 << (bits - 1)) - 1 for bits in (rules.membrane_bits, rules.current_bits))
    return min(membrane >> shift, (current >> shift) * timesteps)


def is_exact(demand: Demand, rules: Arithmetic, neuron: Neuron, shift: int) -> bool:
    """Whether ``neuron`` fires exactly as the model's neuron on every current within the bounds of ``demand``."""
    if approximated(demand, rules):
        return False
    forgetful = demand.tau == 1 and demand.timesteps > 1
    leaky = demand.tau is not None and demand.timesteps > 1 and not forgetful
    bits = 0
    if leaky and demand.tau is not None:
        keep = 1 - 1 / Fraction(demand.tau)
        bits = (keep.denominator.bit_length() - 1) * (demand.timesteps - 1)
        if keep.denominator & (keep.denominator - 1) or (1 << rules.decay_bits) * (1 - keep) != neuron.decay:
            return False
    raw, unit = demand.threshold << shift, 1 << rules.threshold_shift
    grid = shift - bits
    compares = raw % unit == 0 if rules.fires == demand.fires else grid >= rules.threshold_shift
    steps = 1.0 if demand.timesteps == 1 or forgetful else float(demand.timesteps)
    if leaky and demand.tau is not None:
        steps = min(steps, demand.tau)
    largest = max(demand.high, -demand.low) * (1 << shift) * steps
    return grid >= 0 and compares and largest < 1 << (rules.membrane_bits - 1)
