"""Spike-driven Transformer V2, also called Meta-SpikeFormer: convolutional stages, then SDSA and MLP blocks.

Source: Yao et al. 2024, "Spike-driven Transformer V2", ICLR, arXiv:2404.03663; key names and constants of the authors'
code, which has SDSA-3 only. What the paper says of the others: SDSA-1 is that of version 1 (arXiv:2307.01694); SDSA-2
has masks as well and the parameters of one RepConv less (table 5), so it is q summed over the tokens that masks what
the file has beside q; SDSA-4 is SDSA-3 with learnt thresholds, here read from ``attn_lif.v_threshold``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.metaformer import MetaFormer, metaformer_options
from compiler.importers.options import Option, Options
from compiler.importers.rep_conv import REP_CONV, rep_conv
from compiler.ir.graph import Graph
from compiler.ir.ops import Conv2d, Linear, Mul, Neuron, Sum, TimeMean, Weights
from neurochip.errors import CheckpointError

OPTIONS: tuple[Option, ...] = (
    *metaformer_options(steps=1, scale=0.125),
    Option(name="sdsa", kind="choice", default="3", choices=("1", "2", "3", "4"), meaning="which SDSA of the paper"),
    REP_CONV,
    Option(
        name="sep_conv",
        kind="choice",
        default="kept",
        choices=("kept", "merged"),
        meaning="depthwise 7x7 and pointwise layers as trained, or as one dense 7x7 convolution (35 times the work)",
    ),
    Option(name="tau", kind="number", default=2.0, meaning="membrane time constant of every LIF, in steps"),
    Option(name="v_threshold", kind="number", default=1.0, meaning="threshold of every LIF but attn_lif"),
    Option(name="attn_v_threshold", kind="number", default=0.5, meaning="threshold of attn_lif"),
    Option(name="v_reset", kind="number", default=0.0, meaning="membrane after a spike"),
)


@dataclass(frozen=True, slots=True)
class SpikeDrivenV2:
    """The family; see ``compiler.importers.family.Family``."""

    name: str = "sdt-v2"
    options: tuple[Option, ...] = OPTIONS

    def matches(self, tensors: Tensors) -> bool:
        """Whether the stem has separable convolutions without norms of their own, and q comes from a RepConv."""
        return "ConvBlock1_1.0.Conv.pwconv1.weight" in tensors and "block3.0.attn.q_conv.0.body.0.weight" in tensors

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(tensors, options, builder)
        output = model.readout()
        return builder.graph(self.name, output, options.count("T"), options.settings + model.frame.sizes())


class _Model:
    """One model."""

    def __init__(self, tensors: Tensors, options: Options, builder: GraphBuilder) -> None:
        self._tensors = tensors
        self._builder = builder
        self._sdsa = options.text("sdsa")
        self._merged = options.text("rep_conv") == "merged"
        self._merged_sep_conv = options.text("sep_conv") == "merged"
        self._scale = options.number("attn_scale")
        self._lif = Neuron(
            tau=options.number("tau"), threshold=options.number("v_threshold"), v_reset=options.number("v_reset")
        )
        self._attention_lif = replace(self._lif, threshold=options.number("attn_v_threshold"))
        self.frame = MetaFormer(builder, tensors, options, lambda name, x: builder.add(name, self._lif, x), "lif")

    def readout(self) -> str:
        """Logits of the last spikes, averaged over steps: the head, or the mean of the head and the distilled head."""
        b = self._builder
        x = b.add("lif", self._lif, self.frame.mean(self.frame.features(self._conv_block, self._block)))
        weight, bias = self._head("head")
        if "head_kd.weight" in self._tensors:
            # Both are linear in the same spikes, so their mean is one layer.
            distilled_weight, distilled_bias = self._head("head_kd")
            weight = (weight.astype(np.float64) + distilled_weight) / 2
            bias = (bias.astype(np.float64) + distilled_bias) / 2
        y = b.add("head", Linear(weight=weight, bias=bias), x)
        return b.add("head_time_mean", TimeMean(), y)

    def _head(self, name: str) -> tuple[Weights, Weights]:
        b, frame = self._builder, self.frame
        weight = b.take(f"{name}.weight", (frame.classes, frame.widths[-1]))
        return weight, b.take(f"{name}.bias", (frame.classes,))

    def _conv_block(self, at: str, x: str, width: int) -> str:
        x = self._builder.residual(f"{at}.Conv_add", x, self._separable(f"{at}.Conv", x, width))
        return self.frame.channel_conv(at, x, width)

    def _separable(self, at: str, x: str, width: int) -> str:
        """SepConv: LIF, pointwise, norm, LIF, then depthwise 7x7 and pointwise with nothing between them, norm."""
        b = self._builder
        wide = b.shape(f"{at}.pwconv1.weight", 4)[0]
        y = b.add(f"{at}.lif1", self._lif, x)
        y = self.frame.pointwise(f"{at}.pwconv1", y, (wide, width))
        y = b.batch_norm(f"{at}.bn1", y, wide, axis=0)
        y = b.add(f"{at}.lif2", self._lif, y)
        depthwise = b.take(f"{at}.dwconv.weight", (wide, 1, 7, 7))
        last = b.take(f"{at}.pwconv2.weight", (width, wide, 1, 1))
        if self._merged_sep_conv:
            weight = last.astype(np.float64) * depthwise[:, 0]
            y = b.add(f"{at}.pwconv2", Conv2d(weight=weight, padding=(3, 3)), y)
        else:
            y = b.add(f"{at}.dwconv", Conv2d(weight=depthwise, padding=(3, 3), groups=wide), y)
            y = b.add(f"{at}.pwconv2", Conv2d(weight=last), y)
        return b.batch_norm(f"{at}.bn2", y, width, axis=0)

    def _block(self, at: str, x: str, width: int, grid: tuple[int, int]) -> str:
        y = self._attention(f"{at}.attn", x, width, grid)
        x = self._builder.residual(f"{at}.attn_add", x, y)
        return self._builder.residual(f"{at}.mlp_add", x, self.frame.mlp(at, x, width))

    def _attention(self, at: str, x: str, width: int, grid: tuple[int, int]) -> str:
        spikes = self._builder.add(f"{at}.head_lif", self._lif, x)
        operands = {s: self._matrix(f"{at}.{s}", spikes, width) for s in self._letters(at)}
        y = self._masked(at, operands) if self._sdsa in "12" else self._product(at, operands, width, grid)
        y = rep_conv(self._builder, f"{at}.proj_conv.0", y, width, merged=self._merged)
        return self._builder.batch_norm(f"{at}.proj_conv.1", y, width, axis=0)

    def _letters(self, at: str) -> str:
        """What the attention reads: q, k and v, but for SDSA-2 only q and that one of k and v that is in the file."""
        if self._sdsa != "2":
            return "qkv"
        found = [s for s in "vk" if f"{at}.{s}_conv.0.body.0.weight" in self._tensors]
        if len(found) == 2:
            raise CheckpointError("the file holds q, k and v, but SDSA-2 has q and one of them: --set sdsa=1, 3 or 4")
        return "q" + "".join(found or "v")

    def _matrix(self, at: str, x: str, width: int) -> str:
        y = rep_conv(self._builder, f"{at}_conv.0", x, width, merged=self._merged)
        y = self._builder.batch_norm(f"{at}_conv.1", y, width, axis=0)
        return self._builder.add(f"{at}_lif", self._lif, y)

    def _masked(self, at: str, operands: dict[str, str]) -> str:
        """SDSA-1: q masked by neurons on the sum over tokens of k AND v; SDSA-2: k or v masked by those of q."""
        b, (q, *others) = self._builder, operands.values()
        summed = b.add(f"{at}.kv", Mul(), *others) if self._sdsa == "1" else q
        counts = b.add(f"{at}.kv_sum", Sum(axes=(1, 2), keep=True), summed)
        mask = b.add(f"{at}.attn_lif", self._attention_lif, counts)
        return b.add(f"{at}.masked", Mul(), q if self._sdsa == "1" else others[0], mask)

    def _product(self, at: str, operands: dict[str, str], width: int, grid: tuple[int, int]) -> str:
        """SDSA-3 and SDSA-4: scale * q (k^T v) for each head, then neurons."""
        b, frame = self._builder, self.frame
        q, k, v = (frame.split_heads(f"{at}.{s}", x, width, grid) for s, x in operands.items())
        y = b.attention(at, (q, k, v), self._scale, "q(kv)s")
        y = frame.merge_heads(at, y, width, grid)
        lif = self._attention_lif
        if self._sdsa == "4":
            lif = replace(lif, threshold=self._learnt_threshold(f"{at}.attn_lif.v_threshold"))
        return b.add(f"{at}.attn_lif", lif, y)

    def _learnt_threshold(self, key: str) -> float:
        shape = self._tensors[key].shape if key in self._tensors else ()
        return float(self._builder.take(key, (1,) if shape == (1,) else ()).reshape(()))


SDT_V2 = SpikeDrivenV2()
