"""A neuron whose time runs through the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from compiler.ir.ops.base import Floats
from compiler.ir.ops.neuron import Neuron


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialNeuron(Neuron):
    """Neurons that take the images of a batch for further time steps: image b at step t is their step ``t * B + b``.

    So computes a multi-step neuron that is given (T * B, ...) where (T, B, ...) was meant, and images of one batch
    influence each other. With one image at a time, as on a chip, it is a ``Neuron``.
    Source: the ``proj_lif`` of spiking self-attention in the authors' code of QKFormer (arXiv:2403.16552).
    """

    mnemonic: ClassVar[str] = "serial_neuron"
    whole_batch: ClassVar[bool] = True

    def reference(self, *xs: Floats) -> Floats:
        (x,) = xs
        steps, batch = x.shape[:2]
        # The explicit form of super() because dataclass(slots=True) replaces the class.
        serial = Neuron.reference(self, x.reshape(steps * batch, 1, *x.shape[2:]))
        return serial.reshape(x.shape)
