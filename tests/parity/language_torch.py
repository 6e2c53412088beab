"""Plain PyTorch SpikeGPT and SpikeBERT, written from the papers and the published key names. Time is the first axis."""

from __future__ import annotations

import torch
from torch import nn

from tests.parity.spikformer_torch import LIF


class Heaviside(LIF):
    def forward(self, x):
        self.spikes = (x >= 0).to(x.dtype)
        return self.spikes


def shifted(x):
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


class Mix(nn.Module):
    def mixed(self, letter, x):
        mix = getattr(self, f"time_mix_{letter}")[0]
        return x * mix + shifted(x) * (1 - mix)


class TimeMix(Mix):
    def __init__(self, width, size):
        super().__init__()
        self.time_decay, self.time_first = nn.Parameter(torch.randn(size)), nn.Parameter(torch.randn(size))
        for letter, name in zip("kvr", ("key", "value", "receptance"), strict=True):
            setattr(self, f"time_mix_{letter}", nn.Parameter(torch.rand(1, 1, width)))
            setattr(self, name, nn.Linear(width, size, bias=False))
        self.output = nn.Linear(size, width, bias=False)

    def forward(self, x):
        k, v, r = (
            getattr(self, name)(self.mixed(letter, x))
            for letter, name in zip("kvr", ("key", "value", "receptance"), strict=True)
        )
        w, results = -torch.exp(self.time_decay), []
        for t in range(len(x)):
            ages = torch.arange(t - 1, -1, -1, dtype=x.dtype).view(-1, 1, 1)
            weights = torch.cat([torch.exp(k[:t] + ages * w), torch.exp(self.time_first + k[t : t + 1])])
            results.append((weights * v[: t + 1]).sum(0) / weights.sum(0))
        return self.output(r.sigmoid() * torch.stack(results))


class ChannelMix(Mix):
    def __init__(self, width):
        super().__init__()
        self.time_mix_k, self.time_mix_r = (nn.Parameter(torch.rand(1, 1, width)) for _ in range(2))
        self.key, self.value = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)
        self.receptance = nn.Linear(width, width, bias=False)

    def forward(self, x):
        gate = self.receptance(self.mixed("r", x)).sigmoid()
        return gate * self.value(self.key(self.mixed("k", x)).relu() ** 2)


class GPTBlock(nn.Module):
    def __init__(self, width, size, first, pre):
        super().__init__()
        self.ln1, self.ln2, self.lif1, self.lif2 = nn.LayerNorm(width), nn.LayerNorm(width), LIF(), LIF()
        if first:
            self.ln0 = nn.LayerNorm(width)
        if first and pre:
            self.ffnPre = ChannelMix(width)
        else:
            self.att = TimeMix(width, size)
        self.ffn = ChannelMix(width)

    def forward(self, x):
        x = self.ln0(x) if hasattr(self, "ln0") else x
        branch = self.ffnPre if hasattr(self, "ffnPre") else self.att
        x = x + self.lif1(branch(self.ln1(x)))
        return x + self.lif2(self.ffn(self.ln2(x)))


class SpikeGPT(nn.Module):
    """Token numbers (T, B) -> logits (T, B, rows)."""

    def __init__(self, *, rows=30, width=16, depth=2, pre=False):
        super().__init__()
        self.emb, self.atan = nn.Embedding(rows, width), Heaviside()
        self.blocks = nn.Sequential(*(GPTBlock(width, width, i == 0, pre) for i in range(depth)))
        self.ln_out, self.head = nn.LayerNorm(width), nn.Linear(width, rows, bias=False)

    def forward(self, ids):
        return self.head(self.ln_out(self.blocks(self.atan(self.emb(ids)))))


class BERTAttention(nn.Module):
    def __init__(self, width, heads, tau):
        super().__init__()
        self.heads = heads
        for name in ("q", "k", "v", "last"):
            setattr(self, f"{name}_m", nn.Linear(width, width))
            setattr(self, f"{name}_ln", nn.LayerNorm(width))
            setattr(self, f"{name}_lif", LIF(tau=tau))
        self.attn_lif = LIF(0.5, tau)

    def step(self, name, x):
        return getattr(self, f"{name}_lif")(getattr(self, f"{name}_ln")(getattr(self, f"{name}_m")(x)))

    def forward(self, x):
        q, k, v = (self.step(name, x).unflatten(3, (self.heads, -1)).transpose(2, 3) for name in "qkv")
        return self.step("last", self.attn_lif(((q @ k.mT) @ v * 0.125).transpose(2, 3).flatten(3)))


class BERTMLP(nn.Module):
    def __init__(self, width, tau):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ln1, self.ln2 = nn.LayerNorm(4 * width), nn.LayerNorm(width)
        self.lif1, self.lif2 = LIF(tau=tau), LIF(tau=tau)

    def forward(self, x):
        return self.lif2(self.ln2(self.fc2(self.lif1(self.ln1(self.fc1(x))))))


class BERTBlock(nn.Module):
    def __init__(self, width, heads, tau):
        super().__init__()
        self.attn, self.mlp = BERTAttention(width, heads, tau), BERTMLP(width, tau)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Transform(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc, self.ln = nn.Linear(width, width), nn.LayerNorm(width)


class SpikeBERT(nn.Module):
    """Token numbers (B, length) -> logits of every step (T, B, classes)."""

    def __init__(self, *, steps=4, rows=30, width=16, depth=2, heads=2, tau=2.0, classes=3):
        super().__init__()
        self.steps, self.atan = steps, Heaviside()
        self.emb = nn.Embedding(rows, width)
        self.blocks = nn.ModuleList(BERTBlock(width, heads, tau) for _ in range(depth))
        self.transforms = nn.ModuleList(Transform(width) for _ in range(depth))
        self.last_ln, self.classifier = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, ids):
        x = self.atan(self.emb(ids).expand(self.steps, -1, -1, -1))
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.last_ln(x).mean(2))


def shaken(model, seed):
    """The model with parameters that let neurons fire: norms are not those of an untrained model."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter += (0.5 if parameter.ndim == 2 else 0.3) * torch.randn_like(parameter)
            if "ln" in key and key.endswith("bias"):
                parameter += 1.0
    return model.eval()
