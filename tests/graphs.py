"""Small random graphs for property tests: every op, every dtype that the text form can hold."""

from __future__ import annotations

from math import inf, prod

import numpy as np

from compiler.ir.graph import Graph, Node, Setting
from compiler.ir.ops import (
    Accumulate,
    Add,
    Affine,
    AndNot,
    Attention,
    AvgPool,
    BatchNorm,
    Broadcast,
    Clip,
    Concat,
    Conv2d,
    Delay,
    Embedding,
    Feedback,
    Filter,
    Gelu,
    Increment,
    Input,
    IntegerNeuron,
    LayerNorm,
    LeakyMembrane,
    LeakyNeuron,
    Linear,
    MatMul,
    MaxPool,
    Mean,
    Mul,
    MultiThresholdNeuron,
    Neuron,
    Onset,
    Pad,
    QuantiseInput,
    Readout,
    RegisterNeuron,
    Relu,
    Requantise,
    Reshape,
    Scale,
    SerialNeuron,
    Sigmoid,
    Silu,
    Slice,
    Softmax,
    Step,
    Sum,
    SumPool,
    Tanh,
    TernaryNeuron,
    TimeMean,
    Transpose,
    WeightedProduct,
    Wkv,
)
from compiler.ir.types import TensorType
from compiler.ir.verify import verify


def random_graph(seed: int) -> Graph:
    """A verified graph of 4 to 16 nodes with one input; whatever nothing reads is an output."""
    return _Growth(np.random.default_rng(seed)).graph()


def random_input(graph: Graph, seed: int, batch: int = 2) -> np.ndarray:
    """An input for ``graph``, static or one for each step."""
    rng = np.random.default_rng(seed)
    op = graph.inputs[0].op
    lead = (batch,) if rng.random() < 0.5 else (graph.timesteps, batch)
    if op.integer:
        return rng.integers(int(op.low), int(op.high) + 1, (*lead, *op.shape))
    return rng.normal(size=(*lead, *op.shape))


class _Growth:
    def __init__(self, rng):
        self.rng = rng
        self.timesteps = int(rng.integers(1, 5))
        shape = tuple(int(n) for n in rng.integers(2, 7, size=rng.choice([1, 2, 3])))
        if rng.random() < 0.5:
            op = Input(shape=shape, integer=True, low=int(rng.integers(-3, 1)), high=int(rng.integers(1, 4)))
        else:
            op = Input(shape=shape, low=-inf, high=inf)
        self.loops = np.random.default_rng(int(rng.integers(2**32)))
        self.nodes = [Node("input", op)]
        self.types = {"input": op.infer()}

    def graph(self):
        loops = self.loops.random() < 0.3
        if loops:
            self.types["back"] = TensorType(self.types["input"].shape)
        for _ in range(int(self.rng.integers(3, 16))):
            name = str(self.rng.choice(list(self.types)))
            self.grow(name, self.types[name])
        if loops:
            self.close()
        read = {name for node in self.nodes for name in node.inputs}
        outputs = tuple(node.name for node in self.nodes if node.name not in read)
        settings = (Setting("T", self.timesteps, "default"), Setting("img size", (4, 2.5, None, "x"), "--set"))
        return verify(Graph("random", tuple(self.nodes), outputs, self.timesteps, settings, ("norm.weight",)))

    def close(self):
        """What has been read as "back" comes from some node of the same shape."""
        shape = self.types["back"].shape
        sources = [n for n, t in self.types.items() if n != "back" and t.shape == shape and t.timed]
        source = str(self.loops.choice(sources))
        self.nodes.insert(1, Node("back", Feedback(source=source, shape=shape)))

    def grow(self, name, x):
        candidates = [self.elementwise, self.layout]
        if x.timed:
            candidates += [self.neuron, self.readout, self.history]
        if len(x.shape) == 3:
            candidates += [self.window, self.window]
        if len(x.shape) >= 1:
            candidates += [self.matrix, self.reduce, self.function, self.parts]
        if len(x.shape) >= 2:
            candidates.append(self.product)
        op, *inputs = candidates[self.rng.integers(len(candidates))](name, x)
        new = f"{op.mnemonic}.{len(self.nodes)}" if self.rng.random() < 0.8 else f"a b {len(self.nodes)}"
        self.nodes.append(Node(new, op, tuple(inputs)))
        self.types[new] = op.infer(*(self.types[i] for i in inputs))

    def weights(self, *shape, low=-127):
        if self.rng.random() < 0.5:
            return self.rng.integers(low, 128, shape).astype(self.rng.choice([np.int8, np.int32]))
        return self.rng.normal(size=shape).astype(self.rng.choice([np.float16, np.float32, np.float64]))

    def bias(self, outputs):
        return None if self.rng.random() < 0.3 else self.weights(outputs)

    def elementwise(self, name, x):
        if x.integer and max(abs(x.low), abs(x.high)) < 2**20 and self.rng.random() < 0.3:
            return Requantise(multiplier=int(self.rng.integers(1, 1000)), shift=int(self.rng.integers(1, 12))), name
        if self.rng.random() < 0.3:
            return QuantiseInput(scale=float(self.rng.uniform(0.01, 2)), low=-128, high=127), name
        if x.shape and self.rng.random() < 0.3:
            c = x.shape[-1]
            params = {f: self.rng.uniform(0.5, 2, c).astype(np.float32) for f in ("gamma", "beta", "mean", "var")}
            return BatchNorm(**params, eps=1e-5, axis=-1), name
        if x.is_binary and self.rng.random() < 0.6:
            return AndNot(), name, name
        if self.rng.random() < 0.5:
            return (Add() if self.rng.random() < 0.7 or x.high > 1e6 else Mul()), name, name
        return Scale(factor=float(self.rng.choice([0.125, 3.0, -2.0, 0.1]))), name

    def function(self, name, x):
        """What artificial networks have."""
        if x.is_counts and x.high < 100:
            return Embedding(weight=self.weights(int(x.high) + 1, 3)), name
        width = x.shape[-1:]
        if self.rng.random() < 0.3:
            return LayerNorm(gamma=self.rng.normal(size=width), beta=self.rng.normal(size=width), eps=0.01), name
        if self.rng.random() < 0.3:
            gain = self.rng.normal(size=width).astype(np.float32) if self.rng.random() < 0.7 else None
            shape = (1,) * (len(x.shape) - 1)
            return Affine(gain=None if gain is None else gain.reshape(*shape, -1), offset=np.ones((*shape, 1))), name
        functions = (
            Relu(),
            Gelu(),
            Gelu(approximate=True),
            Sigmoid(),
            Silu(),
            Tanh(),
            Softmax(axis=0),
            Clip(low=-1.0, high=0.5),
        )
        return functions[self.rng.integers(len(functions))], name

    def history(self, name, x):
        """What depends on earlier steps."""
        shape = (1,) * len(x.shape)
        ops = (
            Accumulate(),
            Accumulate(mean=True),
            Increment(),
            Increment(mean=True),
            Delay(),
            Onset(offset=np.full(shape, -2.5)),
            Filter(decay=0.5),
            Step(index=-1),
            Filter(decay=self.rng.uniform(0, 1, x.shape)),
        )
        if x.shape and max(abs(x.low), abs(x.high)) < 100 and self.rng.random() < 0.5:
            c = x.shape[-1]
            return Wkv(decay=self.rng.normal(size=c), first=self.rng.normal(size=c)), name, name
        return ops[self.rng.integers(len(ops))], name

    def parts(self, name, x):
        axis = int(self.rng.integers(len(x.shape)))
        if 1 in x.shape and self.rng.random() < 0.5:
            return Broadcast(shape=tuple(3 if n == 1 else n for n in x.shape)), name
        if self.rng.random() < 0.3:
            around = tuple(int(n) for n in self.rng.integers(0, 3, len(x.shape)))
            return Pad(before=around, after=around[::-1], value=float(self.rng.choice([0.0, -1.5]))), name
        if self.rng.random() < 0.5:
            start = int(self.rng.integers(x.shape[axis]))
            return Slice(axis=axis, start=start, stop=x.shape[axis], step=int(self.rng.integers(1, 3))), name
        row = np.full([1 if i == axis else n for i, n in enumerate(x.shape)], 2, np.int8)
        return Concat(axis=axis, before=row if self.rng.random() < 0.5 else None, after=row / 4), name, name

    def layout(self, name, x):
        if self.rng.random() < 0.5 and x.shape:
            return Transpose(order=tuple(int(a) for a in self.rng.permutation(len(x.shape)))), name
        return Reshape(shape=(x.size, 1) if self.rng.random() < 0.5 else (x.size,)), name

    def neuron(self, name, x):
        if x.integer and max(abs(x.low), abs(x.high)) < 2**20 and self.rng.random() < 0.2:
            return RegisterNeuron(
                shift=int(self.rng.integers(0, 9)),
                decay=int(self.rng.integers(0, 4096)),
                threshold=64 * int(self.rng.integers(0, 9)),
                rules=str(self.rng.choice(["{}", '{"fires":"ge"}'])),
            ), name
        if self.rng.random() < 0.3:
            kinds = (
                IntegerNeuron(
                    levels=[None, 4][self.rng.integers(2)], rounding=["even", "up", "down"][self.rng.integers(3)]
                ),
                IntegerNeuron(decay=0.5, gain=0.5, quantum=2.0, subtract=2.0, rounding="down"),
                MultiThresholdNeuron(positive=0.5, negative=float(self.rng.choice([0.25, -0.25, 0])), levels=3),
                TernaryNeuron(threshold=0.7, low=int(self.rng.integers(-3, 1)), high=2),
                LeakyNeuron(
                    decay=0.9,
                    reset=str(self.rng.choice(["hard", "late", "soft", "delayed", "lagging", "blank", "none"])),
                ),
                LeakyNeuron(
                    decay=0.5, rest=0.25, threshold=self.rng.uniform(0.5, 1, x.shape), subtract=0.5, floor=-1.0
                ),
                LeakyMembrane(decay=0.5, gain=self.rng.normal(size=x.shape), fires="ge"),
            )
            return kinds[self.rng.integers(len(kinds))], name
        soft = bool(self.rng.random() < 0.3)
        tau = [None, 1.0, 2.0, 2.5][self.rng.integers(4)]
        kind = SerialNeuron if self.rng.random() < 0.2 else Neuron
        return kind(
            tau=tau,
            decay_input=bool(self.rng.random() < 0.5),
            threshold=float(self.rng.choice([0.5, 1, 3])),
            fires=str(self.rng.choice(["ge", "gt"])),
            reset="soft" if soft else "hard",
            v_reset=0.0 if soft else float(self.rng.choice([0.0, -0.25])),
        ), name

    def readout(self, name, x):
        positions = (0,) if len(x.shape) > 1 else ()
        features = prod(x.shape[1:]) if positions else x.size
        return Readout(
            weight=self.weights(3, features),
            bias=self.rng.normal(size=3).astype(np.float32),
            divisor=int(self.rng.integers(1, 20)),
            scale=0.1,
            positions=positions,
        ), name

    def window(self, name, x):
        if x.is_counts and self.rng.random() < 0.3:
            gates, rows = f"gates.{len(self.nodes)}", Reshape(shape=(x.shape[0], x.shape[1] * x.shape[2]))
            self.nodes.append(Node(gates, rows, (name,)))
            self.types[gates] = rows.infer(x)
            weight = self.weights(x.shape[0], x.shape[0], 1, 1)
            return WeightedProduct(weight=weight, bias=self.bias(len(weight))), name, gates
        kernel = tuple(int(min(n, k)) for n, k in zip(x.shape[1:], self.rng.integers(1, 4, 2), strict=True))
        stride, padding = (int(self.rng.integers(1, 3)), 1), tuple(k // 2 for k in kernel)
        kind = self.rng.integers(4)
        if kind < 3:
            return (MaxPool, AvgPool, SumPool)[kind](kernel=kernel, stride=stride, padding=padding), name
        c = x.shape[0]
        groups = int(self.rng.choice([1, c]))
        weight = self.weights(groups * 2, c // groups, *kernel)
        return Conv2d(weight=weight, bias=self.bias(len(weight)), stride=stride, padding=padding, groups=groups), name

    def matrix(self, name, x):
        inputs = [name] * int(self.rng.integers(1, 3))
        return Linear(weight=self.weights(4, x.shape[-1]), bias=self.bias(4)), *inputs

    def reduce(self, name, x):
        if x.timed and self.rng.random() < 0.3:
            return TimeMean(), name
        axes = (int(self.rng.integers(len(x.shape))),)
        if self.rng.random() < 0.5:
            return Sum(axes=axes, keep=bool(self.rng.random() < 0.5)), name
        return Mean(axes=axes), name

    def product(self, name, x):
        if len(x.shape) == 2 and x.is_counts and self.rng.random() < 0.7:
            return Attention(heads=2 if x.shape[1] % 2 == 0 else 1), name, name, name
        return MatMul(transpose_b=True), name, name


def contains(kind: TensorType, array: np.ndarray) -> bool:
    """Whether every element lies in the type's domain; real bounds with room for rounding."""
    slack = 0 if kind.integer else 1e-9 * max(1.0, float(np.abs(array).max(initial=0)))
    inside = bool((array >= kind.low - slack).all() and (array <= kind.high + slack).all())
    return inside and (not kind.integer or bool((array == np.rint(array)).all()))
