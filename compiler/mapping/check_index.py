"""Checker, part four: connections by index, synapses that hold a product: what tiles hear, the words they store.

Shares no code with the mapping: every index is taken apart into its axes and put together again as a source index.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Network
from neurochip.network.projections import Einsum, Product
from neurochip.program.image import Program, Table

Ints = NDArray[np.int64]
_AXES = (("y0", "y1"), ("x0", "x1"), ("c0", "c1"))


def index_shortfall(projection: Einsum, tiles: Table, ports: Table) -> NDArray[np.bool_]:
    """Rows whose port does not hold every source neuron that the tile of the same row listens to."""
    sizes = dict(projection.sizes)
    source, target = (groups.split(",") for groups in projection.axes)
    short = np.zeros(len(tiles), bool)
    for (low, top), letters in zip(_AXES, source, strict=True):
        alone = [letter for letter in letters if letter not in "".join(target)]
        begin = np.zeros(len(tiles), np.int64)
        end = np.full(len(tiles), 1 + sum((sizes[x] - 1) * _weight(letters, x, sizes) for x in alone), np.int64)
        for (first, last), group in zip(_AXES, target, strict=True):
            part = _contribution(group, letters, sizes)
            begin += _reduced(np.minimum, part, tiles[first], tiles[last])
            end += _reduced(np.maximum, part, tiles[first], tiles[last])
        short |= (ports[low] > begin) | (ports[top] < end)
    return short


def _weight(letters: str, letter: str, sizes: dict[str, int]) -> int:
    """How far one step along ``letter`` moves the index that ``letters`` form."""
    return prod(sizes[after] for after in letters[letters.index(letter) + 1 :])


def _contribution(group: str, letters: str, sizes: dict[str, int]) -> Ints:
    """What each index of the target's ``group`` adds to the source index that ``letters`` form."""
    shape = tuple(sizes[letter] for letter in group)
    values = np.unravel_index(np.arange(prod(shape)), shape) if shape else ()
    total = np.zeros(prod(shape), np.int64)
    for letter, value in zip(group, values, strict=True):
        if letter in letters:
            total += value * _weight(letters, letter, sizes)
    return total


def _reduced(function: np.ufunc, values: Ints, starts: NDArray[np.int32], stops: NDArray[np.int32]) -> Ints:
    """``function`` over values[start:stop] of every row."""
    bounds = np.stack([starts, stops], axis=1).ravel().astype(np.intp)
    found: Ints = function.reduceat(np.append(values, values[-1]), bounds)[::2]
    return found


def index_lists(projection: Einsum, tiles: Table, ports: Table, chip: ChipSpec) -> list[tuple[int, int]]:
    """(lists, synapses of each) of every block: a list a channel heard, of each position where they share none."""
    sizes = dict(projection.sizes)
    source, target = projection.axes
    blocks = []
    for tile, port in zip(tiles, ports, strict=True):
        synapses = 1
        for (low, top), group in zip(_AXES, target.split(","), strict=True):
            synapses *= min(int(tile[top] - tile[low]), prod(sizes[x] for x in group if x not in source))
        heard = [int(port[top] - port[low]) for low, top in _AXES]
        blocks.append((heard[2] if chip.weight_sharing else prod(heard), synapses))
    return blocks


def learnt_lists(network: Network, projection: Product, c0: int, c1: int) -> list[tuple[int, int]]:
    """(lists, synapses of each) of k^T v for target channels [c0, c1): one for each channel of the heads in reach."""
    depth = network.by_name[projection.target].channels // projection.heads
    return [
        (depth, min(c1, (head + 1) * depth) - max(c0, head * depth)) for head in range(c0 // depth, -(-c1 // depth))
    ]


def learners(program: Program) -> Ints:
    """(bundles,) int64: 2 where q and k share axons beside those of v, because synapses learn from them; else 1."""
    learning = {p.sources for p in program.network.projections if isinstance(p, Product) and p.method == "plastic"}
    return np.array([2 if bundle in learning else 1 for bundle in program.bundles], np.int64)
