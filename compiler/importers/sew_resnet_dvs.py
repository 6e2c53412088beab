"""SEW-ResNet for event cameras: one sequence of 1 x 1 convolutions, residual blocks and pools.

Source: Fang et al. 2021, "Deep Residual Learning in Spiking Neural Networks", NeurIPS, arXiv:2102.04159; key names and
constants of the authors' code for CIFAR10-DVS and DVS128 Gesture, in the spelling of either SpikingJelly version. The
numbers that the sequence leaves free are its pools, as many as the fan-in of the last layer allows behind the last one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.importers.encoder import CONNECTIONS
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import fixed_or_learned, image_input, image_options, linear_head, neuron_options
from compiler.ir.graph import Graph
from compiler.ir.ops import MaxPool, Reshape, TimeMean
from neurochip.errors import CheckpointError

_FIRST = re.compile(r"conv\.\d+\.0\.(module\.)?0\.weight")
_BLOCK = re.compile(r"conv\.\d+\.conv\.0\.0\.(module\.)?0\.weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class SEWResNetDVS:
    """Blocks that end in neurons (SEW, plain) or behind whose sum there is one (basic)."""

    name: str
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether there is a layer and a block with the authors' names, and the last layer."""
        return "out.weight" in tensors and all(any(p.fullmatch(k) for k in tensors) for p in (_FIRST, _BLOCK))

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(builder, tensors, options)
        output = model.build()
        return builder.graph(self.name, output, options.count("T"), options.settings)


class _Model:
    """One model, layer by layer: the value so far, its channels and its grid."""

    def __init__(self, builder: GraphBuilder, tensors: Tensors, options: Options) -> None:
        self._builder, self._tensors, self._options = builder, tensors, options
        numbers = {int(key.split(".")[1]) for key in tensors if re.match(r"conv\.[0-9]{1,6}\.", key)}
        self.numbers = sorted(numbers)
        if not numbers:
            raise CheckpointError("missing tensors 'conv.0...', which tell the size of the model")
        self.module = "module." if any(".module." in key for key in tensors) else ""
        self.channels = builder.shape(f"conv.{self.numbers[0]}.0.{self.module}0.weight", 4)[1]
        self.grid = options.size("img_size")

    def build(self) -> str:
        """Frames -> classes."""
        b = self._builder
        x = image_input(b, self._options, self.channels)
        for place, number in enumerate(self.numbers):
            at = f"conv.{number}"
            x = self._block(at, x) if f"{at}.conv.0.0.{self.module}0.weight" in self._tensors else self._layer(at, x)
            last = place == len(self.numbers) - 1
            for free in range(0 if last else self.numbers[place + 1] - number - 1):
                x = self._pool(f"conv.{number + 1 + free}", x)
        features, number = b.shape("out.weight", 2)[1], self.numbers[-1]
        while (
            self.channels * self.grid[0] * self.grid[1] > features
            and min(self.grid) >= self._options.count("k_pool") > 1
        ):
            number += 1
            x = self._pool(f"conv.{number}", x)
        if self.channels * self.grid[0] * self.grid[1] != features:
            raise CheckpointError(
                f"the last layer has {features} inputs, but {self.channels} channels of {self.grid[0]}x{self.grid[1]} "
                "positions come before it; say how the model was trained: --set img_size=HEIGHTxWIDTH"
            )
        x = b.add("flatten", Reshape(shape=(features,)), x)
        return linear_head(b, b.add("time_mean", TimeMean(), x), "out")

    def _layer(self, at: str, x: str) -> str:
        return self._fire(f"{at}.1", self._currents(f"{at}.0", x))

    def _currents(self, at: str, x: str) -> str:
        b = self._builder
        outputs, _, kernel, _ = b.shape(f"{at}.{self.module}0.weight", 4)
        shape = (outputs, self.channels, kernel, kernel)
        x = b.conv(f"{at}.{self.module}0", x, shape, bias=False, padding=kernel // 2)
        self.channels = outputs
        return b.batch_norm(f"{at}.{self.module}1", x, outputs, axis=0)

    def _block(self, at: str, x: str) -> str:
        b = self._builder
        y = self._layer(f"{at}.conv.0", x)
        if f"{at}.conv.1.{self.module}0.weight" in self._tensors:
            return self._fire(f"{at}.sn", b.residual(f"{at}.add", x, self._currents(f"{at}.conv.1", y)))
        y = self._layer(f"{at}.conv.1", y)
        rule = self._options.choice("connect_f")
        return y if rule == "none" else b.add(f"{at}.connect", CONNECTIONS[rule], x, y)

    def _fire(self, name: str, x: str) -> str:
        return self._builder.add(name, fixed_or_learned(self._builder, self._tensors, name, self._options), x)

    def _pool(self, name: str, x: str) -> str:
        size = self._options.count("k_pool")
        if min(self.grid) < size:
            raise CheckpointError(
                f"pool '{name}' finds {self.grid[0]}x{self.grid[1]} positions, fewer than {size}x{size}"
            )
        self.grid = (self.grid[0] // size, self.grid[1] // size)
        return self._builder.add(name, MaxPool(kernel=(size, size), stride=(size, size)), x)


SEW_RESNET_DVS = SEWResNetDVS(
    name="sew-resnet-dvs",
    options=(
        *image_options(steps=16, image=128),
        Option(
            name="connect_f",
            kind="choice",
            default="ADD",
            choices=("ADD", "AND", "IAND", "none"),
            meaning="how a block joins shortcut and branch: sum, AND, shortcut AND NOT branch; none: a plain network",
        ),
        Option(name="k_pool", kind="count", default=2, meaning="kernel and stride of every pool"),
        *neuron_options("LIF"),
    ),
)
