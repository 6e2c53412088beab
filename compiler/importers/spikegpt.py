"""SpikeGPT: RWKV blocks whose branches end in spikes; the time steps of its neurons are the tokens of the text.

Source: Zhu et al. 2023, "SpikeGPT", arXiv:2302.13939; key names and constants of the authors' code. Every matrix reads
what a layer norm or a function made: only the residual stream carries spikes, and a chip can take no layer as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import block_count, lif, lif_options, shape_settings
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import Affine, Delay, Embedding, Input, LayerNorm, Mul, Neuron, Relu, Sigmoid, Wkv

OPTIONS: tuple[Option, ...] = (
    Option(name="T", kind="count", default=1024, spellings=("ctx_len", "timesteps"), meaning="tokens of the text"),
    *lif_options(),
)


@dataclass(frozen=True, slots=True)
class SpikeGPT:
    """The family; see ``compiler.importers.family.Family``. Input: token numbers (T, B); result: logits (T, B, V)."""

    name: str = "spikegpt"
    options: tuple[Option, ...] = OPTIONS

    def matches(self, tensors: Tensors) -> bool:
        """Whether there are a table of tokens and blocks of RWKV."""
        return "emb.weight" in tensors and any(
            f"blocks.{i}.{key}" in tensors for i in (0, 1) for key in ("att.time_decay", "ffn.time_mix_k")
        )

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(tensors, options, builder)
        output = model.readout(model.blocks(model.embedding()))
        return builder.graph(self.name, output, options.count("T"), options.settings + model.sizes())


class _Model:
    """One model."""

    def __init__(self, tensors: Tensors, options: Options, builder: GraphBuilder) -> None:
        self._tensors, self._builder = tensors, builder
        self.rows, self.width = builder.shape("emb.weight", 2)
        self.depth = block_count(tensors, "blocks")
        self._lif = lif(options)

    def sizes(self) -> tuple[Setting, ...]:
        """What the shapes of the tensors tell."""
        return shape_settings(vocab_size=self.rows, n_embd=self.width, n_layer=self.depth)

    def embedding(self) -> str:
        """A spike wherever the token's row is not negative."""
        b = self._builder
        x = b.add("input", Input(shape=(), integer=True, low=0, high=self.rows - 1))
        x = b.add("emb", Embedding(weight=b.take("emb.weight", (self.rows, self.width))), x)
        return b.add("atan", Neuron(tau=1.0, threshold=0.0), x)

    def _norm(self, name: str, x: str) -> str:
        gamma, beta = (self._builder.take(f"{name}.{key}", (self.width,)) for key in ("weight", "bias"))
        return self._builder.add(name, LayerNorm(gamma=gamma, beta=beta), x)

    def blocks(self, x: str) -> str:
        """Spikes of both branches are added to the stream, whose start is normalised once."""
        b = self._builder
        x = self._norm("blocks.0.ln0", x)
        for i in range(self.depth):
            at = f"blocks.{i}"
            y = self._norm(f"{at}.ln1", x)
            if i == 0 and f"{at}.ffnPre.key.weight" in self._tensors:
                y = self._channel_mix(f"{at}.ffnPre", y)
            else:
                y = self._time_mix(f"{at}.att", y)
            x = b.residual(f"{at}.att_add", x, b.add(f"{at}.lif1", self._lif, y))
            y = self._channel_mix(f"{at}.ffn", self._norm(f"{at}.ln2", x))
            x = b.residual(f"{at}.ffn_add", x, b.add(f"{at}.lif2", self._lif, y))
        return x

    def _mixed(self, at: str, letter: str, x: str, before: str) -> str:
        """x * mix + (x of the token before) * (1 - mix)."""
        b = self._builder
        mix = b.take(f"{at}.time_mix_{letter}", (1, 1, self.width)).reshape(self.width).astype(np.float64)
        now = b.add(f"{at}.{letter}_now", Affine(gain=mix), x)
        return b.residual(f"{at}.{letter}_mixed", now, b.add(f"{at}.{letter}_before", Affine(gain=1 - mix), before))

    def _time_mix(self, at: str, x: str) -> str:
        b = self._builder
        size = b.shape(f"{at}.time_decay", 1)[0]
        before = b.add(f"{at}.time_shift", Delay(), x)
        k, v, r = (
            b.linear(f"{at}.{name}", self._mixed(at, letter, x, before), (size, self.width), bias=False)
            for letter, name in (("k", "key"), ("v", "value"), ("r", "receptance"))
        )
        wkv = Wkv(decay=b.take(f"{at}.time_decay", (size,)), first=b.take(f"{at}.time_first", (size,)))
        y = b.add(f"{at}.gated", Mul(), b.add(f"{at}.sigmoid", Sigmoid(), r), b.add(f"{at}.wkv", wkv, k, v))
        return b.linear(f"{at}.output", y, (self.width, size), bias=False)

    def _channel_mix(self, at: str, x: str) -> str:
        b = self._builder
        hidden = b.shape(f"{at}.key.weight", 2)[0]
        before = b.add(f"{at}.time_shift", Delay(), x)
        k = b.linear(f"{at}.key", self._mixed(at, "k", x, before), (hidden, self.width), bias=False)
        k = b.add(f"{at}.relu", Relu(), k)
        v = b.linear(f"{at}.value", b.add(f"{at}.square", Mul(), k, k), (self.width, hidden), bias=False)
        r = b.linear(f"{at}.receptance", self._mixed(at, "r", x, before), (self.width, self.width), bias=False)
        return b.add(f"{at}.gated", Mul(), b.add(f"{at}.sigmoid", Sigmoid(), r), v)

    def readout(self, x: str) -> str:
        """Norm and linear head without bias."""
        rows = self._builder.shape("head.weight", 2)[0]
        return self._builder.linear("head", self._norm("ln_out", x), (rows, self.width), bias=False)


SPIKEGPT = SpikeGPT()
