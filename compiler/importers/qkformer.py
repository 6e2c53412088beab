"""QKFormer: three resolutions; blocks of token QK attention (a mask) first, of spiking self-attention last.

Source: Zhou et al. 2024, "QKFormer", NeurIPS, arXiv:2403.16552; key names and constants of the authors' code. Pools act
on currents, before the neurons. In token QK attention, neuron(sum of a head's q) masks that head's k at each token.
Upstream's code hands the last neuron of self-attention a batch for time steps; see ``SerialNeuron``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    tokens_of,
)
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import MaxPool, Mul, Neuron, Reshape, SerialNeuron, Sum, Transpose


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """A patch embedding: convolutions in a row, and beside them a shortcut of one 1 x 1 convolution, added as spikes.

    Attributes:
        stages: name of each 3 x 3 convolution, and whether its currents are pooled.
        shortcut: which stage's spikes feed the shortcut; -1 = the input of the embedding.
    """

    stages: tuple[tuple[str, bool], ...]
    shortcut: int

    @property
    def stride(self) -> int:
        """Of the shortcut: what the pools behind its source do."""
        return 1 << sum(pools for _, pools in self.stages[self.shortcut + 1 :])

    @property
    def factor(self) -> int:
        """Down-sampling of the whole embedding."""
        return 1 << sum(pools for _, pools in self.stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class QKFormer:
    """One file layout of QKFormer.

    Attributes:
        embeddings: one a stage.
        attentions: name of the attention module of each stage; ``tssa`` is token QK attention, others SSA.
        mlp: names of the two layers of an MLP.
        width_of_a_head: upstream's factories give a model of width D ``D / width_of_a_head`` heads.
    """

    name: str
    embeddings: tuple[Embedding, ...]
    attentions: tuple[str, ...]
    mlp: tuple[str, str]
    options: tuple[Option, ...]
    width_of_a_head: int | None = None

    def matches(self, tensors: Tensors) -> bool:
        """Whether there are just these stages, with these attentions and MLPs."""
        last = f"stage{len(self.attentions)}.0"
        return (
            f"{last}.{self.attentions[-1]}.q_conv.weight" in tensors
            and "stage1.0.tssa.q_conv.weight" in tensors
            and f"{last}.mlp.{self.mlp[0]}_conv.weight" in tensors
            and not any(key.startswith(f"stage{len(self.attentions) + 1}.") for key in tensors)
        )

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(self, options, builder, tensors)
        output = mean_head(builder, model.stages())
        return builder.graph(self.name, output, options.count("T"), options.settings + model.sizes())


class _Model:
    """One model: its sizes, and the parts of its graph."""

    def __init__(self, layout: QKFormer, options: Options, builder: GraphBuilder, tensors: Tensors) -> None:
        self._layout, self._options, self._builder = layout, options, builder
        self._lif = lif(options)
        count = len(layout.attentions)
        first = f"{layout.mlp[0]}_conv.weight"
        shapes = [builder.shape(f"stage{i}.0.mlp.{first}", 4) for i in range(1, count + 1)]
        self.hidden, self.widths = [shape[0] for shape in shapes], [shape[1] for shape in shapes]
        self.depths = [block_count(tensors, f"stage{i}") for i in range(1, count + 1)]
        self.channels = builder.shape(f"patch_embed1.{layout.embeddings[0].stages[0][0]}_conv.weight", 4)[1]
        if layout.width_of_a_head is not None:
            options.suggest("num_heads", max(1, self.widths[-1] // layout.width_of_a_head))
        self.heads = options.count("num_heads")
        for width in self.widths:
            check_heads(self.heads, width)

    def sizes(self) -> tuple[Setting, ...]:
        """What the shapes of the tensors tell."""
        return shape_settings(
            in_channels=self.channels, dims=tuple(self.widths), depths=tuple(self.depths), mlp_hidden=tuple(self.hidden)
        )

    def stages(self) -> str:
        """Image -> tokens (N, D) of the last stage."""
        x, channels, factor = image_input(self._builder, self._options, self.channels), self.channels, 1
        for i, embedding in enumerate(self._layout.embeddings):
            if i:
                x = self._image(f"stage{i}", x, channels, factor)
            x = self._embed(f"patch_embed{i + 1}", embedding, x, channels, self.widths[i])
            channels, factor = self.widths[i], factor * embedding.factor
            x = self._builder.tokens(f"patch_embed{i + 1}", x, channels, tokens_of(self._options, factor))
            x = self._blocks(i, x, tokens_of(self._options, factor))
        return x

    def _image(self, at: str, x: str, channels: int, factor: int) -> str:
        """(N, C) -> (C, H, W)."""
        height, width = self._options.size("img_size")
        x = self._builder.add(f"{at}.channels", Transpose(order=(1, 0)), x)
        return self._builder.add(f"{at}.image", Reshape(shape=(channels, height // factor, width // factor)), x)

    def _embed(self, at: str, embedding: Embedding, x: str, channels: int, width: int) -> str:
        b, source, source_channels = self._builder, x, channels
        for i, (name, pools) in enumerate(embedding.stages):
            last = i == len(embedding.stages) - 1
            outputs = width if last else b.shape(f"{at}.{name}_conv.weight", 4)[0]
            x = b.conv(f"{at}.{name}_conv", x, (outputs, channels, 3, 3), bias=False, padding=1)
            x = b.batch_norm(f"{at}.{name}_bn", x, outputs, axis=0)
            if pools:
                x = b.add(f"{at}.{name}_maxpool", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)
            x = b.add(f"{at}.{name}_lif", self._lif, x)
            channels = outputs
            if i == embedding.shortcut:
                source, source_channels = x, channels
        shape = (width, source_channels, 1, 1)
        y = b.conv(f"{at}.proj_res_conv", source, shape, bias=False, padding=0, stride=embedding.stride)
        y = b.batch_norm(f"{at}.proj_res_bn", y, width, axis=0)
        return b.residual(f"{at}.add", x, b.add(f"{at}.proj_res_lif", self._lif, y))

    def _blocks(self, stage: int, x: str, tokens: int) -> str:
        attention = self._layout.attentions[stage]
        encoder = Encoder(
            builder=self._builder,
            keys=EncoderKeys(
                layer="conv", attention_ones=1, mlp_ones=2, qkv_bias=False, product="q(kv)s", mlp=self._layout.mlp
            ),
            tokens=tokens,
            width=self.widths[stage],
            hidden=self.hidden[stage],
            heads=self.heads,
            scale=self._options.number("attn_scale"),
            lif=self._lif,
            attention_lif=lif(self._options, "attn_v_threshold"),
            projection_lif=self._projection_lif(),
        )
        for i in range(self.depths[stage]):
            at = f"stage{stage + 1}.{i}"
            if attention == "tssa":
                x = encoder.connected(f"{at}.tssa_add", x, _token_attention(encoder, f"{at}.tssa", x))
                x = encoder.connected(f"{at}.mlp_add", x, encoder.mlp(f"{at}.mlp", x))
            else:
                x = encoder.block(at, x, attention=attention)
        return x

    def _projection_lif(self) -> Neuron:
        if not self._options.flag("serial_batch"):
            return self._lif
        return SerialNeuron(tau=self._lif.tau, threshold=self._lif.threshold, v_reset=self._lif.v_reset)


def _token_attention(encoder: Encoder, at: str, x: str) -> str:
    """k, head by head, at the tokens where the sum over the head's q fires; projected. On (N, D)."""
    b = encoder.builder
    split = Reshape(shape=(encoder.tokens, encoder.heads, encoder.width // encoder.heads))
    q, k = (b.add(f"{at}.{s}_split", split, encoder.matrix(at, s, x, bias=False)) for s in "qk")
    counts = b.add(f"{at}.q_sum", Sum(axes=(2,), keep=True), q)
    y = b.add(f"{at}.masked", Mul(), b.add(f"{at}.attn_lif", encoder.attention_lif, counts), k)
    y = b.add(f"{at}.merged", Reshape(shape=(encoder.tokens, encoder.width)), y)
    return encoder.matrix(at, "proj", y, bias=True)


def _options(*, steps: int, image: int, heads: Option) -> tuple[Option, ...]:
    size = Option(
        name="img_size",
        kind="size",
        default=(image, image),
        spellings=("input_size",),
        meaning="height and width of the input",
    )
    return (
        *(size if option.name == size.name else option for option in image_options(steps=steps, image=image)),
        heads,
        Option(
            name="serial_batch",
            kind="flag",
            default=True,
            in_file=False,
            meaning="proj_lif of self-attention takes the images of a batch for time steps, as in the authors' code",
        ),
        Option(name="attn_scale", kind="number", default=0.125, meaning="factor of the attention product"),
        *lif_options(attention="attn_lif"),
    )


_POOL_FIRST = Embedding(stages=(("proj3", True), ("proj4", False)), shortcut=-1)
_POOL_LAST = Embedding(stages=(("proj3", False), ("proj4", True)), shortcut=-1)

QKFORMER_IMAGENET = QKFormer(
    name="qkformer-imagenet",
    embeddings=(
        Embedding(stages=(("proj", True), ("proj1", True), ("proj2", False)), shortcut=0),
        _POOL_FIRST,
        _POOL_FIRST,
    ),
    attentions=("tssa", "tssa", "attn"),
    mlp=("fc1", "fc2"),
    options=_options(steps=4, image=224, heads=heads_option(8)),
    width_of_a_head=64,
)
QKFORMER_CIFAR = QKFormer(
    name="qkformer-cifar",
    embeddings=(Embedding(stages=(("proj", False), ("proj1", False)), shortcut=0), _POOL_LAST, _POOL_LAST),
    attentions=("tssa", "tssa", "ssa"),
    mlp=("mlp1", "mlp2"),
    options=_options(steps=4, image=32, heads=heads_option(8, in_file=False)),
)
QKFORMER_DVS = QKFormer(
    name="qkformer-dvs",
    embeddings=(
        Embedding(stages=(("proj", False), ("proj1", True), ("proj2", True), ("proj3", True)), shortcut=1),
        replace(_POOL_LAST, stages=(("proj", False), ("proj4", True))),
    ),
    attentions=("tssa", "ssa"),
    mlp=("mlp1", "mlp2"),
    options=_options(steps=16, image=128, heads=heads_option(16, in_file=False)),
)
