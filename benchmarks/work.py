"""How much of a run was plain row addition, layer by layer."""

from __future__ import annotations

from collections import Counter

from benchmarks.bare import RowAdds, Work
from neurochip.network.network import Network
from neurochip.network.projections import Conv, Dense
from neurochip.report.layers import kind_of
from neurochip.sim.trace import Trace


def row_adds(network: Network, trace: Trace) -> dict[str, Work]:
    """Dense and convolutional projections as row additions; depthwise ones, pools and relays have no rows to add."""
    found = {}
    for projection in network.projections:
        if not isinstance(projection, Dense | Conv):
            continue
        *_, n_in, n_out = projection.weight.shape
        groups = projection.groups if isinstance(projection, Conv) else 1
        if n_in == 1 and groups > 1:
            continue
        positions = network.by_name[projection.target].positions
        operations = trace.projections[projection.name].ops
        width = n_out // groups
        active = operations / (positions * trace.inputs * network.timesteps * width)
        rows = projection.weight.size // n_out * groups
        shape = RowAdds(positions=positions, active=round(active, 1), n_in=rows, n_out=width)
        found[projection.name] = Work(shape, operations)
    return found


def token_layers(network: Network) -> set[str]:
    """Names of the projections that give every position the same matrix: q, k, v, projections and MLPs."""
    return {p.name for p in network.projections if isinstance(p, Dense)}


def by_kind(network: Network, counts: dict[str, int]) -> dict[str, int]:
    """Sums of ``counts`` (population -> count) over populations of one kind: linear, conv, pool, relay, ..."""
    sums: Counter[str] = Counter()
    for population in network.populations:
        sums[kind_of(population, tuple(network.incoming[population.name]))] += counts[population.name]
    return dict(sums)
