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
"""Small tiles look for room in this many of the latest cores, or in more while all tiles try ``TRIES`` together."""


def pack(
    tilings: list[Tiling], chip: ChipSpec, formats: Sequence[dict[str, Values]] | None = None
) -> NDArray[np.int64]:
    """Core number of every tile, tiles in the order of ``tilings`` and their boxes; cores numbered from 0.

    ``formats``: of each tiling, on chips that limit them; tiles whose formats one core cannot hold are kept apart.
    Raises ``CapacityError`` if the chip's largest system has too few cores.
    """
    limits = np.array([getattr(chip.limits, name) for name in RESOURCES], np.int64)
    n_tiles = sum(t.n_tiles for t in tilings)
    free = np.tile(limits, (n_tiles, 1))
    assigned, used = [np.empty(0, np.int64)], 0
    window = max(WINDOW, TRIES // max(n_tiles, 1))
    held, state = Held(chip), np.zeros(n_tiles, np.int64)
    for number, tiling in enumerate(tilings):
        needed = None if formats is None else formats[number]
        need = np.array([tiling.demand[name] for name in RESOURCES], np.int64)
        start = max(0, used - window)
        times = holds(free[start:used], need, tiling.n_tiles)
        each = max(1, int(holds(limits[None], need, tiling.n_tiles)[0]))
        then = np.zeros(len(held.states), np.int64)
        if needed is not None:
            for known in np.unique(np.append(state[start:used][times > 0], 0)).tolist():
                then[known] = held.joined(known, needed)
            fits = np.array([held.fits(int(known)) for known in then])
            times *= fits[state[start:used]]
            each = each if fits[0] else 1
        shared = np.repeat(np.arange(start, used), times)[: tiling.n_tiles]
        fresh = used + np.arange(tiling.n_tiles - len(shared)) // each
        cores = np.concatenate([shared, fresh])
        taken, counts = np.unique(cores, return_counts=True)
        free[taken] -= need * counts[:, None]
        state[taken] = then[state[taken]]
        used = max(used, int(cores[-1]) + 1)
        assigned.append(cores)
    available = chip.max_chips * chip.cores_per_chip
    if used > available:
        largest = max(tilings, key=lambda t: t.n_tiles)
        raise CapacityError(
            f"the model needs {used} cores, the largest {chip.name!r} system has {available} "
            f"({chip.max_chips} chips of {chip.cores_per_chip}): {used - available} too many; "
            f"layer {largest.population.origin!r} alone takes {largest.n_tiles} tiles. "
            "Use fewer --weight-bits, a smaller model, or a chip with larger cores"
        )
    return np.concatenate(assigned)


def holds(free: NDArray[np.int64], need: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """(n,) int64: how many tiles that ``need`` (resources,) fit in ``free`` (n, resources), at most ``most``."""
    times: NDArray[np.int64] = np.where(need > 0, free // np.maximum(need, 1), most).min(axis=1)
    return np.minimum(times, most)


def lower_bound(tilings: list[Tiling], chip: ChipSpec) -> int:
    """Cores that the tightest resource alone would need, were every core filled to the brim."""
    totals = {name: sum(t.demand[name] * t.n_tiles for t in tilings) for name in RESOURCES}
    totals["neurons"] = sum(t.population.size * t.population.compartments * t.copies for t in tilings)
    limits: dict[str, int] = {name: getattr(chip.limits, name) for name in RESOURCES}
    return max(1, *(-(-totals[name] // limits[name]) for name in RESOURCES))
