"""Which payloads count spikes: in the model's arithmetic they are that many accumulates, however they travel."""

from __future__ import annotations

from neurochip.network.network import Network
from neurochip.network.projections import Pool, Projection


def counting_populations(network: Network) -> frozenset[str]:
    """Graded populations that add up spikes of other neurons one to one, directly or from such counts."""
    found: set[str] = set()
    for population in network.populations:  # sources come first
        incoming = network.incoming[population.name]
        if (
            population.neuron.kind == "graded"
            and population.high > 1
            and all(is_tally(network, projection, found) for projection in incoming)
        ):
            found.add(population.name)
    return frozenset(found)


def is_tally(network: Network, projection: Projection, known: set[str]) -> bool:
    """Whether ``projection`` adds single spikes one to one, or counts of the populations ``known``."""
    if not isinstance(projection, Pool) or projection.kernel != (1, 1) or projection.weight != 1 or projection.counted:
        return False
    sources = [network.by_name[s.population] for s in projection.sources]
    return all(s.neuron.kind == "lif" or s.name in known for s in sources)


def counts_spikes(projection: Projection, counting: frozenset[str]) -> bool:
    """Whether all that ``projection`` reads are counts of spikes: of the populations ``counting``."""
    return bool(projection.sources) and all(s.population in counting for s in projection.sources)
