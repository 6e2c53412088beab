"""Neuron modules of SpikingJelly, snnTorch, Norse and Sinabs as ops, by what their forward passes compute.

A class is known by its package and name, so that copies bundled with a model's code are known as well; nothing is
imported. Subclasses that change more than the constructor are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp
from typing import Any, Literal

import numpy as np
import torch

from compiler.importers.tracing.session import smallest
from compiler.ir.ops import (
    Affine,
    Conv2d,
    Filter,
    IntegerNeuron,
    LeakyMembrane,
    LeakyNeuron,
    Linear,
    Neuron,
    Op,
    Scale,
    Weights,
)
from neurochip.errors import UnsupportedError

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A neuron module.

    Attributes:
        time: the axis of its input that is the time; None if it is called once a step; -1 if batch and time are one.
        ops: what it computes one after the other; the last one fires (or is the result).
        membrane: what its membrane is, of the input of the last op; None if it cannot be read.
        factor: what its spikes are multiplied by.
        recurrent: what its spikes pass before they are added to its input of the next step; nothing if empty.
    """

    time: int | None
    ops: tuple[Op, ...]
    membrane: Op | None = None
    factor: float = 1.0
    recurrent: tuple[Op, ...] = ()


def find_leaf(module: Any) -> Callable[[Shape], Leaf] | None:
    """What makes a Leaf for values of a shape, if ``module`` is a neuron; None if it is none.

    The function raises UnsupportedError for kinds and settings of neurons that have no op.
    """
    classes = type(module).__mro__
    for place, kind in enumerate(classes):
        if kind.__name__ == "mem_update" and place == 0:
            return lambda shape: _mem_update(module, shape)
        packages = kind.__module__.split(".")
        library = next((name for name in LIBRARIES if name in packages), None)
        if library is None or not _is_neuron(library, kind):
            continue
        changed = [
            name for c in classes[:place] for name in vars(c) if callable(vars(c)[name]) and name not in HARMLESS
        ]
        if changed:
            return _refuse(
                f"{type(module).__name__} changes {', '.join(sorted(changed))} of {library}'s {kind.__name__}"
            )
        maker = LIBRARIES[library].get(kind.__name__)
        if maker is None:
            known = ", ".join(LIBRARIES[library])
            return _refuse(f"{library}'s {kind.__name__} has no op here; of its neurons {known} can be traced")
        return lambda shape: maker(module, shape)
    return None


HARMLESS = ("__init__", "extra_repr", "__repr__", "__str__", "__class__")
BASES = ("BaseNode", "SimpleBaseNode", "MemoryModule", "SpikingNeuron", "LIF", "SNN", "SNNCell", "StatefulLayer")


def _is_neuron(library: str, kind: type) -> bool:
    """Whether a class of a library is a kind of neuron, known or not."""
    if kind.__name__ in LIBRARIES[library]:
        return True
    return any(base.__name__ in BASES for base in kind.__mro__[1:]) and kind.__name__ not in BASES


def _refuse(message: str) -> Callable[[Shape], Leaf]:
    def refuse(shape: Shape) -> Leaf:
        raise UnsupportedError(message)

    return refuse


def _constant(value: Any, shape: Shape) -> float | Weights:
    """A number, or an array that fits values of ``shape`` from the last axis on."""
    if not isinstance(value, torch.Tensor):
        return float(value)
    array = smallest(value.detach().cpu().double().numpy())
    if array.size == 1:
        return float(array.reshape(()))
    if array.ndim > len(shape):
        raise UnsupportedError(f"a constant of shape {tuple(array.shape)} for neurons of shape {shape}")
    return array.reshape((1,) * (len(shape) - array.ndim) + array.shape)


def _comparison(function: Callable[[Any], Any]) -> Literal["ge", "gt"]:
    """Whether a surrogate function fires at equality; raises UnsupportedError if it does not fire like a step."""
    with torch.no_grad():
        found = function(torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)).tolist()
    if found == [0, 1, 1]:
        return "ge"
    if found == [0, 0, 1]:
        return "gt"
    raise UnsupportedError(f"the surrogate function gives {found} for -1, 0 and 1, expected spikes 0 and 1")


def _plain(op: LeakyNeuron) -> Op:
    """The same as ``Neuron`` if that has its constants, since passes and chips know it best."""
    constants = (op.decay, op.gain, op.rest, op.threshold, op.v_reset)
    decay, gain, rest, threshold, bottom = constants
    if not all(isinstance(value, float) for value in constants) or op.floor is not None or op.subtract is not None:
        return op
    at_rest = rest == bottom if op.reset == "hard" else op.reset == "soft" and rest == 0
    if not at_rest or decay < 0 or not (gain == 1 or decay == 1 - gain):
        return op
    tau = None if decay == 1 else float(1 / (1 - decay if gain == 1 else gain))
    return Neuron(
        tau=tau, decay_input=bool(gain != 1), threshold=float(threshold), fires=op.fires,
        reset="hard" if op.reset == "hard" else "soft", v_reset=float(rest),
    )  # fmt: skip


# SpikingJelly.


def _jelly(module: Any, tau: float | None, *, decay_input: bool = True) -> Leaf:
    if getattr(module.surrogate_function, "spiking", True) is not True:
        raise UnsupportedError("the surrogate function has spiking=False and gives no spikes")
    multi = type(module).__name__.startswith("MultiStep") or _inherits(module, "MultiStep")
    if hasattr(module, "step_mode"):
        multi = module.step_mode == "m"
    hard = module.v_reset is not None
    op = Neuron(
        tau=tau,
        decay_input=decay_input,
        threshold=float(module.v_threshold),
        fires=_comparison(module.surrogate_function),
        reset="hard" if hard else "soft",
        v_reset=float(module.v_reset) if hard else 0.0,
    )
    return Leaf(time=0 if multi else None, ops=(op,))


def _inherits(module: Any, prefix: str) -> bool:
    return any(c.__name__.startswith(prefix) and "Node" in c.__name__ for c in type(module).__mro__)


def _jelly_if(module: Any, shape: Shape) -> Leaf:
    return _jelly(module, None)


def _jelly_lif(module: Any, shape: Shape) -> Leaf:
    return _jelly(module, float(module.tau), decay_input=bool(module.decay_input))


def _jelly_plif(module: Any, shape: Shape) -> Leaf:
    return _jelly(module, 1 + exp(-float(module.w)), decay_input=bool(module.decay_input))


# snnTorch.


def _snntorch(module: Any, shape: Shape, *, zero: str) -> Leaf:
    """Leaky and its relatives; ``zero``: what the reset to zero does."""
    if module.inhibition or module.state_quant:
        raise UnsupportedError("inhibition and quantised states cannot be traced")
    mechanism = ("subtract", "zero", "none")[int(module.reset_mechanism_val)]
    fires = _comparison(module.spike_grad)
    decay, threshold = _constant(module.beta.clamp(0, 1), shape), _constant(module.threshold, shape)
    delayed = getattr(module, "reset_delay", True)
    factor = float(getattr(module, "graded_spikes_factor", 1.0))
    kinds = {"subtract": "delayed" if delayed else "lagging", "zero": zero if delayed else "hard", "none": "none"}
    reset: Any = kinds[mechanism]
    spikes = _plain(LeakyNeuron(decay=decay, threshold=threshold, fires=fires, reset=reset))
    # Without delay the membrane is reset in the same step; with delay the reset to zero shows one step later.
    seen: Any = "late" if reset == "hard" and delayed else reset
    membrane = LeakyMembrane(decay=decay, threshold=threshold, fires=fires, reset=seen)
    return Leaf(time=None, ops=(spikes,), membrane=membrane, factor=factor)


def _leaky(module: Any, shape: Shape) -> Leaf:
    return _snntorch(module, shape, zero="hard")


def _synaptic(module: Any, shape: Shape) -> Leaf:
    leaf = _snntorch(module, shape, zero="blank")
    decay = _constant(module.alpha.clamp(0, 1), shape)
    return Leaf(time=None, ops=(Filter(decay=decay), *leaf.ops), membrane=leaf.membrane, factor=leaf.factor)


def _recurrent_leaky(module: Any, shape: Shape) -> Leaf:
    leaf = _snntorch(module, shape, zero="blank")
    return replace(leaf, recurrent=_way_back(module, shape))


def _recurrent_synaptic(module: Any, shape: Shape) -> Leaf:
    return replace(_synaptic(module, shape), recurrent=_way_back(module, shape))


def _way_back(module: Any, shape: Shape) -> tuple[Op, ...]:
    """What snnTorch's recurrent layers do to the spikes of the step before."""
    if getattr(module, "graded_spikes_factor", 1.0) != 1.0:
        raise UnsupportedError("recurrent neurons with graded spikes cannot be traced")
    layer = module.recurrent
    if not module.all_to_all:
        gain = _constant(layer.V, shape)
        return (Scale(factor=gain) if isinstance(gain, float) else Affine(gain=gain),)
    weight, bias = (
        None if p is None else smallest(p.detach().cpu().double().numpy()) for p in (layer.weight, layer.bias)
    )
    if isinstance(layer, torch.nn.Linear) and weight is not None:
        return (Linear(weight=weight, bias=bias),)
    if isinstance(layer, torch.nn.Conv2d) and weight is not None and isinstance(layer.padding, tuple):
        return (Conv2d(weight=weight, bias=bias, padding=(layer.padding[0], layer.padding[1])),)
    raise UnsupportedError(f"recurrent connections by {type(layer).__name__} cannot be traced")


# Norse.


def _norse(module: Any, shape: Shape, *, decay: Any, gain: Any, rest: Any, ops: tuple[Op, ...] = ()) -> Leaf:
    p = module.p
    if p.method == "adjoint":
        raise UnsupportedError("the adjoint method cannot be traced; use another surrogate gradient")
    method = getattr(getattr(p, "reset_method", None), "__name__", "reset_value")
    if method not in ("reset_value", "reset_subtract"):
        raise UnsupportedError(f"the reset method '{method}' cannot be traced; use reset_value or reset_subtract")
    rest, threshold, bottom = (_constant(value, shape) for value in (rest, p.v_th, p.v_reset))
    op = _plain(
        LeakyNeuron(
            decay=decay, gain=gain, rest=rest, start=rest, threshold=threshold,
            reset="soft" if method == "reset_subtract" else "hard", v_reset=bottom,
        )
    )  # fmt: skip
    return Leaf(time=None if type(module).__name__.endswith("Cell") else 0, ops=(*ops, op))


def _norse_constants(module: Any, shape: Shape) -> tuple[Any, Any]:
    rate = _constant(module.dt * module.p.tau_mem_inv, shape)
    return 1 - rate, rate


def _norse_synapse(module: Any, shape: Shape) -> tuple[Op, ...]:
    decay = 1 - _constant(module.dt * module.p.tau_syn_inv, shape)
    return () if np.all(decay == 0) else (Filter(decay=decay),)


def _norse_lif(module: Any, shape: Shape) -> Leaf:
    decay, gain = _norse_constants(module, shape)
    return _norse(module, shape, decay=decay, gain=gain, rest=module.p.v_leak, ops=_norse_synapse(module, shape))


def _norse_lif_box(module: Any, shape: Shape) -> Leaf:
    decay, gain = _norse_constants(module, shape)
    return _norse(module, shape, decay=decay, gain=gain, rest=module.p.v_leak)


def _norse_iaf(module: Any, shape: Shape) -> Leaf:
    return _norse(module, shape, decay=1.0, gain=1.0, rest=module.p.v_reset)


def _norse_li(module: Any, shape: Shape) -> Leaf:
    leaf = _norse_li_box(module, shape)
    return Leaf(time=leaf.time, ops=(*_norse_synapse(module, shape), *leaf.ops))


def _norse_li_box(module: Any, shape: Shape) -> Leaf:
    decay, gain = _norse_constants(module, shape)
    rest = _constant(module.p.v_leak, shape)
    membrane = LeakyMembrane(decay=decay, gain=gain, rest=rest, start=rest, reset="none")
    return Leaf(time=None if type(module).__name__.endswith("Cell") else 0, ops=(membrane,))


# Sinabs.


def _sinabs(module: Any, shape: Shape) -> Leaf:
    with torch.no_grad():
        alpha = _constant(module.alpha_mem_calculated, shape)
        alpha_syn = module.alpha_syn_calculated
        synapse = None if alpha_syn is None else _constant(alpha_syn, shape)
    gain = 1 - alpha if module.norm_input else 1.0
    time = -1 if "Squeeze" in type(module).__name__ or _inherits_squeeze(module) else 1
    ops: tuple[Op, ...] = ()
    if synapse is not None:
        if not isinstance(synapse, float):
            raise UnsupportedError("time constants of synapses that differ between neurons cannot be traced")
        ops = (Filter(decay=synapse), Scale(factor=synapse))
    if module.spike_fn is None:
        return Leaf(time=time, ops=(*ops, LeakyMembrane(decay=alpha, gain=gain, reset="none", floor=_floor(module))))
    return Leaf(time=time, ops=(*ops, _sinabs_spikes(module, shape, alpha, gain)))


def _inherits_squeeze(module: Any) -> bool:
    return any(c.__name__ == "SqueezeMixin" for c in type(module).__mro__)


def _floor(module: Any) -> float | None:
    return None if module.min_v_mem is None else float(module.min_v_mem)


def _sinabs_spikes(module: Any, shape: Shape, decay: Any, gain: Any) -> Op:
    threshold = _constant(module.spike_threshold, shape)
    spikes, reset = getattr(module.spike_fn, "__name__", type(module.spike_fn).__name__), type(module.reset_fn).__name__
    if reset not in ("MembraneSubtract", "MembraneReset"):
        raise UnsupportedError(f"the reset function {reset} cannot be traced; use MembraneSubtract or MembraneReset")
    if reset == "MembraneReset" and module.reset_fn.reset_value != 0:
        raise UnsupportedError("MembraneReset adds its value to silent neurons as well; only 0 can be traced")
    taken = getattr(module.reset_fn, "subtract_value", None)
    if spikes == "SingleSpike":
        return _plain(
            LeakyNeuron(
                decay=decay, gain=gain, threshold=threshold, fires="ge", floor=_floor(module),
                reset="soft" if reset == "MembraneSubtract" else "hard",
                subtract=None if taken is None else float(taken),
            )
        )  # fmt: skip
    if spikes not in ("MultiSpike", "MaxSpike"):
        raise UnsupportedError(f"the spike function {spikes} cannot be traced; use SingleSpike, MultiSpike or MaxSpike")
    if not all(isinstance(value, float) for value in (decay, gain, threshold)):
        raise UnsupportedError("several spikes a step with constants that differ between neurons cannot be traced")
    if reset == "MembraneReset":
        raise UnsupportedError("several spikes a step with a reset to zero cannot be traced; use MembraneSubtract")
    return IntegerNeuron(
        levels=getattr(module.spike_fn, "max_num_spikes_per_bin", None), rounding="down", decay=float(decay),
        gain=float(gain), quantum=float(threshold), subtract=float(threshold if taken is None else taken),
        floor=_floor(module),
    )  # fmt: skip


# MS-ResNet, whose code and that of its followers brings a neuron of its own.


def _mem_update(module: Any, shape: Shape) -> Leaf:
    """``mem = decay * mem * (1 - spike) + x``, spikes above ``thresh``; both are globals of the class's module.

    Source: Hu et al. 2024, arXiv:2112.08954, equations 1 to 3; what other classes of the name do differs, which the
    comparison with the module's own result finds.
    """
    names = vars(sys.modules[type(module).__module__])
    decay, threshold = names.get("decay"), names.get("thresh")
    if not isinstance(decay, float) or not isinstance(threshold, float) or not 0 <= decay < 1:
        raise UnsupportedError("a neuron called mem_update without the constants decay and thresh in its module")
    op = Neuron(tau=1 / (1 - decay), decay_input=False, threshold=threshold, fires="gt", reset="hard", v_reset=0.0)
    return Leaf(time=0, ops=(op,))


LIBRARIES: dict[str, dict[str, Callable[[Any, Shape], Leaf]]] = {
    "spikingjelly": {
        **dict.fromkeys(("IFNode", "MultiStepIFNode"), _jelly_if),
        **dict.fromkeys(("LIFNode", "MultiStepLIFNode"), _jelly_lif),
        **dict.fromkeys(("ParametricLIFNode", "MultiStepParametricLIFNode"), _jelly_plif),
    },
    "snntorch": {
        "Leaky": _leaky,
        "Synaptic": _synaptic,
        "RLeaky": _recurrent_leaky,
        "RSynaptic": _recurrent_synaptic,
    },
    "norse": {
        **dict.fromkeys(("LIF", "LIFCell"), _norse_lif),
        "LIFBoxCell": _norse_lif_box,
        **dict.fromkeys(("IAF", "IAFCell"), _norse_iaf),
        **dict.fromkeys(("LI", "LICell"), _norse_li),
        "LIBoxCell": _norse_li_box,
    },
    "sinabs": dict.fromkeys(("LIF", "LIFSqueeze", "IAF", "IAFSqueeze", "ExpLeak", "ExpLeakSqueeze"), _sinabs),
}
"""Makers of leaves by library and class."""
