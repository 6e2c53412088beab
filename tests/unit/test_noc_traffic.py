"""Packet mode under synthetic traffic stays within 10 % of the stored numbers of a cycle-accurate simulator."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.noc_traffic import MESH, REFERENCE, ROUTERS, SATURATED, capacity, ours, zero_load
from neurochip.errors import SimulationError
from neurochip.noc.mesh import Mesh
from neurochip.noc.timing import Timing
from neurochip.noc.traffic import PATTERNS, bit_complement, hotspots, simulate_traffic, transpose, uniform

CURVES = json.loads(REFERENCE.read_text())["curves"]
CASES = [(router, pattern) for router in ROUTERS for pattern in PATTERNS]
measure = ours(8000)


@pytest.mark.parametrize(("router", "pattern"), CASES)
def test_latency_below_saturation_is_the_reference_latency(router: str, pattern: str) -> None:
    reference = CURVES[router][pattern]
    below = [i for i, rate in enumerate(reference["rates"]) if rate < 0.7 * reference["saturation"]]
    for i in (below[0], below[-1]):
        latency, accepted = measure(router, pattern, reference["rates"][i])
        assert latency == pytest.approx(reference["latency"][i], rel=0.1)
        assert accepted == pytest.approx(reference["rates"][i], rel=0.1)


@pytest.mark.parametrize(("router", "pattern"), CASES)
def test_saturation_is_the_reference_saturation(router: str, pattern: str) -> None:
    saturation, limit = CURVES[router][pattern]["saturation"], SATURATED * zero_load(router, pattern)
    assert measure(router, pattern, 0.9 * saturation)[0] < limit < measure(router, pattern, 1.1 * saturation)[0]
    assert saturation <= capacity(router, pattern) * 1.01


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_overloaded_network_passes_what_the_reference_passes(pattern: str) -> None:
    result = simulate_traffic(
        MESH, ROUTERS["lookahead"].timing, PATTERNS[pattern], 1.0, cycles=2000, warmup=1000, seed=3
    )
    assert result.offered == 1.0
    assert result.accepted == pytest.approx(CURVES["lookahead"][pattern]["overload_accepted"], rel=0.1)


def test_patterns_send_where_they_say() -> None:
    mesh, rng = Mesh(columns=4, rows=4), np.random.default_rng(0)
    source = np.arange(16)
    assert transpose(mesh, source, rng).tolist() == [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15]
    assert bit_complement(mesh, source, rng).tolist() == source[::-1].tolist()
    assert hotspots(mesh).tolist() == [5, 6, 9, 10]
    assert set(uniform(mesh, np.zeros(1000, np.int64), rng).tolist()) == set(range(16))
    with pytest.raises(SimulationError, match="transpose traffic needs a square mesh, not 4 x 2 routers"):
        transpose(Mesh(columns=4, rows=2), source, rng)


def test_one_seed_gives_one_result_and_the_rate_asked_for() -> None:
    mesh = Mesh(columns=3, rows=2, cores_per_router=2)
    one, two = (simulate_traffic(mesh, Timing(), uniform, 0.2, cycles=3000, warmup=100, seed=5) for _ in range(2))
    assert one == two
    assert one.offered == pytest.approx(0.2, rel=0.05)


def test_impossible_traffic_is_refused() -> None:
    with pytest.raises(SimulationError, match=r"traffic: rate must be above 0 and at most 1, .* found rate 1\.5"):
        simulate_traffic(MESH, Timing(), uniform, 1.5, cycles=10, warmup=0, seed=0)
    with pytest.raises(SimulationError, match="no packet was injected in 1 cycles at rate 1e-09; measure longer"):
        simulate_traffic(MESH, Timing(), uniform, 1e-9, cycles=1, warmup=0, seed=0)
