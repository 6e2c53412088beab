"""Ways along one axis of the mesh, which may be a ring."""

from __future__ import annotations

from numba import njit

from neurochip.noc.mesh import Ring


@njit(cache=True, nogil=True)
def offset(source: int, target: int, ring: Ring) -> int:
    """Hops from coordinate ``source`` to ``target``, negative towards 0; round the ring where that is shorter."""
    direct = target - source
    if ring.routers and 2 * abs(direct) > ring.routers:
        return direct - ring.routers if direct > 0 else direct + ring.routers
    return direct


@njit(cache=True, nogil=True)
def borders(source: int, hops: int, chip: int, ring: Ring) -> int:
    """Chip borders on ``hops`` (of ``offset``) from coordinate ``source``, with ``chip`` routers on a chip."""
    if ring.routers and not ring.borders:
        return 0
    return abs((source + hops) // chip - source // chip)


@njit(cache=True, nogil=True)
def latency(hops: int, source: tuple[int, int], target: tuple[int, int], ring: Ring) -> int:
    """Cycles of ``hops`` (of ``offset``) between two routers; each (coordinate, latency from coordinate 0 to it)."""
    direct = abs(target[1] - source[1])
    return direct if source[0] + hops == target[0] else ring.latency - direct
