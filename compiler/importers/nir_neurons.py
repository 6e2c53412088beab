"""NIR's dynamics, differential equations, as steps of length dt.

With k = dt / tau (``euler``) or 1 - exp(-dt / tau) (``exact`` for an input that is constant within a step):

- LIF: ``v = v + k (v_leak - v + r x)``; IF: ``v = v + dt r x``; then fire and reset;
- LI: the same without firing; I: ``v = v + dt r x``; both start at 0;
- CubaLIF, CubaLI: first the current ``i = i + k_syn (w_in x - i)``, then LIF or LI with the new current for x;
- Threshold: fires where x is above the threshold, without memory.

A neuron that fires starts at ``v_reset`` (0 under soft reset).
Source: Pedersen et al. 2024, "Neuromorphic intermediate representation", Nature Communications 15, 8122 (equations).
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np

from compiler.importers.nir_builder import FLOAT32_ROUNDING, RESETS, NirBuilder, parameter, uniform
from compiler.importers.nir_file import NirNode
from compiler.ir.ops import Accumulate, Add, Affine, Delay, Filter, Floats, IntegerNeuron, LeakyNeuron, Neuron
from compiler.ir.ops.leaky_neuron import Reset
from neurochip.errors import CheckpointError, UnsupportedError

__all__ = ["RESETS", "read_delay", "read_if", "read_integrator", "read_lif", "read_threshold"]

MAX_STEPS = 4096
"""Longest delay that is written out, in steps."""


def read_lif(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """LIF and CubaLIF; their parameters may differ from neuron to neuron."""
    shape = builder.types[x].shape
    key = "tau"
    rockpool = builder.options.choice("written_by") == "rockpool"
    if node.kind == "CubaLIF":
        x, key = _synapse(builder, name, node, x), "tau_mem"
    k = _rate(builder, name, node, key, shape)
    r, leak = (parameter(node, name, part, shape) for part in ("r", "v_leak"))
    if rockpool:
        return _several(builder, name, node, x, keep=1 - k, gain=np.ones_like(k))
    if builder.options.choice("spikes") == "several":
        return _several(builder, name, node, builder.transform(f"{name}.input", x, r, leak), keep=1 - k, gain=k)
    fraction = uniform(k)
    if fraction is None or builder.choice(node, "reset") not in ("hard", "soft"):
        return _leaky(builder, name, node, x, k=k, r=r, leak=leak)
    # Twelve digits remove the rounding of tau / dt and no information of float32.
    steps = float(f"{1 / fraction:.12g}")
    return _fire(builder, name, node, x, gain=r, leak=leak, steps=max(steps, 1.0))


def read_if(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """IF."""
    shape = builder.types[x].shape
    gain = builder.dt * parameter(node, name, "r", shape)
    gain = np.where(abs(gain - 1) <= FLOAT32_ROUNDING, 1.0, gain)
    if builder.options.choice("spikes") == "several":
        return _several(builder, name, node, x, keep=np.ones_like(gain), gain=gain)
    if builder.choice(node, "reset") not in ("hard", "soft"):
        return _leaky(builder, name, node, x, k=np.zeros_like(gain), r=gain, leak=np.zeros_like(gain))
    return _fire(builder, name, node, x, gain=gain, leak=None, steps=None)


def read_threshold(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """Threshold: a neuron without memory."""
    threshold = parameter(node, name, "threshold", builder.types[x].shape)
    level = uniform(threshold)
    if level is None:
        x = builder.transform(f"{name}.input", x, np.ones_like(threshold), -threshold)
    fires: Literal["ge", "gt"] = "ge" if builder.choice(node, "fires") == "ge" else "gt"
    return builder.add(name, Neuron(tau=1.0, decay_input=False, threshold=level or 0.0, fires=fires), x)


def read_integrator(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """LI, CubaLI and I: neurons that never fire."""
    shape = builder.types[x].shape
    r = parameter(node, name, "r", shape)
    if node.kind == "I":
        gain = builder.dt * r
        gain = np.where(abs(gain - 1) <= FLOAT32_ROUNDING, 1.0, gain)
        return builder.add(name, Accumulate(), builder.transform(f"{name}.input", x, gain, np.zeros_like(gain)))
    key = "tau"
    if node.kind == "CubaLI":
        x, key = _synapse(builder, name, node, x), "tau_mem"
    k = _rate(builder, name, node, key, shape)
    return _filtered(builder, name, x, k, r, parameter(node, name, "v_leak", shape))


def read_delay(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """Delay, by whole steps, which may differ from neuron to neuron."""
    shape = builder.types[x].shape
    seconds = parameter(node, name, "delay", shape)
    steps = np.rint(seconds / builder.dt)
    if (steps < 0).any() or (abs(seconds / builder.dt - steps) > 1e-3).any():
        raise CheckpointError(
            f"node '{name}' (Delay): {seconds.max():g} s is no whole number of steps of {builder.dt:g} s; "
            "choose --set dt=..."
        )
    steps = np.minimum(steps, builder.timesteps)
    longest = int(steps.max())
    if longest > MAX_STEPS:
        raise UnsupportedError(f"node '{name}' (Delay): {longest} steps; at most {MAX_STEPS} can be read")
    if uniform(steps) is not None:
        return _delayed(builder, name, x, longest)
    groups, done = [], 0
    for count in np.unique(steps).astype(int):
        x, done = _delayed(builder, f"{name}.{count}", x, count - done), int(count)
        groups.append(builder.add(f"{name}.of.{count}", Affine(gain=(steps == count).astype(np.float32)), x))
    return builder.add(name, Add(), *groups)


def _fire(
    builder: NirBuilder, name: str, node: NirNode, x: str, *, gain: Floats, leak: Floats | None, steps: float | None
) -> str:
    """The neuron behind ``gain * x``; with ``steps`` its membrane decays to ``leak`` and divides its input by them."""
    shape = builder.types[x].shape
    threshold = parameter(node, name, "v_threshold", shape)
    bottom = parameter(node, name, "v_reset", shape, default=0.0)
    soft = builder.choice(node, "reset") == "soft"
    if soft and bottom.any():
        raise CheckpointError(
            f"node '{name}' ({node.kind}): reset=soft subtracts the threshold, but its v_reset is not 0"
        )
    offset = np.zeros_like(bottom) if leak is None else leak - bottom
    level, rest = uniform(threshold), uniform(bottom)
    if level is None or rest is None:
        height = threshold - bottom
        if (height <= 0).any():
            raise CheckpointError(f"node '{name}' ({node.kind}): expected v_threshold above v_reset in every neuron")
        gain, offset, level, rest = gain / height, offset / height, 1.0, 0.0
    factor = uniform(gain)
    undivided = (
        steps is not None and factor is not None and not offset.any() and abs(factor / steps - 1) <= FLOAT32_ROUNDING
    )
    if not undivided:
        x = builder.transform(f"{name}.input", x, gain, offset)
    op = Neuron(
        tau=steps, decay_input=steps is not None and not undivided, threshold=level,
        fires="ge" if builder.choice(node, "fires") == "ge" else "gt",
        reset="soft" if soft else "hard", v_reset=rest,
    )  # fmt: skip
    return builder.add(name, op, x)


def _leaky(builder: NirBuilder, name: str, node: NirNode, x: str, *, k: Floats, r: Floats, leak: Floats) -> str:
    """Neurons whose time constants differ, or with snnTorch's resets; k = 0 is IF with ``r`` its gain."""
    shape = builder.types[x].shape
    bottom = parameter(node, name, "v_reset", shape, default=0.0)
    gain = np.where(k > 0, k * r, r)
    gain = np.where(abs(gain - 1) <= FLOAT32_ROUNDING, 1.0, gain)
    reset = cast(Reset, builder.choice(node, "reset"))  # one of them: LeakyNeuron refuses any other
    if reset != "hard" and bottom.any():
        raise CheckpointError(f"node '{name}' ({node.kind}): reset={reset} knows no v_reset other than 0")
    op = LeakyNeuron(
        decay=_plain(1 - k), gain=_plain(gain), rest=_plain(leak), start=_plain(bottom), v_reset=_plain(bottom),
        threshold=_plain(parameter(node, name, "v_threshold", shape)), reset=reset,
        fires="ge" if builder.choice(node, "fires") == "ge" else "gt",
    )  # fmt: skip
    return builder.add(name, op, x)


def _several(builder: NirBuilder, name: str, node: NirNode, x: str, *, keep: Floats, gain: Floats) -> str:
    """Neurons that fire as often in a step as their membrane holds the threshold."""
    threshold = parameter(node, name, "v_threshold", builder.types[x].shape)
    if builder.choice(node, "reset") != "soft" or builder.choice(node, "fires") != "ge":
        raise CheckpointError(f"node '{name}' ({node.kind}): spikes=several goes with reset=soft and fires=ge")
    if (threshold <= 0).any():
        raise CheckpointError(f"node '{name}' ({node.kind}): expected v_threshold above 0, found {threshold.min():g}")
    level, share, decay = uniform(threshold), uniform(gain), uniform(keep)
    if level is None or share is None:
        x, level, share = builder.transform(f"{name}.input", x, gain / threshold, np.zeros_like(gain)), 1.0, 1.0
    if decay is None:
        raise UnsupportedError(
            f"node '{name}' ({node.kind}): its time constants differ between neurons that fire several spikes a step "
            f"(decay {keep.min():g} to {keep.max():g}); give a layer one time constant, or put groups into own nodes"
        )
    op = IntegerNeuron(levels=None, rounding="down", decay=decay, gain=share, quantum=level, subtract=level)
    return builder.add(name, op, x)


def _plain(values: Floats) -> float | Floats:
    """One number for all neurons if it is the same."""
    same = uniform(values)
    return values if same is None else same


def _synapse(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """The current of a CubaLIF or CubaLI."""
    shape = builder.types[x].shape
    k = _rate(builder, name, node, "tau_syn", shape)
    gain = parameter(node, name, "w_in", shape, default=1.0)
    writer = builder.options.choice("written_by")
    if writer == "norse":  # i = (1 - k) i + x, of which the exporter leaves w_in = 1
        gain = 1 / k
    elif writer == "rockpool":  # i = (1 - k) (i + x)
        gain = (1 - k) / k
    return _filtered(builder, f"{name}.current", x, k, gain, np.zeros_like(gain))


def _rate(builder: NirBuilder, name: str, node: NirNode, key: str, shape: tuple[int, ...]) -> Floats:
    """k of a time constant, 0 < k <= 1."""
    tau = parameter(node, name, key, shape)
    if (tau <= 0).any():
        raise CheckpointError(f"node '{name}' ({node.kind}): expected '{key}' above 0, found {tau.min():g}")
    if builder.options.choice("discretisation") == "exact":
        return -np.expm1(-builder.dt / tau)
    k = builder.dt / tau
    if (k > 1 + FLOAT32_ROUNDING).any():
        raise CheckpointError(
            f"node '{name}' ({node.kind}): a step of {builder.dt:g} s is longer than '{key}' = {tau.min():g} s, so "
            "that forward Euler overshoots; choose a smaller --set dt=... or --set discretisation=exact"
        )
    return np.minimum(k, 1.0)


def _filtered(builder: NirBuilder, name: str, x: str, k: Floats, gain: Floats, leak: Floats) -> str:
    """``y[t] = (1 - k) y[t-1] + k (gain x[t] + leak)``, y before the start 0."""
    whole = k * gain
    whole = np.where(abs(whole - 1) <= FLOAT32_ROUNDING, 1.0, whole)
    y = builder.transform(f"{name}.input", x, whole, k * leak)
    return builder.add(name, Filter(decay=_plain(1 - k)), y) if (k < 1).any() else y


def _delayed(builder: NirBuilder, name: str, x: str, steps: int) -> str:
    for _ in range(steps):
        x = builder.add(name, Delay(), x)
    return x
