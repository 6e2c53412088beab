"""Spikformer: convolutional stem, spiking self-attention, MLP blocks, additive residuals of spikes.

Source: Zhou et al. 2023, "Spikformer", ICLR, arXiv:2209.15425; key names and constants of the authors' code. Its three
training set-ups differ in layer types and in the order of the attention product, not in what they compute.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import Input, Linear, MaxPool, Mean, Neuron, TimeMean
from neurochip.errors import CheckpointError

STAGES = 4
"""Convolutions of the stem before the position embedding; stage i has D / 8, D / 4, D / 2, D channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spikformer:
    """One file layout of Spikformer.

    Attributes:
        layer: what the file calls its matrices: ``q_linear`` or ``q_conv``, ``fc1_linear`` or ``fc1_conv``.
        attention_ones, mlp_ones: axes of size 1 behind (O, I) in the weights of attention and MLP.
        qkv_bias: q, k and v have a bias (all other matrices of a block always do).
        product: order of the attention product, see ``GraphBuilder.attention``.
        unread: modules that the file holds and the forward pass never reads, beside each block's norms.
    """

    name: str
    layer: str
    attention_ones: int
    mlp_ones: int
    qkv_bias: bool
    product: str
    unread: tuple[str, ...]
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether the stem has a position embedding and block 0 has this layout's matrices."""
        if "patch_embed.rpe_conv.weight" not in tensors:
            return False
        q = tensors.get(f"block.0.attn.q_{self.layer}.weight")
        fc1 = tensors.get(f"block.0.mlp.fc1_{self.layer}.weight")
        if q is None or any(key.endswith("attn.talking_heads.weight") for key in tensors):
            return False
        return q.ndim == 2 + self.attention_ones and (fc1 is None or fc1.ndim == 2 + self.mlp_ones)

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(self, options, builder, _block_count(tensors))
        output = model.readout(model.blocks(model.stem()))
        builder.ignore([f"block.{i}.norm{j}" for i in range(model.depth) for j in (1, 2)])
        builder.ignore(self.unread)
        return builder.graph(self.name, output, options.count("T"), options.settings + model.sizes())


class _Model:
    """One model: its sizes, and the parts of its graph."""

    def __init__(self, layout: Spikformer, options: Options, builder: GraphBuilder, depth: int) -> None:
        self._layout = layout
        self._builder = builder
        self.depth = depth
        self.width = builder.shape("patch_embed.rpe_conv.weight", 4)[0]
        self.channels = builder.shape("patch_embed.proj_conv.weight", 4)[1]
        fc1 = f"block.0.mlp.fc1_{layout.layer}.weight"
        self.hidden = builder.shape(fc1, 2 + layout.mlp_ones)[0]
        self.classes = builder.shape("head.weight", 2)[0]
        self.heads = options.count("num_heads")
        self.image = options.size("img_size")
        self.patch = options.count("patch_size")
        self.scale = options.number("attn_scale")
        self.input_range = options.number("input_low"), options.number("input_high")
        self._check()
        self.tokens = self.image[0] * self.image[1] // self.patch**2
        tau, v_reset = options.number("tau"), options.number("v_reset")
        self.lif = Neuron(tau=tau, threshold=options.number("v_threshold"), v_reset=v_reset)
        self.attention_lif = Neuron(tau=tau, threshold=options.number("attn_v_threshold"), v_reset=v_reset)

    def _check(self) -> None:
        if self.width % 8:
            raise CheckpointError(f"expected a width divisible by 8, got {self.width}")
        if self.width % self.heads:
            raise CheckpointError(
                f"num_heads {self.heads} does not divide the width {self.width}; "
                "say how the model was trained: --set num_heads=COUNT"
            )
        if self.patch not in (1, 2, 4, 8, 16):
            raise CheckpointError(f"expected patch_size to be 1, 2, 4, 8 or 16, got {self.patch}")
        if self.image[0] % self.patch or self.image[1] % self.patch:
            raise CheckpointError(f"patch_size {self.patch} does not divide img_size {self.image}")
        low, high = self.input_range
        if low > high:
            raise CheckpointError(f"expected input_low <= input_high, got {low} and {high}")

    def sizes(self) -> tuple[Setting, ...]:
        """What the shapes of the tensors tell."""
        found = {
            "in_channels": self.channels,
            "dim": self.width,
            "depths": self.depth,
            "mlp_hidden": self.hidden,
            "num_classes": self.classes,
        }
        return tuple(Setting(name, value, "tensor shapes") for name, value in found.items())

    def stem(self) -> str:
        """Image -> tokens (N, D), integers 0..2: four convolutions, the last log2(patch) followed by a pool."""
        b, at = self._builder, "patch_embed"
        low, high = self.input_range
        x = b.add("input", Input(shape=(self.channels, *self.image), low=low, high=high))
        channels = self.channels
        pooled_from = STAGES - (self.patch.bit_length() - 1)
        for stage in range(STAGES):
            i = str(stage or "")
            width = self.width >> (STAGES - 1 - stage)
            names = (f"{at}.proj_conv{i}", f"{at}.proj_bn{i}", f"{at}.proj_lif{i}")
            x = b.conv_bn_lif(names, x, (width, channels, 3, 3), self.lif)
            if stage >= pooled_from:
                x = b.add(f"{at}.maxpool{i}", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)
            channels = width
        names = (f"{at}.rpe_conv", f"{at}.rpe_bn", f"{at}.rpe_lif")
        position = b.conv_bn_lif(names, x, (self.width, self.width, 3, 3), self.lif)
        x = b.residual(f"{at}.rpe_add", position, x)
        return b.tokens(at, x, self.width, self.tokens)

    def blocks(self, x: str) -> str:
        """Tokens through every block."""
        b = self._builder
        for i in range(self.depth):
            x = b.residual(f"block.{i}.attn_add", x, self._attention(f"block.{i}.attn", x))
            x = b.residual(f"block.{i}.mlp_add", x, self._mlp(f"block.{i}.mlp", x))
        return x

    def _matrix(self, at: str, stem: str, x: str, weight: tuple[int, int], *, bias: bool, ones: int) -> str:
        names = (f"{at}.{stem}_{self._layout.layer}", f"{at}.{stem}_bn", f"{at}.{stem}_lif")
        return self._builder.linear_bn_lif(names, x, weight, self.lif, bias=bias, ones=ones)

    def _attention(self, at: str, x: str) -> str:
        b, layout, square = self._builder, self._layout, (self.width, self.width)
        ones = layout.attention_ones
        spikes = [self._matrix(at, s, x, square, bias=layout.qkv_bias, ones=ones) for s in "qkv"]
        q, k, v = (
            b.heads(f"{at}.{s}", y, self.tokens, self.width, self.heads) for s, y in zip("qkv", spikes, strict=True)
        )
        y = b.attention(at, (q, k, v), self.scale, layout.product)
        y = b.merge_heads(at, y, self.tokens, self.width)
        y = b.add(f"{at}.attn_lif", self.attention_lif, y)
        return self._matrix(at, "proj", y, square, bias=True, ones=ones)

    def _mlp(self, at: str, x: str) -> str:
        ones = self._layout.mlp_ones
        y = self._matrix(at, "fc1", x, (self.hidden, self.width), bias=True, ones=ones)
        return self._matrix(at, "fc2", y, (self.width, self.hidden), bias=True, ones=ones)

    def readout(self, x: str) -> str:
        """Mean over tokens, mean over steps, linear head."""
        b = self._builder
        x = b.add("token_mean", Mean(axes=(0,)), x)
        x = b.add("time_mean", TimeMean(), x)
        weight = b.take("head.weight", (self.classes, self.width))
        return b.add("head", Linear(weight=weight, bias=b.take("head.bias", (self.classes,))), x)


def _block_count(tensors: Tensors) -> int:
    indices = {key.split(".")[1] for key in tensors if key.startswith("block.")}
    return 1 + max((int(index) for index in indices if index.isdecimal()), default=0)


def _options(*, steps: int, heads: int, image: int, patch: int, scale: float) -> tuple[Option, ...]:
    return (
        Option(name="T", kind="count", default=steps, spellings=("time_step", "timesteps"), meaning="time steps"),
        Option(name="num_heads", kind="count", default=heads, spellings=("heads",), meaning="attention heads"),
        Option(name="img_size", kind="size", default=(image, image), meaning="height and width of the input"),
        Option(name="patch_size", kind="count", default=patch, meaning="2^k: pools after the last k stem stages"),
        Option(name="attn_scale", kind="number", default=scale, meaning="factor of the attention product"),
        Option(name="tau", kind="number", default=2.0, meaning="membrane time constant of every LIF, in steps"),
        Option(name="v_threshold", kind="number", default=1.0, meaning="threshold of every LIF but attn_lif"),
        Option(name="attn_v_threshold", kind="number", default=0.5, meaning="threshold of attn_lif"),
        Option(name="v_reset", kind="number", default=0.0, meaning="membrane after a spike"),
        Option(name="input_low", kind="number", default=-inf, spellings=("input.low",), meaning="smallest input"),
        Option(name="input_high", kind="number", default=inf, spellings=("input.high",), meaning="largest input"),
    )


SPIKFORMER_CIFAR = Spikformer(
    name="spikformer-cifar",
    layer="linear",
    attention_ones=0,
    mlp_ones=0,
    qkv_bias=True,
    product="(qk)sv",
    unread=(),
    options=_options(steps=4, heads=12, image=32, patch=4, scale=0.125),
)
SPIKFORMER_IMAGENET = Spikformer(
    name="spikformer-imagenet",
    layer="conv",
    attention_ones=1,
    mlp_ones=2,
    qkv_bias=False,
    product="q(kv)s",
    unread=(),
    options=_options(steps=4, heads=8, image=224, patch=16, scale=0.125),
)
SPIKFORMER_DVS = Spikformer(
    name="spikformer-dvs",
    layer="conv",
    attention_ones=1,
    mlp_ones=1,
    qkv_bias=False,
    product="(qk)vs",
    unread=("pos_embed", "norm"),
    options=_options(steps=16, heads=16, image=128, patch=16, scale=0.25),
)
