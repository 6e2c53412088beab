"""MS-ResNet: residual blocks that start with neurons and add membranes.

Source: Hu et al. 2024, "Advancing Spiking Neural Networks Toward Deep Residual Learning", TNNLS, arXiv:2112.08954; key
names and constants of the authors' code. Its neuron keeps a quarter of the membrane and fires above, not at, 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import block_count, image_input, image_options, linear_head, shape_settings, tokens_of
from compiler.ir.graph import Graph
from compiler.ir.ops import AvgPool, Mean, Neuron, TimeMean
from neurochip.errors import CheckpointError

STAGES = ("conv2_x", "conv3_x", "conv4_x", "conv5_x")


@dataclass(frozen=True, slots=True, kw_only=True)
class MSResNet:
    """MS-ResNet-18 and -34 (one 7 x 7 convolution first) and -104 (three 3 x 3; shortcuts average)."""

    name: str
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether the first block has the authors' names."""
        return "conv2_x.0.residual_function.1.weight" in tensors and "fc.weight" in tensors

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        decay = options.number("decay")
        if not 0 <= decay < 1:
            raise CheckpointError(f"expected decay in 0..1, 1 excluded, got {decay}")
        threshold = options.number("v_threshold")
        neuron = Neuron(tau=1 / (1 - decay), decay_input=False, threshold=threshold, fires="gt")
        builder = GraphBuilder(tensors)
        model = _Model(builder, tensors, neuron)
        x = model.stages(model.stem(image_input(builder, options, model.channels)))
        if model.averages:
            tokens_of(options, 32)
        x = builder.add("avgpool", Mean(axes=(1, 2)), builder.add("mem_update", neuron, x))
        output = linear_head(builder, builder.add("time_mean", TimeMean(), x), "fc")
        sizes = shape_settings(in_channels=model.channels, depths=tuple(model.depths))
        return builder.graph(self.name, output, options.count("T"), options.settings + sizes)


class _Model:
    """The convolutional part of one model."""

    def __init__(self, builder: GraphBuilder, tensors: Tensors, neuron: Neuron) -> None:
        self._builder, self._tensors, self._neuron = builder, tensors, neuron
        self.channels = builder.shape("conv1.0.weight", 4)[1]
        self.depths = [block_count(tensors, stage) for stage in STAGES]
        self.averages = "conv2_x.0.shortcut.1.weight" in tensors
        self._width = 0

    def stem(self, x: str) -> str:
        """Convolutions in a row, the first of stride 2, and one batch norm."""
        b, channels, count = self._builder, self.channels, 0
        while f"conv1.{count}.weight" in self._tensors:
            at, stride = f"conv1.{count}", 1 if count else 2
            outputs, _, kernel, _ = b.shape(f"{at}.weight", 4)
            bias = f"{at}.bias" in self._tensors
            shape = (outputs, channels, kernel, kernel)
            x = b.conv(at, x, shape, bias=bias, padding=kernel // 2, stride=stride)
            channels, count = outputs, count + 1
        self._width = channels
        return b.batch_norm(f"conv1.{count}.bn", x, channels, axis=0)

    def stages(self, x: str) -> str:
        """Every block of every stage; the first block of each halves the resolution."""
        for stage, depth in zip(STAGES, self.depths, strict=True):
            for j in range(depth):
                x = self._block(f"{stage}.{j}", x, stride=1 if j else 2)
        return x

    def _block(self, at: str, x: str, stride: int) -> str:
        b, inputs = self._builder, self._width
        y, branch = x, f"{at}.residual_function"
        for first in (0, 3):
            y = b.add(f"{branch}.{first}", self._neuron, y)
            outputs, _, kernel, _ = b.shape(f"{branch}.{first + 1}.weight", 4)
            shape, step = (outputs, self._width, kernel, kernel), 1 if first else stride
            y = b.conv(f"{branch}.{first + 1}", y, shape, bias=False, padding=kernel // 2, stride=step)
            y = b.batch_norm(f"{branch}.{first + 2}.bn", y, outputs, axis=0)
            self._width = outputs
        if stride > 1 or inputs != self._width:
            x = self._shortcut(f"{at}.shortcut", x, inputs, stride)
        return b.residual(f"{at}.add", y, x)

    def _shortcut(self, at: str, x: str, inputs: int, stride: int) -> str:
        """A 1 x 1 convolution of ``stride``, or behind an average over as many positions; batch norm."""
        b, place = self._builder, 0
        if self.averages:
            x = b.add(f"{at}.0", AvgPool(kernel=(stride, stride), stride=(stride, stride)), x)
            stride, place = 1, 1
        x = b.conv(f"{at}.{place}", x, (self._width, inputs, 1, 1), bias=False, padding=0, stride=stride)
        return b.batch_norm(f"{at}.{place + 1}.bn", x, self._width, axis=0)


MS_RESNET = MSResNet(
    name="ms-resnet",
    options=(
        *image_options(steps=6, image=224),
        Option(name="decay", kind="number", default=0.25, meaning="what a step leaves of a membrane"),
        Option(name="v_threshold", kind="number", default=0.5, spellings=("thresh",), meaning="threshold; > fires"),
    ),
)
