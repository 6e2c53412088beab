"""SpikeZIP-TF: a ViT with quantised activations as a spiking network whose sums of spikes become those activations.

Source: You et al. 2024, "SpikeZIP-TF", ICML, arXiv:2406.03470; key names and constants of the authors' code, which
saves the quantised network and converts it when it is loaded. Input, class token, positions and biases enter in the
first step only. The conversion gives layer norms an epsilon of 1e-5 whatever they were trained with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import block_count, heads_option, image_input, image_options, shape_settings
from compiler.importers.vit import heads_by_name, image_side
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import (
    Accumulate,
    Concat,
    Conv2d,
    Increment,
    LayerNorm,
    Linear,
    MatMul,
    Mean,
    Onset,
    Op,
    Reshape,
    Scale,
    Slice,
    Softmax,
    TernaryNeuron,
    TimeMean,
    Transpose,
    Weights,
)
from neurochip.errors import CheckpointError

EPS = 1e-5
"""Of the layer norms that the conversion makes."""

UNQUANTISED = 32
"""Bits of weights that are used as they are."""

OPTIONS: tuple[Option, ...] = (
    Option(name="T", kind="count", default=2000, spellings=("time_step", "timesteps"), meaning="time steps"),
    *(option for option in image_options(steps=1, image=224) if option.name != "T"),
    Option(
        name="model", kind="text", default="vit", meaning="the trainer's name of the model; small, base, ... has heads"
    ),
    heads_option(12),
    Option(name="level", kind="count", default=32, meaning="levels of a quantised activation"),
    Option(name="weight_quantization_bit", kind="count", default=UNQUANTISED, meaning="bits of a weight; 32: none"),
    Option(name="remove_softmax", kind="flag", default=False, meaning="attention is divided by N instead"),
    Option(name="encoding_type", kind="choice", default="analog", choices=("analog",), meaning="how the image enters"),
    Option(name="neuron_type", kind="choice", default="ST-BIF", choices=("ST-BIF",), meaning="what activations become"),
    Option(name="act_layer", kind="choice", default="relu", choices=("relu",), meaning="function of the MLPs"),
    Option(
        name="every_step", kind="flag", default=False, meaning="sums of the logits after every step, not only the last"
    ),
)


@dataclass(frozen=True, slots=True)
class SpikeZip:
    """The family; see ``compiler.importers.family.Family``. Result: logits summed over all steps."""

    name: str = "spikezip-vit"
    options: tuple[Option, ...] = OPTIONS

    def matches(self, tensors: Tensors) -> bool:
        """Whether the patches and the attention of a ViT are quantised."""
        return all(key in tensors for key in ("cls_token", "patch_embed.proj.1.s", "blocks.0.attn.quan_q.s"))

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(tensors, options, builder)
        output = model.readout(model.blocks(model.patches()))
        return builder.graph(self.name, output, options.count("T"), options.settings + model.sizes())


class _Model:
    """One model."""

    def __init__(self, tensors: Tensors, options: Options, builder: GraphBuilder) -> None:
        self._tensors, self._options, self._builder = tensors, options, builder
        self.width, inputs, self.patch, _ = builder.shape("patch_embed.proj.0.weight", 4)
        self.aligned = "align.0.weight" in tensors
        self.channels = builder.shape("align.0.weight", 4)[1] if self.aligned else inputs
        self.tokens = builder.shape("pos_embed", 3)[1]
        self.depth = block_count(tensors, "blocks")
        self.hidden = builder.shape("blocks.0.mlp.fc1.weight", 2)[0]
        side = image_side(self.tokens, self.patch)
        options.tell("img_size", (side, side))
        self.heads = heads_by_name(options, self.width)
        self.level = options.count("level")

    def sizes(self) -> tuple[Setting, ...]:
        """What the shapes of the tensors tell."""
        return shape_settings(
            in_channels=self.channels,
            patch_size=self.patch,
            embed_dim=self.width,
            depth=self.depth,
            mlp_hidden=self.hidden,
            num_classes=self._builder.shape("head.weight", 2)[0],
        )

    def _fire(self, name: str, key: str, x: str, *, signed: bool = True) -> str:
        """The neurons that a quantiser with step ``key.s`` becomes; their spikes weigh one step."""
        step = float(self._builder.take(f"{key}.s", ()))
        low, high = (-self.level // 2, self.level // 2 - 1) if signed else (0, self.level - 1)
        spikes = self._builder.add(name, TernaryNeuron(threshold=step, low=low, high=max(high, 0)), x)
        return self._builder.add(f"{name}.step", Scale(factor=step), spikes)

    def _weight(self, name: str, shape: tuple[int, ...]) -> Weights:
        """A weight, quantised if the file holds a step for it."""
        weight, bits = self._builder.take(f"{name}.weight", shape), self._options.count("weight_quantization_bit")
        key = f"{name}.quan_w_fn.s"
        if key not in self._tensors:
            return weight
        if bits >= UNQUANTISED:
            raise CheckpointError(f"'{key}': weights are quantised; say --set weight_quantization_bit=BITS")
        step, half = float(self._builder.take(key, ())), 2 ** (bits - 1)
        if bits >= 9:  # the quantiser lets 512 levels and more through
            return weight
        return np.clip(np.floor(weight.astype(np.float64) / step + 0.5), -half, half - 1) * step

    def _biased(self, name: str, x: str, shape: tuple[int, ...]) -> str:
        """Bias in the first step."""
        bias = self._builder.take(f"{name}.bias", (max(shape),)).reshape(shape)
        return self._builder.add(f"{name}.bias", Onset(offset=bias), x)

    def _conv(self, at: str, x: str, shape: tuple[int, int, int, int], *, stride: int, padding: int) -> str:
        """Convolution ``at.0`` and the neurons ``at.1``."""
        op = Conv2d(weight=self._weight(f"{at}.0", shape), stride=(stride, stride), padding=(padding, padding))
        y = self._biased(f"{at}.0", self._builder.add(f"{at}.0", op, x), (shape[0], 1, 1))
        return self._fire(f"{at}.1", f"{at}.1", y)

    def _linear(self, name: str, x: str, shape: tuple[int, int], axes: int = 2) -> str:
        y = self._builder.add(name, Linear(weight=self._weight(name, shape)), x)
        return self._biased(name, y, (*[1] * (axes - 1), shape[0]))

    def _change(self, name: str, op: Op, *inputs: str) -> str:
        """How much a function of the sums so far changes in a step."""
        b = self._builder
        sums = [b.add(f"{name}.sum{i or ''}", Accumulate(), x) for i, x in enumerate(inputs)]
        return b.add(f"{name}.increment", Increment(), b.add(name, op, *sums))

    def _norm(self, at: str, x: str) -> str:
        """Layer norm ``at.0`` and the neurons ``at.1``."""
        gamma, beta = (self._builder.take(f"{at}.0.{key}", (self.width,)) for key in ("weight", "bias"))
        y = self._change(f"{at}.0", LayerNorm(gamma=gamma, beta=beta, eps=EPS), x)
        return self._fire(f"{at}.1", f"{at}.1", y)

    def patches(self) -> str:
        """Image -> tokens (1 + N, D), all of it in the first step."""
        b, width = self._builder, self.width
        x = b.add("input_once", Increment(), image_input(b, self._options, self.channels))
        inputs = self.channels
        if self.aligned:
            x = self._conv("align", x, (3, inputs, 3, 3), stride=1, padding=1)
            inputs = 3
        x = self._conv("patch_embed.proj", x, (width, inputs, self.patch, self.patch), stride=self.patch, padding=0)
        x = b.tokens("patch_embed", x, width, self.tokens - 1)
        x = b.add("cls_token", Concat(axis=0, before=np.zeros((1, width), np.float32)), x)
        positions = b.take("pos_embed", (1, self.tokens, width))[0].astype(np.float64)
        positions[0] += b.take("cls_token", (1, 1, width))[0, 0]
        return b.add("pos_embed", Onset(offset=positions), x)

    def blocks(self, x: str) -> str:
        """Tokens through every block."""
        b, width, hidden = self._builder, self.width, self.hidden
        for i in range(self.depth):
            at = f"blocks.{i}"
            x = b.residual(f"{at}.attn_add", x, self._attention(f"{at}.attn", self._norm(f"{at}.norm1", x)))
            y = self._linear(f"{at}.mlp.fc1", self._norm(f"{at}.norm2", x), (hidden, width))
            y = self._fire(f"{at}.mlp.act.0", f"{at}.mlp.act.0", y, signed=False)
            y = self._linear(f"{at}.mlp.fc2.0", y, (width, hidden))
            x = b.residual(f"{at}.mlp_add", x, self._fire(f"{at}.mlp.fc2.1", f"{at}.mlp.fc2.1", y))
        return x

    def _attention(self, at: str, x: str) -> str:
        b, width, depth = self._builder, self.width, self.width // self.heads
        x = self._linear(f"{at}.qkv", x, (3 * width, width))
        parts = []
        for i, letter in enumerate("qkv"):
            part = b.add(f"{at}.{letter}", Slice(axis=1, start=i * width, stop=(i + 1) * width), x)
            part = b.heads(f"{at}.{letter}", part, self.tokens, width, self.heads)
            parts.append(self._fire(f"{at}.{letter}_IF", f"{at}.quan_{letter}", part))
        q = b.add(f"{at}.scale", Scale(factor=depth**-0.5), parts[0])
        y = self._change(f"{at}.qk", MatMul(transpose_b=True), q, parts[1])
        removed = self._options.flag("remove_softmax")
        y = y if removed else self._change(f"{at}.softmax", Softmax(), y)
        y = self._fire(f"{at}.attn_IF", f"{at}.attn_quan", y, signed=False)
        y = b.add(f"{at}.divided", Scale(factor=1 / self.tokens), y) if removed else y
        y = self._change(f"{at}.av", MatMul(), y, parts[2])
        y = self._fire(f"{at}.after_attn_IF", f"{at}.after_attn_quan", y)
        y = b.add(f"{at}.merge", Transpose(order=(1, 0, 2)), y)
        y = b.add(f"{at}.merged", Reshape(shape=(self.tokens, width)), y)
        return self._fire(f"{at}.proj_IF", f"{at}.quan_proj", self._linear(f"{at}.proj", y, (width, width)))

    def readout(self, x: str) -> str:
        """The class token behind the last norm, or the norm of the mean over all other tokens; linear head; sum."""
        b = self._builder
        if "fc_norm.0.weight" in self._tensors:
            x = b.add("patch_tokens", Slice(axis=0, start=1, stop=self.tokens), x)
            x = self._norm("fc_norm", b.add("token_mean", Mean(axes=(0,)), x))
        else:
            x = b.add("first_token", Slice(axis=0, start=0, stop=1), self._norm("norm", x))
            x = b.add("token", Reshape(shape=(self.width,)), x)
        x = self._linear("head", x, (b.shape("head.weight", 2)[0], self.width), axes=1)
        if self._options.flag("every_step"):
            return b.add("logits", Accumulate(), x)
        return b.add("logits", Scale(factor=float(self._options.count("T"))), b.add("time_mean", TimeMean(), x))


SPIKEZIP_VIT = SpikeZip()
