"""Plain PyTorch Spike-driven Transformers V2, written from the paper and the published key names."""

from __future__ import annotations

import torch
from torch import nn

from tests.parity.spikformer_torch import LIF, over_steps


class PaddedNorm(nn.Module):
    """Batch norm whose result has a border of what it makes of zero."""

    def __init__(self, width):
        super().__init__()
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x):
        y = self.bn(x)
        if self.training:
            return nn.functional.pad(y, [1] * 4)
        border = self.bn.bias - self.bn.running_mean * self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        inner = nn.functional.pad(y - border.view(-1, 1, 1), [1] * 4)
        return inner + border.view(-1, 1, 1)


class RepConv(nn.Module):
    def __init__(self, width):
        super().__init__()
        depthwise = nn.Conv2d(width, width, 3, groups=width, bias=False)
        last = nn.Sequential(depthwise, nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        self.body = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), PaddedNorm(width), last)

    def forward(self, x):
        return self.body(x)


class SepConv(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.lif1, self.lif2 = LIF(), LIF()
        self.pwconv1 = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(2 * width)
        self.dwconv = nn.Conv2d(2 * width, 2 * width, 7, padding=3, groups=2 * width, bias=False)
        self.pwconv2 = nn.Conv2d(2 * width, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        x = over_steps(lambda y: self.bn1(self.pwconv1(y)), self.lif1(x))
        return over_steps(lambda y: self.bn2(self.pwconv2(self.dwconv(y))), self.lif2(x))


class ConvBlock(nn.Module):
    def __init__(self, width, ratio):
        super().__init__()
        self.Conv = SepConv(width)
        self.lif1, self.lif2 = LIF(), LIF()
        self.conv1 = nn.Conv2d(width, ratio * width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(ratio * width)
        self.conv2 = nn.Conv2d(ratio * width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        x = x + self.Conv(x)
        y = over_steps(lambda z: self.bn1(self.conv1(z)), self.lif1(x))
        return x + over_steps(lambda z: self.bn2(self.conv2(z)), self.lif2(y))


class Attention(nn.Module):
    """SDSA: ``kind`` 1, 2, 3 or 4."""

    def __init__(self, width, heads, kind):
        super().__init__()
        self.heads, self.kind = heads, kind
        self.head_lif = LIF()
        self.letters = "qv" if kind == 2 else "qkv"
        for letter in self.letters:
            setattr(self, f"{letter}_conv", nn.Sequential(RepConv(width), nn.BatchNorm2d(width)))
            setattr(self, f"{letter}_lif", LIF())
        self.attn_lif = LIF(threshold=0.5)
        if kind == 4:
            threshold = torch.rand(1) + 0.2
            self.attn_lif.v_threshold = nn.Parameter(threshold)
            self.attn_lif.threshold = threshold.double()
        self.proj_conv = nn.Sequential(RepConv(width), nn.BatchNorm2d(width))

    def forward(self, x):
        spikes = self.head_lif(x)
        values = [getattr(self, f"{s}_lif")(over_steps(getattr(self, f"{s}_conv"), spikes)) for s in self.letters]
        if self.kind == 1:
            q, k, v = values
            y = q * self.attn_lif((k * v).sum((3, 4), keepdim=True))
        elif self.kind == 2:
            q, v = values
            y = v * self.attn_lif(q.sum((3, 4), keepdim=True))
        else:
            q, k, v = (y.flatten(3).unflatten(2, (self.heads, -1)).mT for y in values)
            y = (q @ (k.mT @ v) * 0.125).mT.flatten(2, 3).unflatten(3, x.shape[3:])
            y = self.attn_lif(y)
        return over_steps(self.proj_conv, y)


class MLP(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        for i, sizes in (("1", (width, hidden)), ("2", (hidden, width))):
            setattr(self, f"fc{i}_conv", nn.Conv1d(*sizes, 1))
            setattr(self, f"fc{i}_bn", nn.BatchNorm1d(sizes[1]))
            setattr(self, f"fc{i}_lif", LIF())

    def forward(self, x):
        y = self.fc1_lif(x.flatten(3))
        y = self.fc2_lif(over_steps(lambda z: self.fc1_bn(self.fc1_conv(z)), y))
        return over_steps(lambda z: self.fc2_bn(self.fc2_conv(z)), y).unflatten(3, x.shape[3:])


class Block(nn.Module):
    def __init__(self, width, heads, kind, ratio):
        super().__init__()
        self.attn = Attention(width, heads, kind)
        self.mlp = MLP(width, ratio * width)

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.mlp(x)


class Downsampling(nn.Module):
    def __init__(self, inputs, outputs, *, kernel=3, stride=2, first=False):
        super().__init__()
        self.encode_conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        self.encode_bn = nn.BatchNorm2d(outputs)
        if not first:
            self.encode_lif = LIF()

    def forward(self, x):
        x = x if not hasattr(self, "encode_lif") else self.encode_lif(x)
        return over_steps(lambda y: self.encode_bn(self.encode_conv(y)), x)


class MetaSpikeFormer(nn.Module):
    """Images (B, C, H, W) -> logits (B, classes)."""

    def __init__(
        self, *, steps, widths, heads, kind=3, distilled=False, channels=3, classes=10, ratio=4, blocks=(2, 1)
    ):
        super().__init__()
        self.steps, half = steps, widths[0] // 2
        self.downsample1_1 = Downsampling(channels, half, kernel=7, first=True)
        self.ConvBlock1_1 = nn.ModuleList([ConvBlock(half, ratio)])
        self.downsample1_2 = Downsampling(half, widths[0])
        self.ConvBlock1_2 = nn.ModuleList([ConvBlock(widths[0], ratio)])
        self.downsample2 = Downsampling(widths[0], widths[1])
        self.ConvBlock2_1 = nn.ModuleList([ConvBlock(widths[1], ratio)])
        self.ConvBlock2_2 = nn.ModuleList([ConvBlock(widths[1], ratio)])
        self.downsample3 = Downsampling(widths[1], widths[2])
        self.block3 = nn.ModuleList(Block(widths[2], heads, kind, ratio) for _ in range(blocks[0]))
        self.downsample4 = Downsampling(widths[2], widths[3], stride=1)
        self.block4 = nn.ModuleList(Block(widths[3], heads, kind, ratio) for _ in range(blocks[1]))
        self.lif = LIF()
        self.head = nn.Linear(widths[3], classes)
        if distilled:
            self.head_kd = nn.Linear(widths[3], classes)

    def forward(self, x):
        x = x.expand(self.steps, *x.shape)
        for part in (self.downsample1_1, *self.ConvBlock1_1, self.downsample1_2, *self.ConvBlock1_2):
            x = part(x)
        for part in (self.downsample2, *self.ConvBlock2_1, *self.ConvBlock2_2, self.downsample3, *self.block3):
            x = part(x)
        for part in (self.downsample4, *self.block4):
            x = part(x)
        x = self.lif(x.flatten(3).mean(3))
        y = self.head(x).mean(0)
        return (y + self.head_kd(x).mean(0)) / 2 if hasattr(self, "head_kd") else y
