"""SEW-ResNet: residual blocks that end in neurons and join the shortcut spike by spike.

Source: Fang et al. 2021, "Deep Residual Learning in Spiking Neural Networks", NeurIPS, arXiv:2102.04159; key names and
constants of the authors' code for ImageNet, in the spelling of either of the SpikingJelly versions it ran with, and of
SpikingJelly's own models. How spikes are joined (ADD, AND or IAND) and the kind of neuron are not in the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.importers.encoder import CONNECTIONS
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import (
    block_count,
    fixed_or_learned,
    image_input,
    image_options,
    linear_head,
    neuron_options,
    shape_settings,
)
from compiler.ir.graph import Graph
from compiler.ir.ops import MaxPool, Mean, TimeMean

STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What a block calls its modules; the star of ``conv`` and ``norm`` is the number of the layer."""

    conv: str
    norm: str
    shortcut: tuple[str, str, str]


PLAIN = Names(conv="conv*.0", norm="conv*.1", shortcut=("downsample.0.0", "downsample.0.1", "downsample.1"))
MODULE = Names(
    conv="conv*.module.0",
    norm="conv*.module.1",
    shortcut=("downsample.0.module.0", "downsample.0.module.1", "downsample.1"),
)
FLAT = Names(conv="conv*", norm="bn*", shortcut=("downsample.0", "downsample.1", "downsample_sn"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SEWResNet:
    """SEW-ResNet for images.

    Attributes:
        spellings: the file has the names of one of these.
        recognised: the key names tell that it is a SEW-ResNet; SpikingJelly's are those of any ResNet.
        bottleneck_first: in bottlenecks the branch comes first, so IAND is branch AND NOT shortcut.
    """

    name: str
    spellings: tuple[Names, ...]
    recognised: bool
    bottleneck_first: bool
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether the first block has containers around its convolutions, in either spelling."""
        return self.recognised and "fc.weight" in tensors and self._names(tensors) is not None

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        names = self._names(tensors) or self.spellings[0]
        model = _Model(self, names, options, builder, tensors)
        output = model.readout(model.stages(model.stem()))
        sizes = shape_settings(in_channels=model.channels, depths=tuple(model.depths), bottleneck=model.bottleneck)
        return builder.graph(self.name, output, options.count("T"), options.settings + sizes)

    def _names(self, tensors: Tensors) -> Names | None:
        found = [n for n in self.spellings if f"layer1.0.{n.conv.replace('*', '1')}.weight" in tensors]
        return found[0] if found else None


class _Model:
    """One model: its sizes, and the parts of its graph."""

    def __init__(
        self, family: SEWResNet, names: Names, options: Options, builder: GraphBuilder, tensors: Tensors
    ) -> None:
        self._family, self._names, self._options = family, names, options
        self._builder, self._tensors = builder, tensors
        self.width, self.channels, self.kernel, _ = builder.shape("conv1.weight", 4)
        self.depths = [block_count(tensors, stage) for stage in STAGES if _has(tensors, stage)]
        self.bottleneck = _has(tensors, f"layer1.0.{names.conv.replace('*', '3')}")

    def stem(self) -> str:
        """Image -> spikes at a quarter of the resolution."""
        b = self._builder
        x = image_input(b, self._options, self.channels)
        weight = (self.width, self.channels, self.kernel, self.kernel)
        x = b.conv("conv1", x, weight, bias=False, padding=self.kernel // 2, stride=2)
        x = self._fire("sn1", b.batch_norm("bn1", x, self.width, axis=0))
        return b.add("maxpool", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)

    def stages(self, x: str) -> str:
        """Every block of every stage; the first block of all stages but the first halves the resolution."""
        channels = self.width
        for i, stage in enumerate(STAGES[: len(self.depths)]):
            for j in range(self.depths[i]):
                x, channels = self._block(f"{stage}.{j}", x, channels, stride=2 if i and not j else 1)
        return x

    def _block(self, at: str, x: str, channels: int, stride: int) -> tuple[str, int]:
        """The block's spikes and their channels."""
        strided, y, outputs = (2 if self.bottleneck else 1), x, channels
        for number in range(1, 4 if self.bottleneck else 3):
            conv, norm = (f"{at}.{name.replace('*', str(number))}" for name in (self._names.conv, self._names.norm))
            step = stride if number == strided else 1
            y, outputs = self._layer((conv, norm, f"{at}.sn{number}"), y, outputs, step)
        if _has(self._tensors, f"{at}.downsample") or stride > 1:
            first, second, neuron = (f"{at}.{name}" for name in self._names.shortcut)
            x, _ = self._layer((first, second, neuron), x, channels, stride)
        inputs = (y, x) if self._family.bottleneck_first and self.bottleneck else (x, y)
        connection = CONNECTIONS[self._options.choice("connect_f")]
        return self._builder.add(f"{at}.connect", connection, *inputs), outputs

    def _layer(self, names: tuple[str, str, str], x: str, channels: int, stride: int) -> tuple[str, int]:
        b = self._builder
        outputs, per_group, kernel, _ = b.shape(f"{names[0]}.weight", 4)
        groups = max(1, channels // per_group)
        shape = (outputs, channels // groups, kernel, kernel)
        x = b.conv(names[0], x, shape, bias=False, padding=kernel // 2, stride=stride, groups=groups)
        return self._fire(names[2], b.batch_norm(names[1], x, outputs, axis=0)), outputs

    def _fire(self, name: str, x: str) -> str:
        return self._builder.add(name, fixed_or_learned(self._builder, self._tensors, name, self._options), x)

    def readout(self, x: str) -> str:
        """Mean over positions, mean over steps, linear layer."""
        b = self._builder
        x = b.add("avgpool", Mean(axes=(1, 2)), x)
        return linear_head(b, b.add("time_mean", TimeMean(), x), "fc")


def _has(tensors: Tensors, path: str) -> bool:
    return any(key.startswith(f"{path}.") for key in tensors)


CONNECT = Option(
    name="connect_f",
    kind="choice",
    default="ADD",
    choices=("ADD", "AND", "IAND"),
    spellings=("cnf",),
    meaning="how a block joins shortcut and branch: sum, AND, or shortcut AND NOT branch",
)
SEW_RESNET = SEWResNet(
    name="sew-resnet",
    spellings=(PLAIN, MODULE),
    recognised=True,
    bottleneck_first=False,
    options=(*image_options(steps=4, image=224), CONNECT, *neuron_options("IF")),
)
SEW_RESNET_SPIKINGJELLY = SEWResNet(
    name="sew-resnet-spikingjelly",
    spellings=(FLAT,),
    recognised=False,
    bottleneck_first=True,
    options=SEW_RESNET.options,
)
