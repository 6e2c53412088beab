"""NIR's layers without dynamics: matrices, convolutions, pools, layout."""

from __future__ import annotations

from math import prod

import numpy as np

from compiler.importers.nir_builder import NirBuilder, floats, parameter
from compiler.importers.nir_file import NirNode
from compiler.ir.ops import AvgPool, Conv2d, Linear, Reshape, SumPool, Weights
from neurochip.errors import CheckpointError, UnsupportedError

Pair = tuple[int, int]


def read_linear(builder: NirBuilder, name: str, node: NirNode, inputs: tuple[str, ...]) -> str:
    """Linear and Affine."""
    weight = _weight(node, name, "weight")
    if weight.ndim != 2:
        raise UnsupportedError(
            f"node '{name}' ({node.kind}): a stack of matrices, weight {weight.shape}; give each one a node of its own"
        )
    return builder.add(name, Linear(weight=weight, bias=_bias(node, name)), *inputs)


def read_conv2d(builder: NirBuilder, name: str, node: NirNode, inputs: tuple[str, ...]) -> str:
    """Conv2d: dilation becomes zeros in the kernel."""
    weight = _weight(node, name, "weight")
    if weight.ndim != 4:
        raise CheckpointError(f"node '{name}' (Conv2d): expected weight (O, I, kh, kw), found {weight.shape}")
    return builder.add(name, _convolution(node, name, weight), *inputs)


def read_conv1d(builder: NirBuilder, name: str, node: NirNode, inputs: tuple[str, ...]) -> str:
    """Conv1d: an image of one row."""
    weight = _weight(node, name, "weight")
    if weight.ndim != 3:
        raise CheckpointError(f"node '{name}' (Conv1d): expected weight (O, I, k), found {weight.shape}")
    x = builder.sum_of(name, inputs)
    shape = builder.types[x].shape
    if len(shape) != 2:
        raise CheckpointError(f"node '{name}' (Conv1d): expected an input of shape (C, N), found {shape}")
    row = builder.add(f"{name}.row", Reshape(shape=(shape[0], 1, shape[1])), x)
    y = builder.add(f"{name}.conv", _convolution(node, name, weight[:, :, None]), row)
    outputs, _, columns = builder.types[y].shape
    return builder.add(name, Reshape(shape=(outputs, columns)), y)


def read_pool(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """SumPool2d and AvgPool2d; padding counts as zeros."""
    kind = SumPool if node.kind == "SumPool2d" else AvgPool
    kernel = _pair(node, name, "kernel_size", None)
    op = kind(kernel=kernel, stride=_pair(node, name, "stride", kernel), padding=_pair(node, name, "padding", (0, 0)))
    return builder.add(name, op, x)


def read_scale(builder: NirBuilder, name: str, node: NirNode, x: str) -> str:
    """Scale."""
    gain = parameter(node, name, "scale", builder.types[x].shape)
    return builder.transform(name, x, gain, np.zeros_like(gain))


def read_flatten(builder: NirBuilder, name: str, node: NirNode, x: str, wanted: frozenset[int]) -> str:
    """Flatten; axes count without the batch, as NIR says, unless only counting it gives readers ``wanted`` features.

    Some exporters write the axes of their framework, where axis 0 is the batch.
    """
    shape = builder.types[x].shape
    start, end = (_axis(node, name, key, default) for key, default in (("start_dim", 1), ("end_dim", -1)))
    plain = _flattened(shape, start, end)
    batched = _flattened(shape, start - 1 if start > 0 else start, end - 1 if end > 0 else end)
    candidates = [s for s in (plain, batched) if s is not None]
    fitting = [s for s in candidates if s[-1] in wanted]
    if not candidates:
        raise CheckpointError(f"node '{name}' (Flatten): axes {start} to {end} of an input of shape {shape}")
    return builder.add(name, Reshape(shape=(fitting or candidates)[0]), x)


def _flattened(shape: tuple[int, ...], start: int, end: int) -> tuple[int, ...] | None:
    rank = len(shape)
    start, end = start % rank if -rank <= start < 0 else start, end % rank if -rank <= end < 0 else end
    if rank == 1 and start == 1:
        return shape  # a vector counted without its batch is flat
    if not 0 <= start <= end < rank:
        return None
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def _convolution(node: NirNode, name: str, weight: Weights) -> Conv2d:
    dilation = _pair(node, name, "dilation", (1, 1), rank=weight)
    stride = _pair(node, name, "stride", (1, 1), rank=weight)
    weight = _dilated(weight, dilation)
    padding = node.values.get("padding", 0)
    if isinstance(padding, str) and padding == "valid":
        pads = (0, 0)
    elif isinstance(padding, str) and padding == "same":
        if stride != (1, 1):
            raise CheckpointError(f"node '{name}' ({node.kind}): padding 'same' needs stride 1, found {stride}")
        # What does not divide evenly is padded behind, so a zero in front of the kernel evens it out.
        weight = np.pad(weight, ((0, 0), (0, 0), *(((n - 1) % 2, 0) for n in weight.shape[2:])))
        pads = (weight.shape[2] // 2, weight.shape[3] // 2)
    else:
        pads = _pair(node, name, "padding", (0, 0), rank=weight)
    groups = int(_whole(node.values.get("groups", 1), f"node '{name}' ({node.kind}): groups")[0])
    return Conv2d(weight=weight, bias=_bias(node, name), stride=stride, padding=pads, groups=groups)


def _dilated(weight: Weights, dilation: Pair) -> Weights:
    if dilation == (1, 1):
        return weight
    outputs, inputs, rows, columns = weight.shape
    size = [(n - 1) * d + 1 for n, d in zip((rows, columns), dilation, strict=True)]
    if size[0] * size[1] > 1 << 16:
        raise UnsupportedError(f"a kernel dilated to {size[0]} x {size[1]}")
    wide = np.zeros((outputs, inputs, *size), weight.dtype)
    wide[:, :, :: dilation[0], :: dilation[1]] = weight
    return wide


def _weight(node: NirNode, name: str, key: str) -> Weights:
    where = f"node '{name}' ({node.kind}): {key}"
    if key not in node.values:
        raise CheckpointError(f"{where} is missing")
    floats(node.values[key], where)
    array: Weights = np.asarray(node.values[key])
    return array.astype(np.float32) if array.dtype.kind == "b" else array


def _bias(node: NirNode, name: str) -> Weights | None:
    """A bias of zeros is none."""
    if node.kind == "Linear" or "bias" not in node.values:
        return None
    bias = _weight(node, name, "bias")
    return bias if bias.any() else None


def _axis(node: NirNode, name: str, key: str, default: int) -> int:
    return int(_whole(node.values.get(key, default), f"node '{name}' ({node.kind}): {key}")[0])


def _pair(node: NirNode, name: str, key: str, default: Pair | None, rank: Weights | None = None) -> Pair:
    """Two sizes; one number stands for both, and for a kernel of one row for the columns."""
    where = f"node '{name}' ({node.kind}): {key}"
    raw = node.values.get(key, default)
    if raw is None:
        raise CheckpointError(f"{where} is missing")
    sizes = _whole(raw, where)
    if len(sizes) == 1 and node.kind == "Conv1d":
        return (0 if key == "padding" else 1, sizes[0])
    if len(sizes) not in (1, 2):
        raise CheckpointError(f"{where}: expected one or two sizes, found {sizes}")
    return sizes[0], sizes[-1]


def _whole(raw: object, where: str) -> list[int]:
    numbers = floats(raw, where).ravel()
    if (numbers != np.rint(numbers)).any() or (abs(numbers) > 1 << 20).any():
        raise CheckpointError(f"{where}: expected whole numbers, found {raw}")
    return [int(n) for n in numbers]
