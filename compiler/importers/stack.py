"""Plain stacks of layers: spiking VGGs, CNNs and MLPs saved as one or more ``nn.Sequential``.

A file of such a model holds its weights only. What stands between them, neurons and pools, is said in words, one a
module, in order: ``--set layers="conv:p1 bn lif maxpool:k2 conv:p1 bn lif maxpool:k2 flatten linear lif linear"``.

    conv, linear, bn         take the next tensors of the file; conv:s2p1g4 has stride 2, padding 1, 4 groups
    sn, if, lif              a neuron: as the settings say, or of that kind; a LIF whose ``w`` is in the file has it
    maxpool:k3s2p1, avgpool  kernel, stride (as the kernel) and padding (0), as in PyTorch
    gap:7                    adaptive average to 7 x 7; gap alone to 1 x 1
    flatten, vote:10         all axes into one; mean of every 10 neighbours
    dropout, identity        nothing at inference

The names of SpikingJelly's spiking VGGs tell their layers. Of other stacks the numbers in an ``nn.Sequential`` tell how
many modules stand between the weights, but not which: words that would fit are proposed, never taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compiler.importers.blocks import GraphBuilder
from compiler.importers.family import Tensors
from compiler.importers.options import Option, Options
from compiler.importers.stack_words import (
    NEURONS,
    Module,
    Word,
    is_number,
    modules_of,
    parse_words,
    place_names,
    proposal,
)
from compiler.importers.vision import fixed_or_learned, image_options, neuron_options, shape_settings
from compiler.ir.graph import Graph
from compiler.ir.ops import AvgPool, Conv2d, Input, Linear, MaxPool, Mean, Op, Reshape, Scale, TimeMean, Weights
from compiler.ir.types import TensorType
from neurochip.errors import CheckpointError, GraphError

PARTED = 2**14
"""Positions of the largest image that is averaged in parts of unequal size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Stacks whose layers are said, or told by the names of SpikingJelly's VGGs.

    Attributes:
        vgg: ``features`` of convolutions and ``classifier`` of three matrices.
    """

    name: str
    vgg: bool
    options: tuple[Option, ...]

    def matches(self, tensors: Tensors) -> bool:
        """Whether all tensors are weights, norms and time constants of numbered modules."""
        modules = modules_of(tensors)
        if not modules or not all(is_number(m.path.rpartition(".")[2]) for m in modules):
            return False
        return _is_vgg(modules) == self.vgg

    def build(self, tensors: Tensors, options: Options) -> Graph:
        """The graph as the framework computes it; raises CheckpointError if tensors and options do not fit."""
        modules = modules_of(tensors)
        if not modules or all(module.kind in ("bn", "lif") for module in modules):
            raise CheckpointError("expected weights of convolutions and linear layers, batch norms and nothing else")
        text = options.text("layers")
        if not text and _is_vgg(modules):
            text = _vgg_layers(modules)
            options.tell("layers", text)
        if not text:
            raise CheckpointError(
                "the file does not tell which neurons and pools stand between its weights; say it with "
                f'--set layers="...", for instance "{proposal(modules)}"'
            )
        words = parse_words(text)
        names = place_names(words, modules)
        builder = GraphBuilder(tensors)
        given = options.shape("input_shape") or options.shape("img_size")
        line = _Line(builder, tensors, options, _input_shape(modules, options))
        for word, name in zip(words, names, strict=True):
            line.append(word, name)
        output = _readout(builder, line.value, options.choice("readout"), options.count("T"))
        known = tuple(setting for setting in options.settings if setting.value != ())
        found = {"num_classes": line.kind.size} | ({} if given else {"input_shape": line.input_shape})
        return builder.graph(self.name, output, options.count("T"), known + shape_settings(**found))


class _Line:
    """One value after the other: the last one's name and type."""

    def __init__(self, builder: GraphBuilder, tensors: Tensors, options: Options, shape: tuple[int, ...]) -> None:
        self._builder, self._tensors, self._options = builder, tensors, options
        self.input_shape = shape
        op = Input(shape=shape, low=options.number("input_low"), high=options.number("input_high"))
        self.value, self.kind = builder.add("input", op), op.infer()

    def append(self, word: Word, name: str) -> None:
        """The layer that ``word`` says."""
        if word.kind == "bn":
            self._batch_norm(name)
        elif word.kind == "gap":
            self._adaptive(word.numbers["n"], name)
        elif word.kind == "vote":
            groups, size = divmod(self.kind.shape[-1], word.numbers["n"])
            if size:
                raise CheckpointError(f"setting 'layers': {word.text} does not divide {self.kind.shape[-1]} outputs")
            self._add(f"{name}.groups", Reshape(shape=(groups, word.numbers["n"])))
            self._add(name, Mean(axes=(1,)))
        elif word.kind not in ("dropout", "identity"):
            self._add(name, self._op(word, name))

    def _op(self, word: Word, name: str) -> Op:
        if word.kind in NEURONS:
            neuron = fixed_or_learned(self._builder, self._tensors, name, self._options)
            if word.kind == "sn" or f"{name}.w" in self._tensors:
                return neuron
            return replace(neuron, tau=None if word.kind == "if" else self._options.number("tau"))
        if word.kind == "conv":
            return self._conv(word, name)
        if word.kind == "linear":
            shape = self._builder.shape(f"{name}.weight", 2)
            return Linear(weight=self._builder.weight(f"{name}.weight", shape), bias=self._bias(name, shape[0]))
        if word.kind == "flatten":
            return Reshape(shape=(self.kind.size,))
        pool = MaxPool if word.kind == "maxpool" else AvgPool
        kernel = word.numbers["k"]
        stride, padding = word.numbers.get("s", kernel), word.numbers.get("p", 0)
        return pool(kernel=(kernel, kernel), stride=(stride, stride), padding=(padding, padding))

    def _conv(self, word: Word, name: str) -> Conv2d:
        shape = self._builder.shape(f"{name}.weight", 4)
        stride, padding = word.numbers.get("s", 1), word.numbers.get("p", 0)
        return Conv2d(
            weight=self._builder.weight(f"{name}.weight", shape),
            bias=self._bias(name, shape[0]),
            stride=(stride, stride),
            padding=(padding, padding),
            groups=word.numbers.get("g", 1),
        )

    def _bias(self, name: str, size: int) -> Weights | None:
        key = f"{name}.bias"
        return self._builder.take(key, (size,)) if key in self._tensors else None

    def _batch_norm(self, name: str) -> None:
        self.value = self._builder.batch_norm(name, self.value, self.kind.shape[0], axis=0)
        self.kind = TensorType(self.kind.shape, timed=self.kind.timed)

    def _adaptive(self, size: int, name: str) -> None:
        """The mean of ``size`` x ``size`` parts of the image, which overlap if it does not divide evenly."""
        if len(self.kind.shape) != 3:
            raise CheckpointError(f"setting 'layers': gap needs an image (C, H, W), got {self.kind.shape}")
        channels, height, width = self.kind.shape
        if not (height % size or width % size):
            kernel = (height // size, width // size)
            self._add(name, AvgPool(kernel=kernel, stride=kernel))
            return
        if height * width > PARTED:
            raise CheckpointError(
                f"setting 'layers': gap:{size} of {height}x{width} positions, which {size} does not divide"
            )
        weight = np.kron(_parts(height, size), _parts(width, size))
        self._add(f"{name}.positions", Reshape(shape=(channels, height * width)))
        self._add(f"{name}.parts", Linear(weight=weight))
        self._add(name, Reshape(shape=(channels, size, size)))

    def _add(self, name: str, op: Op) -> None:
        try:
            self.kind = op.infer(self.kind)
        except GraphError as error:
            raise CheckpointError(f"layer '{name}' ({op.mnemonic}) does not fit what comes before: {error}") from None
        self.value = self._builder.add(name, op, self.value)


def _parts(length: int, count: int) -> Weights:
    """(count, length): row i averages the elements floor(i * length / count) .. ceil((i + 1) * length / count) - 1."""
    rows = np.zeros((count, length))
    for i in range(count):
        part = slice(i * length // count, -(-(i + 1) * length // count))
        rows[i, part] = 1 / (part.stop - part.start)
    return rows


def _input_shape(modules: tuple[Module, ...], options: Options) -> tuple[int, ...]:
    """As said, or the fan-in of a first linear layer."""
    shape, image = options.shape("input_shape"), options.shape("img_size")
    first = next(module for module in modules if module.kind in ("conv", "linear"))
    if shape:
        return shape
    if first.kind == "linear":
        return (first.shape[1],)
    if not image:
        raise CheckpointError(
            "the file does not tell the size of its images; "
            f"say it with --set input_shape={first.shape[1]}xHEIGHTxWIDTH"
        )
    return (first.shape[1], *(image if len(image) == 2 else image * 2))


def _readout(builder: GraphBuilder, x: str, readout: str, timesteps: int) -> str:
    if readout == "steps":
        return x
    x = builder.add("time_mean", TimeMean(), x)
    return builder.add("time_sum", Scale(factor=float(timesteps)), x) if readout == "sum" else x


def _is_vgg(modules: tuple[Module, ...]) -> bool:
    features = [m for m in modules if m.path.startswith("features.")]
    matrices = [m.path for m in modules if m.kind == "linear"]
    numbered = all(is_number(m.path.rpartition(".")[2]) for m in modules)
    parts = numbered and all(m.path.startswith(("features.", "classifier.")) for m in modules)
    kernels = all(m.shape[2:] == (3, 3) for m in features if m.kind == "conv")
    return parts and kernels and bool(features) and matrices == ["classifier.0", "classifier.3", "classifier.6"]


def _vgg_layers(modules: tuple[Module, ...]) -> str:
    """The layers that the free numbers among ``features`` stand for: a neuron, or a neuron and a pool."""
    features = [m for m in modules if m.path.startswith("features.") and m.kind != "lif"]
    words = []
    for module, behind in zip(features, [*features[1:], None], strict=True):
        words.append("conv:p1" if module.kind == "conv" else "bn")
        if behind is None:
            words += ["sn", "maxpool:k2"]
        elif behind.kind == "conv":
            free = int(behind.path.rpartition(".")[2]) - int(module.path.rpartition(".")[2]) - 1
            words += ["sn"] if free == 1 else ["sn", "maxpool:k2"]
    return " ".join([*words, "gap:7", "flatten", *(2 * ["linear", "sn", "dropout"]), "linear"])


def _options(image: tuple[int, ...]) -> tuple[Option, ...]:
    common = tuple(option for option in image_options(steps=4, image=1) if option.name != "img_size")
    return (
        *common,
        Option(name="layers", kind="text", default="", meaning="the layers in order, e.g. conv:p1 bn lif maxpool:k2"),
        Option(name="input_shape", kind="shape", default=(), meaning="of one input, e.g. 3x32x32"),
        Option(name="img_size", kind="shape", default=image, meaning="height and width of an image"),
        Option(
            name="readout",
            kind="choice",
            default="mean",
            choices=("mean", "sum", "steps"),
            meaning="the result: mean or sum of the last layer over the steps, or all of them",
        ),
        *neuron_options("LIF"),
    )


STACK = Stack(name="stack", vgg=False, options=_options(()))
SPIKING_VGG = Stack(name="spiking-vgg", vgg=True, options=_options((224, 224)))
