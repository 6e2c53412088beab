"""SpikingResformer: stages of dual spike self-attention (DSSA) and group-wise feed-forward networks (GWFFN).

Source: Shi et al. 2024, "SpikingResformer", CVPR, arXiv:2403.14302; key names and constants of the authors' code. What
a stage holds is read from the keys. Logits are the mean over steps, as the authors' scripts take it outside the module.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import (
    block_count,
    image_input,
    image_options,
    learned_lif,
    lif,
    lif_options,
    shape_settings,
)
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import Affine, Floats, Linear, MatMul, MaxPool, Mean, Neuron, Reshape, Slice, TimeMean
from neurochip.errors import CheckpointError

OPTIONS: tuple[Option, ...] = (
    *image_options(steps=4, image=224),
    *lif_options(),
    Option(name="TET", kind="flag", default=False, spellings=("tet",), meaning="logits of every step, no mean"),
)


@dataclass(frozen=True, slots=True)
class SpikingResformer:
    """The family; see ``compiler.importers.family.Family``."""

    name: str = "spikingresformer"
    options: tuple[Option, ...] = OPTIONS

    def matches(self, tensors: Tensors) -> bool:
        """Whether the first stage starts with an attention that keeps firing rates."""
        return "layers.0.0.firing_rate_x" in tensors and "layers.0.0.W.weight" in tensors

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(tensors, options, builder)
        output = model.readout(model.stages(model.prologue()))
        return builder.graph(self.name, output, options.count("T"), model.settings())


class _Model:
    """One model; ``grid`` and ``width`` are those of the value that is built on."""

    def __init__(self, tensors: Tensors, options: Options, builder: GraphBuilder) -> None:
        self._tensors, self._options, self._builder = tensors, options, builder
        self._learned = "layers.0.0.activation_in.w" in tensors
        self._planes: list[int] = []
        self._kernel = builder.shape("prologue.0.weight", 4)[2]
        if self._kernel == 3:
            options.suggest("img_size", (32, 32))
        self.width, self.channels = builder.shape("prologue.0.weight", 4)[:2]
        self.grid = options.size("img_size")

    def settings(self) -> tuple[Setting, ...]:
        """Everything that the graph depends on beside the weights."""
        found = self._options.settings
        if self._learned:
            found = tuple(setting for setting in found if setting.name != "tau")
        return found + shape_settings(
            in_channels=self.channels,
            planes=tuple(self._planes),
            num_classes=self._builder.shape("classifier.weight", 2)[0],
            spike_mode="plif" if self._learned else "lif",
        )

    def _fire(self, name: str, x: str) -> str:
        return self._builder.add(name, self._neuron(name), x)

    def _neuron(self, name: str) -> Neuron:
        if self._learned:
            return learned_lif(self._builder, name, self._options)
        return lif(self._options)

    def prologue(self) -> str:
        """7x7 convolution of stride 2, norm and maximum of real values (ImageNet); or 3x3 convolution and norm."""
        b, large = self._builder, self._kernel == 7
        x = image_input(b, self._options, self.channels)
        weight = (self.width, self.channels, self._kernel, self._kernel)
        x = b.conv("prologue.0", x, weight, bias=False, padding=self._kernel // 2, stride=2 if large else 1)
        x = b.batch_norm("prologue.1.bn", x, self.width, axis=0)
        if large:
            self._halve()
            self._halve()
            x = b.add("prologue.2", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)
        return x

    def _halve(self) -> None:
        self.grid = (self.grid[0] + 1) // 2, (self.grid[1] + 1) // 2

    def stages(self, x: str) -> str:
        """Every layer of every stage."""
        for i in range(block_count(self._tensors, "layers")):
            for j in range(block_count(self._tensors, f"layers.{i}")):
                at = f"layers.{i}.{j}"
                if f"{at}.conv.weight" in self._tensors:
                    x = self._downsample(at, x)
                elif f"{at}.up.1.weight" in self._tensors:
                    x = self._feed_forward(at, x)
                else:
                    x = self._attention(at, x)
            self._planes.append(self.width)
        return x

    def _downsample(self, at: str, x: str) -> str:
        b, width = self._builder, self._builder.shape(f"{at}.conv.weight", 4)[0]
        x = self._fire(f"{at}.activation", x)
        x = b.conv(f"{at}.conv", x, (width, self.width, 3, 3), bias=False, padding=1, stride=2)
        self.width = width
        self._halve()
        return b.batch_norm(f"{at}.norm.bn", x, width, axis=0)

    def _attention(self, at: str, x: str) -> str:
        """x + W_proj LIF(c2 y2 LIF(c1 y1^T s)): s are the spikes, y1 and y2 their projections on fewer positions."""
        b, width, grid = self._builder, self.width, self.grid
        heads = b.shape(f"{at}.firing_rate_x", 5)[2]
        patch = b.shape(f"{at}.W.weight", 4)[2]
        if width % heads:
            raise CheckpointError(f"{at}: {heads} firing rates, one for each head, do not divide the width {width}")
        depth, coarse = width // heads, (grid[0] // patch) * (grid[1] // patch)
        spikes = self._fire(f"{at}.activation_in", x)
        y = b.conv(f"{at}.W", spikes, (2 * width, width, patch, patch), bias=False, padding=0, stride=patch)
        y = b.batch_norm(f"{at}.norm.bn", y, 2 * width, axis=0)
        y = b.add(f"{at}.y", Reshape(shape=(heads, 2 * depth, coarse)), y)
        y1, y2 = (b.add(f"{at}.y{i + 1}", Slice(axis=1, start=i * depth, stop=(i + 1) * depth), y) for i in (0, 1))
        s = b.add(f"{at}.s", Reshape(shape=(heads, depth, grid[0] * grid[1])), spikes)
        product = b.add(f"{at}.matmul1", MatMul(transpose_a=True), y1, s)
        product = b.add(f"{at}.scale1", Affine(gain=self._scale(f"{at}.firing_rate_x", heads, depth)), product)
        attention = self._fire(f"{at}.activation_attn", product)
        product = b.add(f"{at}.matmul2", MatMul(), y2, attention)
        product = b.add(f"{at}.scale2", Affine(gain=self._scale(f"{at}.firing_rate_attn", heads, coarse)), product)
        out = self._fire(f"{at}.activation_out", b.add(f"{at}.merged", Reshape(shape=(width, *grid)), product))
        out = b.conv(f"{at}.Wproj", out, (width, width, 1, 1), bias=False, padding=0)
        return b.residual(f"{at}.add", x, b.batch_norm(f"{at}.norm_proj.bn", out, width, axis=0))

    def _scale(self, key: str, heads: int, length: int) -> Floats:
        """1 / sqrt(firing rate * length) for each head, (heads, 1, 1); raises CheckpointError for a rate that is 0."""
        rates = self._builder.take(key, (1, 1, heads, 1, 1)).astype(np.float64).reshape(heads, 1, 1)
        if (rates <= 0).any():
            raise CheckpointError(
                f"'{key}' holds a firing rate of {rates.min():g}, by whose root the attention is divided; "
                "the model was never run in training mode, which measures the rates"
            )
        return 1.0 / np.sqrt(rates * length)

    def _feed_forward(self, at: str, x: str) -> str:
        """x + down(u + conv(u)) with u = up(x): neurons before every convolution."""
        b, width = self._builder, self.width
        hidden = b.shape(f"{at}.up.1.weight", 4)[0]
        y = self._layer(f"{at}.up", x, (hidden, width, 1, 1))
        inner = y
        for i in range(block_count(self._tensors, f"{at}.conv")):
            group = b.shape(f"{at}.conv.{i}.1.weight", 4)[1]
            if hidden % group:
                raise CheckpointError(f"{at}.conv.{i}.1.weight: its {group} inputs do not divide {hidden} channels")
            y = self._layer(f"{at}.conv.{i}", y, (hidden, group, 3, 3), groups=hidden // group)
        y = b.residual(f"{at}.conv_add", y, inner)
        return b.residual(f"{at}.add", self._layer(f"{at}.down", y, (width, hidden, 1, 1)), x)

    def _layer(self, at: str, x: str, weight: tuple[int, int, int, int], groups: int = 1) -> str:
        b, y = self._builder, self._fire(f"{at}.0", x)
        y = b.conv(f"{at}.1", y, weight, bias=False, padding=weight[2] // 2, groups=groups)
        return b.batch_norm(f"{at}.2.bn", y, weight[0], axis=0)

    def readout(self, x: str) -> str:
        """Mean over positions of real values, linear layer without bias, mean over steps."""
        b = self._builder
        x = b.add("avgpool", Mean(axes=(1, 2)), x)
        classes = b.shape("classifier.weight", 2)[0]
        x = b.add("classifier", Linear(weight=b.take("classifier.weight", (classes, self.width))), x)
        return x if self._options.flag("TET") else b.add("time_mean", TimeMean(), x)


SPIKINGRESFORMER = SpikingResformer()
