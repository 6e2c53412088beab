"""A network as text: one line per population and per projection."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network, Population
from neurochip.network.projections import Bias, Conv, Einsum, Gated, Matrix, Product, Projection, Source

SMALL = 64
"""Weight arrays of so many values are printed in full where values are wanted."""


def print_network(network: Network, *, values: bool = False) -> str:
    """All of a network; weights appear as shape and hash, and with ``values`` small ones in full."""
    head = f"network {network.name!r} T={network.timesteps} ticks={network.ticks}"
    head += f" interval={network.interval}" if network.interval > 1 else ""
    spec = network.input
    entry = f"input {spec.kind} {spec.shape} scale={spec.scale:.9g} levels={spec.low}..{spec.high}"
    lines = [head, entry]
    for population in network.populations:
        lines.append(population_line(population))
        for projection in network.incoming[population.name]:
            lines.append(f"    {projection_line(projection)}")
            weight = getattr(projection, "weight", None)
            if values and isinstance(weight, np.ndarray) and weight.size <= SMALL:
                lines.append(f"        {weight.tolist()}")
            if values and projection.base is not None and projection.base.size <= SMALL:
                lines.append(f"        base {projection.base.tolist()}")
    out = network.readout
    lines.append(f"readout {out.population} scale={out.scale:.9g} divisor={out.divisor}")
    return "\n".join(lines)


def population_line(population: Population) -> str:
    """Geometry, depth and registers."""
    neuron = population.neuron
    shape = f"{population.height}x{population.width}x{population.channels}"
    text = f"{population.name}: {neuron.kind} {shape} depth={population.depth}"
    if neuron.kind in ("lif", "burst", "graded"):
        text += f" decay={neuron.decay} threshold={neuron.threshold} reset={neuron.reset}"
    text += f" high={population.high}" if population.high != 1 else ""
    text += f" home={population.home}" if population.home != "core" else ""
    text += f" coding={population.coding}" if population.coding != "spikes" else ""
    text += " signed" if population.signed else ""
    text += "" if population.compartments == 1 else f" compartments={population.compartments}"
    text += f" inverted={list(population.inverted)}" if population.inverted else ""
    return text if population.copies == 1 else f"{text} copies={population.copies}"


def projection_line(projection: Projection) -> str:
    """Sources with delays, kind, weights and shift."""
    sources = " + ".join(map(source_text, projection.sources)) or "-"
    weight = getattr(projection, "weight", None)
    text = f"<- {projection.kind} {sources} shift={projection.shift}"
    if isinstance(weight, np.ndarray):
        digest = hashlib.sha256(weight.tobytes()).hexdigest()[:12]
        text += f" weight={weight.dtype}{list(weight.shape)} #{digest}"
    elif weight is not None:
        text += f" weight={weight}"
    if isinstance(projection, Conv):
        text += f" channels={list(projection.channels)}" if projection.channels is not None else ""
        text += f" rows={projection.rows[0]} of {projection.rows[1]}" if projection.rows is not None else ""
    if isinstance(projection, Einsum):
        sizes = " ".join(f"{letter}={size}" for letter, size in projection.sizes)
        text += f" {' -> '.join(projection.axes)} ({sizes})"
    if isinstance(projection, Product):
        text += f" method={projection.method}" if projection.method != "processor" else ""
        text += f" limit={projection.limit}" if projection.limit else ""
    if isinstance(projection, Matrix):
        text += f" bias #{hashlib.sha256(projection.bias.tobytes()).hexdigest()[:12]}"
    if isinstance(projection, Gated):
        text += f" heads={projection.heads} over={projection.over}"
    if projection.base is not None:
        text += f" base={base_text(projection.base)}"
    if isinstance(projection, Bias):
        text += f" shifts={list(projection.shifts)}" if any(projection.shifts) else ""
        text += f" place={projection.place}" if projection.place != "axon" else ""
        text += f" types={list(projection.types)}" if projection.types else ""
    return text


def base_text(base: NDArray[np.int16]) -> str:
    """The number base of a projection: the column if all are the same, else shape and hash."""
    if (base == base[:, :1]).all():
        return f"{base[:, 0].tolist()}"
    return f"{list(base.shape)} #{hashlib.sha256(base.tobytes()).hexdigest()[:12]}"


def source_text(source: Source) -> str:
    """Population and delay; ``{0,1}``: types of its axons; ``[-k]`` reads k steps back."""
    back = f"[-{source.steps_back}]" if source.steps_back else ""
    types = f"{{{','.join(map(str, source.types))}}}" if source.types else ""
    return f"{source.population}{types}{back}@{source.delay}"
