"""What Spike-driven Transformers V2 and V3 have in common: four stages of (C, H, W), membrane shortcuts, a head.

Source: Yao et al. 2024, "Spike-driven Transformer V2", ICLR, arXiv:2404.03663, figure 2 and section 3.3; key names of
the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.ir.graph import Setting
from compiler.ir.ops import Conv2d, Input, Mean, Reshape, Transpose
from neurochip.errors import CheckpointError

CONV_STAGES = (("downsample1_1", "ConvBlock1_1"), ("downsample1_2", "ConvBlock1_2"), ("downsample2", "ConvBlock2_1"))
"""Where the image is halved, and the convolutional blocks behind it; ConvBlock2_2 follows ConvBlock2_1 directly."""

BLOCK_STAGES = (("downsample3", "block3", 2), ("downsample4", "block4", 1))
"""Where the transformer stages begin, their blocks, and the stride."""


def metaformer_options(*, steps: int, scale: float | None = None) -> tuple[Option, ...]:
    """Options of both versions."""
    options = [
        Option(name="T", kind="count", default=steps, spellings=("time_steps", "timesteps"), meaning="time steps"),
        Option(name="num_heads", kind="count", default=8, spellings=("heads",), meaning="attention heads"),
        Option(name="img_size", kind="size", default=(224, 224), spellings=("input_size",), meaning="height and width"),
        Option(name="input_low", kind="number", default=-inf, spellings=("input.low",), meaning="smallest input"),
        Option(name="input_high", kind="number", default=inf, spellings=("input.high",), meaning="largest input"),
    ]
    if scale is not None:
        options.append(Option(name="attn_scale", kind="number", default=scale, meaning="factor of the attention"))
    return tuple(options)


class MetaFormer:
    """The sizes of one model, and the parts of its graph that do not depend on the version.

    Args:
        spike: adds the neurons called as its first argument behind the value called as its second.
        suffix: how the file calls neurons: ``lif`` or ``spike``.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        tensors: Tensors,
        options: Options,
        spike: Callable[[str, str], str],
        suffix: str,
    ) -> None:
        self._builder = builder
        self._spike = spike
        self._suffix = suffix
        self._tensors = tensors
        self.channels = builder.shape("downsample1_1.encode_conv.weight", 4)[1]
        self.block_stages = tuple(stage for stage in BLOCK_STAGES if self.count(stage[1]))
        stages = ["downsample1_1", "downsample1_2", "downsample2", *(down for down, _, _ in self.block_stages)]
        self.first, *widths = (builder.shape(f"{stage}.encode_conv.weight", 4)[0] for stage in stages)
        self.widths = tuple(widths)
        self.mlp_ratio = builder.shape("block3.0.mlp.fc1_conv.weight", 3)[0] // self.widths[2]
        self.classes = builder.shape("head.weight", 2)[0]
        self.heads = options.count("num_heads")
        self.image = options.size("img_size")
        self.input = Input(
            shape=(self.channels, *self.image), low=options.number("input_low"), high=options.number("input_high")
        )
        if self.input.low > self.input.high:
            raise CheckpointError(f"expected input_low <= input_high, got {self.input.low} and {self.input.high}")
        for width in self.widths[2:]:
            if width % self.heads:
                raise CheckpointError(
                    f"num_heads {self.heads} does not divide the width {width}; "
                    "say how the model was trained: --set num_heads=COUNT"
                )

    def sizes(self) -> tuple[Setting, ...]:
        """What the shapes of the tensors tell."""
        found = {
            "in_channels": self.channels,
            "embed_dim": self.widths,
            "depths": tuple(self.count(name) for _, name, _ in self.block_stages),
            "mlp_ratio": self.mlp_ratio,
            "num_classes": self.classes,
        }
        return tuple(Setting(name, value, "tensor shapes") for name, value in found.items())

    def count(self, name: str) -> int:
        """How many blocks the list ``name`` has, at least 1 unless it is the last stage."""
        indices = {key.split(".")[1] for key in self._tensors if key.startswith(f"{name}.")}
        found = max((int(index) for index in indices if index.isdecimal()), default=-1) + 1
        return found if name == "block4" else max(found, 1)

    def features(
        self, conv_block: Callable[[str, str, int], str], block: Callable[[str, str, int, tuple[int, int]], str]
    ) -> str:
        """Image -> real (C, H, W) of the last stage.

        Args:
            conv_block: (name, value, channels) -> value; block: the same with (rows, columns).
        """
        b = self._builder
        x, channels, grid = b.add("input", self.input), self.channels, self.image
        for (down, blocks), width in zip(CONV_STAGES, (self.first, *self.widths[:2]), strict=True):
            x = self._downsample(down, x, (width, channels), 7 if down == "downsample1_1" else 3, 2)
            channels, grid = width, ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
            for name in (blocks, "ConvBlock2_2") if blocks == "ConvBlock2_1" else (blocks,):
                for i in range(self.count(name)):
                    x = conv_block(f"{name}.{i}", x, width)
        for (down, name, stride), width in zip(self.block_stages, self.widths[2:], strict=True):
            x = self._downsample(down, x, (width, channels), 3, stride)
            channels, grid = width, ((grid[0] + stride - 1) // stride, (grid[1] + stride - 1) // stride)
            for i in range(self.count(name)):
                x = block(f"{name}.{i}", x, width, grid)
        return x

    def _downsample(self, at: str, x: str, weight: tuple[int, int], kernel: int, stride: int) -> str:
        if at != "downsample1_1":
            x = self._spike(f"{at}.encode_{self._suffix}", x)
        shape = (*weight, kernel, kernel)
        x = self._builder.conv(f"{at}.encode_conv", x, shape, bias=True, padding=kernel // 2, stride=stride)
        return self._builder.batch_norm(f"{at}.encode_bn", x, weight[0], axis=0)

    def channel_conv(self, at: str, x: str, width: int) -> str:
        """x + the two 3x3 convolutions of a convolutional block."""
        b, y = self._builder, x
        hidden = width * b.shape("ConvBlock1_1.0.conv1.weight", 4)[0] // self.first
        for i, weight in (("1", (hidden, width, 3, 3)), ("2", (width, hidden, 3, 3))):
            y = self._spike(f"{at}.{self._suffix}{i}", y)
            y = b.conv(f"{at}.conv{i}", y, weight, bias=False, padding=1)
            y = b.batch_norm(f"{at}.bn{i}", y, weight[0], axis=0)
        return b.residual(f"{at}.conv_add", x, y)

    def mlp(self, at: str, x: str, width: int) -> str:
        """The MLP of a transformer block."""
        b, y, hidden = self._builder, x, self.mlp_ratio * width
        for i, weight in (("1", (hidden, width)), ("2", (width, hidden))):
            y = self._spike(f"{at}.mlp.fc{i}_{self._suffix}", y)
            y = self.pointwise(f"{at}.mlp.fc{i}_conv", y, weight, ones=1, bias=True)
            y = b.batch_norm(f"{at}.mlp.fc{i}_bn", y, weight[0], axis=0)
        return y

    def pointwise(self, name: str, x: str, weight: tuple[int, int], *, ones: int = 2, bias: bool = False) -> str:
        """Convolution of kernel 1 on (C, H, W), stored with ``ones`` axes of size 1."""
        stored = self._builder.weight(f"{name}.weight", (*weight, *[1] * ones)).reshape(*weight, 1, 1)
        offset = self._builder.take(f"{name}.bias", weight[:1]) if bias else None
        return self._builder.add(name, Conv2d(weight=stored, bias=offset), x)

    def split_heads(self, name: str, x: str, width: int, grid: tuple[int, int]) -> str:
        """(C, H, W) -> (heads, H * W, C / heads), C = ``width``."""
        tokens = grid[0] * grid[1]
        split = self._builder.add(f"{name}_split", Reshape(shape=(self.heads, width // self.heads, tokens)), x)
        return self._builder.add(f"{name}_heads", Transpose(order=(0, 2, 1)), split)

    def merge_heads(self, name: str, x: str, width: int, grid: tuple[int, int]) -> str:
        """(heads, H * W, C / heads) -> (C, H, W)."""
        side_by_side = self._builder.add(f"{name}.merge", Transpose(order=(0, 2, 1)), x)
        return self._builder.add(f"{name}.merged", Reshape(shape=(width, *grid)), side_by_side)

    def mean(self, x: str) -> str:
        """Mean over positions: (C,)."""
        return self._builder.add("pool", Mean(axes=(1, 2)), x)
