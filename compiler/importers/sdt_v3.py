"""Spike-driven Transformer V3 (E-SpikeFormer): the stages of V2 with neurons that fire 0 to 4 spikes at once.

Source: Yao et al. 2025, "Scaling Spike-driven Transformer with Efficient Spike Firing Approximation Training", IEEE
TPAMI, arXiv:2411.16061; key names and constants of the authors' code. Its event-camera models have the same layers and
a gain for each branch; their neurons see all steps at once, so they have no memory either.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.metaformer import MetaFormer, metaformer_options
from compiler.importers.options import Option, Options
from compiler.ir.graph import Graph
from compiler.ir.ops import Affine, IntegerNeuron, Linear, Scale, TimeMean


def integer_options(*, rounding: str, norm: float | None) -> tuple[Option, ...]:
    """Options of integer neurons; ``rounding`` and ``norm`` are the layout's defaults."""
    return (
        Option(name="levels", kind="count", default=4, meaning="most spikes of a neuron in one step"),
        Option(
            name="norm", kind="number", default=norm, spellings=("D_Norm",), meaning="what spike counts are divided by"
        ),
        Option(
            name="rounding",
            kind="choice",
            default=rounding,
            choices=("even", "up"),
            meaning="where membranes' halves go",
        ),
        Option(
            name="stateful", kind="flag", default=False, meaning="neurons keep what they did not fire for the next step"
        ),
    )


class IntegerSpikes:
    """Adds integer neurons, and the division of their counts."""

    def __init__(self, builder: GraphBuilder, options: Options) -> None:
        self._builder = builder
        self._norm = options.number("norm")
        self._neuron = IntegerNeuron(
            levels=options.count("levels"),
            rounding="even" if options.text("rounding") == "even" else "up",
            decay=1.0 if options.flag("stateful") else 0.0,
        )

    def counts(self, name: str, x: str) -> str:
        """Spike counts."""
        return self._builder.add(name, self._neuron, x)

    def __call__(self, name: str, x: str) -> str:
        """Spike counts divided by the norm."""
        y = self.counts(name, x)
        return y if self._norm == 1 else self._builder.add(f"{name}.norm", Scale(factor=1 / self._norm), y)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeDrivenV3:
    """Still images, or event cameras (``gains``); see ``compiler.importers.family.Family``."""

    name: str
    gains: bool
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether separable convolutions have norms of their own, and blocks have gains or not."""
        return "ConvBlock1_1.0.Conv.pwconv1.0.weight" in tensors and ("block3.0.layer_scale3" in tensors) == self.gains

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        builder = GraphBuilder(tensors)
        model = _Model(self, tensors, options, builder)
        output = model.readout()
        return builder.graph(self.name, output, options.count("T"), options.settings + model.frame.sizes())


class _Model:
    """One model."""

    def __init__(self, layout: SpikeDrivenV3, tensors: Tensors, options: Options, builder: GraphBuilder) -> None:
        self._layout = layout
        self._builder = builder
        self._spikes = IntegerSpikes(builder, options)
        self._gain = options.number("attn_gain")
        self.frame = MetaFormer(builder, tensors, options, self._spikes, "spike")

    def readout(self) -> str:
        """Mean over positions, counts, head, mean over steps."""
        b, frame = self._builder, self.frame
        x = self._spikes.counts("spike", frame.mean(frame.features(self._conv_block, self._block)))
        weight = b.take("head.weight", (frame.classes, frame.widths[-1]))
        y = b.add("head", Linear(weight=weight, bias=b.take("head.bias", (frame.classes,))), x)
        return b.add("head_time_mean", TimeMean(), y)

    def _conv_block(self, at: str, x: str, width: int) -> str:
        x = self._builder.residual(f"{at}.Conv_add", x, self._separable(f"{at}.Conv", x, width))
        return self.frame.channel_conv(at, x, width)

    def _separable(self, at: str, x: str, width: int) -> str:
        """Pointwise, depthwise, pointwise, each with neurons before and a norm behind it."""
        b = self._builder
        wide = b.shape(f"{at}.pwconv1.0.weight", 4)[0]
        kernel = b.shape(f"{at}.dwconv.0.weight", 4)[2]
        layers = (
            ("pwconv1", (wide, width, 1, 1), 1),
            ("dwconv", (wide, 1, kernel, kernel), wide),
            ("pwconv2", (width, wide, 1, 1), 1),
        )
        for i, (name, weight, groups) in enumerate(layers, start=1):
            x = self._spikes(f"{at}.spike{i}", x)
            x = b.conv(f"{at}.{name}.0", x, weight, bias=False, padding=weight[2] // 2, groups=groups)
            x = b.batch_norm(f"{at}.{name}.1", x, weight[0], axis=0)
        return x

    def _block(self, at: str, x: str, width: int, grid: tuple[int, int]) -> str:
        x = self._added(at, "conv", "layer_scale1", x, self._separable(f"{at}.conv", x, width), width)
        x = self._added(at, "attn", "layer_scale2", x, self._attention(f"{at}.attn", x, width, grid), width)
        return self._added(at, "mlp", "layer_scale3", x, self.frame.mlp(at, x, width), width)

    def _added(self, at: str, branch: str, key: str, x: str, y: str, width: int) -> str:
        b = self._builder
        if self._layout.gains:
            gain = b.take(f"{at}.{key}", (width,)).reshape(width, 1, 1)
            y = b.add(f"{at}.{key}", Affine(gain=gain), y)
        return b.residual(f"{at}.{branch}_add", x, y)

    def _matrix(self, at: str, x: str, outputs: int, inputs: int) -> str:
        y = self._builder.conv(f"{at}.0", x, (outputs, inputs, 1, 1), bias=False, padding=0)
        return self._builder.batch_norm(f"{at}.1", y, outputs, axis=0)

    def _attention(self, at: str, x: str, width: int, grid: tuple[int, int]) -> str:
        """gain * d^(-1/2) * (q k^T) v for each head; v is wider than q and k."""
        b, frame = self._builder, self.frame
        wide = b.shape(f"{at}.v_conv.0.weight", 4)[0]
        spikes = self._spikes(f"{at}.head_spike", x)
        heads = []
        for letter, outputs in (("q", width), ("k", width), ("v", wide)):
            y = self._spikes(f"{at}.{letter}_spike", self._matrix(f"{at}.{letter}_conv", spikes, outputs, width))
            heads.append(frame.split_heads(f"{at}.{letter}", y, outputs, grid))
        scale = (width // frame.heads) ** -0.5 * self._gain
        y = b.attention(at, (heads[0], heads[1], heads[2]), scale, "(qk)vs")
        y = self._spikes(f"{at}.attn_spike", frame.merge_heads(at, y, wide, grid))
        return self._matrix(f"{at}.proj_conv", y, width, wide)


_GAIN = Option(name="attn_gain", kind="number", default=2.0, meaning="factor of the attention beside d^(-1/2)")

SDT_V3 = SpikeDrivenV3(
    name="sdt-v3",
    gains=False,
    options=(*metaformer_options(steps=1), *integer_options(rounding="even", norm=4.0), _GAIN),
)
SDT_V3_DVS = SpikeDrivenV3(
    name="sdt-v3-dvs",
    gains=True,
    options=(*metaformer_options(steps=8), *integer_options(rounding="even", norm=None), _GAIN),
)
