"""Counts of the spikes of a residual stream: every neuron fires as before, in the reference and on the chip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.legal import Choices
from compiler.legal.spike_streams import streams_of
from compiler.legal.spike_sums import with_counts
from compiler.legal.streams import Streams, lengthened
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from compiler.pipeline import Options, compile_graph
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import ProgramError, UnsupportedError
from neurochip.network.network import Network
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from neurochip.program.image import Program
from neurochip.report.report import make_report
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from neurochip.sim.sample import SampledCheck
from tests.property.test_simulator import ORIGIN
from tests.small_chips import small_chip
from tests.spiking_graphs import tiny_spikformer
from tests.stream_networks import stacked

LONG = Choices(weight_bits=8, max_interval=4096)
CHIPS = ("loihi", "loihi2", "darwin3", "spinnaker2")
"""Counts travel as unit spikes of two compartments, as payloads, as unit spikes of neurons with soft resets, and as
payloads that matrix units multiply."""


def spikes(network: Network, seed: int, inputs: int = 2) -> np.ndarray:
    shape = (network.timesteps, inputs, *network.input.shape)
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.float64)


def summed(network: Network, levels: set[int], chip: ChipSpec) -> Network:
    """Counts at the given levels of the only stream, whether or not they pay."""
    (stream,) = streams_of(network)
    chosen = sorted(level for level in levels if level < len(stream))
    return lengthened(with_counts(network, stream, chosen, chip), chip)


def compiled(network: Network, chip: ChipSpec) -> Program:
    origin = replace(ORIGIN, profile=chip.default_profile, weight_bits=8)
    return map_network(balance(network, chip.max_delay), chip, origin, ())


@given(
    depth=st.integers(2, 6), channels=st.integers(1, 5), side=st.integers(1, 3), timesteps=st.integers(1, 3),
    levels=st.sets(st.integers(0, 5), min_size=1), seed=st.integers(0, 999), readers=st.integers(1, 3),
    name=st.sampled_from(CHIPS),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_layers_behind_counts_fire_as_before_whatever_counts_there_are(
    depth, channels, side, timesteps, levels, seed, readers, name
):
    chip = load_chip(name)
    network = stacked(depth, channels, side, timesteps, seed, readers=readers, rules=chip.arithmetic)
    after = summed(network, levels, chip)
    validate_network(after, timed=False)
    x = spikes(network, seed)
    expected, found = network.run(x), after.run(x)
    for population, fired in expected.spikes.items():
        assert np.array_equal(fired, found.spikes[population]), population
    assert np.array_equal(expected.readout, found.readout)
    assert found.saturations == 0


@given(
    depth=st.integers(3, 5), channels=st.sampled_from([3, 64]), timesteps=st.integers(1, 3), seed=st.integers(0, 999),
    name=st.sampled_from(CHIPS), apart=st.integers(1, 2),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_counts_arrive_and_add_up_on_the_chip_and_are_the_models_accumulates(
    depth, channels, timesteps, seed, name, apart
):
    chip = load_chip(name)
    network = stacked(depth, channels, 3, timesteps, seed, readers=2, rules=chip.arithmetic)
    plain = compiled(network, chip)
    program = compiled(summed(network, set(range(0, depth, apart)), chip), chip)
    for each in (plain, program):
        check_program(each)
    x = spikes(network, seed)
    check, sample = Check(program.network, x), SampledCheck(program.network, x, 2)
    trace = run_program(program, x, observe=check.observe)
    run_program(program, x, observe=sample.observe)
    assert (check.difference, sample.difference) == (None, None)
    before = run_program(plain, x)
    assert np.array_equal(trace.readout, before.readout)
    with_sums, without = (make_report(*pair).to_dict() for pair in ((program, trace), (plain, before)))
    assert (with_sums["ac"], with_sums["mac"]) == (without["ac"], without["mac"])


def test_a_count_is_as_many_packets_for_each_port_that_reads_it_in_either_network_model(tmp_path):
    network = stacked(4, 2, 2, timesteps=2)
    save_program(compiled(summed(network, {0, 1, 2}, small_chip()), small_chip()), tmp_path / "p.ncp")
    program = load_program(tmp_path / "p.ncp")
    x = spikes(network, 3, inputs=1)
    counts = [p.name for p in program.network.populations if p.coding == "unary"]
    assert counts == ["h2.count", "h3.count", "any.count"]
    trace, run = run_program(program, x), program.network.run(x)
    for name in counts:
        reading = [i for i, bundle in enumerate(program.bundles) if name in {s.population for s in bundle}]
        ports = np.isin(program.ports["bundle"], reading).sum()
        assert trace.populations[name].packets == run.spikes[name].sum() * ports
    assert np.array_equal(run_program(program, x, noc="packet").readout, run.readout)
    kinds = {row.name: row.kind for row in make_report(program, trace).layers}
    assert {kinds[name] for name in counts} == {"sum"}


def test_counts_are_taken_where_axons_are_scarce_unless_told_not_to_or_steps_would_last_too_long():
    network = stacked(8, 24, 3, readers=3)
    scarce = small_chip(output_axons=200, words=400)
    found = Streams().run(network, scarce, LONG)
    counts = [p for p in found.populations if p.coding == "unary"]
    assert counts
    assert found.interval >= max(p.high for p in counts)
    assert compiled(found, scarce).n_cores < 0.75 * compiled(network, scarce).n_cores
    assert Streams().run(network, scarce, replace(LONG, sums=False)) is network
    assert Streams().run(network, scarce, replace(LONG, max_interval=3)) is network
    assert Streams().run(network, small_chip(), LONG) is network


def test_chips_that_cannot_count_keep_the_network():
    network = stacked(8, 24, 3, readers=3)
    chip = small_chip(output_axons=200, words=400)
    plain = chip.model_copy(update={"neuron": chip.neuron.model_copy(update={"dendrites": None})})
    assert Streams().run(network, plain, LONG) is network


def test_projections_that_fit_no_order_stay_as_they_are():
    network = stacked(4, 2)
    apart = replace(network.incoming["h3"][0], sources=network.incoming["h3"][0].sources[1:])
    network = replace(network, projections=tuple(apart if p.name == apart.name else p for p in network.projections))
    (levels,) = streams_of(network)
    assert [len(level.spikes) for level in levels] == [2, 4]
    assert apart.name not in {name for level in levels for name in level.readers}


def test_the_checker_finds_counts_that_are_too_small_or_that_no_neuron_of_the_chip_sends():
    chip, network = small_chip(), stacked(3, 2)
    network = summed(network, {0}, chip)
    made = network.by_name["h2.count"]

    def changed(**fields: int) -> Network:
        other = replace(made, **fields)
        return replace(network, populations=tuple(other if p is made else p for p in network.populations))

    with pytest.raises(ProgramError, match=r"h2\.count.*its spikes hold 0 to 1"):
        check_program(compiled(changed(high=1), chip))
    with pytest.raises(ProgramError, match="soft resets"):
        check_program(compiled(changed(compartments=1), chip))
    with pytest.raises(ProgramError, match="compartments"):
        validate_network(changed(compartments=3), timed=False)


def test_another_word_for_sums_is_refused_with_those_that_there_are():
    with pytest.raises(UnsupportedError, match=r"--sums some: expected one of auto, none"):
        compile_graph(tiny_spikformer(), load_chip("loihi"), Options(sums="some"))
