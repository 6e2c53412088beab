"""A LIF as models bundle it in a copy of SpikingJelly."""

from __future__ import annotations

import torch
from torch import nn


class LIFNode(nn.Module):
    """SpikingJelly's LIFNode as models bundle it: known by its package and name."""

    def __init__(self, step_mode="m", tau=2.0, v_threshold=1.0, v_reset=0.0, decay_input=True):
        super().__init__()
        self.step_mode, self.tau, self.v_threshold, self.v_reset = step_mode, tau, v_threshold, v_reset
        self.decay_input, self.v = decay_input, 0.0

    def surrogate_function(self, x):
        return (x >= 0).to(x)

    def reset(self):
        self.v = 0.0

    def step(self, x):
        self.v = self.v + (x - self.v) / self.tau
        spike = self.surrogate_function(self.v - self.v_threshold)
        self.v = self.v * (1 - spike)
        return spike

    def forward(self, x):
        return torch.stack([self.step(part) for part in x]) if self.step_mode == "m" else self.step(x)


LIFNode.__module__ = "models.spikingjelly.clock_driven.neuron"
