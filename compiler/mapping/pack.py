"""Packing: tiles -> cores. Big tiles take a core each; small ones share, near their layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.mapping.formats import Held, Values
from compiler.mapping.tile import RESOURCES, Tiling
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError

WINDOW, TRIES = 256, 10_000_000
"""A small tile looks for room in this many of the latest cores, or in more while all tiles try ``TRIES`` together."""


def pack(
    tilings: list[Tiling], chip: ChipSpec, formats: Sequence[dict[str, Values]] | None = None
) -> NDArray[np.int64]:
    """Core number of every tile, tiles in the order of ``tilings`` and their boxes; cores numbered from 0.

    ``formats``: of each tiling, on chips that limit them; tiles whose formats one core cannot hold are kept apart.
    Raises ``CapacityError`` if the chip's largest system has too few cores.
    """
    limits = np.array([getattr(chip.limits, name) for name in RESOURCES], np.int64)
    free = np.empty((sum(t.n_tiles for t in tilings), len(RESOURCES)), np.int64)
    assigned, used = [], 0
    window = max(WINDOW, TRIES // max(len(free), 1))
    held = Held(chip)
    for number, tiling in enumerate(tilings):
        needed = None if formats is None else formats[number]
        need = np.array([tiling.demand[name] for name in RESOURCES], np.int64)
        for _ in range(tiling.n_tiles):
            start = max(0, used - window)
            room = np.flatnonzero((free[start:used] >= need).all(axis=1))
            fitting = (start + int(r) for r in room if needed is None or held.fits(start + int(r), needed))
            core = next(fitting, used)
            if core == used:
                used += 1
                free[core] = limits
            if needed is not None:
                held.add(core, needed)
            free[core] -= need
            assigned.append(core)
    available = chip.max_chips * chip.cores_per_chip
    if used > available:
        largest = max(tilings, key=lambda t: t.n_tiles)
        raise CapacityError(
            f"the model needs {used} cores, the largest {chip.name!r} system has {available} "
            f"({chip.max_chips} chips of {chip.cores_per_chip}): {used - available} too many; "
            f"layer {largest.population.origin!r} alone takes {largest.n_tiles} tiles. "
            "Use fewer --weight-bits, a smaller model, or a chip with larger cores"
        )
    return np.array(assigned, np.int64)


def lower_bound(tilings: list[Tiling], chip: ChipSpec) -> int:
    """Cores that the tightest resource alone would need, were every core filled to the brim."""
    totals = {name: sum(t.demand[name] * t.n_tiles for t in tilings) for name in RESOURCES}
    totals["neurons"] = sum(t.population.size * t.population.compartments * t.copies for t in tilings)
    limits: dict[str, int] = {name: getattr(chip.limits, name) for name in RESOURCES}
    return max(1, *(-(-totals[name] // limits[name]) for name in RESOURCES))
