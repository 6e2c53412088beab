"""Running sums of residual streams: every spike and membrane as before, in the reference and on the chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.legal import Choices
from compiler.legal.stream_cuts import planned, streams_of
from compiler.legal.streams import Streams, with_plans
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from neurochip.chip.load import load_chip
from neurochip.errors import CapacityError, ProgramError, UnsupportedError
from neurochip.network.network import Network
from neurochip.network.projections import Source
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from neurochip.program.image import Program
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from neurochip.sim.sample import SampledCheck
from tests.property.test_simulator import ORIGIN
from tests.small_chips import small_chip
from tests.stream_networks import plans_at, residual

LONG = Choices(weight_bits=8, max_interval=4096)


def spikes(network: Network, seed: int, inputs: int = 2) -> np.ndarray:
    shape = (network.timesteps, inputs, *network.input.shape)
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.float64)


def compiled(network: Network) -> Program:
    chip = small_chip()
    return map_network(balance(network, chip.max_delay), chip, ORIGIN, ())


@given(
    depth=st.integers(2, 5), channels=st.integers(1, 6), side=st.integers(1, 4), timesteps=st.integers(1, 3),
    levels=st.sets(st.integers(0, 4)), seed=st.integers(0, 999), name=st.sampled_from(["loihi", "loihi2"]),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_layers_behind_sums_fire_as_before_whatever_sums_there_are(
    depth, channels, side, timesteps, levels, seed, name
):
    chip = load_chip(name)
    network = residual(depth, channels, side, timesteps, seed, kernels=3)
    after = with_plans(network, plans_at(network, levels, chip), chip, LONG)
    validate_network(after, timed=False)
    x = spikes(network, seed)
    expected, found = network.run(x), after.run(x)
    for population, fired in expected.spikes.items():
        assert np.array_equal(fired, found.spikes[population]), population
    assert np.array_equal(expected.readout, found.readout)
    assert found.wraps == found.saturations == 0
    assert sum(p.counted for p in network.projections) == sum(p.counted for p in after.projections)


@given(depth=st.integers(2, 4), timesteps=st.integers(1, 3), seed=st.integers(0, 999))
@settings(max_examples=5, deadline=None)
def test_digits_of_sums_arrive_and_add_up_on_the_chip(depth, timesteps, seed):
    chip = small_chip()
    network = residual(depth, 3, 3, timesteps, seed, kernels=3)
    network = with_plans(network, plans_at(network, set(range(depth - 1)), chip), chip, LONG)
    program = compiled(network)
    check_program(program)
    x = spikes(network, seed)
    check, sample = Check(program.network, x), SampledCheck(program.network, x, 2)
    trace = run_program(program, x, observe=check.observe)
    run_program(program, x, observe=sample.observe)
    assert (check.difference, sample.difference) == (None, None)
    assert np.array_equal(trace.readout, network.run(x).readout)
    assert np.array_equal(run_program(program, x, noc="packet").readout, trace.readout)


def test_a_set_digit_is_one_packet_for_each_port_that_reads_it():
    network = residual(2, 2, timesteps=1)
    program = compiled(with_plans(network, plans_at(network, {0}, small_chip()), small_chip(), LONG))
    x = spikes(network, 3, inputs=1)
    reading = [i for i, bundle in enumerate(program.bundles) if bundle[0].population == "l0.sum"]
    ports = np.isin(program.ports["bundle"], reading).sum()
    sent = sum(int(n).bit_count() for n in program.network.run(x).spikes["l0.sum"].ravel())
    assert run_program(program, x).populations["l0.sum"].packets == sent * ports


def test_a_stream_that_fits_no_core_is_summed_up_on_the_way_and_one_that_costs_little_is_left_alone():
    tight, network = small_chip(words=60), residual(4, 16)
    assert planned(network, small_chip(), 8) == ()
    (plan,) = planned(network, tight, 8)
    assert np.isinf(plan.before)
    assert np.isfinite(plan.after)
    with pytest.raises(CapacityError, match=r"synapse words"):
        map_network(balance(network, 7), tight, ORIGIN, ())
    check_program(map_network(balance(Streams().run(network, tight, LONG), 7), tight, ORIGIN, ()))


def test_a_lone_layer_that_fits_no_core_is_summed_up_current_by_current():
    network = residual(4, 16, timesteps=2)
    lone = replace(network, projections=tuple(p for p in network.projections if p.target not in ("l1", "l2")))
    reading = [replace(p, name=f"{p.target}.own", sources=(Source("x"),), target=p.target) for p in network.projections
               if p.name in ("c1", "c2")]  # fmt: skip
    lone = replace(lone, projections=(*lone.projections, *reading))
    chip = small_chip(words=60)
    after = Streams().run(lone, chip, LONG)
    assert [p.name for p in after.populations if p.coding == "digits"] == ["l3.1.sum"]
    x = spikes(lone, 2)
    assert np.array_equal(lone.run(x).readout, after.run(x).readout)
    check_program(map_network(balance(after, chip.max_delay), chip, ORIGIN, ()))


def test_chips_without_compartments_that_add_keep_the_network():
    network = residual(4, 16)
    chip = small_chip(words=60)
    plain = chip.model_copy(update={"neuron": chip.neuron.model_copy(update={"dendrites": None})})
    assert Streams().run(network, plain, LONG) is network


def test_layers_that_read_more_than_a_stream_are_no_stream():
    network = residual(3, 2)
    (levels,) = streams_of(network)
    assert [level.readers for level in levels] == [("l0",), ("l1",), ("l2",)]
    apart = replace(network, projections=tuple(p for p in network.projections if p.name != "c0@l1"))
    assert list(streams_of(apart)) == []  # l1 reads c1 without c0


def test_sums_that_wait_longer_than_a_step_may_last_are_refused_with_the_interval_that_would_do():
    chip, network = small_chip(), residual(3, 2)
    with pytest.raises(UnsupportedError, match=r"--max-interval \d+"):
        with_plans(network, plans_at(network, {0, 1}, chip), chip, Choices(weight_bits=8, max_interval=3))


def test_the_checker_finds_digits_that_do_not_hold_the_sum_and_compartments_that_are_missing():
    chip = small_chip()
    network = residual(2, 2)
    network = with_plans(network, plans_at(network, {0}, chip), chip, LONG)
    made = network.by_name["l0.sum"]
    low = replace(made, high=made.high >> 1, compartments=made.compartments - 1)
    narrow = replace(network, populations=tuple(low if p is made else p for p in network.populations))
    with pytest.raises(ProgramError, match=r"l0\.sum.*digits hold"):
        check_program(compiled(narrow))
    few = replace(network, populations=tuple(replace(p, compartments=1) for p in network.populations))
    with pytest.raises(ProgramError, match="compartments"):
        validate_network(few, timed=False)


def test_programs_with_digits_survive_their_file(tmp_path):
    chip = small_chip()
    network = residual(3, 2, timesteps=2)
    program = compiled(with_plans(network, plans_at(network, {0, 1}, chip), chip, LONG))
    save_program(program, tmp_path / "p.ncp")
    again = load_program(tmp_path / "p.ncp")
    x = spikes(network, 1)
    assert np.array_equal(run_program(again, x).readout, network.run(x).readout)
