"""Two single-step spiking transformers for digits, in SpikingJelly: built to fit crossbars of 64 four-bit inputs.

``MetaDigits`` follows Meta-SpikeFormer (Yao et al. 2024, "Spike-driven Transformer V2", ICLR): membrane shortcuts and
SDSA-3, q (k^T v). ``QKDigits`` follows QKFormer (Zhou et al. 2024, NeurIPS): spike shortcuts and QK token attention.
Both cut images (B, 1, 16, 16) into 16 tokens by a convolution of 2 x 2 on the spikes of the first layer. T = 1, so no
leak acts.
"""

from __future__ import annotations

from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn


def spike(threshold: float = 1.0) -> nn.Module:
    """Neurons that fire at ``v >= threshold``, without leak."""
    return neuron.IFNode(v_threshold=threshold, surrogate_function=surrogate.ATan(), detach_reset=True)


class Tokens(nn.Sequential):
    """Linear and batch norm on the last axis of (B, N, D)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, inputs) to (B, N, outputs)."""
        return self.norm(self.linear(x).transpose(1, 2)).transpose(1, 2)


class Patches(nn.Module):
    """Conv-BN-IF at stride 2, then Conv-BN of 2 x 2 at stride 2: images to currents (B, 16, dim)."""

    def __init__(self, stem: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, stem, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(stem)
        self.lif = spike()
        self.cut = nn.Conv2d(stem, dim, 2, stride=2, bias=False)
        self.cut_norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, 16, 16) to (B, 16, dim)."""
        x = self.lif(self.norm(self.conv(x)))
        return self.cut_norm(self.cut(x)).flatten(2).transpose(1, 2)


class Sdsa3(nn.Module):
    """SDSA-3: IF(q (k^T v) scale), then Linear-BN."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 0.125
        for name in "qkv":
            self.add_module(name, Tokens(dim, dim))
            self.add_module(f"{name}_lif", spike())
        self.attn_lif = spike(0.5)
        self.proj = Tokens(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (B, N, dim) to currents (B, N, dim)."""
        q, k, v = (lif(layer(x)).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer, lif in self._parts())
        y = (q @ (k.transpose(2, 3) @ v)) * self.scale
        return self.proj(self.attn_lif(y.transpose(1, 2).flatten(2)))

    def _parts(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        return ((self.q, self.q_lif), (self.k, self.k_lif), (self.v, self.v_lif))


class MetaDigits(nn.Module):
    """Patches, SDSA-3 and MLP on a membrane shortcut, linear head on all tokens."""

    def __init__(self, stem: int = 4, dim: int = 24, heads: int = 3, hidden: int = 24) -> None:
        super().__init__()
        self.patches = Patches(stem, dim)
        self.lif1 = spike()
        self.attn = Sdsa3(dim, heads)
        self.lif2 = spike()
        self.fc1 = Tokens(dim, hidden)
        self.fc1_lif = spike()
        self.fc2 = Tokens(hidden, dim)
        self.head_lif = spike()
        self.head = nn.Linear(16 * dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 16, 16) to logits (B, 10)."""
        x = self.patches(x)
        x = x + self.attn(self.lif1(x))
        x = x + self.fc2(self.fc1_lif(self.fc1(self.lif2(x))))
        return self.head(self.head_lif(x).flatten(1))


class QKTokenAttention(nn.Module):
    """QK token attention: a token's keys pass where the sum of its queries makes a neuron fire, head by head."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.q_lif = Tokens(dim, dim), spike()
        self.k, self.k_lif = Tokens(dim, dim), spike()
        self.attn_lif = spike()
        self.proj, self.proj_lif = Tokens(dim, dim), spike()
        for layer in (self.q, self.proj):  # start alive: a mask that never opens learns nothing
            nn.init.constant_(layer.norm.bias, 0.8)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (B, N, dim) to spikes (B, N, dim)."""
        q = self.q_lif(self.q(x)).unflatten(2, (self.heads, -1))
        k = self.k_lif(self.k(x)).unflatten(2, (self.heads, -1))
        mask = self.attn_lif(q.sum(3, keepdim=True))
        return self.proj_lif(self.proj((mask * k).flatten(2)))


class QKDigits(nn.Module):
    """Patches, QK token attention and MLP on a spike shortcut, linear head on all tokens."""

    def __init__(self, stem: int = 14, dim: int = 28, heads: int = 4, hidden: int = 56) -> None:
        super().__init__()
        self.patches = Patches(stem, dim)
        self.patch_lif = spike()
        self.attn = QKTokenAttention(dim, heads)
        self.fc1, self.fc1_lif = Tokens(dim, hidden), spike()
        self.fc2, self.fc2_lif = Tokens(hidden, dim), spike()
        self.head = nn.Linear(16 * dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 16, 16) to logits (B, 10)."""
        x = self.patch_lif(self.patches(x))
        x = x + self.attn(x)
        x = x + self.fc2_lif(self.fc2(self.fc1_lif(self.fc1(x))))
        return self.head(x.flatten(1))
