"""SpikeBERT: Spikformer's blocks on the tokens of a sentence, with layer norms between matrices and neurons.

Source: Lv et al. 2023, "SpikeBERT", arXiv:2308.15122; key names and constants of the authors' code. In the published
file the MLP shapes its 4 D hidden channels as D and cannot run; here they keep their width. Layer norms depend on the
values at run time, so no weight can take them over and a chip can take no layer of it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.vision import block_count, check_heads, heads_option, lif, lif_options, shape_settings
from compiler.ir.graph import Graph, Setting
from compiler.ir.ops import Embedding, Input, LayerNorm, Mean, Neuron, TimeMean

OPTIONS: tuple[Option, ...] = (
    Option(name="T", kind="count", default=4, spellings=("num_step", "timesteps"), meaning="time steps"),
    Option(name="length", kind="count", default=128, spellings=("max_length",), meaning="tokens of a sentence"),
    heads_option(8),
    Option(name="attn_scale", kind="number", default=0.125, spellings=("qk_scale",), meaning="factor of the product"),
    *(o for o in lif_options() if o.name != "v_threshold"),
    Option(
        name="v_threshold",
        kind="number",
        default=1.0,
        spellings=("common_thr",),
        meaning="threshold of every LIF; attn_lif has half of it",
    ),
    Option(name="every_step", kind="flag", default=False, meaning="logits of every step, no mean"),
)


@dataclass(frozen=True, slots=True)
class SpikeBERT:
    """The family; see ``compiler.importers.family.Family``. Input: token numbers (B, length)."""

    name: str = "spikebert"
    options: tuple[Option, ...] = OPTIONS

    def matches(self, tensors: Tensors) -> bool:
        """Whether there are a table of tokens and matrices with layer norms."""
        return "emb.weight" in tensors and "blocks.0.attn.q_m.weight" in tensors

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(tensors, options, builder)
        output = model.readout(model.blocks(model.embedding()))
        # Only the loss of the distillation reads them.
        builder.ignore(["transforms"])
        return builder.graph(self.name, output, options.count("T"), options.settings + model.sizes())


class _Model:
    """One model."""

    def __init__(self, tensors: Tensors, options: Options, builder: GraphBuilder) -> None:
        self._tensors, self._options, self._builder = tensors, options, builder
        self.rows, self.width = builder.shape("emb.weight", 2)
        self.depth = block_count(tensors, "blocks")
        self.hidden = builder.shape("blocks.0.mlp.fc1.weight", 2)[0]
        self.length, self.heads = options.count("length"), options.count("num_heads")
        check_heads(self.heads, self.width)
        self._lif = lif(options)
        threshold = self._lif.threshold / 2
        self._attention_lif = Neuron(tau=self._lif.tau, threshold=threshold, v_reset=self._lif.v_reset)

    def sizes(self) -> tuple[Setting, ...]:
        """What the shapes of the tensors tell."""
        return shape_settings(vocab_size=self.rows, dim=self.width, depths=self.depth, mlp_hidden=self.hidden)

    def embedding(self) -> str:
        """A spike wherever the token's row is not negative, (length, D)."""
        b = self._builder
        x = b.add("input", Input(shape=(self.length,), integer=True, low=0, high=self.rows - 1))
        x = b.add("emb", Embedding(weight=b.take("emb.weight", (self.rows, self.width))), x)
        return b.add("atan", Neuron(tau=1.0, threshold=0.0), x)

    def blocks(self, x: str) -> str:
        """Spikes are added, as in Spikformer."""
        b, hidden = self._builder, self.hidden
        for i in range(self.depth):
            at = f"blocks.{i}"
            x = b.residual(f"{at}.attn_add", x, self._attention(f"{at}.attn", x))
            y = self._layer(f"{at}.mlp", ("fc1", "ln1", "lif1"), x, (hidden, self.width))
            y = self._layer(f"{at}.mlp", ("fc2", "ln2", "lif2"), y, (self.width, hidden))
            x = b.residual(f"{at}.mlp_add", x, y)
        return x

    def _layer(self, at: str, names: tuple[str, str, str], x: str, weight: tuple[int, int]) -> str:
        """Matrix, layer norm, neurons."""
        b, (matrix, norm, neurons) = self._builder, (f"{at}.{name}" for name in names)
        y = self._norm(norm, b.linear(matrix, x, weight, bias=True), weight[0])
        return b.add(neurons, self._lif, y)

    def _norm(self, name: str, x: str, width: int) -> str:
        gamma, beta = (self._builder.take(f"{name}.{key}", (width,)) for key in ("weight", "bias"))
        return self._builder.add(name, LayerNorm(gamma=gamma, beta=beta), x)

    def _attention(self, at: str, x: str) -> str:
        b, square = self._builder, (self.width, self.width)
        q, k, v = (
            b.heads(
                f"{at}.{s}",
                self._layer(at, (f"{s}_m", f"{s}_ln", f"{s}_lif"), x, square),
                self.length,
                self.width,
                self.heads,
            )
            for s in "qkv"
        )
        y = b.attention(at, (q, k, v), self._options.number("attn_scale"), "(qk)vs")
        y = b.add(f"{at}.attn_lif", self._attention_lif, b.merge_heads(at, y, self.length, self.width))
        return self._layer(at, ("last_m", "last_ln", "last_lif"), y, square)

    def readout(self, x: str) -> str:
        """Norm, mean over tokens, classifier (if there is one yet), mean over steps."""
        b = self._builder
        x = b.add("token_mean", Mean(axes=(0,)), self._norm("last_ln", x, self.width))
        if "classifier.weight" in self._tensors:
            classes = b.shape("classifier.weight", 2)[0]
            x = b.linear("classifier", x, (classes, self.width), bias=True)
        return x if self._options.flag("every_step") else b.add("time_mean", TimeMean(), x)


SPIKEBERT = SpikeBERT()
