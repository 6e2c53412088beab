"""Neurons of other frameworks than SpikingJelly, whose constants may differ from neuron to neuron."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from compiler.ir.ops.affine import check_repeats
from compiler.ir.ops.base import Floats, Op, Weights, sole
from compiler.ir.types import TensorType
from neurochip.errors import GraphError

Reset = Literal["hard", "late", "soft", "delayed", "lagging", "blank", "none"]
RESETS: tuple[Reset, ...] = get_args(Reset)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeakyNeuron(Op):
    """Neurons ``v = rest + decay (v - rest) + gain x`` that fire at their threshold; v = ``start`` at the start.

    What firing does to v, by ``reset``:

    - ``hard``: v = v_reset; ``late``: the same at the beginning of the next step (snnTorch's "zero");
    - ``soft``: v = v - subtract; ``none``: nothing;
    - ``delayed``: ``subtract`` is taken off behind the decay of the next step (snnTorch's "subtract");
    - ``lagging``: as soft, but a v that stays above the threshold is charged ``subtract`` before the next firing
      instead of behind it (snnTorch's "subtract" without reset_delay);
    - ``blank``: v is 0 in the whole next step (snnTorch's "zero" of neurons with currents).

    Every constant is a number, or an array with as many axes as ``shape``, each as long or of size 1.

    Attributes:
        subtract: None = threshold.
        floor: the lowest v, None = no limit; applied last.
    Source: snnTorch (Leaky, Synaptic, Lapicque), Norse (LIF, LIFBox), Sinabs (LIF with SingleSpike): their
        documented equations.
    """

    mnemonic: ClassVar[str] = "leaky_neuron"
    per_step: ClassVar[bool] = True
    is_neuron: ClassVar[bool] = True
    decay: float | Weights
    gain: float | Weights = 1.0
    rest: float | Weights = 0.0
    start: float | Weights = 0.0
    threshold: float | Weights = 1.0
    fires: Literal["ge", "gt"] = "gt"
    reset: Reset = "hard"
    v_reset: float | Weights = 0.0
    subtract: float | Weights | None = None
    floor: float | None = None

    def infer(self, *types: TensorType) -> TensorType:
        x = sole(types)
        if not x.timed:
            raise GraphError("a neuron needs a value for every time step, got one after a mean over time")
        if self.fires not in ("ge", "gt"):
            raise GraphError(f"expected fires to be 'ge' or 'gt', got {self.fires!r}")
        if self.reset not in RESETS:
            raise GraphError(f"expected reset to be one of {', '.join(RESETS)}, got {self.reset!r}")
        for name in ("decay", "gain", "rest", "start", "threshold", "v_reset", "subtract"):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                check_repeats(name, value, x)
            if value is not None and not np.isfinite(value).all():
                raise GraphError(f"expected a finite {name}, got {value}")
        return TensorType.spikes(x.shape)

    def reference(self, *xs: Floats) -> Floats:
        return np.stack([spikes for spikes, _ in self._steps(xs[0])])

    def _steps(self, x: Floats) -> Iterator[tuple[Floats, Floats]]:
        """Spikes and membranes of each step."""
        subtract = self.threshold if self.subtract is None else self.subtract
        v = np.zeros(x.shape[1:]) + self.start
        late = self.reset in ("delayed", "lagging")
        for current in x:
            owed = self._fired(v) * subtract if late else 0.0
            blank = self._fired(v) if self.reset == "blank" else None
            if self.reset == "late":
                v = np.where(self._fired(v), self.v_reset, v)
            v = self.rest + self.decay * (v - self.rest) + self.gain * current - owed
            v = v if blank is None else np.where(blank, 0.0, v)
            fired = self._fired(v)
            if self.reset == "hard":
                v = np.where(fired, self.v_reset, v)
            elif self.reset == "soft":
                v = v - fired * subtract
            elif self.reset == "lagging":
                v = v - (fired * subtract - owed)
            if self.floor is not None:
                v = np.maximum(v, self.floor)
            yield fired.astype(np.float64), v

    def _fired(self, v: Floats) -> NDArray[np.bool_]:
        fired: NDArray[np.bool_] = v >= self.threshold if self.fires == "ge" else v > self.threshold
        return fired


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeakyMembrane(LeakyNeuron):
    """The membranes of such neurons at the end of each step."""

    mnemonic: ClassVar[str] = "leaky_membrane"
    is_neuron: ClassVar[bool] = False

    def infer(self, *types: TensorType) -> TensorType:
        # The explicit form of super() because dataclass(slots=True) replaces the class.
        return TensorType(LeakyNeuron.infer(self, *types).shape)

    def reference(self, *xs: Floats) -> Floats:
        return np.stack([membrane for _, membrane in self._steps(xs[0])])
