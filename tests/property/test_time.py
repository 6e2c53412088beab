"""Steps of several ticks, loops and bursts: balanced, mapped and simulated, equal to the reference spike for spike."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError
from neurochip.network.network import Network, Neuron, Population
from neurochip.network.projections import Dense, Pool, Source
from neurochip.network.validate import validate_network
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from neurochip.sim.trace import Trace
from tests.property.test_simulator import ORIGIN
from tests.small_chips import small_chip
from tests.strategies import random_network
from tests.unit.test_balance import unbalanced

SEEDS = st.integers(0, 5_000)


def simulated(network: Network, x: np.ndarray, max_delay: int, chip: ChipSpec | None = None) -> Trace:
    """Balance, map, check and simulate; every spike and readout must equal the reference."""
    balanced = balance(network, max_delay)
    validate_network(balanced)
    if chip is None:
        chip = small_chip(arithmetic=network.arithmetic, max_delay=max_delay)
    program = map_network(balanced, chip, ORIGIN, ())
    check_program(program, arithmetic=False)
    check = Check(balanced, x)
    trace = run_program(program, x, observe=check.observe)
    assert check.difference is None
    assert np.array_equal(trace.readout, network.run(x).readout)
    assert trace.tick_ns.shape[1] == balanced.ticks
    return trace


def with_loops(network: Network, seed: int) -> Network:
    """``network`` with random connections from spiking populations to themselves or earlier ones, steps back."""
    rng = np.random.default_rng(seed)
    lif = [p for p in network.populations if p.neuron.kind == "lif"]
    projections = list(network.projections)
    for number in range(rng.integers(1, 4)):
        source, target = (lif[i] for i in rng.integers(0, len(lif), 2))
        if (source.height, source.width) != (target.height, target.width):
            source = target
        projections.append(
            Dense(
                name=f"loop{number}",
                sources=(Source(source.name, steps_back=int(rng.integers(1, 3))),),
                target=target.name,
                origin=target.origin,
                weight=rng.integers(-60, 61, (source.channels, target.channels)).astype(np.int8),
                shift=network.arithmetic.threshold_shift,
            )
        )
    return replace(network, projections=tuple(projections))


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(2, 6), st.integers(1, 7))
def test_steps_of_several_ticks_give_the_same_spikes(seed: int, interval: int, max_delay: int) -> None:
    network, x = random_network(seed)
    if any(p.high > 1 for p in network.populations):
        max_delay = network.ticks
    plain = simulated(unbalanced(network), x, max_delay)
    slow = simulated(replace(unbalanced(network), interval=interval), x, max_delay)
    assert np.array_equal(plain.readout, slow.readout)
    for name, counts in plain.populations.items():
        if name in slow.populations:
            assert np.array_equal(counts.spikes, slow.populations[name].spikes), name


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 3))
def test_loops_are_exact_whatever_their_length(seed: int, interval: int) -> None:
    network, x = random_network(seed)
    looped = with_loops(replace(unbalanced(network), interval=interval), seed)
    simulated(looped, x, 64)


def test_a_loop_longer_than_its_steps_back_lengthens_the_interval() -> None:
    """Three populations in a row, the last one read by the first one step later: three ticks in one step."""
    network, x = chain(3)
    back = one_to_one("p3", "p1", steps_back=1)
    looped = replace(network, projections=(*network.projections, back))
    assert balance(looped, 7).interval == 3
    simulated(looped, x, 7)
    two = replace(looped, projections=(*network.projections, one_to_one("p3", "p1", steps_back=2)))
    assert balance(two, 7).interval == 2


def test_a_shorter_delay_within_the_window_saves_relays() -> None:
    """p1 -> p4 spans three ticks: with a longest delay of 1, two relays; none if spikes may come two ticks early."""
    network, x = chain(4)
    skip = replace(network, projections=(*network.projections, one_to_one("p1", "p4")))
    assert len(balance(skip, 1).populations) == len(skip.populations) + 2
    slow = balance(replace(skip, interval=3), 1)
    assert len(slow.populations) == len(skip.populations)
    simulated(replace(skip, interval=3), x, 1)


def chain(length: int) -> tuple[Network, np.ndarray]:
    """Spike input of 6 neurons, ``length`` one-to-one layers p1, p2, ..., a readout; T = 5."""
    neuron = Neuron(kind="lif", decay=1024, threshold=1 << 6)
    names = ["input", *(f"p{i}" for i in range(1, length + 1)), "readout"]
    kinds = [Neuron(kind="source"), *[neuron] * length, Neuron(kind="readout")]
    populations = tuple(
        Population(name=n, height=1, width=1, channels=6, neuron=k, origin=n) for n, k in zip(names, kinds, strict=True)
    )
    base, _ = random_network(0)
    network = replace(
        base,
        timesteps=5,
        populations=populations,
        projections=tuple(one_to_one(a, b) for a, b in pairwise(names)),
        input=replace(base.input, shape=(6,), kind="spikes", scale=1.0, low=0, high=1),
        readout=replace(base.readout, population="readout", bias=(0.0,) * 6),
    )
    return network, (np.random.default_rng(1).random((5, 2, 6)) < 0.5).astype(np.float64)


def one_to_one(source: str, target: str, steps_back: int = 0, weight: int = 2) -> Pool:
    """Channel c to channel c."""
    return Pool(
        name=f"{source}-{target}",
        sources=(Source(source, steps_back=steps_back),),
        target=target,
        origin=target,
        shift=6,
        weight=weight,
    )


def bursting(seed: int, interval: int) -> tuple[Network, np.ndarray]:
    """``chain`` with a burst population between p1 and p2: what p1's spikes add up to, at most ``interval``."""
    network, x = chain(2)
    rng = np.random.default_rng(seed)
    weight = rng.integers(-3, 4, (6, 6)).astype(np.int8)
    high = max(1, int(np.maximum(weight, 0).sum(axis=0).max()))
    burst = Population(
        name="sum",
        height=1,
        width=1,
        channels=6,
        neuron=Neuron(kind="burst", threshold=1 << 6, reset="soft"),
        origin="p2",
        high=high,
    )
    sums = Dense(name="sum.w", sources=(Source("p1"),), target="sum", origin="p2", weight=weight, shift=6)
    order = [*network.populations[:2], burst, *network.populations[2:]]
    projections = [p for p in network.projections if p.name != "p1-p2"]
    return (
        replace(
            network,
            arithmetic=network.arithmetic.model_copy(update={"fires": "ge", "soft_reset": True}),
            populations=tuple(order),
            projections=(*projections, sums, one_to_one("sum", "p2", weight=1), one_to_one("p1", "readout")),
            interval=max(interval, high),
        ),
        x,
    )


@settings(max_examples=15, deadline=None)
@given(SEEDS, st.integers(1, 20), st.integers(1, 7))
def test_bursts_arrive_within_their_step(seed: int, interval: int, max_delay: int) -> None:
    network, x = bursting(seed, interval)
    trace = simulated(network, x, max_delay)
    expected = network.run(x).spikes["sum"]
    assert trace.populations["sum"].spikes.sum() == expected.sum()
    assert trace.populations["sum"].packets >= expected.sum()


def test_a_bursts_first_tick_is_its_busiest() -> None:
    """In tick s of a burst only neurons with more than s to send do: packets per tick never rise within a step."""
    network, x = bursting(3, 1)
    balanced = balance(network, 7)
    high = balanced.by_name["sum"].high
    assert high > 2
    values = network.run(x).spikes["sum"]
    per_tick = [(values > s).sum() for s in range(high)]
    assert per_tick == sorted(per_tick, reverse=True)
    trace = simulated(network, x, 7)
    assert trace.populations["sum"].active >= sum(per_tick[1:])


def test_a_burst_that_outlasts_its_interval_is_refused() -> None:
    network, _ = bursting(3, 1)
    with pytest.raises(Exception, match="does not fit an interval of 2 ticks"):
        validate_network(replace(balance(network, 7), interval=2))


def test_bursts_that_must_wait_are_refused() -> None:
    network, _ = bursting(3, 1)
    later = replace(network, projections=(*network.projections, one_to_one("sum", "readout")))
    with pytest.raises(UnsupportedError, match="relays carry single spikes"):
        balance(replace(later, interval=network.by_name["sum"].high), 1)


def test_idle_ticks_pay_their_barrier_too() -> None:
    """Ten ticks a step, of which most have nothing to do: each lasts at least as long as the barrier."""
    network, x = chain(2)
    plain, slow = simulated(network, x, 7), simulated(replace(network, interval=10), x, 7)
    barrier = plain.tick_ns.min()
    assert slow.tick_ns.shape[1] == 4 * 10 + 1 + 3
    assert barrier > 0
    idle = slow.tick_ns[:, 5:10]
    assert (idle >= slow.tick_ns.min()).all()
    assert slow.tick_ns.min() > 0
    assert slow.tick_ns.sum() > plain.tick_ns.sum() + 30 * len(x[0]) * slow.tick_ns.min()


def test_fixed_ticks_all_last_as_long_as_the_chip_says() -> None:
    network, x = chain(2)
    tick = {"value": 1, "unit": "ms", "source": "neurochip", "status": "assumed", "note": "a test"}
    chip = json.loads(small_chip().to_json())
    chip["time"] = {"kind": "fixed", "tick": tick}
    for profile in chip["profiles"].values():
        profile.pop("barrier")
    trace = simulated(replace(network, interval=10), x, 7, ChipSpec.model_validate(chip))
    assert trace.overruns == 0
    np.testing.assert_allclose(trace.tick_ns, 1e6)
