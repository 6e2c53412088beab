"""Offsets of connections by index, for the kernel that follows them."""

from __future__ import annotations

import numpy as np

from neurochip.network.axes import source_offsets
from neurochip.network.network import Population
from neurochip.network.projections import Einsum, Pool, Projection
from neurochip.sim.kernels.indexed import Offsets


def offsets_of(projection: Projection, source: Population) -> Offsets | None:
    """Offsets of connections by index, and of one-to-one connections of payloads; None for other connections."""
    graded_source = int(source.coding == "graded")
    if isinstance(projection, Einsum):
        return Offsets(*source_offsets(projection), source.size, graded_source)
    if not isinstance(projection, Pool) or not graded_source:
        return None
    rows, columns = np.arange(source.height), np.arange(source.width)
    return Offsets(
        rows * source.width * source.channels, columns * source.channels, np.arange(source.channels),
        np.zeros(1, np.int64), source.size, graded_source,
    )  # fmt: skip
