"""A plain PyTorch Spikformer V2, written from the paper; the key names of its stem are the importer's own."""

from __future__ import annotations

from torch import nn

from tests.parity.spikformer_torch import LAYOUTS, LIF, MLP, Attention, over_steps


def connect(rule, x, branch):
    return {"none": branch, "ADD": x + branch, "IAND": x * (1 - branch)}[rule]


class Stage(nn.Module):
    def __init__(self, inputs, width, ratio, bias, rule):
        super().__init__()
        self.rule = rule
        self._layer("down", nn.Conv2d(inputs, width, 2, 2, bias=bias))
        self._layer("fc1", nn.Conv2d(width, ratio * width, 3, padding=1, bias=bias))
        self._layer("fc2", nn.Conv2d(ratio * width, width, 3, padding=1, bias=bias))

    def _layer(self, name, conv):
        setattr(self, f"{name}_conv", conv)
        setattr(self, f"{name}_bn", nn.BatchNorm2d(conv.out_channels))
        setattr(self, f"{name}_lif", LIF())

    def _apply_layer(self, name, x):
        conv, norm, lif = (getattr(self, f"{name}_{part}") for part in ("conv", "bn", "lif"))
        return lif(over_steps(lambda y: norm(conv(y)), x))

    def forward(self, x):
        x = self._apply_layer("down", x)
        return connect(self.rule, x, self._apply_layer("fc2", self._apply_layer("fc1", x)))


class Block(nn.Module):
    def __init__(self, dim, heads, rule):
        super().__init__()
        self.rule = rule
        layout = LAYOUTS["spikformer-imagenet"]
        self.attn, self.mlp = Attention(dim, heads, layout), MLP(dim, 4 * dim, layout)

    def forward(self, x):
        x = connect(self.rule, x, self.attn(x))
        return connect(self.rule, x, self.mlp(x))


class SpikformerV2(nn.Module):
    """Images (B, 3, H, W) -> logits (B, classes)."""

    def __init__(self, *, steps, dim=64, heads=4, depth=1, rule="ADD", stem_rule="none", bias=False, ratio=4):
        super().__init__()
        self.steps = steps
        widths = [3, dim // 8, dim // 4, dim // 2, dim]
        stages = {f"stage{i}": Stage(widths[i], widths[i + 1], ratio, bias, stem_rule) for i in range(4)}
        self.patch_embed = nn.ModuleDict(stages)
        self.block = nn.ModuleList(Block(dim, heads, rule) for _ in range(depth))
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = x.expand(self.steps, *x.shape)
        for stage in self.patch_embed.values():
            x = stage(x)
        x = x.flatten(3).mT
        for block in self.block:
            x = block(x)
        return self.head(x.mean(2).mean(0))
