"""Plain PyTorch SEW-ResNet and MS-ResNet, written from the papers and the published key names; few, narrow layers."""

from __future__ import annotations

import torch
from torch import nn

from tests.parity.spikformer_torch import LIF, over_steps


class IF(LIF):
    """v += x; spike at v >= 1; v = 0."""

    def forward(self, x):
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = v + current
            spike = (v >= self.threshold).to(x.dtype)
            v = torch.where(spike > 0, torch.zeros_like(v), v)
            out.append(spike)
        self.spikes = torch.stack(out)
        return self.spikes.clone()


class Leaky(LIF):
    """v = v / 4 + x; spike at v > 0.5; v = 0."""

    def forward(self, x):
        v, out = torch.zeros_like(x[0]), []
        for current in x:
            v = v * 0.25 + current
            spike = (v > 0.5).to(x.dtype)
            v = v * (1 - spike)
            out.append(spike)
        self.spikes = torch.stack(out)
        return self.spikes


class Container(nn.Sequential):
    """Layers without time, under ``.0``, ``.1`` of this module or, as in older versions, of its ``module``."""

    def forward(self, x):
        return over_steps(super().forward, x)


class ModuleContainer(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.module = nn.Sequential(*layers)

    def forward(self, x):
        return over_steps(self.module, x)


class SEWBlock(nn.Module):
    def __init__(self, inputs, widths, kernels, strides, rule, container, shortcut):
        super().__init__()
        self.rule, self.count = rule, len(widths)
        channels = inputs
        for i, (width, kernel, stride) in enumerate(zip(widths, kernels, strides, strict=True), 1):
            conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
            setattr(self, f"conv{i}", container(conv, nn.BatchNorm2d(width)))
            setattr(self, f"sn{i}", IF())
            channels = width
        stride = max(strides)
        conv = nn.Conv2d(inputs, channels, 1, stride, bias=False)
        norm = nn.BatchNorm2d(channels)
        self.downsample = nn.Sequential(container(conv, norm), IF()) if shortcut else None

    def forward(self, x):
        y = x
        for i in range(1, self.count + 1):
            y = getattr(self, f"sn{i}")(getattr(self, f"conv{i}")(y))
        x = x if self.downsample is None else self.downsample(x)
        return {"ADD": x + y, "AND": x * y, "IAND": x * (1 - y)}[self.rule]


class SEWResNet(nn.Module):
    def __init__(self, *, rule, bottleneck=False, container=Container, steps=4, width=8):
        super().__init__()
        self.steps = steps
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.sn1 = IF()
        channels = width
        for i, depth in enumerate((2, 1, 1, 1)):
            w, blocks = width << i, []
            for j in range(depth):
                stride = 2 if i and not j else 1
                widths, kernels, strides = ([w, w], [3, 3], [stride, 1])
                if bottleneck:
                    widths, kernels, strides = [w, w, 4 * w], [1, 3, 1], [1, stride, 1]
                shortcut = stride > 1 or channels != widths[-1]
                blocks.append(SEWBlock(channels, widths, kernels, strides, rule, container, shortcut))
                channels = widths[-1]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 10)

    def forward(self, x):
        x = self.sn1(self.bn1(self.conv1(x)).expand(self.steps, -1, -1, -1, -1))
        x = over_steps(lambda y: nn.functional.max_pool2d(y, 3, 2, 1), x)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((3, 4)).mean(0))


class Norm(nn.Module):
    """Batch norm whose tensors are one level deeper."""

    def __init__(self, channels):
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.bn(x)


def in_order(sequence, x):
    """Neurons see all steps, other layers one at a time."""
    for module in sequence:
        x = module(x) if isinstance(module, LIF) else over_steps(module, x)
    return x


class MSBlock(nn.Module):
    def __init__(self, inputs, width, stride, averages):
        super().__init__()
        self.residual_function = nn.Sequential(
            Leaky(),
            nn.Conv2d(inputs, width, 3, stride, 1, bias=False),
            Norm(width),
            Leaky(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            Norm(width),
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            pool = [nn.AvgPool2d(2)] if averages else []
            step = 1 if averages else stride
            self.shortcut = nn.Sequential(*pool, nn.Conv2d(inputs, width, 1, step, bias=False), Norm(width))

    def forward(self, x):
        return in_order(self.residual_function, x) + in_order(self.shortcut, x)


class MSResNet(nn.Module):
    """``deep``: the stem and the shortcuts of MS-ResNet-104."""

    def __init__(self, *, deep, steps=6, width=8):
        super().__init__()
        self.steps = steps
        stem = [nn.Conv2d(3, width, 7, 2, 3, bias=False)]
        if deep:
            stem = [nn.Conv2d(3, width, 3, 2, 1), *(nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))]
        self.conv1 = nn.Sequential(*stem, Norm(width))
        channels = width
        for i in range(4):
            blocks = [
                MSBlock(channels if j == 0 else width << i, width << i, 1 if j else 2, deep) for j in range(2 - i % 2)
            ]
            setattr(self, f"conv{i + 2}_x", nn.Sequential(*blocks))
            channels = width << i
        self.mem_update = Leaky()
        self.fc = nn.Linear(channels, 10)

    def forward(self, x):
        x = in_order(self.conv1, x.expand(self.steps, *x.shape))
        for i in range(2, 6):
            x = getattr(self, f"conv{i}_x")(x)
        return self.fc(self.mem_update(x).mean((3, 4)).mean(0))
