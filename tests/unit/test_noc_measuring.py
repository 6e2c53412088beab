"""Synthetic traffic is measured among other traffic: it is there before, and goes on until the last packet arrived."""

from __future__ import annotations

import numpy as np
import pytest

from neurochip.noc import traffic
from neurochip.noc.mesh import Mesh
from neurochip.noc.packet import Injections, PacketResult, simulate_tick
from neurochip.noc.timing import Timing

MESH = Mesh(columns=4, rows=4)


def test_injection_begins_before_the_measured_cycles_and_goes_on_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Injections] = []

    def watched(mesh: Mesh, timing: Timing, injections: Injections, *, record: bool) -> PacketResult:
        seen.append(injections)
        return simulate_tick(mesh, timing, injections, record=record)

    monkeypatch.setattr(traffic, "simulate_tick", watched)
    result = traffic.simulate_traffic(MESH, Timing(), traffic.uniform, 0.5, cycles=200, warmup=100, seed=0)
    born = seen[0].first
    counts, _ = np.histogram(born, [0, 100, 300, 400])
    assert born.max() < 400
    assert counts / np.array([1600, 3200, 1600]) == pytest.approx(0.5, abs=0.05)
    assert result.offered == pytest.approx(counts[1] / 3200), "only the middle is measured"
