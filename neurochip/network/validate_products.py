"""What the two projections of a weighted product must be: the matrix, and the spikes that add up its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np

from neurochip.network.network import Network
from neurochip.network.projections import Gated, Matrix, WeightedMethod

MAX_WORDS = 2
"""Accumulators that one sum of an attention unit may take."""


def weighted_products(network: Network) -> Iterator[str]:
    """Faults of every product population that a ``Matrix`` or a ``Gated`` projection feeds."""
    for population in network.populations:
        mine = [p for p in network.projections if p.target == population.name]
        parts = [p for p in mine if isinstance(p, Matrix | Gated)]
        if not parts:
            continue
        matrix = next((p for p in parts if isinstance(p, Matrix)), None)
        gated = next((p for p in parts if isinstance(p, Gated)), None)
        where = f"population {population.name!r}"
        if matrix is None or gated is None or len(mine) != 2 or population.neuron.kind != "product":
            yield f"{where}: expected a product of one matrix and one gated projection, found {[p.name for p in mine]}"
        elif matrix.method != gated.method or matrix.method not in get_args(WeightedMethod):
            yield f"{where}: expected one method of matrix and gates, found {matrix.method!r} and {gated.method!r}"
        elif any(not 1 <= p.words <= (MAX_WORDS if p.method == "unit" else 1) for p in (matrix, gated)):
            found = f"{matrix.words} and {gated.words}"
            yield f"{where}: expected sums of 1 to {MAX_WORDS} words on a unit, else of 1, found {found}"
        elif population.coding == "graded" and matrix.method != "unit":
            yield f"{where}: a processor sends payloads as digits, found coding {population.coding!r}"
        elif (
            any(len(p.sources) != 1 or p.sources[0].steps_back for p in (matrix, gated)) or matrix.shift or gated.shift
        ):
            yield f"{where}: expected one source of the same step for the matrix and for the gates, unshifted"
        else:
            yield from (f"{where}: {fault}" for fault in _shapes(network, matrix, gated))


def _shapes(network: Network, matrix: Matrix, gated: Gated) -> Iterator[str]:
    x, z = (network.by_name[p.sources[0].population] for p in (matrix, gated))
    target = network.by_name[matrix.target]
    if matrix.weight.ndim != 4 or matrix.weight.shape[2] != x.channels or min(matrix.stride) < 1:
        yield f"expected weights (kh, kw, {x.channels}, C), found {matrix.weight.shape}, strides {matrix.stride}"
        return
    outputs = matrix.weight.shape[3]
    rows, columns = matrix.grid(x.height, x.width)
    if matrix.bias.shape != (outputs,) or not np.issubdtype(matrix.bias.dtype, np.signedinteger):
        yield f"expected {outputs} whole-number biases, found {matrix.bias.shape} of {matrix.bias.dtype}"
    if (
        any(not 0 <= p <= k for p, k in zip(matrix.padding, matrix.weight.shape[:2], strict=True))
        or min(rows, columns) < 1
    ):
        yield f"impossible window: kernel {matrix.weight.shape[:2]}, padding {matrix.padding}"
        return
    if gated.over not in ("channels", "positions") or gated.heads < 1 or outputs % gated.heads:
        yield f"{gated.heads} heads over {gated.over!r} do not divide {outputs} channels"
        return
    sizes = (outputs, gated.heads * rows * columns)
    read, made = sizes if gated.over == "channels" else sizes[::-1]
    if z.channels != read or (target.height, target.width, target.channels) != (z.height, z.width, made):
        yield (
            f"expected {read} channels of gates and {made} of sums on one grid, found {z.channels} on {z.height} x "
            f"{z.width} and {target.channels} on {target.height} x {target.width}"
        )
