"""A plain PyTorch Spikformer in the three file layouts, written from the paper and the published key names.

Reference for the importer: state dict keys and shapes as upstream saves them, forward pass in whatever dtype the module
has, spikes of every neuron layer kept in ``spikes``.
"""

from __future__ import annotations

import torch
from torch import nn


class LIF(nn.Module):
    """v += (x - v) / tau; spike at v >= threshold; v = 0. Time is the first axis."""

    def __init__(self, threshold=1.0, tau=2.0):
        super().__init__()
        self.threshold, self.tau = threshold, tau
        self.spikes = None

    def forward(self, x):
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = v + (current - v) / self.tau
            spike = (v >= self.threshold).to(x.dtype)
            v = torch.where(spike > 0, torch.zeros_like(v), v)
            out.append(spike)
        self.spikes = torch.stack(out)
        return self.spikes


def over_steps(layer, x):
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Matrix(nn.Module):
    """Linear, Conv1d or Conv2d of kernel 1 plus batch norm on tokens (T, B, N, C); holds no name of its own."""

    @staticmethod
    def make(kind, inputs, outputs, bias):
        if kind == "linear":
            return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs)
        if kind == "conv1d":
            return nn.Conv1d(inputs, outputs, 1, bias=bias), nn.BatchNorm1d(outputs)
        return nn.Conv2d(inputs, outputs, 1, bias=bias), nn.BatchNorm2d(outputs)

    @staticmethod
    def apply(layer, norm, x):
        if isinstance(layer, nn.Linear):
            y = layer(x.flatten(0, 1))
            return norm(y.transpose(1, 2)).transpose(1, 2).unflatten(0, x.shape[:2])
        y = x.flatten(0, 1).transpose(1, 2)
        y = y.unsqueeze(-1) if isinstance(layer, nn.Conv2d) else y
        return norm(layer(y)).flatten(2).transpose(1, 2).unflatten(0, x.shape[:2])


class Attention(nn.Module):
    def __init__(self, dim, heads, layout):
        super().__init__()
        self.heads, self.layout = heads, layout
        for stem in ("q", "k", "v", "proj"):
            layer, norm = Matrix.make(layout["attention"], dim, dim, stem == "proj")
            setattr(self, f"{stem}_{layout['layer']}", layer)
            setattr(self, f"{stem}_bn", norm)
            setattr(self, f"{stem}_lif", LIF())
        self.attn_lif = LIF(threshold=0.5)

    def step(self, stem, x):
        layer, norm = getattr(self, f"{stem}_{self.layout['layer']}"), getattr(self, f"{stem}_bn")
        return getattr(self, f"{stem}_lif")(Matrix.apply(layer, norm, x))

    def forward(self, x):
        q, k, v = (self.step(s, x).unflatten(3, (self.heads, -1)).transpose(2, 3) for s in "qkv")
        y = (q @ k.mT @ v) * self.layout["scale"]
        return self.step("proj", self.attn_lif(y.transpose(2, 3).flatten(3)))


class MLP(nn.Module):
    def __init__(self, dim, hidden, layout):
        super().__init__()
        self.layer = layout["layer"]
        for stem, sizes in (("fc1", (dim, hidden)), ("fc2", (hidden, dim))):
            layer, norm = Matrix.make(layout["mlp"], *sizes, True)
            setattr(self, f"{stem}_{self.layer}", layer)
            setattr(self, f"{stem}_bn", norm)
            setattr(self, f"{stem}_lif", LIF())

    def forward(self, x):
        for stem in ("fc1", "fc2"):
            layer, norm = getattr(self, f"{stem}_{self.layer}"), getattr(self, f"{stem}_bn")
            x = getattr(self, f"{stem}_lif")(Matrix.apply(layer, norm, x))
        return x


class Block(nn.Module):
    def __init__(self, dim, heads, hidden, layout):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, layout)
        self.mlp = MLP(dim, hidden, layout)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Stem(nn.Module):
    def __init__(self, channels, dim, pools, cml=False):
        super().__init__()
        self.pools, self.cml = pools, cml
        self.stages = ["block1_*", "block2_*", "block3_*", "block4_*"] if cml else [f"proj_*{i}" for i in ("", 1, 2, 3)]
        for i, name in enumerate(self.stages):
            width = dim >> (3 - i)
            setattr(self, name.replace("*", "conv"), nn.Conv2d(channels, width, 3, padding=1, bias=False))
            setattr(self, name.replace("*", "bn"), nn.BatchNorm2d(width))
            setattr(self, name.replace("*", "lif"), LIF())
            channels = width
        self.rpe_conv = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(dim)
        self.rpe_lif = LIF()

    def forward(self, x):
        for i, name in enumerate(self.stages):
            conv, norm, lif = (getattr(self, name.replace("*", part)) for part in ("conv", "bn", "lif"))
            x = over_steps(norm, over_steps(conv, x))
            pools = i >= 4 - self.pools
            x = self._pool(x) if pools and self.cml else x
            x = lif(x)
            x = self._pool(x) if pools and not self.cml else x
        x = x + self.rpe_lif(over_steps(self.rpe_bn, over_steps(self.rpe_conv, x)))
        return x.flatten(3).transpose(2, 3)

    @staticmethod
    def _pool(x):
        return over_steps(lambda y: nn.functional.max_pool2d(y, 3, 2, 1), x)


LAYOUTS = {
    "spikformer-cml": {"layer": "linear", "attention": "linear", "mlp": "linear", "scale": 0.125, "pools": 2},
    "spikformer-cifar": {"layer": "linear", "attention": "linear", "mlp": "linear", "scale": 0.125, "pools": 2},
    "spikformer-imagenet": {"layer": "conv", "attention": "conv1d", "mlp": "conv2d", "scale": 0.125, "pools": 4},
    "spikformer-dvs": {"layer": "conv", "attention": "conv1d", "mlp": "conv1d", "scale": 0.25, "pools": 4},
}


class Spikformer(nn.Module):
    """Images (B, C, H, W), repeated T times, or (T, B, C, H, W) -> logits (B, classes)."""

    def __init__(self, layout, *, steps, channels=3, dim=32, heads=4, depth=2, tokens=0, classes=10):
        super().__init__()
        details = LAYOUTS[layout]
        self.steps = steps
        self.patch_embed = Stem(channels, dim, details["pools"], cml=layout == "spikformer-cml")
        self.block = nn.ModuleList(Block(dim, heads, 4 * dim, details) for _ in range(depth))
        self.head = nn.Linear(dim, classes)
        if layout == "spikformer-dvs":
            self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))
            self.norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = x if x.ndim == 5 else x.expand(self.steps, *x.shape)
        x = self.patch_embed(x)
        for block in self.block:
            x = block(x)
        return self.head(x.mean(2).mean(0))


def calibrated(model, x, seed):
    """The model in evaluation mode with batch norms that let neurons fire: statistics of ``x``, random affine."""
    generator = torch.Generator().manual_seed(seed)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.momentum = None
            norm.weight.copy_(1 + torch.rand(norm.weight.shape, generator=generator))
            norm.bias.copy_(0.3 + torch.rand(norm.bias.shape, generator=generator))
        model.train()
        model(x)
    return model.eval()
