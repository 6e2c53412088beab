"""A plain PyTorch Spikingformer (and CML), written from the papers and the published key names."""

from __future__ import annotations

from torch import nn

from tests.parity.spikformer_torch import LIF, over_steps


def pool(x):
    return over_steps(lambda y: nn.functional.max_pool2d(y, 3, 2, 1), x)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.proj_lif, self.attn_lif = LIF(), LIF(threshold=0.5)
        for s in "qkv":
            setattr(self, f"{s}_conv", nn.Conv1d(dim, dim, 1, bias=False))
            setattr(self, f"{s}_bn", nn.BatchNorm1d(dim))
            setattr(self, f"{s}_lif", LIF())
        self.proj_conv, self.proj_bn = nn.Conv1d(dim, dim, 1), nn.BatchNorm1d(dim)

    def forward(self, x):  # (T, B, C, H, W)
        s = self.proj_lif(x).flatten(3)
        q, k, v = (self._spikes(name, s).unflatten(2, (self.heads, -1)) for name in "qkv")  # (T, B, h, d, N)
        y = 0.125 * (q.mT @ (k @ v.mT))
        y = self.attn_lif(y.mT.flatten(2, 3))
        return over_steps(lambda z: self.proj_bn(self.proj_conv(z)), y).reshape(x.shape)

    def _spikes(self, name, x):
        conv, norm, lif = (getattr(self, f"{name}_{part}") for part in ("conv", "bn", "lif"))
        return lif(over_steps(lambda y: norm(conv(y)), x))


class MLP(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.mlp1_lif, self.mlp1_conv, self.mlp1_bn = LIF(), nn.Conv2d(dim, hidden, 1), nn.BatchNorm2d(hidden)
        self.mlp2_lif, self.mlp2_conv, self.mlp2_bn = LIF(), nn.Conv2d(hidden, dim, 1), nn.BatchNorm2d(dim)

    def forward(self, x):
        x = over_steps(lambda y: self.mlp1_bn(self.mlp1_conv(y)), self.mlp1_lif(x))
        return over_steps(lambda y: self.mlp2_bn(self.mlp2_conv(y)), self.mlp2_lif(x))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(dim, heads), MLP(dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Stem(nn.Module):
    """``names``: of the five stages; the last ``pools`` neurons have a pool behind them, or before under ``cml``."""

    def __init__(self, channels, dim, names, pools, cml):
        super().__init__()
        self.names, self.pools, self.cml = names, pools, cml
        for name, width in zip(names, (dim // 8, dim // 4, dim // 2, dim, dim), strict=True):
            setattr(self, f"{name}_conv", nn.Conv2d(channels, width, 3, padding=1, bias=False))
            setattr(self, f"{name}_bn", nn.BatchNorm2d(width))
            channels = width
            if name != names[0]:
                setattr(self, f"{name}_lif", LIF())

    def forward(self, x):
        for i, name in enumerate(self.names):
            conv, norm = getattr(self, f"{name}_conv"), getattr(self, f"{name}_bn")
            if i:
                pools = i > 4 - self.pools
                x = pool(x) if pools and self.cml else x
                x = getattr(self, f"{name}_lif")(x)
                x = pool(x) if pools and not self.cml else x
            x = over_steps(lambda y, conv=conv, norm=norm: norm(conv(y)), x)
        return x


STYLES = {"proj": ("proj", "proj1", "proj2", "proj3", "proj4"), "block": tuple(f"block{i}" for i in range(5))}


class Spikingformer(nn.Module):
    """Images (B, C, H, W), repeated T times, or (T, B, C, H, W) -> logits (B, classes)."""

    def __init__(self, style, *, cml, steps, pools, channels=3, dim=32, heads=4, depth=1, classes=10, tau=2.0):
        super().__init__()
        self.steps = steps
        self.patch_embed = Stem(channels, dim, STYLES[style], pools, cml)
        self.block = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.head = nn.Linear(dim, classes)
        for module in self.modules():
            if isinstance(module, LIF):
                module.tau = tau

    def forward(self, x):
        x = x if x.ndim == 5 else x.expand(self.steps, *x.shape)
        x = self.patch_embed(x)
        for block in self.block:
            x = block(x)
        return self.head(x.flatten(3).mean(3).mean(0))
