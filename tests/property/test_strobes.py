"""Neurons that compare and leak in every tick, over several steps: exact on a chip laid out literally, or refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.legal import LEGAL, Choices
from compiler.legal.base import Ints
from compiler.legal.split_fan_in import SplitFanIn
from compiler.legal.strobe_types import fewest_axons
from compiler.legal.strobes import Strobes, forgets, must_wait
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.errors import ProgramError, UnsupportedError
from neurochip.network.network import Network, Neuron
from neurochip.network.projections import STROBES, Bias, Pool, Source
from neurochip.program.image import Program
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from tests.crossbar_chips import crossbar_chip
from tests.crossbar_oracle import check_on_chip
from tests.exact import something_fires
from tests.legal_networks import layers
from tests.property.test_simulator import ORIGIN

SEEDS = st.integers(0, 10_000)
CHIP = crossbar_chip(neurons=96, axons=96)
PARTS = replace(ORIGIN, profile="truenorth_parts", weight_bits=4)
CHOICES = Choices(weight_bits=4, max_interval=4096)


def drawn(seed: int, timesteps: int, reset: str, decay: int, *, bias: bool = False) -> tuple[Network, np.ndarray]:
    """Two layers of neurons, the first too wide for a core, and a head; spikes of three inputs."""
    rng = np.random.default_rng(seed)
    sizes = [int(rng.integers(34, 44)), int(rng.integers(2, 6)), int(rng.integers(2, 5)), 2]
    top = int(rng.choice([3, 7]))
    weights = [rng.integers(-top, top + 1, shape) for shape in pairwise(sizes)]
    net = layers(*(w.tolist() for w in weights), timesteps=timesteps, arithmetic=CHIP.arithmetic)
    neuron = Neuron(kind="lif", threshold=int(rng.integers(2, 9)), decay=decay, reset=reset)
    populations = [replace(p, neuron=neuron) if p.neuron.kind == "lif" else p for p in net.populations]
    populations[-1] = replace(populations[-1], home="host")
    net = replace(net, populations=tuple(populations))
    if bias:
        values: Ints = rng.integers(-5, neuron.threshold, (1, sizes[1]))
        on = Bias(name="b.bias", sources=(), target="b", origin="b", weight=values.astype(np.int16), shifts=(0,))
        net = replace(net, projections=(*net.projections, on))
    return net, (rng.random((timesteps, 3, sizes[0])) < 0.3).astype(np.float64)


def legal(network: Network) -> Network:
    for item in LEGAL:
        network = item.run(network, CHIP, CHOICES)
    return network


def mapped(network: Network) -> Program:
    return map_network(balance(legal(network), CHIP.max_delay, exact=True), CHIP, PARTS, ())


@given(SEEDS, st.integers(2, 4), st.sampled_from(["hard", "soft"]), st.sampled_from([0, 1, 2]), st.booleans())
@settings(max_examples=8, deadline=None)
def test_bursts_over_several_steps_keep_every_spike_in_its_own_tick(seed, timesteps, reset, decay, bias) -> None:
    network, x = drawn(seed, timesteps, reset, decay, bias=bias)
    program = mapped(network)
    check_program(program)
    assert program.network.interval > 1
    before, after = network.run(x), program.network.run(x)
    for name, spikes in before.spikes.items():
        np.testing.assert_array_equal(after.spikes[name], spikes, err_msg=name)
    np.testing.assert_array_equal(before.readout, after.readout)
    check_on_chip(program, x)
    something_fires(bool(before.spikes["b"].any()))


def test_the_simulator_does_the_same_and_books_the_axons() -> None:
    network, x = drawn(3, 3, "hard", 1)
    made = legal(network)
    assert {p.place for p in made.projections if isinstance(p, Bias)} == set(STROBES)
    program = mapped(network)
    check = Check(program.network, x)
    trace = run_program(program, x, observe=check.observe)
    assert check.difference is None
    np.testing.assert_array_equal(trace.readout, network.run(x).readout)
    plain = [p for p in made.projections if isinstance(p, Bias) and p.place == "hold"]
    assert plain[0].spikes_a_step(program.network.interval) == program.network.interval - 1


def test_a_neuron_that_only_leaks_is_lowered_where_a_step_takes_several_ticks() -> None:
    """``c`` reads single spikes, but its leak would act in every tick of a step that bursts into ``b`` make long."""
    network, _ = drawn(5, 3, "hard", 1)
    made = legal(network)
    assert {p.target for p in made.projections if isinstance(p, Bias) and p.place == "hold"} == {"b", "c"}
    without, _ = drawn(5, 3, "hard", 0)
    assert {p.target for p in legal(without).projections if isinstance(p, Bias)} == {"b"}


def test_a_gate_that_forgets_needs_no_strobe() -> None:
    """An AND of two spikes: a leak of 1 leaves nothing of one of them, in its own tick or in any other."""
    network, _ = drawn(0, 3, "hard", 0)
    gate = replace(network.populations[1], neuron=Neuron(kind="lif", threshold=1, decay=1), channels=40)
    source = replace(network.populations[0], channels=40)
    pool = Pool(name="b.pool", sources=(Source("a"),), target="b", origin="b", weight=1)
    twice = replace(pool, name="b.pool2")
    net = replace(network, populations=(source, gate), projections=(pool, twice), interval=9)
    assert forgets(net, gate)
    assert not must_wait(net, gate)
    remembers = replace(gate, neuron=Neuron(kind="lif", threshold=2, decay=0))
    assert not forgets(replace(net, populations=(source, remembers)), remembers)


def test_with_one_step_or_one_tick_a_step_there_are_no_strobes_of_this_kind() -> None:
    network, _ = drawn(1, 3, "hard", 1)
    assert Strobes().run(network, CHIP, CHOICES) is network
    single, _ = drawn(1, 1, "hard", 0)
    assert {p.place for p in legal(single).projections if isinstance(p, Bias)} == {"axon"}


def test_fewest_axons_lift_what_they_drop() -> None:
    for used, free, drop, bias, hold in (
        ((8, -8), 2, 4448, 0, 149), ((1, -1), 2, 300, -7, 0), ((1, 2, -4), 1, 40, 3, 0), ((1, 2, 4, -8), 0, 50, 0, 8),
    ):  # fmt: skip
        found = fewest_axons(used, free, drop, bias, hold, 255)
        assert found is not None
        assert found.drops * found.down >= drop
        assert found.lifts * found.up - found.drops * found.down == bias
        assert found.holds * found.hold == hold
        assert max(found.up, found.down, found.hold) <= 255
        values = {found.up, -found.down, *([-found.hold] if hold else [])}
        assert len(values - set(used)) <= free
    assert fewest_axons((1, 2, 4, 8), 0, 50, 0, 0, 255) is None


def test_membranes_too_narrow_to_be_lowered_are_refused() -> None:
    network, _ = drawn(2, 4, "hard", 0)
    narrow = network.arithmetic.model_copy(update={"membrane_bits": 9})
    network = replace(SplitFanIn().run(network, CHIP, CHOICES), arithmetic=narrow)
    with pytest.raises(UnsupportedError, match=r"membranes can reach -\d+, and membranes of 9 bits end at -255"):
        Strobes().run(network, CHIP, CHOICES)


def test_a_leak_that_takes_a_share_of_the_membrane_is_refused_between_ticks() -> None:
    network, _ = drawn(2, 4, "hard", 1)
    network = replace(network, interval=3)
    share = network.arithmetic.model_copy(update={"leak": "exponential"})
    with pytest.raises(UnsupportedError, match=r"layer 'b' \(b\): its exponential leak acts in every tick of a step"):
        Strobes().run(replace(network, arithmetic=share), CHIP, CHOICES)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("drop", "nothing holds it back between its own ticks"),
        ("hold", "leak of 1 in each tick is not cancelled"),
        ("lower", "is lowered by .* between its own ticks, and could reach"),
    ],
)
def test_the_checker_finds_strobes_that_are_missing_or_too_weak(place: str, message: str) -> None:
    network, _ = drawn(3, 3, "hard", 1)
    program = mapped(network)
    kept = []
    for p in program.network.projections:
        if isinstance(p, Bias) and place == "lower" and p.place in ("lift", "drop"):
            p = replace(p, weight=(p.weight // 8).astype(np.int16))
        elif isinstance(p, Bias) and p.place == place:
            p = replace(p, weight=0 * p.weight, place="axon")
        kept.append(p)
    broken = replace(program, network=replace(program.network, projections=tuple(kept)))
    with pytest.raises(ProgramError, match=message):
        check_program(broken)
