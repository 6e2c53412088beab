"""The simulator against the integer reference on random networks, mapped to many small cores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.network.network import Network
from neurochip.program.image import Origin, Program
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from neurochip.sim.trace import Trace
from tests.small_chips import small_chip
from tests.strategies import random_arithmetic, random_network

ORIGIN = Origin(
    model="random",
    model_sha256="",
    family="random",
    compiler_version="test",
    weight_bits=8,
    attention="processor",
    placement="hilbert",
    profile="loihi_sanafe_nahuku",
    seed=0,
)
SEEDS = st.integers(0, 10_000)


def mapped(network: Network) -> Program:
    program = map_network(network, small_chip(arithmetic=network.arithmetic), ORIGIN, ())
    check_program(program, arithmetic=False)  # random networks may overflow: that is compared, too
    return program


def differing(program: Program, x: np.ndarray, **options: object) -> tuple[str | None, Trace]:
    check = Check(program.network, x)
    trace = run_program(program, x, observe=check.observe, **options)
    assert check.inputs == trace.inputs
    return check.difference, trace


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_every_spike_and_readout_equals_the_integer_reference(seed: int) -> None:
    network, x = random_network(seed)
    difference, trace = differing(mapped(network), x)
    assert difference is None
    reference = network.run(x)
    assert (trace.wraps, trace.clips) == (reference.wraps, reference.clips)
    np.testing.assert_allclose(trace.logits, reference.logits)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_every_chip_rule_for_overflow_leak_and_comparison_is_exact(seed: int) -> None:
    network, x = random_network(seed, arithmetic=random_arithmetic(seed))
    difference, trace = differing(mapped(network), x)
    assert difference is None
    reference = network.run(x)
    assert (trace.wraps, trace.clips) == (reference.wraps, reference.clips)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_currents_joined_by_their_maximum_and_sums_by_index_are_exact(seed: int) -> None:
    network, x = random_network(seed, rare=True)
    program = mapped(network)
    difference, _ = differing(program, x)
    assert difference is None
    joined = sum(p.size * (p.compartments - 1) for p in network.populations)
    neurons = sum(p.size for p in network.populations if p.neuron.kind in ("lif", "readout"))
    assert joined > 0
    on_cores = program.use["neurons"][program.cores["kind"] == 0]
    assert on_cores.sum() == neurons + joined


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_packet_mode_changes_times_and_nothing_else(seed: int) -> None:
    network, x = random_network(seed)
    program = mapped(network)
    analytic = run_program(program, x)
    difference, packet = differing(program, x, noc="packet")
    assert difference is None
    assert np.array_equal(analytic.readout, packet.readout)
    assert (analytic.packets, analytic.hops, analytic.crossings) == (packet.packets, packet.hops, packet.crossings)
    assert np.array_equal(analytic.links, packet.links)
    assert (packet.tick_ns >= analytic.tick_ns - 1e-6).all(), "the analytic time must be a lower bound"


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_inputs_side_by_side_equal_inputs_one_by_one(seed: int) -> None:
    network, x = random_network(seed)
    program = mapped(network)
    together = run_program(program, x)
    axis = 1 if x.ndim == len(network.input.shape) + 2 else 0
    alone = [run_program(program, np.take(x, [i], axis=axis)) for i in range(x.shape[axis])]
    assert np.array_equal(together.readout, np.concatenate([t.readout for t in alone]))
    np.testing.assert_allclose(together.tick_ns, np.concatenate([t.tick_ns for t in alone]))
    for field in ("packets", "hops_x", "hops_y", "local", "crossings", "host_macs", "host_writes"):
        assert getattr(together, field) == sum(getattr(t, field) for t in alone), field
    for name, counts in together.populations.items():
        assert np.array_equal(counts.spikes, sum(t.populations[name].spikes for t in alone))
    for name, counts in together.projections.items():
        assert counts.ops == sum(t.projections[name].ops for t in alone)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_totals_split_by_core_by_layer_and_by_link(seed: int) -> None:
    network, x = random_network(seed)
    program = mapped(network)
    trace = run_program(program, x)
    layers = trace.populations.values()
    assert trace.packets == sum(c.packets for c in layers)
    assert trace.packets == trace.cores.packets_in.sum() == trace.cores.packets_out.sum()
    assert trace.hops == trace.links.sum() == sum(c.hops_x + c.hops_y for c in layers)
    assert trace.crossings == sum(c.crossings for c in layers)
    assert trace.local == sum(c.local for c in layers)
    assert trace.cores.active.sum() == sum(c.active for c in layers)
    on_cores = sum(trace.projections[p.name].ops for p in network.projections if p.kind != "product")
    assert trace.synaptic_operations == on_cores
    products = sum(trace.projections[p.name].ops for p in network.projections if p.kind == "product")
    assert trace.cores.processor_ops.sum() == products


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_accumulates_equal_a_count_by_hand(seed: int) -> None:
    """AC = one per spike and synapse reached, padding excluded, counted from the reference's spikes."""
    network, x = random_network(seed)
    trace = run_program(mapped(network), x)
    spikes = network.run(x).spikes
    for projection in network.projections:
        if projection.kind not in ("dense", "conv", "gather"):
            continue
        target = network.by_name[projection.target]
        first = network.by_name[projection.sources[0].population]
        counts = sum(spikes[s.population].astype(np.int64) for s in projection.sources)
        if projection.kind in ("dense", "gather"):
            expected = counts.sum() * target.channels
        else:
            (kh, kw), (sy, sx), (py, px) = projection.weight.shape[:2], projection.stride, projection.padding
            reach = np.zeros((first.height, first.width), np.int64)
            for y in range(target.height):
                for x0 in range(target.width):
                    for dy in range(kh):
                        for dx in range(kw):
                            sy0, sx0 = y * sy + dy - py, x0 * sx + dx - px
                            if 0 <= sy0 < first.height and 0 <= sx0 < first.width:
                                reach[sy0, sx0] += 1
            per_position = counts.sum(axis=(0, 1, 3)).reshape(first.height, first.width)
            expected = (per_position * reach).sum() * (target.channels // projection.groups)
        assert trace.projections[projection.name].ops == expected, projection.name


def test_a_wrong_weight_in_the_simulator_is_found_and_named() -> None:
    """The check can fail: the reference of another network disagrees, and the first neuron and step are named."""
    network, x = random_network(3)
    other, _ = random_network(3)
    lif = next(p for p in reversed(other.populations) if p.neuron.kind == "lif")
    object.__setattr__(lif.neuron, "threshold", 1 << 22)
    check = Check(other, x)
    run_program(mapped(network), x, observe=check.observe)
    assert check.difference is not None
    assert "population" in check.difference
    assert "step" in check.difference


def test_unknown_noc_is_refused() -> None:
    from neurochip.errors import SimulationError

    network, x = random_network(1)
    with pytest.raises(SimulationError, match="expected one of analytic, packet, found 'fast'"):
        run_program(mapped(network), x, noc="fast")
