"""Full-size models with random weights, in the layouts of their authors' checkpoints, that fire like trained ones.

Batch norm is calibrated layer by layer on images of 1/f noise; gains of U(1, 2) and offsets of U(0, 0.6) make neurons
fire at 3 to 30 %. Files are written to a cache, never into the repository.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from compiler.importers import find_family
from compiler.importers.options import Options
from compiler.ir.graph import Graph, Node
from compiler.ir.ops import BatchNorm, Input
from compiler.ir.run import checked_input
from neurochip.atomic import replacing

Floats = NDArray[np.float32]
Tensors = dict[str, Floats]

RECIPE = 1
"""Part of the file names; raise it when the tensors of a model change."""
CALIBRATION_IMAGES = 2
GAIN, OFFSET = (1.0, 2.0), (0.0, 0.6)
FIRES_AT = 2.0  # input at which a LIF of tau 2 and threshold 1 fires from rest
PRODUCT = 3.5  # mean of q k^T v that makes attention neurons (threshold 0.5 / 0.125) fire at 3 to 30 %
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, as trainers normalise
CONTRAST = 0.22  # standard deviation of a pixel, about that of photographs


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of the benchmarks: how its tensors are drawn and what its importer must be told."""

    name: str
    image: int
    tensors: Callable[[np.random.Generator], Tensors]
    settings: Mapping[str, str]

    def checkpoint(self, folder: Path, steps: int, seed: int = 0) -> Path:
        """The safetensors file of this model calibrated for ``steps``; made on first use, in seconds to a minute."""
        path = folder / f"{self.name}-T{steps}-{seed}-{RECIPE}.safetensors"
        if not path.exists():
            rng = np.random.default_rng(seed)
            tensors = self.tensors(rng)
            calibrate(tensors, self.options(steps), noise_images(rng, CALIBRATION_IMAGES, self.image))
            folder.mkdir(parents=True, exist_ok=True)
            write_safetensors(path, tensors)
        return path

    def options(self, steps: int) -> dict[str, str]:
        """Settings for ``neurochip.compile``: the number of steps and the range of normalised images."""
        low, high = (-MEAN / STD).min(), ((1 - MEAN) / STD).max()
        return {"T": str(steps), "input_low": str(low), "input_high": str(high), **self.settings}


def default_cache() -> Path:
    """Where models are kept: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neurochip-benchmarks"


def noise_images(rng: np.random.Generator, count: int, size: int) -> Floats:
    """(count, 3, size, size) float32: pixels k / 255 of 1/f noise, normalised as ImageNet's."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    shape = (count, 3, *frequency.shape)
    waves = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / frequency
    grey = waves.mean(axis=1, keepdims=True) * np.sqrt(3)  # colours of a scene are alike
    noise = np.fft.irfft2(0.9 * grey + np.sqrt(1 - 0.9**2) * waves, s=(size, size))
    noise /= noise.std(axis=(2, 3), keepdims=True)
    pixels = np.rint(np.clip(0.5 + CONTRAST * noise, 0, 1) * 255) / 255
    return ((pixels - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)


def calibrate(tensors: Tensors, settings: Mapping[str, str], images: Floats) -> dict[str, float]:
    """Set every ``running_mean`` and ``running_var`` to what ``images`` give, layer by layer; returns firing rates.

    A layer is measured with the norms before it already set, so the graph is built again after each one.
    """
    graph = _graph(tensors, settings)
    alive: dict[str, NDArray[np.float64]] = {}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    rates = {}
    for number, node in enumerate(graph.nodes):
        if isinstance(node.op, Input):
            alive[node.name] = checked_input(images, node.name, node.op, graph.timesteps)
            continue
        arguments = [_every_step(alive[name], graph.timesteps, node) for name in node.inputs]
        if isinstance(node.op, BatchNorm):
            axes = tuple(a for a in range(arguments[0].ndim) if a != node.op.axis % (arguments[0].ndim - 2) + 2)
            tensors[f"{node.name}.running_mean"][:] = arguments[0].mean(axis=axes)
            tensors[f"{node.name}.running_var"][:] = arguments[0].var(axis=axes)
            graph = _graph(tensors, settings)
            node = graph.nodes[number]
        alive[node.name] = node.op.reference(*arguments)
        if node.op.is_neuron:
            rates[node.name] = float(alive[node.name].mean())
        for name in node.inputs:
            readers[name] -= 1
            if readers[name] == 0:
                del alive[name]
    return rates


def _graph(tensors: Tensors, settings: Mapping[str, str]) -> Graph:
    family = find_family(tensors)
    known = {name for option in family.options for name in option.names}
    return family.build(tensors, Options(family.options, {}, {k: v for k, v in settings.items() if k in known}))


def _every_step(x: NDArray[np.float64], steps: int, node: Node) -> NDArray[np.float64]:
    return np.broadcast_to(x, (steps, *x.shape[1:])) if node.op.per_step and len(x) != steps else x


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """Write float32 tensors in the safetensors format, whole or not at all."""
    header, at = {}, 0
    for name, tensor in tensors.items():
        span = [at, at + tensor.nbytes]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": span}
        at = span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor, "<f4").data)


class _Drawing:
    """Tensors in the order of a checkpoint."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tensors: Tensors = {}

    def weight(self, name: str, *shape: int, bias: bool = False) -> None:
        """Synapses (O, I, ...) with a variance of 1 / fan-in, and a bias."""
        spread = 1 / np.sqrt(np.prod(shape[1:]))
        self.tensors[f"{name}.weight"] = self.rng.normal(0, spread, shape).astype(np.float32)
        if bias:
            self.tensors[f"{name}.bias"] = self.rng.uniform(-spread, spread, shape[0]).astype(np.float32)

    def norm(self, name: str, channels: int, offset: tuple[float, float] = OFFSET) -> None:
        """A batch norm that is still to be calibrated."""
        self.tensors[f"{name}.weight"] = self.rng.uniform(*GAIN, channels).astype(np.float32)
        self.tensors[f"{name}.bias"] = self.rng.uniform(*offset, channels).astype(np.float32)
        self.tensors[f"{name}.running_mean"] = np.zeros(channels, np.float32)
        self.tensors[f"{name}.running_var"] = np.ones(channels, np.float32)


def attention_offset(tokens: int, head_width: int) -> tuple[float, float]:
    """Offsets of the norms of q, k and v: the product of spikes of rate r has a mean of tokens * head width * r^3."""
    rate = (PRODUCT / (tokens * head_width)) ** (1 / 3)
    centre = FIRES_AT - sum(GAIN) / 2 * NormalDist().inv_cdf(1 - rate)
    spread = (OFFSET[1] - OFFSET[0]) / 2
    return centre - spread, centre + spread


def spikformer(
    dim: int, depth: int, *, heads: int, tokens: int, classes: int, conv: bool
) -> Callable[[np.random.Generator], Tensors]:
    """Spikformer (Zhou et al. 2023, arXiv:2209.15425) in the ImageNet (``conv``) or CIFAR layout of its authors."""
    layer = "conv" if conv else "linear"
    offset = attention_offset(tokens, dim // heads)

    def draw(rng: np.random.Generator) -> Tensors:
        d = _Drawing(rng)
        before = 3
        for stage, width in enumerate((dim // 8, dim // 4, dim // 2, dim)):
            suffix = str(stage or "")
            d.weight(f"patch_embed.proj_conv{suffix}", width, before, 3, 3)
            d.norm(f"patch_embed.proj_bn{suffix}", width)
            before = width
        d.weight("patch_embed.rpe_conv", dim, dim, 3, 3)
        d.norm("patch_embed.rpe_bn", dim)
        for i in range(depth):
            for name in "qkv":
                d.weight(f"block.{i}.attn.{name}_{layer}", dim, dim, *[1] * conv, bias=not conv)
                d.norm(f"block.{i}.attn.{name}_bn", dim, offset)
            d.weight(f"block.{i}.attn.proj_{layer}", dim, dim, *[1] * conv, bias=True)
            d.norm(f"block.{i}.attn.proj_bn", dim)
            d.weight(f"block.{i}.mlp.fc1_{layer}", 4 * dim, dim, *[1, 1] * conv, bias=True)
            d.norm(f"block.{i}.mlp.fc1_bn", 4 * dim)
            d.weight(f"block.{i}.mlp.fc2_{layer}", dim, 4 * dim, *[1, 1] * conv, bias=True)
            d.norm(f"block.{i}.mlp.fc2_bn", dim)
        d.weight("head", classes, dim, bias=True)
        return d.tensors

    return draw


def _imagenet(name: str, dim: int, heads: int) -> Model:
    tensors = spikformer(dim, 8, heads=heads, tokens=196, classes=1000, conv=True)
    return Model(name=name, image=224, tensors=tensors, settings={"num_heads": str(heads)})


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="spikformer-4-384",
            image=32,
            tensors=spikformer(384, 4, heads=12, tokens=64, classes=10, conv=False),
            settings={"num_heads": "12"},
        ),
        _imagenet("spikformer-8-384", 384, 12),
        _imagenet("spikformer-8-512", 512, 8),
        _imagenet("spikformer-8-768", 768, 12),
    )
}
