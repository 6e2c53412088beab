"""Building blocks that the importers share: take tensors from a file, make nodes of them, account for every key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.ir.graph import Graph, Node, Setting
from compiler.ir.ops import Add, BatchNorm, Conv2d, Linear, MatMul, Neuron, Op, Reshape, Scale, Transpose, Weights
from compiler.ir.verify import verify
from neurochip.errors import CheckpointError

LISTED = 8
"""How many keys an error lists before it counts the rest."""


LARGE = 1 << 16
"""Elements of a half-precision tensor from which on it stays as it is; all arithmetic is in float64 anyway."""


class GraphBuilder:
    """Collects nodes in order and remembers which tensors they used.

    Faulty tensors are collected, too, and stand-ins of the right shape take their place, so that ``graph`` can name
    all of them at once.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors = tensors
        self._nodes: list[Node] = []
        self._used: set[str] = set()
        self._ignored: list[str] = []
        self._missing: list[str] = []
        self._faulty: list[str] = []

    # Tensors.

    def shape(self, key: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor from which the sizes of the model are read; raises CheckpointError if unfit."""
        if key not in self._tensors:
            raise CheckpointError(f"missing tensor '{key}', which tells the size of the model")
        shape = self._tensors[key].shape
        if len(shape) != rank or 0 in shape:
            raise CheckpointError(f"tensor '{key}': expected {rank} axes, got shape {shape}")
        return shape

    def take(self, key: str, shape: tuple[int, ...]) -> Weights:
        """A float tensor of ``shape``; half precision becomes float32."""
        array = self.weight(key, shape)
        return array.astype(np.float32) if array.dtype.itemsize < 4 else array

    def weight(self, key: str, shape: tuple[int, ...]) -> Weights:
        """As ``take``, for what an op takes as it is: large half-precision tensors stay so."""
        self._used.add(key)
        # No memory: a misshapen tensor must not make others as large as it says they should be.
        try:
            stand_in = np.broadcast_to(np.float32(1), shape)
        except ValueError:
            raise CheckpointError(f"tensor '{key}' would have the shape {shape}, which no memory holds") from None
        if key not in self._tensors:
            self._missing.append(f"{key} {list(shape)}")
            return stand_in
        array = self._tensors[key]
        if array.shape != shape:
            self._faulty.append(f"{key}: expected {list(shape)}, got {list(array.shape)}")
            return stand_in
        if array.dtype.kind != "f":
            self._faulty.append(f"{key}: expected real numbers, got {array.dtype}")
            return stand_in
        if not _is_finite(array):
            self._faulty.append(f"{key}: holds NaN or infinite values")
            return stand_in
        return array.astype(np.float32) if array.dtype.itemsize < 4 and array.size <= LARGE else array

    def ignore(self, prefixes: Iterable[str]) -> None:
        """Tensors that the model's forward pass never reads; named in ``Graph.ignored`` if the file has them."""
        start = tuple(f"{prefix}." for prefix in prefixes)
        exact = {prefix.rstrip(".") for prefix in start}
        for key in self._tensors:
            if key.startswith(start) or key in exact:
                self._used.add(key)
                self._ignored.append(key)

    # Nodes.

    def add(self, name: str, op: Op, *inputs: str) -> str:
        """Append a node and return its name."""
        self._nodes.append(Node(name, op, inputs))
        return name

    def conv(
        self,
        name: str,
        x: str,
        weight: tuple[int, int, int, int],
        *,
        bias: bool,
        padding: int,
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        """Convolution with the tensor ``name.weight`` of shape ``weight`` = (O, I / groups, kh, kw)."""
        op = Conv2d(
            weight=self.weight(f"{name}.weight", weight),
            bias=self.take(f"{name}.bias", weight[:1]) if bias else None,
            stride=(stride, stride),
            padding=(padding, padding),
            groups=groups,
        )
        return self.add(name, op, x)

    def linear(self, name: str, x: str, weight: tuple[int, int], *, bias: bool, ones: int = 0) -> str:
        """Linear layer on the last axis; ``ones`` = 1 or 2 if the file stores it as a convolution of kernel 1."""
        stored = self.weight(f"{name}.weight", (*weight, *[1] * ones))
        op = Linear(
            weight=stored.reshape(weight),
            bias=self.take(f"{name}.bias", weight[:1]) if bias else None,
        )
        return self.add(name, op, x)

    def batch_norm(self, name: str, x: str, channels: int, *, axis: int) -> str:
        """Frozen batch norm with PyTorch's key names."""
        return self.add(name, self.norm(name, channels, axis=axis), x)

    def norm(self, name: str, channels: int, *, axis: int) -> BatchNorm:
        """The op of a batch norm with PyTorch's key names; its counter of batches is not needed."""
        self._used.add(f"{name}.num_batches_tracked")
        keys = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, var = (self.take(f"{name}.{key}", (channels,)) for key in keys)
        if (var < 0).any():
            self._faulty.append(f"{name}.running_var: holds negative values")
            var = np.ones(channels, dtype=np.float32)
        return BatchNorm(gamma=gamma, beta=beta, mean=mean, var=var, axis=axis)

    def conv_bn_lif(
        self, names: tuple[str, str, str], x: str, weight: tuple[int, int, int, int], lif: Neuron, *, bias: bool = False
    ) -> str:
        """Same-size convolution, batch norm and neuron on (C, H, W); ``names`` are the three module paths."""
        y = self.conv(names[0], x, weight, bias=bias, padding=weight[2] // 2)
        y = self.batch_norm(names[1], y, weight[0], axis=0)
        return self.add(names[2], lif, y)

    def linear_bn_lif(
        self, names: tuple[str, str, str], x: str, weight: tuple[int, int], lif: Neuron, *, bias: bool, ones: int = 0
    ) -> str:
        """Linear layer, batch norm and neuron on (N, D); ``names`` are the three module paths."""
        y = self.linear(names[0], x, weight, bias=bias, ones=ones)
        y = self.batch_norm(names[1], y, weight[0], axis=1)
        return self.add(names[2], lif, y)

    def tokens(self, name: str, x: str, channels: int, positions: int) -> str:
        """(C, H, W) -> (H * W, C)."""
        flat = self.add(f"{name}.flatten", Reshape(shape=(channels, positions)), x)
        return self.add(f"{name}.tokens", Transpose(order=(1, 0)), flat)

    def heads(self, name: str, x: str, tokens: int, width: int, heads: int) -> str:
        """(N, D) -> (heads, N, D / heads)."""
        split = self.add(f"{name}_split", Reshape(shape=(tokens, heads, width // heads)), x)
        return self.add(f"{name}_heads", Transpose(order=(1, 0, 2)), split)

    def merge_heads(self, name: str, x: str, tokens: int, width: int) -> str:
        """(heads, N, D / heads) -> (N, D)."""
        side_by_side = self.add(f"{name}.merge", Transpose(order=(1, 0, 2)), x)
        return self.add(f"{name}.merged", Reshape(shape=(tokens, width)), side_by_side)

    def attention(self, name: str, qkv: tuple[str, str, str], scale: float, order: str) -> str:
        """``scale * q k^T v`` over heads, multiplied in the framework's ``order``.

        ``order``: ``"q(kv)s"``, ``"(qk)vs"`` or ``"(qk)sv"``; s is where the scale comes.
        """
        q, k, v = qkv
        if order == "q(kv)s":
            kv = self.add(f"{name}.kv", MatMul(transpose_a=True), k, v)
            y = self.add(f"{name}.qkv", MatMul(), q, kv)
            return self.add(f"{name}.scale", Scale(factor=scale), y)
        qk = self.add(f"{name}.qk", MatMul(transpose_b=True), q, k)
        if order == "(qk)sv":
            qk = self.add(f"{name}.scale", Scale(factor=scale), qk)
            return self.add(f"{name}.qkv", MatMul(), qk, v)
        y = self.add(f"{name}.qkv", MatMul(), qk, v)
        return self.add(f"{name}.scale", Scale(factor=scale), y)

    def residual(self, name: str, x: str, branch: str) -> str:
        """x + branch."""
        return self.add(name, Add(), x, branch)

    # Result.

    def graph(self, name: str, output: str, timesteps: int, settings: tuple[Setting, ...]) -> Graph:
        """The verified graph; raises CheckpointError listing missing, unexpected and misshapen tensors."""
        extra = [f"{key} {list(a.shape)}" for key, a in self._tensors.items() if key not in self._used]
        faults = [("missing", self._missing), ("unexpected", extra), ("unfit", self._faulty)]
        found = [f"{len(keys)} {what}: {_listed(keys)}" for what, keys in faults if keys]
        if found:
            raise CheckpointError(f"the tensors do not fit {name}; " + "; ".join(found))
        return verify(Graph(name, tuple(self._nodes), (output,), timesteps, settings, tuple(self._ignored)))


def _listed(keys: list[str]) -> str:
    rest = len(keys) - LISTED
    return ", ".join(keys[:LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _is_finite(array: Weights) -> bool:
    if array.dtype == np.float16 and array.flags.c_contiguous:  # by its bits, as NumPy is slow with halves
        return int((array.view(np.uint16) & 0x7FFF).max(initial=0)) < 0x7C00
    return bool(np.isfinite(array).all())
