"""Plain PyTorch Spike-driven Transformers V3 (small, event camera and large), from the paper and the published keys."""

from __future__ import annotations

import torch
from torch import nn

from tests.parity.spikformer_torch import over_steps


class Integer(nn.Module):
    """round(clip(x, 0, 4)) / norm."""

    def __init__(self, norm=4, half_up=False):
        super().__init__()
        self.norm, self.half_up, self.spikes = norm, half_up, None

    def forward(self, x):
        x = x.clamp(0, 4)
        self.spikes = torch.floor(x + 0.5) if self.half_up else torch.round(x)
        return self.spikes / self.norm


def normed(layer, dimensions=2):
    width = layer.out_channels
    return nn.Sequential(layer, nn.BatchNorm2d(width) if dimensions == 2 else nn.BatchNorm1d(width))


class Frame(nn.Module):
    """Neurons called with a suffix, convolutions over all steps at once."""

    norm, half_up = 4, False

    def spike(self, name, **options):
        setattr(self, name, Integer(options.get("norm", self.norm), self.half_up))

    def heads_of(self, x):
        return x.flatten(3).unflatten(2, (self.heads, -1)).mT


class Separable(Frame):
    def __init__(self, width, kernel, norm):
        super().__init__()
        self.norm, wide = norm, 2 * width
        for i in range(3):
            self.spike(f"spike{i + 1}")
        self.pwconv1 = normed(nn.Conv2d(width, wide, 1, bias=False))
        self.dwconv = normed(nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False))
        self.pwconv2 = normed(nn.Conv2d(wide, width, 1, bias=False))

    def forward(self, x):
        x = over_steps(self.pwconv1, self.spike1(x))
        x = over_steps(self.dwconv, self.spike2(x))
        return over_steps(self.pwconv2, self.spike3(x))


class ConvBlock(Frame):
    def __init__(self, width, norm):
        super().__init__()
        self.norm = norm
        self.Conv = Separable(width, 7, norm)
        self.spike("spike1")
        self.spike("spike2")
        self.conv1, self.bn1 = nn.Conv2d(width, 4 * width, 3, padding=1, bias=False), nn.BatchNorm2d(4 * width)
        self.conv2, self.bn2 = nn.Conv2d(4 * width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        x = x + self.Conv(x)
        y = over_steps(lambda z: self.bn1(self.conv1(z)), self.spike1(x))
        return x + over_steps(lambda z: self.bn2(self.conv2(z)), self.spike2(y))


class LargeConvBlock(Frame):
    half_up = True

    def __init__(self, width):
        super().__init__()
        self.spike("neuron1")
        self.spike("neuron2")
        self.conv1 = nn.Sequential(normed(nn.Conv2d(width, 4 * width, 3, padding=1)))
        self.conv2 = nn.Sequential(normed(nn.Conv2d(4 * width, width, 3, padding=1)))

    def forward(self, x):
        return x + over_steps(self.conv2, self.neuron2(over_steps(self.conv1, self.neuron1(x))))


class MLP(Frame):
    def __init__(self, width, suffix, norm, half_up):
        super().__init__()
        self.norm, self.half_up, self.suffix = norm, half_up, suffix
        for i, sizes in (("1", (width, 4 * width)), ("2", (4 * width, width))):
            self.spike(f"fc{i}_{suffix}")
            setattr(self, f"fc{i}_conv", nn.Conv1d(*sizes, 1))
            setattr(self, f"fc{i}_bn", nn.BatchNorm1d(sizes[1]))

    def forward(self, x):
        y = x.flatten(3)
        for i in "12":
            conv, norm = getattr(self, f"fc{i}_conv"), getattr(self, f"fc{i}_bn")
            y = over_steps(lambda z, conv=conv, norm=norm: norm(conv(z)), getattr(self, f"fc{i}_{self.suffix}")(y))
        return y.unflatten(3, x.shape[3:])


class Attention(Frame):
    def __init__(self, width, heads, norm):
        super().__init__()
        self.norm, self.heads, self.scale = norm, heads, 2 * (width // heads) ** -0.5
        for name, sizes in (("q", (width, width)), ("k", (width, width)), ("v", (width, 4 * width))):
            setattr(self, f"{name}_conv", normed(nn.Conv2d(*sizes, 1, bias=False)))
            self.spike(f"{name}_spike")
        self.spike("head_spike")
        self.spike("attn_spike")
        self.proj_conv = normed(nn.Conv2d(4 * width, width, 1, bias=False))

    def forward(self, x):
        spikes = self.head_spike(x)
        q, k, v = (
            self.heads_of(getattr(self, f"{s}_spike")(over_steps(getattr(self, f"{s}_conv"), spikes))) for s in "qkv"
        )
        y = ((q @ k.mT) @ v * self.scale).mT.flatten(2, 3).unflatten(3, x.shape[3:])
        return over_steps(self.proj_conv, self.attn_spike(y))


class Pair(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1 = normed(nn.Conv1d(width, width * 3 // 2, 1, bias=False), 1)
        self.conv2 = normed(nn.Conv1d(width * 3 // 2, width, 1, bias=False), 1)

    def forward(self, x):
        return self.conv2(self.conv1(x))


class LargeAttention(Frame):
    half_up = True

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        for name in ("q", "k", "v", "proj"):
            setattr(self, f"{name}_conv", nn.Sequential(Pair(width), nn.BatchNorm1d(width)))
        for name in ("head", "q", "k", "v", "attn"):
            self.spike(f"{name}_lif")

    def forward(self, x):
        spikes = self.head_lif(x).flatten(3)
        q, k, v = (
            self.heads_of(getattr(self, f"{s}_lif")(over_steps(getattr(self, f"{s}_conv"), spikes))) for s in "qkv"
        )
        y = self.attn_lif((q @ (k.mT @ v) * 0.125).mT.flatten(2, 3))
        return over_steps(self.proj_conv, y).unflatten(3, x.shape[3:])


class Block(nn.Module):
    """``kind``: small, events or large."""

    def __init__(self, width, heads, norm, kind):
        super().__init__()
        large = kind == "large"
        self.conv = None if large else Separable(width, 3, norm)
        self.attn = LargeAttention(width, heads) if large else Attention(width, heads, norm)
        self.mlp = MLP(width, "lif" if large else "spike", norm, large)
        branches = [part for part in (self.conv, self.attn, self.mlp) if part is not None]
        self.branches = [(part, f"layer_scale{i}") for i, part in enumerate(branches, start=1)]
        for _, name in self.branches if kind != "small" else ():
            setattr(self, name, nn.Parameter(0.2 + torch.rand(width)))

    def forward(self, x):
        for part, name in self.branches:
            gain = getattr(self, name, None)
            y = part(x)
            x = x + (y if gain is None else y * gain.view(-1, 1, 1))
        return x


class Downsampling(Frame):
    def __init__(self, sizes, suffix, norm, half_up, *, kernel=3, stride=2):
        super().__init__()
        self.norm, self.half_up = norm, half_up
        self.encode_conv = nn.Conv2d(*sizes, kernel, stride, kernel // 2)
        self.encode_bn = nn.BatchNorm2d(sizes[1])
        self.name = f"encode_{suffix}" if kernel == 3 else None
        if self.name:
            self.spike(self.name)

    def forward(self, x):
        x = getattr(self, self.name)(x) if self.name else x
        return over_steps(lambda y: self.encode_bn(self.encode_conv(y)), x)


class SpikeDrivenV3(nn.Module):
    """Images (B, C, H, W), or (T, B, C, H, W) -> logits (B, classes)."""

    def __init__(self, kind, *, widths, heads, steps=1, norm=4, channels=3, classes=10, blocks=(2, 1), distilled=False):
        super().__init__()
        self.steps, self.kind, large, half = steps, kind, kind == "large", widths[0] // 2
        suffix = "lif" if large else "spike"
        conv = LargeConvBlock if large else lambda width: ConvBlock(width, norm)
        self.downsample1_1 = Downsampling((channels, half), suffix, norm, large, kernel=7)
        self.ConvBlock1_1 = nn.ModuleList([conv(half)])
        self.downsample1_2 = Downsampling((half, widths[0]), suffix, norm, large)
        self.ConvBlock1_2 = nn.ModuleList([conv(widths[0])])
        self.downsample2 = Downsampling(widths[:2], suffix, norm, large)
        self.ConvBlock2_1 = nn.ModuleList([conv(widths[1])])
        self.ConvBlock2_2 = nn.ModuleList([conv(widths[1])])
        self.downsample3 = Downsampling(widths[1:3], suffix, norm, large)
        self.block3 = nn.ModuleList(Block(widths[2], heads, norm, kind) for _ in range(blocks[0]))
        if not large:
            self.downsample4 = Downsampling(widths[2:], suffix, norm, large, stride=1)
            self.block4 = nn.ModuleList(Block(widths[3], heads, norm, kind) for _ in range(blocks[1]))
            self.spike = Integer(1)
        self.head = nn.Linear(widths[2 if large else 3], classes)
        if distilled:
            self.lif = Integer(1, half_up=True)
            self.head_kd = nn.Linear(widths[2], classes)

    def forward(self, x):
        x = x if x.ndim == 5 else x.expand(self.steps, *x.shape)
        names = ["downsample1_1", "ConvBlock1_1", "downsample1_2", "ConvBlock1_2", "downsample2", "ConvBlock2_1"]
        names += ["ConvBlock2_2", "downsample3", "block3"] + (["downsample4", "block4"] if self.kind != "large" else [])
        for name in names:
            part = getattr(self, name)
            for layer in part if isinstance(part, nn.ModuleList) else (part,):
                x = layer(x)
        x = x.flatten(3).mean(3)
        y = self.head(x if self.kind == "large" else self.spike(x)).mean(0)
        return (y + self.head_kd(self.lif(x)).mean(0)) / 2 if hasattr(self, "head_kd") else y
