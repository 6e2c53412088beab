"""Random tensors in the layouts of their authors' checkpoints, one function an architecture."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[np.float32]]
Draw = Callable[[np.random.Generator], Tensors]
Range = tuple[float, float]

GAIN, OFFSET = (1.0, 2.0), (0.0, 0.6)
"""Of batch norms before a neuron of tau 2 and threshold 1: they make it fire at 10 to 20 %."""
BRANCH_GAIN, BRANCH_OFFSET = (0.3, 0.7), (0.0, 0.1)
"""Of the last norms of branches that add to a membrane: their sum over many blocks still fires at 3 to 30 %."""
LAST_OFFSET: Range = (0.0, 2.0)
"""Of the last branch before neurons that see the mean over all positions, where only offsets remain."""
PLAIN: Range = (1.0, 1.0)
FIRES_AT = 2.0  # input at which a LIF of tau 2 and threshold 1 fires from rest
PRODUCT = 3.5  # mean of q k^T v that makes attention neurons (threshold 0.5 / 0.125) fire at 3 to 30 %


class Drawing:
    """Tensors in the order of a checkpoint; ``tensors`` holds what was drawn so far."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tensors: Tensors = {}

    def weight(self, name: str, *shape: int, bias: bool = False) -> None:
        """Synapses (O, I, ...) with a variance of 1 / fan-in, and a bias."""
        spread = 1 / np.sqrt(np.prod(shape[1:]))
        self.tensors[f"{name}.weight"] = self.rng.normal(0, spread, shape).astype(np.float32)
        if bias:
            self.tensors[f"{name}.bias"] = self.rng.uniform(-spread, spread, shape[0]).astype(np.float32)

    def norm(self, name: str, channels: int, offset: Range = OFFSET, gain: Range = GAIN) -> None:
        """A batch norm that is still to be calibrated."""
        self.tensors[f"{name}.weight"] = self.rng.uniform(*gain, channels).astype(np.float32)
        self.tensors[f"{name}.bias"] = self.rng.uniform(*offset, channels).astype(np.float32)
        self.tensors[f"{name}.running_mean"] = np.zeros(channels, np.float32)
        self.tensors[f"{name}.running_var"] = np.ones(channels, np.float32)


def attention_offset(tokens: int, head_width: int) -> Range:
    """Offsets of the norms of q, k and v: the product of spikes of rate r has a mean of tokens * head width * r^3."""
    rate = (PRODUCT / (tokens * head_width)) ** (1 / 3)
    centre = FIRES_AT - sum(GAIN) / 2 * NormalDist().inv_cdf(1 - rate)
    spread = (OFFSET[1] - OFFSET[0]) / 2
    return centre - spread, centre + spread


def spikformer(dim: int, depth: int, *, heads: int, tokens: int, classes: int, conv: bool) -> Draw:
    """Spikformer (Zhou et al. 2023, arXiv:2209.15425) in the ImageNet (``conv``) or CIFAR layout of its authors."""

    def draw(rng: np.random.Generator) -> Tensors:
        d = Drawing(rng)
        before = 3
        for stage, width in enumerate((dim // 8, dim // 4, dim // 2, dim)):
            suffix = str(stage or "")
            d.weight(f"patch_embed.proj_conv{suffix}", width, before, 3, 3)
            d.norm(f"patch_embed.proj_bn{suffix}", width)
            before = width
        d.weight("patch_embed.rpe_conv", dim, dim, 3, 3)
        d.norm("patch_embed.rpe_bn", dim)
        spikformer_blocks(d, dim, depth, attention_offset(tokens, dim // heads), conv=conv)
        d.weight("head", classes, dim, bias=True)
        return d.tensors

    return draw


def spikformer_blocks(d: Drawing, dim: int, depth: int, offset: Range, *, conv: bool) -> None:
    """The encoder blocks of Spikformer and its kin."""
    layer = "conv" if conv else "linear"
    for i in range(depth):
        for name in "qkv":
            d.weight(f"block.{i}.attn.{name}_{layer}", dim, dim, *[1] * conv, bias=not conv)
            d.norm(f"block.{i}.attn.{name}_bn", dim, offset)
        d.weight(f"block.{i}.attn.proj_{layer}", dim, dim, *[1] * conv, bias=True)
        d.norm(f"block.{i}.attn.proj_bn", dim)
        for name, outputs, inputs in (("fc1", 4 * dim, dim), ("fc2", dim, 4 * dim)):
            d.weight(f"block.{i}.mlp.{name}_{layer}", outputs, inputs, *[1, 1] * conv, bias=True)
            d.norm(f"block.{i}.mlp.{name}_bn", outputs)


def spikformer_v2(dim: int, depth: int, *, heads: int, tokens: int, classes: int) -> Draw:
    """Spikformer V2 (Zhou et al. 2024, arXiv:2401.02020) with the key names of ``compiler.importers.spikformer_v2``."""

    def draw(rng: np.random.Generator) -> Tensors:
        d = Drawing(rng)
        before = 3
        for stage, width in enumerate((dim // 8, dim // 4, dim // 2, dim)):
            at = f"patch_embed.stage{stage}"
            for name, shape in (
                ("down", (width, before, 2, 2)), ("fc1", (4 * width, width, 3, 3)), ("fc2", (width, 4 * width, 3, 3))
            ):  # fmt: skip
                d.weight(f"{at}.{name}_conv", *shape)
                d.norm(f"{at}.{name}_bn", shape[0])
            before = width
        spikformer_blocks(d, dim, depth, attention_offset(tokens, dim // heads), conv=True)
        d.weight("head", classes, dim, bias=True)
        return d.tensors

    return draw


def meta_spikeformer(
    widths: tuple[int, int, int, int], blocks: tuple[int, int], *, heads: int, tokens: int, classes: int
) -> Draw:
    """Spike-driven Transformer V2, or Meta-SpikeFormer (Yao et al. 2024, arXiv:2404.03663), as its authors save it."""

    def draw(rng: np.random.Generator) -> Tensors:
        d = Drawing(rng)
        first, before = widths[0] // 2, 3
        for down, names, width, kernel in (
            ("downsample1_1", ("ConvBlock1_1",), first, 7),
            ("downsample1_2", ("ConvBlock1_2",), widths[0], 3),
            ("downsample2", ("ConvBlock2_1", "ConvBlock2_2"), widths[1], 3),
        ):
            _downsampling(d, down, width, before, kernel)
            for name in names:
                _conv_block(d, f"{name}.0", width)
            before = width
        for down, name, width, count in (
            ("downsample3", "block3", widths[2], blocks[0]), ("downsample4", "block4", widths[3], blocks[1])
        ):  # fmt: skip
            _downsampling(d, down, width, before, 3)
            for i in range(count):
                _meta_block(d, f"{name}.{i}", width, attention_offset(tokens, width // heads))
            before = width
        d.norm(f"{name}.{i}.mlp.fc2_bn", width, LAST_OFFSET, BRANCH_GAIN)
        d.weight("head", classes, widths[3], bias=True)
        return d.tensors

    return draw


def _downsampling(d: Drawing, at: str, width: int, before: int, kernel: int) -> None:
    d.weight(f"{at}.encode_conv", width, before, kernel, kernel, bias=True)
    d.norm(f"{at}.encode_bn", width)


def _conv_block(d: Drawing, at: str, width: int) -> None:
    d.weight(f"{at}.Conv.pwconv1", 2 * width, width, 1, 1)
    d.norm(f"{at}.Conv.bn1", 2 * width)
    d.weight(f"{at}.Conv.dwconv", 2 * width, 1, 7, 7)
    d.weight(f"{at}.Conv.pwconv2", width, 2 * width, 1, 1)
    d.norm(f"{at}.Conv.bn2", width, BRANCH_OFFSET, BRANCH_GAIN)
    d.weight(f"{at}.conv1", 4 * width, width, 3, 3)
    d.norm(f"{at}.bn1", 4 * width)
    d.weight(f"{at}.conv2", width, 4 * width, 3, 3)
    d.norm(f"{at}.bn2", width, BRANCH_OFFSET, BRANCH_GAIN)


def _rep_conv(d: Drawing, at: str, width: int) -> None:
    d.weight(f"{at}.body.0", width, width, 1, 1)
    d.norm(f"{at}.body.1.bn", width, (0.0, 0.0), PLAIN)
    d.weight(f"{at}.body.2.0", width, 1, 3, 3)
    d.weight(f"{at}.body.2.1", width, width, 1, 1)
    d.norm(f"{at}.body.2.2", width, (0.0, 0.0), PLAIN)


def _meta_block(d: Drawing, at: str, width: int, offset: Range) -> None:
    for name in "qkv":
        _rep_conv(d, f"{at}.attn.{name}_conv.0", width)
        d.norm(f"{at}.attn.{name}_conv.1", width, offset)
    _rep_conv(d, f"{at}.attn.proj_conv.0", width)
    d.norm(f"{at}.attn.proj_conv.1", width, BRANCH_OFFSET, BRANCH_GAIN)
    d.weight(f"{at}.mlp.fc1_conv", 4 * width, width, 1, bias=True)
    d.norm(f"{at}.mlp.fc1_bn", 4 * width)
    d.weight(f"{at}.mlp.fc2_conv", width, 4 * width, 1, bias=True)
    d.norm(f"{at}.mlp.fc2_bn", width, BRANCH_OFFSET, BRANCH_GAIN)
