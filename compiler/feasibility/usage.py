"""How much of a core each population takes, and which populations no core can hold."""

from __future__ import annotations

import numpy as np

from compiler.feasibility.verdict import LayerUse
from compiler.mapping.check_arithmetic import current_range
from compiler.mapping.formats import modes_of
from compiler.mapping.tile import (
    RESOURCES,
    Tiling,
    copies_needed,
    demands,
    fixed_tiling,
    readers_of,
    search,
)
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError
from neurochip.network.network import Network, Population


def layer_uses(network: Network, tilings: dict[str, Tiling], chip: ChipSpec, bits: int) -> tuple[LayerUse, ...]:
    """One entry for every population on neuron cores, the tightest first."""
    readers = readers_of(network)
    limits = {name: getattr(chip.limits, name) for name in RESOURCES}
    one = (np.ones(1, np.int64),) * 3
    found = []
    for population in network.populations:
        tiling = tilings[population.name]
        if not tiling.demand:
            continue
        need = demands(network, population, readers[population.name], tilings, chip, bits, one)
        least = {name: int(need[name][0]) * (tiling.copies if name == "neurons" else 1) for name in RESOURCES}
        tightest = max(RESOURCES, key=lambda name: least[name] / limits[name])
        found.append(
            LayerUse(
                layer=population.origin,
                population=population.name,
                neurons=population.size,
                tiles=tiling.n_tiles,
                tightest=tightest,
                need=least[tightest],
                limit=limits[tightest],
                copies=tiling.copies,
                current_bits=current_bits(network, population),
                mode=None if chip.core.modes is None else " and ".join(sorted(modes_of(network, population))) or "any",
            )
        )
    return tuple(sorted(found, key=lambda use: -use.share))


def current_bits(network: Network, population: Population) -> int:
    """Signed width of the largest current that one step can bring, whatever spikes arrive."""
    low = high = 0
    for projection in network.incoming[population.name]:
        least, most = current_range(network, projection)
        low, high = low + int(least.min(initial=0)), high + int(most.max(initial=0))
    return max(-low - 1, high, 0).bit_length() + 1


def refused_tiles(network: Network, chip: ChipSpec, bits: int) -> list[str]:
    """Every population of which not even one neuron fits a core; readers that do not fit are left out of the count."""
    readers, tilings, messages = readers_of(network), dict[str, Tiling](), []
    for population in sorted(network.populations, key=lambda p: -p.depth):
        fixed = fixed_tiling(network, population)
        if fixed is not None:
            tilings[population.name] = fixed
            continue
        known = [p for p in readers[population.name] if p.target in tilings]
        try:
            copies = copies_needed(network, population, known, tilings, chip)
            tilings[population.name] = search(network, population, known, tilings, chip, bits, copies)
        except CapacityError as error:
            messages.append(str(error))
    return messages
