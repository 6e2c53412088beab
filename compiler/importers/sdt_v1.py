"""Spike-driven Transformer (V1): masks instead of products in the attention, residuals that add membranes.

Source: Yao et al. 2023, "Spike-driven Transformer", NeurIPS, arXiv:2307.01694; key names and constants of the authors'
code. The attention of a block is q AND neuron(sum over tokens of k AND v): no matrix product, no scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import (
    block_count,
    check_heads,
    heads_option,
    image_input,
    image_options,
    learned_lif,
    lif,
    lif_options,
    linear_head,
    shape_settings,
    tokens_of,
)
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import MaxPool, Mean, Mul, Neuron, Reshape, Sum, TimeMean, Transpose
from neurochip.errors import CheckpointError

STAGES = 4
"""Convolutions of the stem; stage i has D / 8, D / 4, D / 2, D channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeDrivenTransformer:
    """The one file layout of Spike-driven Transformer V1, with fixed or learned time constants."""

    name: str
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether the stem has a position embedding and block 0 the unread ``talking_heads``."""
        keys = ("patch_embed.rpe_conv.weight", "block.0.attn.q_conv.weight", "block.0.attn.talking_heads.weight")
        return all(key in tensors for key in keys)

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(options, builder, tensors)
        output = model.readout(model.blocks(model.stem()))
        unread = [f"block.{i}.attn.{part}" for i in range(model.depth) for part in ("talking_heads", "attn_lif")]
        builder.ignore([*unread, "patch_embed.rpe_lif"])
        return builder.graph(self.name, output, options.count("T"), model.settings())


class _Model:
    """One model: its sizes, and the parts of its graph."""

    def __init__(self, options: Options, builder: GraphBuilder, tensors: Tensors) -> None:
        self._builder, self._options = builder, options
        self._learned = any(key.endswith("_lif.w") for key in tensors)
        self.depth = block_count(tensors, "block")
        self.width = builder.shape("patch_embed.rpe_conv.weight", 4)[0]
        self.channels = builder.shape("patch_embed.proj_conv.weight", 4)[1]
        self.hidden = builder.shape("block.0.mlp.fc1_conv.weight", 4)[0]
        self.heads = builder.shape("block.0.attn.talking_heads.weight", 3)[0]
        self.pools = [digit == "1" for digit in options.choice("pooling_stat")]
        self.events = options.flag("dvs_mode")
        options.tell("num_heads", self.heads)
        check_heads(self.heads, self.width)
        if self.width % 8:
            raise CheckpointError(f"expected a width divisible by 8, got {self.width}")
        factor = 2 ** sum(self.pools)
        self.tokens = tokens_of(options, factor)
        height, width = options.size("img_size")
        self.grid = (height // factor, width // factor)

    def settings(self) -> tuple[Setting, ...]:
        """Everything that the graph depends on beside the weights."""
        learned = [s for s in self._options.settings if self._learned and s.name == "tau"]
        if any(s.origin == "--set" for s in learned):
            raise CheckpointError("setting 'tau': the file holds a learned time constant for every layer")
        return tuple(s for s in self._options.settings if s not in learned) + shape_settings(
            in_channels=self.channels,
            dim=self.width,
            depths=self.depth,
            mlp_hidden=self.hidden,
            spike_mode="plif" if self._learned else "lif",
        )

    def _fire(self, name: str, x: str, threshold: str = "v_threshold") -> str:
        return self._builder.add(name, self._neuron(name, threshold), x)

    def _neuron(self, name: str, threshold: str = "v_threshold") -> Neuron:
        if self._learned:
            return learned_lif(self._builder, name, self._options, threshold)
        return lif(self._options, threshold)

    def stem(self) -> str:
        """Image -> membranes of the tokens (N, D): spikes are pooled after stages 0 to 2, currents after stage 3."""
        b, at = self._builder, "patch_embed"
        x = image_input(b, self._options, self.channels)
        channels = self.channels
        for stage in range(STAGES):
            i, inputs = str(stage or ""), channels
            channels = self.width >> (STAGES - 1 - stage)
            x = b.conv(f"{at}.proj_conv{i}", x, (channels, inputs, 3, 3), bias=False, padding=1)
            x = b.batch_norm(f"{at}.proj_bn{i}", x, channels, axis=0)
            if stage < STAGES - 1:
                x = self._fire(f"{at}.proj_lif{i}", x)
            if self.pools[stage]:
                x = b.add(f"{at}.maxpool{i}", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)
        y = self._fire(f"{at}.proj_lif{STAGES - 1}", x)
        y = b.conv(f"{at}.rpe_conv", y, (self.width, self.width, 3, 3), bias=False, padding=1)
        y = b.batch_norm(f"{at}.rpe_bn", y, self.width, axis=0)
        return b.tokens(at, b.residual(f"{at}.rpe_add", y, x), self.width, self.tokens)

    def blocks(self, x: str) -> str:
        """Tokens through every block."""
        b = self._builder
        for i in range(self.depth):
            x = b.residual(f"block.{i}.attn_add", self._attention(f"block.{i}.attn", x), x)
            x = self._mlp(f"block.{i}.mlp", x)
        return x

    def _attention(self, at: str, x: str) -> str:
        b, square = self._builder, (self.width, self.width)
        s = self._fire(f"{at}.shortcut_lif", x)
        q, k, v = (self._spikes(f"{at}.{name}", s) for name in "qkv")
        y = self._pooled_mask(at, q, k, v) if self.events else self._mask(at, q, k, v)
        y = b.linear(f"{at}.proj_conv", y, square, bias=True, ones=2)
        return b.batch_norm(f"{at}.proj_bn", y, self.width, axis=1)

    def _spikes(self, at: str, x: str) -> str:
        square = (self.width, self.width)
        names = (f"{at}_conv", f"{at}_bn", f"{at}_lif")
        return self._builder.linear_bn_lif(names, x, square, self._neuron(names[2]), bias=False, ones=2)

    def _mask(self, at: str, q: str, k: str, v: str) -> str:
        """q AND neuron(sum over tokens of k AND v), channel by channel: the heads make no difference."""
        b = self._builder
        kv = b.add(f"{at}.kv", Mul(), k, v)
        counts = b.add(f"{at}.kv_sum", Sum(axes=(0,), keep=True), kv)
        mask = self._fire(f"{at}.talking_heads_lif", counts, "attn_v_threshold")
        return b.add(f"{at}.masked", Mul(), q, mask)

    def _pooled_mask(self, at: str, q: str, k: str, v: str) -> str:
        """For event cameras, with 3 x 3 pools: of k and v over positions, of k AND v and of y over (N, D / heads)."""
        b = self._builder
        k, v = (self._pooled_positions(f"{at}.{name}", x) for name, x in (("k", k), ("v", v)))
        q, k, v = (
            b.heads(f"{at}.{s}", x, self.tokens, self.width, self.heads) for s, x in zip("qkv", (q, k, v), strict=True)
        )
        kv = self._pool(f"{at}.kv_pool", b.add(f"{at}.kv", Mul(), k, v))
        counts = b.add(f"{at}.kv_sum", Sum(axes=(1,), keep=True), kv)
        mask = self._fire(f"{at}.talking_heads_lif", counts, "attn_v_threshold")
        y = self._pool(f"{at}.masked_pool", b.add(f"{at}.masked", Mul(), q, mask))
        return b.merge_heads(at, y, self.tokens, self.width)

    def _pooled_positions(self, at: str, x: str) -> str:
        b = self._builder
        x = b.add(f"{at}_channels", Transpose(order=(1, 0)), x)
        x = b.add(f"{at}_image", Reshape(shape=(self.width, *self.grid)), x)
        return b.tokens(f"{at}_pooled", self._pool(f"{at}_pool", x), self.width, self.tokens)

    def _pool(self, name: str, x: str) -> str:
        return self._builder.add(name, MaxPool(kernel=(3, 3), stride=(1, 1), padding=(1, 1)), x)

    def _mlp(self, at: str, x: str) -> str:
        """x + MLP(x); a hidden layer as wide as the model has a shortcut of its own."""
        b = self._builder
        y = b.linear(f"{at}.fc1_conv", self._fire(f"{at}.fc1_lif", x), (self.hidden, self.width), bias=True, ones=2)
        y = b.batch_norm(f"{at}.fc1_bn", y, self.hidden, axis=1)
        if self.hidden == self.width:
            x = y = b.residual(f"{at}.fc1_add", x, y)
        y = b.linear(f"{at}.fc2_conv", self._fire(f"{at}.fc2_lif", y), (self.width, self.hidden), bias=True, ones=2)
        y = b.batch_norm(f"{at}.fc2_bn", y, self.width, axis=1)
        return b.residual(f"{at}_add", y, x)

    def readout(self, x: str) -> str:
        """Mean over tokens, neuron, linear head, and mean over steps unless the model was trained step by step."""
        b = self._builder
        x = self._fire("head_lif", b.add("token_mean", Mean(axes=(0,)), x))
        x = linear_head(b, x)
        return x if self._options.flag("TET") else b.add("time_mean", TimeMean(), x)


SDT_V1 = SpikeDrivenTransformer(
    name="sdt-v1",
    options=(
        *image_options(steps=4, image=224),
        heads_option(8),
        Option(
            name="pooling_stat",
            kind="choice",
            default="1111",
            choices=tuple("".join(digits) for digits in product("01", repeat=STAGES)),
            meaning="1 for each stage of the stem that pools",
        ),
        Option(name="dvs_mode", kind="flag", default=False, meaning="3 x 3 pools in the attention (CIFAR10-DVS)"),
        Option(name="TET", kind="flag", default=False, spellings=("tet",), meaning="logits of every step, no mean"),
        *lif_options(attention="talking_heads_lif"),
    ),
)
