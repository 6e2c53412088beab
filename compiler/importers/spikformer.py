"""Spikformer: convolutional stem, spiking self-attention, MLP blocks, additive residuals of spikes.

Source: Zhou et al. 2023, "Spikformer", ICLR, arXiv:2209.15425; key names and constants of the authors' code. Its three
training set-ups differ in layer types and in the order of the attention product, not in what they compute. The fourth
is Spikformer as the authors of CML retrained it (arXiv:2305.05954): its stem pools currents, not spikes.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.importers.encoder import Encoder, EncoderKeys
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
)
from compiler.ir.graph import Graph
from compiler.ir.ops import MaxPool
from neurochip.errors import CheckpointError

STAGES = 4
"""Convolutions of the stem before the position embedding; stage i has D / 8, D / 4, D / 2, D channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spikformer:
    """One file layout of Spikformer.

    Attributes:
        keys: names and shapes of the layers of a block.
        stages: the modules of the stem; ``conv``, ``bn`` or ``lif`` takes the place of the star.
        pools: the pools of the stem, one a stage.
        pools_currents: the stem pools before its neurons, not behind them.
        unread: modules that the file holds and the forward pass never reads, beside each block's norms.
    """

    name: str
    keys: EncoderKeys
    options: tuple[Option, ...]
    stages: tuple[str, ...] = ("proj_*", "proj_*1", "proj_*2", "proj_*3")
    pools: tuple[str, ...] = ("maxpool", "maxpool1", "maxpool2", "maxpool3")
    pools_currents: bool = False
    unread: tuple[str, ...] = ()

    def matches(self, tensors: Tensors) -> bool:
        """Whether the stem has a position embedding and block 0 has this layout's matrices."""
        if "patch_embed.rpe_conv.weight" not in tensors or f"{self.module(0, 'conv')}.weight" not in tensors:
            return False
        q = tensors.get(f"{self.keys.matrix('block.0.attn', 'q')}.weight")
        fc1 = tensors.get(f"{self.keys.matrix('block.0.mlp', 'fc1')}.weight")
        if q is None or any(key.endswith("attn.talking_heads.weight") for key in tensors):
            return False
        return q.ndim == 2 + self.keys.attention_ones and (fc1 is None or fc1.ndim == 2 + self.keys.mlp_ones)

    def module(self, stage: int, part: str) -> str:
        """Path of the convolution, norm or neuron of a stage."""
        return f"patch_embed.{self.stages[stage].replace('*', part)}"

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        depth = block_count(tensors, "block")
        stem = _Stem(self, options, builder)
        fc1 = f"{self.keys.matrix('block.0.mlp', 'fc1')}.weight"
        encoder = Encoder(
            builder=builder,
            keys=self.keys,
            tokens=stem.tokens,
            width=stem.width,
            hidden=builder.shape(fc1, 2 + self.keys.mlp_ones)[0],
            heads=options.count("num_heads"),
            scale=options.number("attn_scale"),
            lif=lif(options),
            attention_lif=lif(options, "attn_v_threshold"),
        )
        check_heads(encoder.heads, encoder.width)
        x = stem.build()
        for i in range(depth):
            x = encoder.block(f"block.{i}", x)
        output = mean_head(builder, x)
        builder.ignore([f"block.{i}.norm{j}" for i in range(depth) for j in (1, 2)])
        builder.ignore(self.unread)
        sizes = shape_settings(
            in_channels=stem.channels,
            dim=stem.width,
            depths=depth,
            mlp_hidden=encoder.hidden,
            num_classes=builder.shape("head.weight", 2)[0],
        )
        return builder.graph(self.name, output, options.count("T"), options.settings + sizes)


class _Stem:
    """The stem of one model: its sizes, and its part of the graph."""

    def __init__(self, layout: Spikformer, options: Options, builder: GraphBuilder) -> None:
        self._layout, self._options, self._builder = layout, options, builder
        self.width = builder.shape("patch_embed.rpe_conv.weight", 4)[0]
        self.channels = builder.shape(f"{layout.module(0, 'conv')}.weight", 4)[1]
        builder.shape("head.weight", 2)
        self.patch = options.count("patch_size")
        height, width = options.size("img_size")
        if self.width % 8:
            raise CheckpointError(f"expected a width divisible by 8, got {self.width}")
        if self.patch not in (1, 2, 4, 8, 16):
            raise CheckpointError(f"expected patch_size to be 1, 2, 4, 8 or 16, got {self.patch}")
        if height % self.patch or width % self.patch:
            raise CheckpointError(f"patch_size {self.patch} does not divide img_size {(height, width)}")
        self.tokens = height * width // self.patch**2

    def build(self) -> str:
        """Image -> tokens (N, D), integers 0..2: four convolutions, the last log2(patch) with a pool."""
        b, neuron = self._builder, lif(self._options)
        x = image_input(b, self._options, self.channels)
        channels = self.channels
        pooled_from = STAGES - (self.patch.bit_length() - 1)
        for stage in range(STAGES):
            names = [self._layout.module(stage, part) for part in ("conv", "bn", "lif")]
            pool = f"patch_embed.{self._layout.pools[stage]}"
            width = self.width >> (STAGES - 1 - stage)
            x = b.conv(names[0], x, (width, channels, 3, 3), bias=False, padding=1)
            x = b.batch_norm(names[1], x, width, axis=0)
            pools, first = stage >= pooled_from, self._layout.pools_currents
            x = self._pool(pool, x) if pools and first else x
            x = b.add(names[2], neuron, x)
            x = self._pool(pool, x) if pools and not first else x
            channels = width
        at = "patch_embed"
        names_of_rpe = (f"{at}.rpe_conv", f"{at}.rpe_bn", f"{at}.rpe_lif")
        position = b.conv_bn_lif(names_of_rpe, x, (self.width, self.width, 3, 3), neuron)
        return b.tokens(at, b.residual(f"{at}.rpe_add", position, x), self.width, self.tokens)

    def _pool(self, name: str, x: str) -> str:
        return self._builder.add(name, MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)


def _options(*, steps: int, heads: int, image: int, patch: int, scale: float) -> tuple[Option, ...]:
    return (
        *image_options(steps=steps, image=image),
        heads_option(heads),
        Option(name="patch_size", kind="count", default=patch, meaning="2^k: pools in the last k stem stages"),
        Option(name="attn_scale", kind="number", default=scale, meaning="factor of the attention product"),
        *lif_options(attention="attn_lif"),
    )


_CIFAR_KEYS = EncoderKeys(layer="linear", attention_ones=0, mlp_ones=0, qkv_bias=True, product="(qk)sv")

SPIKFORMER_CIFAR = Spikformer(
    name="spikformer-cifar",
    keys=_CIFAR_KEYS,
    options=_options(steps=4, heads=12, image=32, patch=4, scale=0.125),
)
SPIKFORMER_CML = Spikformer(
    name="spikformer-cml",
    keys=_CIFAR_KEYS,
    options=_options(steps=4, heads=12, image=32, patch=4, scale=0.125),
    stages=("block1_*", "block2_*", "block3_*", "block4_*"),
    pools=("block1_mp", "block2_mp", "block3_mp", "block4_mp"),
    pools_currents=True,
)
SPIKFORMER_IMAGENET = Spikformer(
    name="spikformer-imagenet",
    keys=EncoderKeys(layer="conv", attention_ones=1, mlp_ones=2, qkv_bias=False, product="q(kv)s"),
    options=_options(steps=4, heads=8, image=224, patch=16, scale=0.125),
)
SPIKFORMER_DVS = Spikformer(
    name="spikformer-dvs",
    keys=EncoderKeys(layer="conv", attention_ones=1, mlp_ones=1, qkv_bias=False, product="(qk)vs"),
    options=_options(steps=16, heads=16, image=128, patch=16, scale=0.25),
    unread=("pos_embed", "norm"),
)
