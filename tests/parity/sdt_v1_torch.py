"""A plain PyTorch Spike-driven Transformer V1, written from the paper and the published key names."""

from __future__ import annotations

import torch
from torch import nn

from tests.parity.spikformer_torch import LIF, over_steps


class PLIF(LIF):
    """1 / tau = sigmoid(w), one w a layer."""

    def __init__(self, threshold=1.0):
        super().__init__(threshold)
        self.w = nn.Parameter(torch.randn(()) / 2)

    def forward(self, x):
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = v + (current - v) * self.w.sigmoid()
            spike = (v >= self.threshold).to(x.dtype)
            v = torch.where(spike > 0, torch.zeros_like(v), v)
            out.append(spike)
        self.spikes = torch.stack(out)
        return self.spikes


def neuron(learned, threshold=1.0):
    return PLIF(threshold) if learned else LIF(threshold)


def pool(x, stride=1):
    return over_steps(lambda y: nn.functional.max_pool2d(y, 3, stride, 1), x)


class Stem(nn.Module):
    def __init__(self, channels, dim, pools, learned):
        super().__init__()
        self.pools = pools
        for i, name in enumerate(("", "1", "2", "3")):
            width = dim >> (3 - i)
            setattr(self, f"proj_conv{name}", nn.Conv2d(channels, width, 3, padding=1, bias=False))
            setattr(self, f"proj_bn{name}", nn.BatchNorm2d(width))
            setattr(self, f"proj_lif{name}", neuron(learned))
            channels = width
        self.rpe_conv = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(dim)
        self.rpe_lif = neuron(learned)

    def forward(self, x):
        for i, name in enumerate(("", "1", "2", "3")):
            conv, norm = getattr(self, f"proj_conv{name}"), getattr(self, f"proj_bn{name}")
            x = over_steps(lambda y, conv=conv, norm=norm: norm(conv(y)), x)
            x = getattr(self, f"proj_lif{name}")(x) if i < 3 else x
            x = pool(x, 2) if self.pools[i] == "1" else x
        return x + over_steps(lambda y: self.rpe_bn(self.rpe_conv(y)), self.proj_lif3(x))


class Attention(nn.Module):
    def __init__(self, dim, heads, learned, events):
        super().__init__()
        self.heads, self.events = heads, events
        for s in "qkv":
            setattr(self, f"{s}_conv", nn.Conv2d(dim, dim, 1, bias=False))
            setattr(self, f"{s}_bn", nn.BatchNorm2d(dim))
            setattr(self, f"{s}_lif", neuron(learned))
        self.attn_lif, self.talking_heads_lif = neuron(learned, 0.5), neuron(learned, 0.5)
        self.talking_heads = nn.Conv1d(heads, heads, 1, bias=False)
        self.proj_conv, self.proj_bn = nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim)
        self.shortcut_lif = neuron(learned)

    def forward(self, x):  # (T, B, C, H, W)
        s = self.shortcut_lif(x)
        spikes = []
        for name in "qkv":
            conv, norm, lif = (getattr(self, f"{name}_{part}") for part in ("conv", "bn", "lif"))
            y = lif(over_steps(lambda z, conv=conv, norm=norm: norm(conv(z)), s))
            y = pool(y) if self.events and name != "q" else y
            spikes.append(y.flatten(3).unflatten(2, (self.heads, -1)).mT)  # (T, B, h, N, d)
        q, k, v = spikes
        kv = self._pool(k * v).sum(dim=3, keepdim=True)
        y = self._pool(q * self.talking_heads_lif(kv))
        y = y.mT.reshape(x.shape)
        return x + over_steps(lambda z: self.proj_bn(self.proj_conv(z)), y)

    def _pool(self, x):
        return pool(x) if self.events else x


class MLP(nn.Module):
    def __init__(self, dim, hidden, learned):
        super().__init__()
        self.fc1_conv, self.fc1_bn, self.fc1_lif = nn.Conv2d(dim, hidden, 1), nn.BatchNorm2d(hidden), neuron(learned)
        self.fc2_conv, self.fc2_bn, self.fc2_lif = nn.Conv2d(hidden, dim, 1), nn.BatchNorm2d(dim), neuron(learned)

    def forward(self, x):
        y = over_steps(lambda z: self.fc1_bn(self.fc1_conv(z)), self.fc1_lif(x))
        if y.shape == x.shape:
            x = y = x + y
        return x + over_steps(lambda z: self.fc2_bn(self.fc2_conv(z)), self.fc2_lif(y))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden, learned, events):
        super().__init__()
        self.attn = Attention(dim, heads, learned, events)
        self.mlp = MLP(dim, hidden, learned)

    def forward(self, x):
        return self.mlp(self.attn(x))


class SpikeDrivenTransformer(nn.Module):
    """Images (B, C, H, W), repeated T times, or (T, B, C, H, W) -> logits (B, classes); of every step if ``tet``."""

    def __init__(self, *, steps, pools, channels=3, dim=32, heads=4, ratio=4, learned=False, events=False, tet=False):
        super().__init__()
        self.steps, self.tet = steps, tet
        self.patch_embed = Stem(channels, dim, pools, learned)
        self.block = nn.ModuleList(Block(dim, heads, int(ratio * dim), learned, events) for _ in range(2))
        self.head_lif, self.head = neuron(learned), nn.Linear(dim, 10)

    def forward(self, x):
        x = self.patch_embed(x if x.ndim == 5 else x.expand(self.steps, *x.shape))
        for block in self.block:
            x = block(x)
        x = self.head(self.head_lif(x.flatten(3).mean(3)))
        return x if self.tet else x.mean(0)
