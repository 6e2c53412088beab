"""Small models for tests of the passes: made node by node, with weights that make neurons fire."""

import numpy as np

from compiler.ir.graph import Graph, Node
from compiler.ir.ops import (
    Add,
    BatchNorm,
    Conv2d,
    Input,
    Linear,
    MatMul,
    MaxPool,
    Mean,
    Neuron,
    Reshape,
    Scale,
    TimeMean,
    Transpose,
)
from compiler.ir.verify import verify
from compiler.passes import Target
from neurochip.network.arithmetic import Arithmetic


class Model:
    """Collects nodes; every method returns the name of the value it adds."""

    def __init__(self, seed=0, timesteps=4):
        self.rng = np.random.default_rng(seed)
        self.timesteps = timesteps
        self.nodes = []

    def add(self, name, op, *inputs):
        self.nodes.append(Node(name, op, inputs))
        return name

    def spikes(self, *shape, name="input", high=1):
        return self.add(name, Input(shape=shape, integer=True, low=0, high=high))

    def weight(self, *shape):
        """Normal weights whose sums over the fan-in have variance about 1, float32."""
        fan_in = int(np.prod(shape[1:]))
        return (self.rng.normal(size=shape) * 2 / np.sqrt(fan_in)).astype(np.float32)

    def dyadic(self, *shape):
        """Multiples of 1/8 in -2..2: sums of them are exact."""
        return (self.rng.integers(-16, 17, shape) / 8).astype(np.float32)

    def norm(self, name, x, channels, axis):
        params = {
            "gamma": self.rng.uniform(0.5, 1.5, channels) * self.rng.choice([-1, 1], channels),
            "beta": self.rng.uniform(0, 1, channels),
            "mean": self.rng.normal(size=channels) / 4,
            "var": self.rng.uniform(0.1, 1, channels),
        }
        return self.add(name, BatchNorm(**{k: v.astype(np.float32) for k, v in params.items()}, axis=axis), x)

    def linear_bn_lif(self, name, x, outputs, inputs, bias=True):
        op = Linear(weight=self.weight(outputs, inputs), bias=self.weight(outputs) if bias else None)
        x = self.add(f"{name}_linear", op, x)
        return self.add(f"{name}_lif", Neuron(), self.norm(f"{name}_bn", x, outputs, 1))

    def conv_bn_lif(self, name, x, outputs, inputs):
        x = self.add(f"{name}_conv", Conv2d(weight=self.weight(outputs, inputs, 3, 3), padding=(1, 1)), x)
        return self.add(f"{name}_lif", Neuron(), self.norm(f"{name}_bn", x, outputs, 0))

    def graph(self, *outputs):
        return verify(Graph("model", tuple(self.nodes), outputs, self.timesteps))


def heads_of(model, name, x, tokens, width, heads, *, transposed=False):
    """(N, D) -> (heads, N, D / heads), or (heads, D / heads, N)."""
    split = model.add(f"{name}_split", Reshape(shape=(tokens, heads, width // heads)), x)
    return model.add(f"{name}_heads", Transpose(order=(1, 2, 0) if transposed else (1, 0, 2)), split)


def attention(model, at, qkv, sizes, scale, order="(qk)sv"):
    """Scaled product of (N, D) values by heads, merged back to (N, D)."""
    q, k, v = (heads_of(model, f"{at}.{s}", x, *sizes) for s, x in zip("qkv", qkv, strict=True))
    if order == "q(kv)s":
        y = model.add(f"{at}.qkv", MatMul(), q, model.add(f"{at}.kv", MatMul(transpose_a=True), k, v))
        y = model.add(f"{at}.scale", Scale(factor=scale), y)
    else:
        y = model.add(f"{at}.qk", MatMul(transpose_b=True), q, k)
        y = model.add(f"{at}.scale", Scale(factor=scale), y)
        y = model.add(f"{at}.qkv", MatMul(), y, v)
    y = model.add(f"{at}.merge", Transpose(order=(1, 0, 2)), y)
    return model.add(f"{at}.merged", Reshape(shape=sizes[:2]), y)


def tiny_spikformer(seed=0, *, analog=True, blocks=1, order="(qk)sv", width=8, classes=5):
    """Stem with a pool and a position embedding, blocks of attention and MLP, mean, head; 8 x 8 images."""
    m = Model(seed)
    heads, tokens = 2, 16
    x = m.add("input", Input(shape=(2, 8, 8), low=-1, high=1)) if analog else m.spikes(2, 8, 8)
    x = m.conv_bn_lif("stem", x, width, 2)
    x = m.add("maxpool", MaxPool(kernel=(3, 3), stride=(2, 2), padding=(1, 1)), x)
    x = m.add("rpe_add", Add(), x, m.conv_bn_lif("rpe", x, width, width))
    x = m.add("tokens", Transpose(order=(1, 0)), m.add("flatten", Reshape(shape=(width, tokens)), x))
    for i in range(blocks):
        qkv = [m.linear_bn_lif(f"b{i}.{s}", x, width, width) for s in "qkv"]
        y = attention(m, f"b{i}", qkv, (tokens, width, heads), 0.125, order)
        y = m.add(f"b{i}.attn_lif", Neuron(threshold=0.5), y)
        x = m.add(f"b{i}.attn_add", Add(), x, m.linear_bn_lif(f"b{i}.proj", y, width, width))
        y = m.linear_bn_lif(f"b{i}.fc1", x, 2 * width, width)
        x = m.add(f"b{i}.mlp_add", Add(), x, m.linear_bn_lif(f"b{i}.fc2", y, width, 2 * width))
    x = m.add("time_mean", TimeMean(), m.add("token_mean", Mean(axes=(0,)), x))
    head = Linear(weight=m.weight(classes, width), bias=m.weight(classes))
    return m.graph(m.add("head", head, x))


def target(bits=8, **more):
    """Loihi's registers with weights of ``bits`` bits."""
    return Target(
        **{
            "arithmetic": Arithmetic(),
            "weight_low": -(2 ** (bits - 1)),
            "weight_high": 2 ** (bits - 1) - 1,
            **more,
        }
    )


def data(graph, seed=0, batch=3, rate=0.4):
    """Input for ``graph``: random spikes for each step, or images in the input's range."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for node in graph.inputs:
        op = node.op
        if op.integer:
            shape = (graph.timesteps, batch, *op.shape)
            arrays[node.name] = rng.binomial(int(op.high), rate, shape).astype(float)
        else:
            arrays[node.name] = rng.uniform(op.low, op.high, (batch, *op.shape))
    return arrays
