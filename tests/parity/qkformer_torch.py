"""A plain PyTorch QKFormer in the three file layouts, written from the paper and the published key names."""

from __future__ import annotations

from torch import nn

from tests.parity.spikformer_torch import LIF, over_steps


class SerialLIF(LIF):
    """Given (T * B, ...) for (T, B, ...), as upstream does: the images of a batch become time steps."""

    def forward(self, x):
        spikes = super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        self.spikes = spikes
        return spikes


def layer(module, name, conv, neuron=LIF, threshold=1.0):
    norm = nn.BatchNorm1d if isinstance(conv, nn.Conv1d) else nn.BatchNorm2d
    setattr(module, f"{name}_conv", conv)
    setattr(module, f"{name}_bn", norm(conv.out_channels))
    setattr(module, f"{name}_lif", neuron(threshold))


def apply(module, name, x, pools=False):
    conv, norm, lif = (getattr(module, f"{name}_{part}") for part in ("conv", "bn", "lif"))
    x = over_steps(lambda y: norm(conv(y)), x)
    return lif(over_steps(lambda y: nn.functional.max_pool2d(y, 3, 2, 1), x) if pools else x)


class TokenAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        for name in "qk":
            layer(self, name, nn.Conv1d(dim, dim, 1, bias=False))
        self.attn_lif = LIF(threshold=0.5)
        layer(self, "proj", nn.Conv1d(dim, dim, 1))

    def forward(self, x):
        s = x.flatten(3)
        q, k = (apply(self, name, s).unflatten(2, (self.heads, -1)) for name in "qk")  # (T, B, h, d, N)
        mask = self.attn_lif(q.sum(dim=3, keepdim=True))
        return apply(self, "proj", (mask * k).flatten(2, 3)).reshape(x.shape)


class SelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        for name in "qkv":
            layer(self, name, nn.Conv1d(dim, dim, 1, bias=False))
        self.attn_lif = LIF(threshold=0.5)
        layer(self, "proj", nn.Conv1d(dim, dim, 1), SerialLIF)

    def forward(self, x):
        s = x.flatten(3)
        q, k, v = (apply(self, name, s).unflatten(2, (self.heads, -1)) for name in "qkv")
        y = self.attn_lif((0.125 * (q.mT @ (k @ v.mT))).mT.flatten(2, 3))
        return apply(self, "proj", y).reshape(x.shape)


class MLP(nn.Module):
    def __init__(self, dim, hidden, names):
        super().__init__()
        self.names = names
        layer(self, names[0], nn.Conv2d(dim, hidden, 1))
        layer(self, names[1], nn.Conv2d(hidden, dim, 1))

    def forward(self, x):
        return apply(self, self.names[1], apply(self, self.names[0], x))


class Block(nn.Module):
    def __init__(self, attention, dim, heads, ratio, names):
        super().__init__()
        self.attention = attention
        setattr(self, attention, (TokenAttention if attention == "tssa" else SelfAttention)(dim, heads))
        self.mlp = MLP(dim, ratio * dim, names)

    def forward(self, x):
        x = x + getattr(self, self.attention)(x)
        return x + self.mlp(x)


class Embedding(nn.Module):
    """``stages``: (name, outputs, pools) of each convolution; ``shortcut``: the stage that feeds it, -1 the input."""

    def __init__(self, inputs, stages, shortcut):
        super().__init__()
        self.stages, self.shortcut = stages, shortcut
        channels, source = inputs, inputs
        for i, (name, outputs, _) in enumerate(stages):
            layer(self, name, nn.Conv2d(channels, outputs, 3, padding=1, bias=False))
            channels = outputs
            source = channels if i == shortcut else source
        stride = 2 ** sum(pools for _, _, pools in stages[shortcut + 1 :])
        layer(self, "proj_res", nn.Conv2d(source, channels, 1, stride=stride, bias=False))

    def forward(self, x):
        source = x
        for i, (name, _, pools) in enumerate(self.stages):
            x = apply(self, name, x, pools)
            source = x if i == self.shortcut else source
        return x + apply(self, "proj_res", source)


def layout(name, channels, dim):
    """(embeddings, (attention, blocks) of each stage, MLP names, MLP ratio)."""
    if name == "dvs":
        half = dim // 2
        first = [("proj", half // 8, 0), ("proj1", half // 4, 1), ("proj2", half // 2, 1), ("proj3", half, 1)]
        later = [("proj", dim, 0), ("proj4", dim, 1)]
        return [(channels, first, 1), (half, later, -1)], [("tssa", 1), ("ssa", 1)], ("mlp1", "mlp2"), 1
    pools = name == "imagenet"
    c = dim // 4
    first = [("proj", c // 2, pools), ("proj1", c, pools)] + ([("proj2", c, 0)] if pools else [])
    steps = [[("proj3", w, pools), ("proj4", w, not pools)] for w in (2 * c, dim)]
    embeddings = [(channels, first, 0), (c, steps[0], -1), (2 * c, steps[1], -1)]
    if pools:
        return embeddings, [("tssa", 1), ("tssa", 2), ("attn", 1)], ("fc1", "fc2"), 4
    return embeddings, [("tssa", 1), ("tssa", 1), ("ssa", 2)], ("mlp1", "mlp2"), 4


class QKFormer(nn.Module):
    """Images (B, C, H, W), repeated T times, or (T, B, C, H, W) -> logits (B, classes)."""

    def __init__(self, name, *, steps, channels=3, dim=64, heads=4):
        super().__init__()
        self.steps = steps
        embeddings, stages, names, ratio = layout(name, channels, dim)
        for i, (embedding, (attention, depth)) in enumerate(zip(embeddings, stages, strict=True), 1):
            setattr(self, f"patch_embed{i}", Embedding(*embedding))
            width = embedding[1][-1][1]
            blocks = [Block(attention, width, heads, ratio, names) for _ in range(depth)]
            setattr(self, f"stage{i}", nn.ModuleList(blocks))
        self.count = len(stages)
        self.head = nn.Linear(dim, 10)

    def forward(self, x):
        x = x if x.ndim == 5 else x.expand(self.steps, *x.shape)
        for i in range(1, self.count + 1):
            x = getattr(self, f"patch_embed{i}")(x)
            for block in getattr(self, f"stage{i}"):
                x = block(x)
        return self.head(x.flatten(3).mean(3).mean(0))
