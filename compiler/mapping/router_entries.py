"""Routing tables: how many entries the multicast trees of a program take in each router, and chips that run out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import CapacityError
from neurochip.program.image import Program

Ints = NDArray[np.int64]


def refuse_full_routers(program: Program) -> None:
    """Raises ``CapacityError`` if a router needs more entries than the chip's routing table holds."""
    limit = program.chip.mesh.router_entries
    if limit is None:
        return
    entries = router_entries(program)
    y, x = np.unravel_index(int(entries.argmax()), entries.shape)
    if entries[y, x] > limit.value:
        raise CapacityError(
            f"router ({x}, {y}) needs {entries[y, x]} routing-table entries, chip {program.chip.name!r} has "
            f"{limit.value}; place the model with --placement anneal, use fewer --weight-bits so that it takes fewer "
            "cores, or a chip with larger tables"
        )


def router_entries(program: Program) -> Ints:
    """(height, width) entries of every router of the chips in use.

    Neurons of a tile that go to the same ports share one key, and so one tree along the XY paths. Its entries are at
    the source, where it leaves the source's row and where it delivers; a packet that goes straight on needs none.
    """
    height, width = (int(program.cores[axis].max(initial=0)) + 1 for axis in "yx")
    routes, tiles, ports = program.routes, program.tiles, program.ports
    tile, port = tiles[routes["source_tile"]], ports[routes["port"]]
    keys = [routes["source_tile"].astype(np.int64)]
    for axis in "yxc":
        keys += [np.maximum(tile[f"{axis}0"], port[f"{axis}0"]), np.minimum(tile[f"{axis}1"], port[f"{axis}1"])]
    _, key = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    here, there = program.cores[tile["core"]], program.cores[port["core"]]
    sx, sy, tx, ty = (a.astype(np.int64) for a in (here["x"], here["y"], there["x"], there["y"]))
    turns = sy != ty
    places = np.concatenate([sy * width + sx, ty * width + tx, (sy * width + tx)[turns]])
    number = np.concatenate([key.ravel(), key.ravel(), key.ravel()[turns]]).astype(np.int64)
    distinct = np.unique(number * (height * width) + places)
    counts = np.bincount(distinct % (height * width), minlength=height * width)
    return np.asarray(counts.reshape(height, width), np.int64)
