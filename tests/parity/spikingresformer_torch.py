"""A plain PyTorch SpikingResformer, written from the paper and the published key names."""

from __future__ import annotations

import torch
from torch import nn

from tests.parity.spikformer_torch import LIF, over_steps


class LearnedLIF(LIF):
    """1 / tau = sigmoid(w)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(0.5 * torch.randn(()))

    def forward(self, x):
        self.tau = 1 / self.w.sigmoid()
        return super().forward(x)


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x):
        return over_steps(self.bn, x)


class Conv(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel, stride=1, padding=None, groups=1):
        padding = kernel // 2 if padding is None else padding
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, x):
        return over_steps(super().forward, x)


class DSSA(nn.Module):
    def __init__(self, width, heads, patch, size, neuron):
        super().__init__()
        self.heads, self.depth, self.positions = heads, width // heads, (size // patch) ** 2
        self.register_buffer("firing_rate_x", torch.zeros(1, 1, heads, 1, 1))
        self.register_buffer("firing_rate_attn", torch.zeros(1, 1, heads, 1, 1))
        self.activation_in, self.activation_attn, self.activation_out = neuron(), neuron(), neuron()
        self.W, self.norm = Conv(width, 2 * width, patch, patch, 0), Norm(2 * width)
        self.Wproj, self.norm_proj = Conv(width, width, 1), Norm(width)

    def scaled(self, product, name, spikes, length):
        if self.training:
            setattr(self, name, spikes.mean((0, 1, 3, 4), keepdim=True).clamp(min=0.01))
        return product / torch.sqrt(getattr(self, name) * length)

    def forward(self, x):
        spikes = self.activation_in(x)
        y = self.norm(self.W(spikes)).flatten(3).unflatten(2, (self.heads, -1))
        first, second = y[:, :, :, : self.depth], y[:, :, :, self.depth :]
        tokens = spikes.flatten(3).unflatten(2, (self.heads, -1))
        attention = self.activation_attn(self.scaled(first.mT @ tokens, "firing_rate_x", tokens, self.depth))
        out = self.scaled(second @ attention, "firing_rate_attn", attention, self.positions)
        out = self.activation_out(out.flatten(2, 3).unflatten(3, x.shape[3:]))
        return x + self.norm_proj(self.Wproj(out))


class GWFFN(nn.Module):
    def __init__(self, width, group, neuron):
        super().__init__()
        hidden = 4 * width
        self.up = nn.Sequential(neuron(), Conv(width, hidden, 1), Norm(hidden))
        inner = nn.Sequential(neuron(), Conv(hidden, hidden, 3, groups=hidden // group), Norm(hidden))
        self.conv = nn.ModuleList([inner])
        self.down = nn.Sequential(neuron(), Conv(hidden, width, 1), Norm(width))

    def forward(self, x):
        y = self.up(x)
        return x + self.down(y + self.conv[0](y))


class Downsampling(nn.Module):
    def __init__(self, inputs, outputs, neuron):
        super().__init__()
        self.conv, self.norm, self.activation = Conv(inputs, outputs, 3, 2), Norm(outputs), neuron()

    def forward(self, x):
        return self.norm(self.conv(self.activation(x)))


class Pool(nn.MaxPool2d):
    def forward(self, x):
        return over_steps(super().forward, x)


class SpikingResformer(nn.Module):
    """Images (B, C, H, W) or (T, B, C, H, W) -> logits of every step (T, B, classes)."""

    def __init__(self, *, steps, size, planes, heads, patches, repeats, large, learned=False, group=8, classes=10):
        super().__init__()
        self.steps, neuron = steps, LearnedLIF if learned else LIF
        stem = [Conv(3, planes[0], 7 if large else 3, 2 if large else 1), Norm(planes[0])]
        self.prologue = nn.Sequential(*stem, *([Pool(3, 2, 1)] if large else []))
        size = size // 4 if large else size
        self.layers = nn.Sequential()
        for i, width in enumerate(planes):
            stage = nn.Sequential()
            if i:
                stage.append(Downsampling(planes[i - 1], width, neuron))
                size //= 2
            for _ in range(repeats[i]):
                stage.append(DSSA(width, heads[i], patches[i], size, neuron))
                stage.append(GWFFN(width, group, neuron))
            self.layers.append(stage)
        self.classifier = nn.Linear(planes[-1], classes, bias=False)

    def forward(self, x):
        x = x if x.ndim == 5 else x.expand(self.steps, *x.shape)
        return self.classifier(self.layers(self.prologue(x)).mean((3, 4)))
