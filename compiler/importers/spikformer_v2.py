"""Spikformer V2: the blocks of Spikformer behind a stem of strided convolutions without pools.

Source: Zhou et al. 2024, "Spikformer V2", arXiv:2401.02020, sections 4.1 and 5.4. No code or weights are public. The
stem is the one whose five parameter totals equal the paper's table 2: four stages, each a 2 x 2 convolution of stride
2 and two 3 x 3 convolutions c -> r c -> c, every one with batch norm and neuron; no position embedding. The names of
its layers are ours, after those of Spikformer's authors:

    patch_embed.stage{0..3}.down_conv  (c, inputs, 2, 2)    ...down_bn  ...down_lif
    patch_embed.stage{0..3}.fc1_conv   (r c, c, 3, 3)       ...fc1_bn   ...fc1_lif
    patch_embed.stage{0..3}.fc2_conv   (c, r c, 3, 3)       ...fc2_bn   ...fc2_lif
    block.{i}.attn..., block.{i}.mlp..., head               as in Spikformer's ImageNet layout

What paper and totals leave open: convolutions have a bias if the file has one; whether the pair of convolutions has a
residual is the setting ``stem_residual``. Of the attentions in the paper's table 1 only A_SSA, read here, is spiking:
the others multiply real q and k.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.importers.encoder import CONNECTIONS, Encoder, EncoderKeys
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
from compiler.ir.ops import Neuron

STAGES = 4
"""Stages of the stem, each at half the resolution of the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikformerV2:
    """The one layout of Spikformer V2, with additive or IAND residuals."""

    name: str
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether the stem starts with a strided convolution and block 0 is Spikformer's."""
        return "patch_embed.stage0.down_conv.weight" in tensors and "block.0.attn.q_conv.weight" in tensors

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        width = builder.shape("block.0.attn.q_conv.weight", 3)[0]
        depth = block_count(tensors, "block")
        channels = builder.shape(_path(0, "down"), 4)[1]
        encoder = Encoder(
            builder=builder,
            keys=EncoderKeys(layer="conv", attention_ones=1, mlp_ones=2, qkv_bias=False, product="q(kv)s"),
            tokens=tokens_of(options, 2**STAGES),
            width=width,
            hidden=builder.shape("block.0.mlp.fc1_conv.weight", 4)[0],
            heads=options.count("num_heads"),
            scale=options.number("attn_scale"),
            lif=lif(options),
            attention_lif=lif(options, "attn_v_threshold"),
            connection=options.choice("residual"),
        )
        check_heads(encoder.heads, width)
        x = _stem(builder, tensors, options, channels, width)
        x = builder.tokens("patch_embed", x, width, encoder.tokens)
        for i in range(depth):
            x = encoder.block(f"block.{i}", x)
        output = mean_head(builder, x)
        builder.ignore([f"block.{i}.norm{j}" for i in range(depth) for j in (1, 2)])
        sizes = shape_settings(in_channels=channels, dim=width, depths=depth, mlp_hidden=encoder.hidden)
        return builder.graph(self.name, output, options.count("T"), options.settings + sizes)


def _stem(builder: GraphBuilder, tensors: Tensors, options: Options, channels: int, width: int) -> str:
    """Image -> spikes (D, H / 16, W / 16); counts if ``stem_residual`` is ADD."""
    x, neuron, residual = image_input(builder, options, channels), lif(options), options.choice("stem_residual")
    for stage in range(STAGES):
        outputs = width if stage == STAGES - 1 else builder.shape(_path(stage, "down"), 4)[0]
        wide = builder.shape(_path(stage, "fc1"), 4)[0]
        x = _layer(builder, tensors, (stage, "down"), x, (outputs, channels, 2, 2), neuron)
        y = _layer(builder, tensors, (stage, "fc1"), x, (wide, outputs, 3, 3), neuron)
        y = _layer(builder, tensors, (stage, "fc2"), y, (outputs, wide, 3, 3), neuron)
        if residual != "none":
            y = builder.add(f"patch_embed.stage{stage}.add", CONNECTIONS[residual], x, y)
        x, channels = y, outputs
    return x


def _path(stage: int, layer: str) -> str:
    return f"patch_embed.stage{stage}.{layer}_conv.weight"


def _layer(
    builder: GraphBuilder,
    tensors: Tensors,
    place: tuple[int, str],
    x: str,
    weight: tuple[int, int, int, int],
    neuron: Neuron,
) -> str:
    """Convolution, batch norm and neuron: 2 x 2 convolutions halve the image, 3 x 3 keep it."""
    at = f"patch_embed.stage{place[0]}.{place[1]}"
    shrinks = weight[2] == 2
    bias = f"{at}_conv.bias" in tensors
    y = builder.conv(f"{at}_conv", x, weight, bias=bias, padding=0 if shrinks else 1, stride=2 if shrinks else 1)
    return builder.add(f"{at}_lif", neuron, builder.batch_norm(f"{at}_bn", y, weight[0], axis=0))


SPIKFORMER_V2 = SpikformerV2(
    name="spikformer-v2",
    options=(
        *image_options(steps=4, image=224),
        heads_option(8),
        Option(
            name="residual",
            kind="choice",
            default="ADD",
            choices=("ADD", "IAND"),
            spellings=("connect_f",),
            meaning="how residuals join spikes: as counts, or x AND NOT branch",
        ),
        Option(
            name="stem_residual",
            kind="choice",
            default="none",
            choices=("none", "ADD", "IAND"),
            meaning="residual around the pair of 3 x 3 convolutions of a stem stage",
        ),
        Option(name="attn_scale", kind="number", default=0.125, meaning="factor of the attention product"),
        *lif_options(attention="attn_lif"),
    ),
)
