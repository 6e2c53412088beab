"""What a simulation saw: counts per population, projection, core, link and tick, and the results per input."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoreCounts:
    """Totals of every core over all inputs; all int64 (n_cores,). Their sums equal the totals of the layers.

    ``ops_dense``, ``ops_conv``, ``ops_sparse``: synaptic operations by the kind of list they were read from.
    ``macs``: those with a payload; ``learning_updates``: synapses changed. ``processor_ops``: of processors and units.
    ``neuron_ticks``: neurons times ticks; ``active``: those of them with input or charge. ``busy_ns``: float64.
    """

    ops_dense: Counts
    ops_conv: Counts
    ops_sparse: Counts
    processor_ops: Counts
    neuron_ticks: Counts
    active: Counts
    spikes: Counts
    packets_in: Counts
    packets_out: Counts
    macs: Counts
    learning_updates: Counts
    busy_ns: NDArray[np.float64]

    @classmethod
    def zeros(cls, n_cores: int) -> CoreCounts:
        """All-zero counts."""
        names = [n for n in cls.__dataclass_fields__ if n != "busy_ns"]
        return cls(**{n: np.zeros(n_cores, np.int64) for n in names}, busy_ns=np.zeros(n_cores))


@dataclass(slots=True, kw_only=True, eq=False)
class LayerCounts:
    """Totals of one projection over all inputs.

    ``ops``: accumulates of the model's arithmetic. ``booked``: operations that were done for it: crosspoints that met a
    spike on crossbars, whole products on matrix units, none for what the host computes, else the same. ``updates``:
    synapses changed.
    """

    ops: int = 0
    effective: int = 0
    coincidences: int = 0
    booked: int = 0
    updates: int = 0

    def add(self, ops: int, booked: int | None = None) -> None:
        """Count ``ops`` accumulates, and as many synaptic operations unless they differ."""
        self.ops += ops
        self.booked += ops if booked is None else booked


@dataclass(slots=True, kw_only=True, eq=False)
class PopulationCounts:
    """Totals of one population over all inputs; their sums over populations equal the totals of the Trace.

    ``spikes``: (T,) int64 emitted at each step; payloads of products count as their binary digits.
    ``active``: neuron updates with input or charge. The rest are packets sent, the moves they made, and
    how many went to embedded processors.
    """

    spikes: Counts
    active: int = 0
    packets: int = 0
    hops_x: int = 0
    hops_y: int = 0
    crossings: int = 0
    local: int = 0
    to_processors: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Trace:
    """Everything measured in one run, summed over its inputs unless it says otherwise.

    Attributes:
        readout: (B, O) int64; logits: (B, O) float64.
        populations: population -> PopulationCounts.
        projections: projection -> LayerCounts.
        cores: CoreCounts; links: (n_links,) int64 packets.
        tick_ns: (B, ticks) float64 duration of every tick of every input.
        hops_x, hops_y: router-to-router moves; crossings: those of them between chips; local: within a router.
        overruns: ticks longer than a fixed tick allows. wraps, clips: arithmetic overflows.
        host_macs: multiply-accumulates of the encoder, done once per frame; host_writes: words written for it.
        host_ops: accumulates of layers that the host computes from the chip's spikes.
        saturations: payloads, and elements of ``k^T v`` held in synapses, that met their limit.
        noc: figures of the packet simulation, empty in analytic mode.
        setup_seconds: to regroup the program's tables, once a run; wall_seconds: to simulate the inputs after that.
    """

    inputs: int
    readout: NDArray[np.int64]
    logits: NDArray[np.float64]
    populations: dict[str, PopulationCounts]
    projections: dict[str, LayerCounts]
    cores: CoreCounts
    links: Counts
    tick_ns: NDArray[np.float64]
    packets: int
    hops_x: int
    hops_y: int
    crossings: int
    local: int
    overruns: int
    wraps: int
    clips: int
    host_macs: int
    host_writes: int
    host_ops: int = 0
    saturations: int = 0
    noc: dict[str, float] = field(default_factory=dict)
    setup_seconds: float = 0.0
    wall_seconds: float = 0.0

    @property
    def hops(self) -> int:
        """All router-to-router moves."""
        return self.hops_x + self.hops_y

    @property
    def synaptic_operations(self) -> int:
        """Accumulates of neuro-cores, processors excluded."""
        return int(self.cores.ops_dense.sum() + self.cores.ops_conv.sum() + self.cores.ops_sparse.sum())
