"""The large models of Spike-driven Transformer V3, which are pre-trained as masked autoencoders: three stages.

Source: Yao et al. 2025, arXiv:2411.16061; key names and constants of the authors' code. Unlike the smaller models these
round halves up, scale each branch, and feed the head with real values (the distilled head with spike counts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.metaformer import MetaFormer, metaformer_options
from compiler.importers.options import Option, Options
from compiler.importers.rep_conv import REP_CONV
from compiler.importers.sdt_v3 import IntegerSpikes, integer_options
from compiler.ir.graph import Graph
from compiler.ir.ops import Add, Affine, Conv2d, Linear, Scale, TimeMean

OPTIONS: tuple[Option, ...] = (
    *metaformer_options(steps=1, scale=0.125),
    *integer_options(rounding="up", norm=4.0),
    REP_CONV,
)


@dataclass(frozen=True, slots=True)
class SpikeDrivenV3Large:
    """The family; see ``compiler.importers.family.Family``."""

    name: str = "sdt-v3-large"
    options: tuple[Option, ...] = OPTIONS

    def matches(self, tensors: Tensors) -> bool:
        """Whether q comes from two pointwise convolutions in one dimension."""
        return "downsample1_1.encode_conv.weight" in tensors and "block3.0.attn.q_conv.0.conv1.0.weight" in tensors

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
        self._spikes = IntegerSpikes(builder, options)
        self._scale = options.number("attn_scale")
        self._merged = options.text("rep_conv") == "merged"
        # SpikingJelly's container of several layers changed its keys.
        first = "ConvBlock1_1.0.conv1.0"
        self._inside = ".module" if f"{first}.module.0.weight" in tensors else ""
        self.frame = MetaFormer(builder, tensors, options, self._spikes, "lif")

    def readout(self) -> str:
        """The head on the mean over positions, or its mean with the distilled head on spike counts."""
        frame = self.frame
        x = frame.mean(frame.features(self._conv_block, self._block))
        y = self._head("head", x)
        if "head_kd.weight" not in self._tensors:
            return y
        both = self._builder.add("head_add", Add(), y, self._head("head_kd", self._spikes.counts("lif", x)))
        return self._builder.add("head_mean", Scale(factor=0.5), both)

    def _head(self, name: str, x: str) -> str:
        b, frame = self._builder, self.frame
        weight = b.take(f"{name}.weight", (frame.classes, frame.widths[-1]))
        y = b.add(name, Linear(weight=weight, bias=b.take(f"{name}.bias", (frame.classes,))), x)
        return b.add(f"{name}_time_mean", TimeMean(), y)

    def _conv_block(self, at: str, x: str, width: int) -> str:
        b, y = self._builder, x
        hidden = b.shape(f"{at}.conv1.0{self._inside}.0.weight", 4)[0]
        for i, weight in (("1", (hidden, width, 3, 3)), ("2", (width, hidden, 3, 3))):
            y = self._spikes(f"{at}.neuron{i}", y)
            y = b.conv(f"{at}.conv{i}.0{self._inside}.0", y, weight, bias=True, padding=1)
            y = b.batch_norm(f"{at}.conv{i}.0{self._inside}.1", y, weight[0], axis=0)
        return b.residual(f"{at}.conv_add", x, y)

    def _block(self, at: str, x: str, width: int, grid: tuple[int, int]) -> str:
        if f"{at}.rep_conv.conv1.0.weight" in self._tensors:
            y = self._pair(f"{at}.rep_conv", self._spikes(f"{at}.lif", x), width, width)
            x = self._builder.residual(f"{at}.rep_conv_add", x, y)
        x = self._added(at, "attn", "layer_scale1", x, self._attention(f"{at}.attn", x, width, grid), width)
        return self._added(at, "mlp", "layer_scale2", x, self.frame.mlp(at, x, width), width)

    def _added(self, at: str, branch: str, key: str, x: str, y: str, width: int) -> str:
        b = self._builder
        if f"{at}.{key}" in self._tensors:
            y = b.add(f"{at}.{key}", Affine(gain=b.take(f"{at}.{key}", (width,)).reshape(width, 1, 1)), y)
        return b.residual(f"{at}.{branch}_add", x, y)

    def _pair(self, at: str, x: str, outputs: int, inputs: int) -> str:
        """Two pointwise convolutions, each with a norm, and nothing that spikes between them."""
        b = self._builder
        middle = b.shape(f"{at}.conv1.0.weight", 3)[0]
        first = b.take(f"{at}.conv1.0.weight", (middle, inputs, 1))
        last = b.take(f"{at}.conv2.0.weight", (outputs, middle, 1))
        inner, outer = b.norm(f"{at}.conv1.1", middle, axis=0), b.norm(f"{at}.conv2.1", outputs, axis=0)
        if not self._merged:
            y = b.add(f"{at}.conv1.0", Conv2d(weight=first.reshape(middle, inputs, 1, 1)), x)
            y = b.add(f"{at}.conv1.1", inner, y)
            y = b.add(f"{at}.conv2.0", Conv2d(weight=last.reshape(outputs, middle, 1, 1)), y)
            return b.add(f"{at}.conv2.1", outer, y)
        (gain, offset), (out_gain, out_offset) = inner.gain_and_offset(), outer.gain_and_offset()
        left = last[:, :, 0].astype(np.float64) * out_gain[:, None]
        weight = left @ (first[:, :, 0].astype(np.float64) * gain[:, None])
        return b.add(at, Conv2d(weight=weight[:, :, None, None], bias=left @ offset + out_offset), x)

    def _matrix(self, at: str, x: str, outputs: int, inputs: int) -> str:
        y = self._pair(f"{at}.0", x, outputs, inputs)
        return self._builder.batch_norm(f"{at}.1", y, outputs, axis=0)

    def _attention(self, at: str, x: str, width: int, grid: tuple[int, int]) -> str:
        """scale * q (k^T v) for each head."""
        b, frame = self._builder, self.frame
        wide = b.shape(f"{at}.v_conv.1.weight", 1)[0]
        spikes = self._spikes(f"{at}.head_lif", x)
        heads = []
        for letter, outputs in (("q", width), ("k", width), ("v", wide)):
            y = self._spikes(f"{at}.{letter}_lif", self._matrix(f"{at}.{letter}_conv", spikes, outputs, width))
            heads.append(frame.split_heads(f"{at}.{letter}", y, outputs, grid))
        y = b.attention(at, (heads[0], heads[1], heads[2]), self._scale, "q(kv)s")
        y = self._spikes(f"{at}.attn_lif", frame.merge_heads(at, y, wide, grid))
        return self._matrix(f"{at}.proj_conv", y, width, wide)


SDT_V3_LARGE = SpikeDrivenV3Large()
