"""Limits that show only when cores are filled and placed: a core's register formats, the reach of an address."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neurochip.errors import CapacityError
from neurochip.network.projections import Bias, Conv, Einsum, Pool, Projection
from neurochip.program.image import NEURON_CORE, Program

Ints = NDArray[np.int64]


def refuse_placed(program: Program) -> None:
    """Raises ``CapacityError`` for a core with more formats than it can choose from, or a packet that goes too far."""
    _refuse_formats(program)
    _refuse_far(program)


def formats_by_core(program: Program) -> dict[str, Ints]:
    """How many different sets of neuron registers, thresholds and synapse lists each core uses, (n_cores,) each.

    Synapse lists differ by weight exponent and by whether they store an index. Packing keeps these limits too; this
    counts them again from the program.
    """
    network = program.network
    neurons = [p.neuron for p in network.populations]
    lists = [_list_format(q) for q in network.projections]
    core_of_tile = program.tiles["core"].astype(np.int64)
    population = program.tiles["population"]
    core_of_list = core_of_tile[program.synapses["tile"]]
    registers = _numbered([(n.kind, n.decay, n.threshold) for n in neurons])[population]
    thresholds = _numbered([n.threshold for n in neurons])[population]
    n_cores = len(program.cores)
    return {
        "neuron": _distinct(core_of_tile, registers, n_cores),
        "threshold": _distinct(core_of_tile, thresholds, n_cores),
        "synapse": _distinct(core_of_list, _numbered(lists)[program.synapses["projection"]], n_cores),
    }


def _list_format(projection: Projection) -> tuple[object, ...]:
    shifts = projection.shifts if isinstance(projection, Bias) else (projection.shift,)
    return (*shifts, isinstance(projection, Conv | Pool | Einsum))


def _numbered(values: Sequence[object]) -> Ints:
    """A number for each of ``values``, equal for equal ones."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.int64)


def _distinct(core: Ints, value: Ints, n_cores: int) -> Ints:
    """How many different values each core has."""
    pairs = np.unique(np.stack([core, value], axis=1), axis=0) if len(core) else np.zeros((0, 2), np.int64)
    return np.bincount(pairs[:, 0], minlength=n_cores).astype(np.int64)


def _refuse_formats(program: Program) -> None:
    formats = program.chip.core.formats
    if formats is None:
        return
    inside = program.cores["kind"] == NEURON_CORE
    for name, used in formats_by_core(program).items():
        limit = getattr(formats, name)
        most = int(np.where(inside, used, 0).max(initial=0))
        if limit is not None and most > limit.value:
            core = int(np.where(inside, used, 0).argmax())
            raise CapacityError(
                f"core {core} holds {most} different {name} formats, a core of {program.chip.name!r} has "
                f"{limit.value}; use a model whose layers share thresholds and time constants, or another chip"
            )


def _refuse_far(program: Program) -> None:
    reach = program.chip.mesh.reach
    if reach is None or not len(program.routes):
        return
    cores, inside = program.cores, program.cores["kind"] == NEURON_CORE
    source = program.tiles["core"][program.routes["source_tile"]]
    target = program.ports["core"][program.routes["port"]]
    within = inside[source] & inside[target]  # the host's packets enter where they are needed
    for axis, ring in zip("xy", program.chip.ring_routers, strict=True):
        hops = np.abs(cores[axis][source].astype(np.int64) - cores[axis][target])
        hops = np.where(within, np.minimum(hops, np.abs(ring - hops)) if ring else hops, 0)
        far = int(hops.argmax())
        if hops[far] > reach.value:
            raise CapacityError(
                f"packets from core {source[far]} to core {target[far]} go {hops[far]} routers along {axis}, an "
                f"address of {program.chip.name!r} reaches {reach.value}; use --placement anneal, or a smaller model"
            )
