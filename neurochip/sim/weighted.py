"""Weighted products (DSSA) on embedded processors and attention units: what they compute, and its bookings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neurochip.network.network import Network, Population
from neurochip.network.projections import Gated, Matrix, Weights
from neurochip.sim.kernels import weighted
from neurochip.sim.kernels.events import Events
from neurochip.sim.kernels.synapses import Window
from neurochip.sim.kernels.ticks import Work
from neurochip.sim.trace import LayerCounts

if TYPE_CHECKING:
    from neurochip.sim.schedule import PopulationPlan

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedPlan:
    """A product population of a matrix and gates, and the geometry of its convolution."""

    matrix: Matrix
    gated: Gated
    window: Window
    weight: Weights


def weighted_plan(network: Network, population: Population) -> WeightedPlan | None:
    """How ``population`` computes its payloads; None if it is no weighted product."""
    incoming = network.incoming[population.name]
    matrix = next((p for p in incoming if isinstance(p, Matrix)), None)
    gated = next((p for p in incoming if isinstance(p, Gated)), None)
    if matrix is None or gated is None:
        return None
    source = network.by_name[matrix.sources[0].population]
    kh, kw, n_in, n_out = matrix.weight.shape
    grid = matrix.grid(source.height, source.width)
    window = Window(source.height, source.width, *grid, kh, kw, *matrix.stride, *matrix.padding)
    return WeightedPlan(
        matrix=matrix,
        gated=gated,
        window=window,
        weight=np.ascontiguousarray(matrix.weight.reshape(kh * kw * n_in, n_out)),
    )


def weighed(
    plan: WeightedPlan, layer: PopulationPlan, operands: list[Events], size: int
) -> tuple[NDArray[np.int32], Counts]:
    """Payloads (B, P, C), and (tiles, 2, B, 2): of the matrix and of the gates, accumulates and effective ones."""
    (x, z), population = operands, layer.population
    heads, window = plan.gated.heads, plan.window
    depth = plan.weight.shape[1] // heads
    payload = np.zeros((size, population.positions, population.channels), np.int32)
    matrix = np.empty((size, window.out_height * window.out_width, depth), np.int64)
    counts = []
    for head in layer.tiles[:, 4].tolist():
        first = weighted.weigh(x, window, plan.weight, plan.matrix.bias, head * depth, matrix)
        rows = np.ascontiguousarray(matrix.transpose(0, 2, 1)) if plan.gated.over == "channels" else matrix
        second = weighted.gate(z, rows, head * rows.shape[1], head * rows.shape[2], payload)
        counts.append((first, second))
    return payload, np.array(counts, np.int64)


def book_weighed(
    counts: Counts, plan: WeightedPlan, layer: PopulationPlan, totals: dict[str, LayerCounts], work: Work
) -> None:
    """Book what ``weighed`` counted on the processors or units that did it."""
    for part, projection in enumerate((plan.matrix, plan.gated)):
        done, effective = (int(n) for n in counts[:, part].sum(axis=(0, 1)))
        totals[projection.name].ops += done
        totals[projection.name].effective += effective
    times = np.array([[plan.matrix.operations], [plan.gated.operations]])
    for row, of_tile in zip(layer.tiles, counts, strict=True):
        each = of_tile[:, :, 0] * times  # (parts, B)
        if layer.whole_products:
            each = np.broadcast_to(np.array(layer.whole_products)[:, None], each.shape)
        work.processor_ops[:, row[5]] += each.sum(axis=0)
        for projection, ops in zip((plan.matrix, plan.gated), each, strict=True):
            totals[projection.name].booked += int(ops.sum())
