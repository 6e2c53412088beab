"""Rings in packet and analytic mode: two buffers a link are used as they must be, and the bound counts both."""

from __future__ import annotations

import numpy as np
import pytest

from neurochip.noc.analytic import tick_time
from neurochip.noc.mesh import Mesh
from neurochip.noc.packet import Injections, simulate_tick
from neurochip.noc.timing import Timing
from tests import noc_oracle

TIGHT = Timing(x_latency=2, y_latency=1, buffer_packets=1, credit_latency=2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "mesh", [Mesh(columns=7, rows=1, wrap_x=True), Mesh(columns=5, rows=5, wrap_x=True, wrap_y=True)]
)
def test_packets_that_go_on_after_the_closing_link_keep_to_the_second_buffer(mesh: Mesh, seed: int) -> None:
    # everybody sends almost half way round, both ways, so that most packets meet the closing link in the middle
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(mesh.n_routers), 2)
    x, y = source % mesh.width, source // mesh.width
    half = np.where(np.arange(len(source)) % 2, 1, -1) * (mesh.width // 2)
    target = (y + (half if mesh.wrap_y else 0)) % mesh.height * mesh.width + (x + half) % mesh.width
    flows = Injections.of(source, target, rng.integers(2, 6, len(source)), rng.integers(0, 4, len(source)), 1)
    result = simulate_tick(mesh, TIGHT, flows, record=True)
    delivered_at, links = noc_oracle.simulate(mesh, TIGHT, flows)
    assert result.delivered_at.tolist() == delivered_at
    assert result.link_packets.tolist() == [links[link] for link in range(mesh.n_links)]


def test_the_bound_of_a_ring_lets_both_buffers_of_a_link_give_packets_up_at_once() -> None:
    # over the link from 0 to 1 go packets that start there, and packets that came over the closing link
    ring, slow = Mesh(columns=6, rows=1, wrap_x=True), Timing(x_latency=2, input_interval=9)
    source, target = [0, 5], [1, 1]
    bound = tick_time(ring, slow, source, target, [10, 10])
    assert bound.busiest_link == 0
    assert bound.link == 9 * 9 + 2  # ten packets of each buffer, and the hop of the last one
    packet = simulate_tick(ring, slow, Injections.of(source, target, 10))
    assert bound.cycles <= packet.drain < 9 * 19
