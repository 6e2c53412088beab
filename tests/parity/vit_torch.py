"""A plain PyTorch ViT, and its conversion to spikes by ECMT step by step, from the papers and the published keys."""

from __future__ import annotations

import torch
from torch import nn

from compiler.importers.vit import EPS


class Place(nn.Module):
    """Where a multi-threshold neuron stands: what passes, or what fires; ``measure`` sets its thresholds."""

    def __init__(self):
        super().__init__()
        self.thresholds, self.levels, self.v, self.events = None, 8, None, []

    def measure(self, x):
        flat = x.flatten().sort().values
        self.scale_p = nn.Parameter(flat[int(0.99 * len(flat)) - 1].reshape(1))
        self.scale_n = nn.Parameter(-flat[int(0.01 * len(flat)) - 1].reshape(1))

    def forward(self, x):
        if self.thresholds is None:
            if self.training:
                self.measure(x.detach())
            return x
        self.v = x if self.v is None else self.v + x
        fired, open_, events = torch.zeros_like(x), torch.ones_like(x), []
        for p in reversed(range(self.levels)):
            for sign, base in ((1, self.thresholds[0]), (-1, self.thresholds[1])):
                value = (sign * self.v >= base * 2**p - base / 2) * open_ * sign * base * 2**p
                fired = fired + value
                events.append(value.ne(0).sum().item())
            open_ = open_ * fired.eq(0)
        self.v = self.v - fired
        self.events.append(events)
        return fired


class Compensated(nn.Module):
    """t F(mean so far) minus the same of the step before; F itself before the conversion."""

    def __init__(self, function):
        super().__init__()
        self.function, self.converted, self.t, self.sums = function, False, 0, None

    def forward(self, *xs):
        if not self.converted:
            return self.function(*xs)
        before = self.t * self.function(*(s / self.t for s in self.sums)) if self.t else 0
        self.sums = [x if s is None else s + x for s, x in zip(self.sums or [None] * len(xs), xs, strict=True)]
        self.t += 1
        return self.t * self.function(*(s / self.t for s in self.sums)) - before


class Norm(nn.LayerNorm):
    def __init__(self, width):
        super().__init__(width, eps=EPS)
        self.compensated = [Compensated(super().forward)]

    def forward(self, x):
        return self.compensated[0](x)


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        for name in ("x_in", "q_out", "k_out", "v_out", "attn_out", "x_out"):
            setattr(self, f"{name}_test", Place())
        self.compensated = [Compensated(torch.matmul), Compensated(lambda x: x.softmax(-1)), Compensated(torch.matmul)]

    def forward(self, x):
        q, k, v = self.qkv(self.x_in_test(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = self.q_out_test(q), self.k_out_test(k), self.v_out_test(v)
        first, softmax, second = self.compensated
        weights = self.attn_out_test(softmax(first(q, k.mT) * self.scale))
        return self.proj(self.x_out_test(second(weights, v).transpose(1, 2).flatten(2)))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.x1_in_test, self.x2_in_test = Place(), Place()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.compensated = [Compensated(nn.functional.gelu)]

    def forward(self, x):
        return self.fc2(self.x2_in_test(self.compensated[0](self.fc1(self.x1_in_test(x)))))


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.attn, self.mlp = Attention(width, heads), MLP(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Patches(nn.Module):
    def __init__(self, width, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).mT


class ViT(nn.Module):
    """Images (B, 3, H, H) -> logits (B, classes); converted: running sums of the logits (T, B, classes)."""

    def __init__(self, *, size, patch, width, heads, depth, classes=10):
        super().__init__()
        self.cls_token = nn.Parameter(0.1 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.1 * torch.randn(1, (size // patch) ** 2 + 1, width))
        self.patch_embed = Patches(width, patch)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm, self.head = Norm(width), nn.Linear(width, classes)

    def forward(self, x):
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])

    def convert(self, *, levels=8, qkv_levels=8, softmax=0.0125):
        """Multi-threshold neurons with upstream's overrides, compensated functions."""
        for key, module in self.named_modules():
            for part in getattr(module, "compensated", ()):
                part.converted = True
            if isinstance(module, Place):
                place = key.rpartition(".")[2]
                module.levels = qkv_levels if place in ("q_out_test", "k_out_test") else levels
                fixed = {"attn_out_test": (softmax, softmax), "x2_in_test": (0.25, 0.08)}
                module.thresholds = fixed.get(place, (module.scale_p.item(), module.scale_n.item()))

    def run(self, x, steps):
        return torch.stack([self(x) for _ in range(steps)]).cumsum(0)
