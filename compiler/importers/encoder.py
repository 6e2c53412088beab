"""The encoder block of Spikformer and its kin: spiking self-attention and an MLP, whose branches end in neurons.

Source: Zhou et al. 2023, "Spikformer", ICLR, arXiv:2209.15425, equations 4 to 6; residuals: Fang et al. 2021, "Deep
Residual Learning in Spiking Neural Networks", NeurIPS, arXiv:2102.04159, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from compiler.importers.blocks import GraphBuilder
from compiler.ir.ops import Add, AndNot, Mul, Neuron

CONNECTIONS = {"ADD": Add(), "AND": Mul(), "IAND": AndNot()}
"""How a residual of spikes joins (x, branch); IAND is x AND NOT branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderKeys:
    """What a file layout calls the layers of a block.

    Attributes:
        layer: what the file calls its matrices: ``q_linear`` or ``q_conv``, ``fc1_linear`` or ``fc1_conv``.
        attention_ones, mlp_ones: axes of size 1 behind (O, I) in the weights of attention and MLP.
        qkv_bias: q, k and v have a bias (all other matrices of a block always do).
        product: order of the attention product, see ``GraphBuilder.attention``.
        mlp: the two matrices of the MLP.
    """

    layer: str
    attention_ones: int
    mlp_ones: int
    qkv_bias: bool
    product: str
    mlp: tuple[str, str] = ("fc1", "fc2")

    def matrix(self, at: str, stem: str) -> str:
        """Path of a matrix, e.g. ``block.0.attn.q_conv``."""
        return f"{at}.{stem}_{self.layer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """Blocks on tokens (``tokens``, ``width``).

    Attributes:
        scale: factor of the attention product.
        lif, attention_lif, projection_lif: the neurons; ``attention_lif`` is behind the product of SSA,
            ``projection_lif`` behind its projection (None: as everywhere).
        connection: a key of ``CONNECTIONS``.
    """

    builder: GraphBuilder
    keys: EncoderKeys
    tokens: int
    width: int
    hidden: int
    heads: int
    scale: float
    lif: Neuron
    attention_lif: Neuron
    projection_lif: Neuron | None = None
    connection: str = "ADD"

    def block(self, at: str, x: str, *, attention: str = "attn") -> str:
        """Self-attention and MLP, each with its residual; ``attention`` is the name of its module."""
        x = self.connected(f"{at}.{attention}_add", x, self.self_attention(f"{at}.{attention}", x))
        return self.connected(f"{at}.mlp_add", x, self.mlp(f"{at}.mlp", x))

    def connected(self, name: str, x: str, branch: str) -> str:
        """The residual connection."""
        return self.builder.add(name, CONNECTIONS[self.connection], x, branch)

    def self_attention(self, at: str, x: str) -> str:
        """SSA: neuron(scale * q k^T v), projected."""
        b = self.builder
        spikes = [self.matrix(at, s, x, bias=self.keys.qkv_bias) for s in "qkv"]
        q, k, v = (
            b.heads(f"{at}.{s}", y, self.tokens, self.width, self.heads) for s, y in zip("qkv", spikes, strict=True)
        )
        y = b.merge_heads(at, b.attention(at, (q, k, v), self.scale, self.keys.product), self.tokens, self.width)
        y = b.add(f"{at}.attn_lif", self.attention_lif, y)
        return self.matrix(at, "proj", y, bias=True, neuron=self.projection_lif)

    def matrix(self, at: str, stem: str, x: str, *, bias: bool, neuron: Neuron | None = None) -> str:
        """A square layer of the attention: linear, batch norm, neuron."""
        square, ones = (self.width, self.width), self.keys.attention_ones
        return self._layer(at, stem, x, square, neuron or self.lif, bias=bias, ones=ones)

    def mlp(self, at: str, x: str) -> str:
        """Two layers, each with batch norm and neuron."""
        first, second = self.keys.mlp
        x = self._layer(at, first, x, (self.hidden, self.width), self.lif, bias=True, ones=self.keys.mlp_ones)
        return self._layer(at, second, x, (self.width, self.hidden), self.lif, bias=True, ones=self.keys.mlp_ones)

    def _layer(
        self, at: str, stem: str, x: str, weight: tuple[int, int], neuron: Neuron, *, bias: bool, ones: int
    ) -> str:
        names = (self.keys.matrix(at, stem), f"{at}.{stem}_bn", f"{at}.{stem}_lif")
        return self.builder.linear_bn_lif(names, x, weight, neuron, bias=bias, ones=ones)
