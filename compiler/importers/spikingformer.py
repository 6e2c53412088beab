"""Spikingformer: every branch starts with a neuron and ends with a batch norm, so residuals add membranes.

Sources: Zhou et al. 2023, "Spikingformer", arXiv:2304.11954, and "Enhancing the performance of transformer-based
spiking neural networks by SNN-optimized downsampling" (CML), arXiv:2305.05954; key names and constants of the authors'
code. Spikingformer pools spikes, CML the currents before them; their files are the same: nothing here chooses between
them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import (
    block_count,
    check_heads,
    heads_option,
    image_input,
    image_options,
    lif,
    lif_options,
    mean_head,
    shape_settings,
    tokens_of,
)
from compiler.ir.graph import Graph
from compiler.ir.ops import MaxPool
from neurochip.errors import CheckpointError

STAGES = 4
"""Neurons of the stem; each is followed by a convolution, to D / 4, D / 2, D and D channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spikingformer:
    """Spikingformer or CML, in the layouts for ImageNet, CIFAR and event cameras.

    Attributes:
        pools_currents: the stem pools before its neurons (CML), not behind them.
        event_tau: upstream's time constant for two input channels.
    """

    name: str
    pools_currents: bool
    event_tau: float
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether there is an MLP with upstream's names and a stem of either naming."""
        stem = _stem_style(tensors)
        return stem is not None and "block.0.mlp.mlp1_conv.weight" in tensors and "head.weight" in tensors

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(self, options, builder, tensors)
        output = mean_head(builder, model.blocks(model.stem()))
        builder.ignore([f"block.{i}.norm{j}" for i in range(model.depth) for j in (1, 2)])
        return builder.graph(self.name, output, options.count("T"), options.settings + model.sizes)


class _Model:
    """One model: its sizes, and the parts of its graph."""

    def __init__(self, family: Spikingformer, options: Options, builder: GraphBuilder, tensors: Tensors) -> None:
        self._builder, self._options, self._family = builder, options, family
        self._stem = _stem_style(tensors) or ("patch_embed.proj", "patch_embed.proj")
        first, later = self._stem
        self.channels = builder.shape(f"{first}_conv.weight", 4)[1]
        self.width = builder.shape(f"{later}{STAGES}_conv.weight", 4)[0]
        self.hidden = builder.shape("block.0.mlp.mlp1_conv.weight", 4)[0]
        self.depth = block_count(tensors, "block")
        self._suggest(events=self.channels == 2, cifar="block" in first)
        self.heads, self.patch = options.count("num_heads"), options.count("patch_size")
        check_heads(self.heads, self.width)
        if self.width % 8:
            raise CheckpointError(f"expected a width divisible by 8, got {self.width}")
        if self.patch not in (1, 2, 4, 8, 16):
            raise CheckpointError(f"expected patch_size to be 1, 2, 4, 8 or 16, got {self.patch}")
        self.tokens = tokens_of(options, self.patch)
        self.lif, self.attention_lif = lif(options), lif(options, "attn_v_threshold")
        self.sizes = shape_settings(
            in_channels=self.channels, dim=self.width, depths=self.depth, mlp_hidden=self.hidden
        )

    def _suggest(self, *, events: bool, cifar: bool) -> None:
        """Upstream's constants for the other layouts."""
        options = self._options
        if events:
            for name, value in (
                ("T", 16),
                ("num_heads", 16),
                ("img_size", (128, 128)),
                ("tau", self._family.event_tau),
            ):
                options.suggest(name, value)
        elif cifar:
            for name, value in (("patch_size", 4), ("img_size", (32, 32)), ("num_heads", 12)):
                options.suggest(name, value)

    def stem(self) -> str:
        """Image -> currents of the tokens (N, D)."""
        b, (first, later) = self._builder, self._stem
        x = image_input(b, self._options, self.channels)
        channels = self.width // 8
        x = b.conv(f"{first}_conv", x, (channels, self.channels, 3, 3), bias=False, padding=1)
        x = b.batch_norm(f"{first}_bn", x, channels, axis=0)
        pooled_from = STAGES - (self.patch.bit_length() - 1)
        for stage in range(STAGES):
            at, inputs = f"{later}{stage + 1}", channels
            channels = min(2 * channels, self.width)
            before, behind = (at, "") if self._family.pools_currents else ("", at)
            pools = stage >= pooled_from
            x = self._pool(before, x) if pools and before else x
            x = b.add(f"{at}_lif", self.lif, x)
            x = self._pool(behind, x) if pools and behind else x
            x = b.conv(f"{at}_conv", x, (channels, inputs, 3, 3), bias=False, padding=1)
            x = b.batch_norm(f"{at}_bn", x, channels, axis=0)
        return b.tokens("patch_embed", x, self.width, self.tokens)

    def _pool(self, at: str, x: str) -> str:
        return self._builder.add(f"{at}_maxpool", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)

    def blocks(self, x: str) -> str:
        """Tokens through every block."""
        b = self._builder
        for i in range(self.depth):
            x = b.residual(f"block.{i}.attn_add", x, self._attention(f"block.{i}.attn", x))
            x = b.residual(f"block.{i}.mlp_add", x, self._mlp(f"block.{i}.mlp", x))
        return x

    def _attention(self, at: str, x: str) -> str:
        b, square = self._builder, (self.width, self.width)
        x = b.add(f"{at}.proj_lif", self.lif, x)
        heads = []
        for s in "qkv":
            names = (f"{at}.{s}_conv", f"{at}.{s}_bn", f"{at}.{s}_lif")
            y = b.linear_bn_lif(names, x, square, self.lif, bias=False, ones=1)
            heads.append(b.heads(f"{at}.{s}", y, self.tokens, self.width, self.heads))
        q, k, v = heads
        y = b.attention(at, (q, k, v), self._options.number("attn_scale"), "q(kv)s")
        y = b.add(f"{at}.attn_lif", self.attention_lif, b.merge_heads(at, y, self.tokens, self.width))
        y = b.linear(f"{at}.proj_conv", y, square, bias=True, ones=1)
        return b.batch_norm(f"{at}.proj_bn", y, self.width, axis=1)

    def _mlp(self, at: str, x: str) -> str:
        b = self._builder
        for name, outputs, inputs in (("mlp1", self.hidden, self.width), ("mlp2", self.width, self.hidden)):
            x = b.add(f"{at}.{name}_lif", self.lif, x)
            x = b.linear(f"{at}.{name}_conv", x, (outputs, inputs), bias=True, ones=2)
            x = b.batch_norm(f"{at}.{name}_bn", x, outputs, axis=1)
        return x


def _stem_style(tensors: Tensors) -> tuple[str, str] | None:
    """Names of the stem's first stage and of its others without their number; None if it is no Spikingformer's."""
    if f"patch_embed.block{STAGES}_conv.weight" in tensors:
        return "patch_embed.block0", "patch_embed.block"
    return ("patch_embed.proj", "patch_embed.proj") if f"patch_embed.proj{STAGES}_conv.weight" in tensors else None


SPIKINGFORMER = Spikingformer(
    name="spikingformer",
    pools_currents=False,
    event_tau=1.5,
    options=(
        *image_options(steps=4, image=224),
        heads_option(8),
        Option(name="patch_size", kind="count", default=16, meaning="2^k: the last k neurons of the stem have a pool"),
        Option(name="attn_scale", kind="number", default=0.125, meaning="factor of the attention product"),
        *lif_options(attention="attn_lif"),
    ),
)
SPIKINGFORMER_CML = replace(SPIKINGFORMER, name="spikingformer-cml", pools_currents=True, event_tau=1.75)
