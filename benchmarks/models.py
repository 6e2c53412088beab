"""Full-size models with random weights, in the layouts of their authors' checkpoints, that fire like trained ones.

Batch norm is calibrated layer by layer on images of 1/f noise, so that neurons fire at 3 to 30 %. Files go to a cache,
never into the repository.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.architectures import Draw, Tensors, meta_spikeformer, spikformer, spikformer_v2
from benchmarks.settings import BenchmarkError
from compiler.importers import find_family
from compiler.importers.options import Options
from compiler.ir.graph import Graph, Node
from compiler.ir.ops import BatchNorm, Input
from compiler.ir.run import checked_input
from neurochip.atomic import replacing

Floats = NDArray[np.float32]

RECIPE = 1
"""Part of the file names; raise it when the tensors of a model change."""
CALIBRATION_IMAGES = 2
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, as trainers normalise
CONTRAST = 0.22  # standard deviation of a pixel, about that of photographs


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model of the benchmarks: how its tensors are drawn and what its importer must be told."""

    name: str
    image: int
    tensors: Draw
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


def _imagenet(name: str, tensors: Draw, heads: int) -> Model:
    return Model(name=name, image=224, tensors=tensors, settings={"num_heads": str(heads)})


def _spikformer(dim: int, heads: int) -> Model:
    tensors = spikformer(dim, 8, heads=heads, tokens=196, classes=1000, conv=True)
    return _imagenet(f"spikformer-8-{dim}", tensors, heads)


def _meta(name: str, widths: tuple[int, int, int, int]) -> Model:
    return _imagenet(name, meta_spikeformer(widths, (6, 2), heads=8, tokens=196, classes=1000), 8)


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="spikformer-4-384",
            image=32,
            tensors=spikformer(384, 4, heads=12, tokens=64, classes=10, conv=False),
            settings={"num_heads": "12"},
        ),
        _spikformer(384, 12),
        _spikformer(512, 8),
        _spikformer(768, 12),
        _imagenet("spikformer-v2-8-512", spikformer_v2(512, 8, heads=8, tokens=196, classes=1000), 8),
        _meta("meta-spikeformer-15m", (64, 128, 256, 360)),
        _meta("meta-spikeformer-31m", (96, 192, 384, 480)),
        _meta("meta-spikeformer-55m", (128, 256, 512, 640)),
    )
}


def model_of(name: str) -> tuple[Model, int, int | None]:
    """Model, steps and weight bits (None = the chip's own) of ``NAME@T`` or ``NAME@T/BITS``.

    Raises ``BenchmarkError`` if there is no such model, or no such number.
    """
    model, _, rest = name.partition("@")
    steps, slash, bits = rest.partition("/")
    numbers = [steps, bits] if slash else [steps]
    if model not in MODELS or not all(number.isdecimal() and int(number) for number in numbers):
        raise BenchmarkError(
            f"model {name!r}: expected NAME@T or NAME@T/BITS, such as spikformer-8-512@4, with NAME one of "
            f"{', '.join(MODELS)}"
        )
    return MODELS[model], int(steps), int(bits) if slash else None
