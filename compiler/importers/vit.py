"""Vision transformers: the network that was trained, and the one that ECMT converted to spikes.

Source: Huang et al. 2024, "Towards High-performance Spiking Transformers from ANN to SNN Conversion" (ECMT), ACM MM,
arXiv:2502.21193; key names and constants of the authors' code, which replaces the measured thresholds of two kinds of
neurons by constants. Dosovitskiy et al. 2021, arXiv:2010.11929 (ViT).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import block_count, check_heads, heads_option, image_input, image_options, shape_settings
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import (
    Accumulate,
    Affine,
    Concat,
    Conv2d,
    Gelu,
    Increment,
    LayerNorm,
    MatMul,
    MultiThresholdNeuron,
    Op,
    Reshape,
    Scale,
    Slice,
    Softmax,
    TimeMean,
    Transpose,
)
from neurochip.errors import CheckpointError

HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16, "huge": 16}
"""Attention heads of the models that upstream names so."""

EPS = 1e-6
"""Of every layer norm."""

VIT_OPTIONS: tuple[Option, ...] = (
    *(option for option in image_options(steps=1, image=224) if option.name != "T"),
    Option(
        name="model", kind="text", default="vit", meaning="the trainer's name of the model; tiny, small, ... has heads"
    ),
    heads_option(12),
)
ECMT_OPTIONS: tuple[Option, ...] = (
    Option(name="T", kind="count", default=8, spellings=("test_T", "timesteps"), meaning="time steps"),
    *VIT_OPTIONS,
    Option(name="linear_num", kind="count", default=8, meaning="thresholds of either sign of most neurons"),
    Option(name="qkv_num", kind="count", default=8, meaning="the same of the neurons on q and k"),
    Option(name="softmax_num", kind="count", default=8, meaning="the same of the neurons behind the softmax"),
    Option(
        name="softmax_p", kind="number", default=0.0125, meaning="smallest threshold behind the softmax, both signs"
    ),
    Option(name="fc2_p", kind="number", default=0.25, meaning="smallest positive threshold before fc2"),
    Option(name="fc2_n", kind="number", default=0.08, meaning="smallest negative threshold before fc2"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionTransformer:
    """As trained, or ``converted``; see ``compiler.importers.family.Family``."""

    name: str
    converted: bool
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether the blocks are of a ViT and thresholds were measured in them or not."""
        keys = ("cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.norm1.weight")
        measured = any(key.endswith("_test.scale_p") for key in tensors)
        return all(key in tensors for key in keys) and measured == self.converted

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Converted(tensors, options, builder) if self.converted else _Trained(tensors, options, builder)
        output = model.readout(model.blocks(model.patches()))
        steps = options.count("T") if self.converted else 1
        return builder.graph(self.name, output, steps, options.settings + model.sizes())


class _Trained:
    """One artificial network: its sizes, and its graph."""

    def __init__(self, tensors: Tensors, options: Options, builder: GraphBuilder) -> None:
        self._options = options
        self._builder = builder
        self.depth = block_count(tensors, "blocks")
        self.width, self.channels, self.patch, _ = builder.shape("patch_embed.proj.weight", 4)
        self.tokens = builder.shape("pos_embed", 3)[1]
        self.hidden = builder.shape("blocks.0.mlp.fc1.weight", 2)[0]
        self.classes = builder.shape("head.weight", 2)[0]
        side = image_side(self.tokens, self.patch)
        options.tell("img_size", (side, side))
        self.heads = heads_by_name(options, self.width)

    def sizes(self) -> tuple[Setting, ...]:
        """What the shapes of the tensors tell."""
        return shape_settings(
            in_channels=self.channels,
            patch_size=self.patch,
            embed_dim=self.width,
            depth=self.depth,
            mlp_hidden=self.hidden,
            num_classes=self.classes,
        )

    # What the conversion changes.

    def neuron(self, name: str, x: str) -> str:
        """What stands before a weight layer or a product."""
        return x

    def function(self, name: str, op: Op, *inputs: str) -> str:
        """A function that is not linear in its inputs."""
        return self._builder.add(name, op, *inputs)

    def logits(self, x: str) -> str:
        """Of the classes, from the head's results."""
        return self._builder.add("logits", TimeMean(), x)

    # The network.

    def patches(self) -> str:
        """Image -> tokens (1 + N, D): patches behind the class token, plus positions."""
        b, (height, width) = self._builder, self._options.size("img_size")
        x = image_input(b, self._options, self.channels)
        shape, rows, columns = (
            (self.width, self.channels, self.patch, self.patch),
            height // self.patch,
            width // self.patch,
        )
        weight, bias = b.take("patch_embed.proj.weight", shape), b.take("patch_embed.proj.bias", shape[:1])
        x = b.add("patch_embed.proj", Conv2d(weight=weight, bias=bias, stride=shape[2:]), x)
        x = b.tokens("patch_embed", x, self.width, rows * columns)
        first = b.take("cls_token", (1, 1, self.width)).reshape(1, self.width)
        x = b.add("cls_token", Concat(axis=0, before=first), x)
        positions = b.take("pos_embed", (1, self.tokens, self.width)).reshape(self.tokens, self.width)
        return b.add("pos_embed", Affine(offset=positions), x)

    def _norm(self, name: str, x: str) -> str:
        gamma, beta = (self._builder.take(f"{name}.{key}", (self.width,)) for key in ("weight", "bias"))
        return self.function(name, LayerNorm(gamma=gamma, beta=beta, eps=EPS), x)

    def blocks(self, x: str) -> str:
        """Tokens through every block."""
        b = self._builder
        for i in range(self.depth):
            at = f"blocks.{i}"
            x = b.residual(f"{at}.attn_add", x, self._attention(f"{at}.attn", self._norm(f"{at}.norm1", x)))
            x = b.residual(f"{at}.mlp_add", x, self._mlp(f"{at}.mlp", self._norm(f"{at}.norm2", x)))
        return x

    def _attention(self, at: str, x: str) -> str:
        b, width, depth = self._builder, self.width, self.width // self.heads
        x = self.neuron(f"{at}.x_in_test", x)
        x = b.linear(f"{at}.qkv", x, (3 * width, width), bias=True)
        parts = []
        for i, letter in enumerate("qkv"):
            part = b.add(f"{at}.{letter}", Slice(axis=1, start=i * width, stop=(i + 1) * width), x)
            part = b.heads(f"{at}.{letter}", part, self.tokens, width, self.heads)
            parts.append(self.neuron(f"{at}.{letter}_out_test", part))
        y = self.function(f"{at}.at1", MatMul(transpose_b=True), parts[0], parts[1])
        y = b.add(f"{at}.scale", Scale(factor=depth**-0.5), y)
        y = self.neuron(f"{at}.attn_out_test", self.function(f"{at}.softmax", Softmax(), y))
        y = self.function(f"{at}.at2", MatMul(), y, parts[2])
        y = b.add(f"{at}.merge", Transpose(order=(1, 0, 2)), y)
        y = b.add(f"{at}.merged", Reshape(shape=(self.tokens, width)), y)
        return b.linear(f"{at}.proj", self.neuron(f"{at}.x_out_test", y), (width, width), bias=True)

    def _mlp(self, at: str, x: str) -> str:
        b = self._builder
        y = b.linear(f"{at}.fc1", self.neuron(f"{at}.x1_in_test", x), (self.hidden, self.width), bias=True)
        y = self.function(f"{at}.act", Gelu(), y)
        return b.linear(f"{at}.fc2", self.neuron(f"{at}.x2_in_test", y), (self.width, self.hidden), bias=True)

    def readout(self, x: str) -> str:
        """Norm, the class token, linear head."""
        b = self._builder
        x = b.add("first_token", Slice(axis=0, start=0, stop=1), self._norm("norm", x))
        x = b.add("token", Reshape(shape=(self.width,)), x)
        return self.logits(b.linear("head", x, (self.classes, self.width), bias=True))


class _Converted(_Trained):
    """The network with multi-threshold neurons, and expectation compensation of everything that is not linear.

    Logits are summed over the steps so far, (T, B, classes); divided by the number of steps they approach the trained
    network's.
    """

    def neuron(self, name: str, x: str) -> str:
        options, place = self._options, name.rpartition(".")[2]
        keys = [f"{name}.scale_{sign}" for sign in "pn"]
        if place == "attn_out_test":
            thresholds, levels = [options.number("softmax_p")] * 2, options.count("softmax_num")
        elif place == "x2_in_test":
            thresholds, levels = [options.number(f"fc2_{sign}") for sign in "pn"], options.count("linear_num")
        else:
            thresholds = [float(self._builder.take(key, (1,))[0]) for key in keys]
            levels = options.count("qkv_num" if place in ("q_out_test", "k_out_test") else "linear_num")
            keys = []
        self._builder.ignore(keys)
        op = MultiThresholdNeuron(positive=thresholds[0], negative=thresholds[1], levels=levels)
        return self._builder.add(name, op, x)

    def function(self, name: str, op: Op, *inputs: str) -> str:
        b = self._builder
        means = [b.add(f"{name}.mean{i or ''}", Accumulate(mean=True), x) for i, x in enumerate(inputs)]
        return b.add(f"{name}.increment", Increment(mean=True), b.add(name, op, *means))

    def logits(self, x: str) -> str:
        return self._builder.add("logits", Accumulate(), x)


def heads_by_name(options: Options, width: int) -> int:
    """The number of heads that somebody said, or that goes with the model's name, or 64 channels for each."""
    named = [heads for size, heads in HEADS.items() if size in options.text("model").lower()]
    options.suggest("num_heads", named[0] if named else max(width // 64, 1))
    heads = options.count("num_heads")
    check_heads(heads, width)
    return heads


def image_side(tokens: int, patch: int) -> int:
    """Height and width of the square image that gives ``tokens``, one of which is the class token."""
    side = isqrt(tokens - 1)
    if side**2 != tokens - 1:
        raise CheckpointError(f"'pos_embed' has {tokens} positions, expected 1 + a square number")
    return side * patch


ECMT_VIT = VisionTransformer(name="ecmt-vit", converted=True, options=ECMT_OPTIONS)
VIT = VisionTransformer(name="vit", converted=False, options=VIT_OPTIONS)
