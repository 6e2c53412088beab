"""A Spikformer in plain PyTorch with the parameter names and shapes of the upstream CIFAR model.

Zhou et al. 2023, "Spikformer: When Spiking Neural Network Meets Transformer" (ICLR). Tensors carry the time axis first:
(T, B, C, H, W) in the stem, (T, B, N, D) in the blocks. Neurons hold no state between calls, so every call starts at
rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Spike(torch.autograd.Function):
    """Heaviside step with the arc-tangent surrogate derivative 1 / (1 + (pi x)^2)."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        """1 where ``x >= 0``, else 0."""
        ctx.save_for_backward(x)
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> Tensor:
        """``grad`` times the surrogate derivative."""
        (x,) = ctx.saved_tensors
        return grad / (1 + (math.pi * x) ** 2)


class LIF(nn.Module):
    """``v += (x - v) / tau``; spike if ``v >= threshold``; then ``v = 0``. The gradient ignores the reset."""

    def __init__(self, threshold: float = 1.0, tau: float = 2.0) -> None:
        super().__init__()
        self.threshold = threshold
        self.tau = tau

    def forward(self, x: Tensor) -> Tensor:
        """Currents (T, ...) to spikes of the same shape and dtype."""
        v = torch.zeros_like(x[0])
        spikes = []
        for current in x:
            v = v + (current - v) / self.tau
            spike = Spike.apply(v - self.threshold)
            v = v * (1 - spike.detach())
            spikes.append(spike)
        return torch.stack(spikes)


def per_step(layer: nn.Module, x: Tensor) -> Tensor:
    """Apply a stateless ``layer`` to (T, B, ...) as one batch of T * B."""
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def linear_bn(linear: nn.Linear, norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Linear and batch norm over the last axis of (T, B, N, D)."""
    flat = linear(x).flatten(0, 2)
    return norm(flat).unflatten(0, x.shape[:3])


class PatchEmbed(nn.Module):
    """Spiking patch splitting: four conv-BN-LIF stages, 3x3 max pools after the last two, and the position branch."""

    def __init__(self, in_channels: int, dim: int) -> None:
        super().__init__()
        widths = [in_channels, dim // 8, dim // 4, dim // 2, dim]
        for i, suffix in enumerate(("", "1", "2", "3")):
            self.add_module(f"proj_conv{suffix}", nn.Conv2d(widths[i], widths[i + 1], 3, padding=1, bias=False))
            self.add_module(f"proj_bn{suffix}", nn.BatchNorm2d(widths[i + 1]))
            self.add_module(f"proj_lif{suffix}", LIF())
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.rpe_conv = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.rpe_bn = nn.BatchNorm2d(dim)
        self.rpe_lif = LIF()

    def forward(self, images: Tensor, steps: int) -> Tensor:
        """Images (B, C, H, W) to tokens (T, B, H / 4 * W / 4, D) with values 0, 1, 2."""
        # A static image gives the same first current at every step: convolve once and replay.
        x = self.proj_bn(self.proj_conv(images)).expand(steps, -1, -1, -1, -1)
        x = self.proj_lif(x)
        x = self.proj_lif1(per_step(self.proj_bn1, per_step(self.proj_conv1, x)))
        x = self.proj_lif2(per_step(self.proj_bn2, per_step(self.proj_conv2, x)))
        x = per_step(self.maxpool, x)
        x = self.proj_lif3(per_step(self.proj_bn3, per_step(self.proj_conv3, x)))
        x = per_step(self.maxpool, x)
        x = x + self.rpe_lif(per_step(self.rpe_bn, per_step(self.rpe_conv, x)))
        return x.flatten(3).transpose(2, 3)


class Attention(nn.Module):
    """Spiking self-attention: LIF(scale * (q k^T) v) with binary q, k, v and no softmax."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 0.125
        for name in ("q", "k", "v", "proj"):
            self.add_module(f"{name}_linear", nn.Linear(dim, dim))
            self.add_module(f"{name}_bn", nn.BatchNorm1d(dim))
            self.add_module(f"{name}_lif", LIF())
        self.attn_lif = LIF(threshold=0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Spike counts (T, B, N, D) to spikes (T, B, N, D)."""
        q = self._split(self.q_lif(linear_bn(self.q_linear, self.q_bn, x)))
        k = self._split(self.k_lif(linear_bn(self.k_linear, self.k_bn, x)))
        v = self._split(self.v_lif(linear_bn(self.v_linear, self.v_bn, x)))
        y = ((q @ k.transpose(-2, -1)) * self.scale) @ v
        y = self.attn_lif(y.transpose(2, 3).flatten(3))
        return self.proj_lif(linear_bn(self.proj_linear, self.proj_bn, y))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(3, (self.heads, -1)).transpose(2, 3)


class MLP(nn.Module):
    """Two linear-BN-LIF stages."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1_linear = nn.Linear(dim, hidden)
        self.fc1_bn = nn.BatchNorm1d(hidden)
        self.fc1_lif = LIF()
        self.fc2_linear = nn.Linear(hidden, dim)
        self.fc2_bn = nn.BatchNorm1d(dim)
        self.fc2_lif = LIF()

    def forward(self, x: Tensor) -> Tensor:
        """Spike counts (T, B, N, D) to spikes (T, B, N, D)."""
        x = self.fc1_lif(linear_bn(self.fc1_linear, self.fc1_bn, x))
        return self.fc2_lif(linear_bn(self.fc2_linear, self.fc2_bn, x))


class Block(nn.Module):
    """``x + attention``, then ``x + mlp``; ``norm1`` and ``norm2`` are never called, as upstream."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, dim * mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        """Spike counts (T, B, N, D) to spike counts at most two higher."""
        x = x + self.attn(x)
        return x + self.mlp(x)


class Spikformer(nn.Module):
    """Images (B, C, H, W) to logits (B, classes): mean over tokens, mean over steps, linear head."""

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        dim: int,
        num_heads: int,
        layer: int,
        mlp_ratio: int,
        time_step: int,
    ) -> None:
        super().__init__()
        self.steps = time_step
        self.patch_embed = PatchEmbed(in_channels, dim)
        self.block = nn.ModuleList(Block(dim, num_heads, mlp_ratio) for _ in range(layer))
        self.head = nn.Linear(dim, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Run all steps from rest."""
        x = self.patch_embed(images, self.steps)
        for block in self.block:
            x = block(x)
        return self.head(x.mean(2).mean(0))
