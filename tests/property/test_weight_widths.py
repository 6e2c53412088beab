"""Weights of 1 to 16 bits: what is quantised, stored and simulated is one computation, or is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from compiler.ir.graph import Graph
from compiler.ir.ops import Conv2d, Linear
from compiler.mapping.check import check_program
from compiler.passes import PASSES
from compiler.passes.units import Levels, Synapses, choose_threshold, choose_unit, integer_weights, squared_error
from compiler.pipeline import Options, compile_graph, run_passes
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import ChipError, ProgramError
from neurochip.network.projections import Conv, Dense, Gather, narrowest
from neurochip.program.file import load_program, save_program
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from neurochip.sim.kernels import synapses as kernels
from tests.exact import any_input, assert_exact, ranged
from tests.spiking_graphs import target, tiny_spikformer

DARWIN3, SPINNAKER2 = load_chip("darwin3"), load_chip("spinnaker2")
FEW = {"deadline": None, "phases": (Phase.explicit, Phase.generate)}


def changed(chip: ChipSpec, **weights: object) -> ChipSpec:
    data = json.loads(chip.to_json())
    for key, value in weights.items():
        data["weights"][key] = value if isinstance(value, str) else {**data["weights"][key], "value": value}
    return ChipSpec.model_validate(data)


def weights_of(graph: Graph) -> np.ndarray:
    """All synaptic weights behind the first layer."""
    layers = [n.op for n in graph.of_type(Conv2d, Linear) if graph.input_types(n)[0].is_counts]
    return np.concatenate([op.weight.ravel() for op in layers])


@settings(max_examples=8, **FEW)
@given(st.sampled_from([1, 9, 11, 14, 16]), st.integers(0, 1000), st.booleans())
def test_graph_network_and_simulator_agree_at_every_width(bits, seed, analog):
    chip = SPINNAKER2 if bits > 1 else DARWIN3
    graph = ranged(tiny_spikformer(seed, analog=analog))
    program = assert_exact(graph, chip, seed=seed, weight_bits=bits, attention="processor")
    high = chip.weight_format(bits).high
    for projection in program.network.projections:
        if isinstance(projection, Conv | Dense | Gather):
            assert np.abs(projection.weight.astype(np.int64)).max() <= high


def test_sixteen_bits_are_used_where_sums_have_room_for_them():
    graph = ranged(tiny_spikformer(3))
    wide = weights_of(run_passes(graph, SPINNAKER2, 16))
    assert wide.dtype == np.int16
    assert np.abs(wide.astype(np.int64)).max() > 16000
    narrow = run_passes(graph, DARWIN3, 16)  # sums of 16 bits: the unit is coarser, so that none can wrap
    assert 127 < np.abs(weights_of(narrow).astype(np.int64)).max() < 16000
    largest = max(abs(end) for n in narrow.of_type(Conv2d, Linear) for end in ends(narrow, n))
    assert largest < 1 << 15


def ends(graph: Graph, node) -> tuple[float, float]:
    kind = graph.type_of(node)
    return (kind.low, kind.high) if graph.input_types(node)[0].is_counts else (0.0, 0.0)


@pytest.mark.parametrize("bits", [9, 12, 16])
def test_wider_weights_come_nearer_to_the_model(bits):
    weight = np.random.default_rng(bits).normal(size=(64, 64))
    layers = [Synapses(weight=weight)]

    def error(width: int) -> float:
        levels = Levels(1 - 2 ** (width - 1), 2 ** (width - 1) - 1)
        return squared_error(layers, choose_unit(layers, levels), levels)

    assert error(bits) < error(8) / 2


@settings(max_examples=20, **FEW)
@given(st.integers(0, 1000), st.floats(0.1, 3.0))
def test_one_bit_is_a_sign_and_the_mean_size_of_the_weights(seed, spread):
    weight = np.random.default_rng(seed).normal(scale=spread, size=(30, 40))
    layers, signs = [Synapses(weight=weight)], Levels(-1, 1, zero=False)
    unit, mean = choose_unit(layers, signs), float(np.abs(weight).mean())
    assert unit == pytest.approx(mean, rel=0.03)
    assert set(np.unique(integer_weights(weight, unit, signs))) == {-1, 1}
    assert_array_equal(integer_weights(np.zeros((1, 2)), 1.0, signs), [[1, 1]])
    theta = choose_threshold(layers, 20 * spread, signs, 1 << 14)
    assert theta == pytest.approx(20 * spread / mean, abs=1.5)


def test_lists_of_one_bit_skip_zeros_by_their_index():
    graph = ranged(tiny_spikformer(1))
    program = compile_graph(graph, DARWIN3, Options(placement="hilbert", weight_bits=1))
    dense = [p for p in program.network.projections if isinstance(p, Dense | Gather)]
    assert dense
    assert all((p.weight != 0).all() for p in dense if p.counted)
    hole = {p.name: np.where(np.arange(p.weight.shape[1]) == 0, 0, p.weight).astype(np.int8) for p in dense}
    projections = tuple(replace(p, weight=hole[p.name]) if p.name in hole else p for p in program.network.projections)
    holed = replace(program, network=replace(program.network, projections=projections))
    with pytest.raises(ProgramError, match="synapse_words recounted"):
        check_program(holed)


def test_program_files_keep_words(tmp_path):
    graph = ranged(tiny_spikformer(2))
    program, x = compile_graph(graph, SPINNAKER2, Options(placement="hilbert", weight_bits=13)), any_input(graph)
    save_program(program, tmp_path / "wide.ncp")
    again = load_program(tmp_path / "wide.ncp")
    kinds = {p.weight.dtype for p in again.network.projections if isinstance(p, Conv | Dense | Gather)}
    assert kinds == {np.dtype(np.int16)}
    check = Check(again.network, x)
    assert_array_equal(run_program(again, x, observe=check.observe).logits, run_program(program, x).logits)
    assert check.difference is None


@settings(max_examples=20, **FEW)
@given(st.integers(1, 40), st.integers(0, 300), st.sampled_from([np.int8, np.int16]), st.integers(0, 1000))
def test_rows_of_either_width_add_up_exactly(width, rows, dtype, seed):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    weight = rng.integers(-top, top + 1, (50, width)).astype(dtype)
    chosen, out = rng.integers(0, 50, rows).astype(np.int32), np.zeros(width, np.int32)
    kernels.add_rows(chosen, weight, out, np.empty(width, np.int16))
    assert_array_equal(out, weight[chosen].astype(np.int64).sum(axis=0))


def test_weights_beyond_sixteen_bits_are_refused():
    assert narrowest(np.array([-127, 127])).dtype == np.int8
    assert narrowest(np.array([-128])).dtype == np.int16  # bytes of the kernels are symmetric
    with pytest.raises(ValueError, match="a weight of 32768 does not fit 16 bits"):
        narrowest(np.array([-32768]))
    with pytest.raises(ValueError, match="weights of at most 16 bits can be modelled"):
        changed(SPINNAKER2, widths=[8, 24], stored=[8, 24])


def test_widths_that_a_chip_does_not_list_are_refused():
    with pytest.raises(ChipError, match=r"'darwin3' has no 12-bit weights; choose one of 1, 2, 4, 8, 16 bits"):
        compile_graph(ranged(tiny_spikformer(1)), DARWIN3, Options(weight_bits=12))
    with pytest.raises(ValueError, match="a signed weight needs at least 2 bits, or `one_bit: sign`"):
        changed(SPINNAKER2, widths=[1, 8])
    one = changed(SPINNAKER2, widths=[1, 8], one_bit="sign").weight_format(1)
    assert (one.low, one.high, one.zero, one.stored_bits) == (-1, 1, False, 8)


def test_a_field_leaves_wide_weights_smaller_exponents():
    spinnaker = load_chip("spinnaker")
    shifts = {bits: spinnaker.weight_format(bits).shift_high for bits in (4, 8, 9, 16)}
    assert shifts == {4: 8, 8: 8, 9: 7, 16: 0}
    graph = ranged(tiny_spikformer(5))
    program = assert_exact(graph, spinnaker, seed=5, weight_bits=16)
    assert {p.shift for p in program.network.projections if isinstance(p, Conv | Dense)} == {0}
    with pytest.raises(ValueError, match="a field of 12 bits holds no weight of the widest kind"):
        changed(spinnaker, field=12)


@pytest.mark.parametrize("chip", [DARWIN3, SPINNAKER2], ids=lambda chip: chip.name)
def test_stored_bits_are_those_of_the_chip_file(chip):
    stored = {bits: chip.weight_format(bits).stored_bits for bits in chip.weight_bits}
    fields = chip.weights.stored.value
    assert stored == {bits: min(f for f in fields if f >= bits) for bits in stored}
    assert stored[16] == 16


def test_the_passes_ask_for_no_width_in_particular():
    """A width that no chip lists works all the same."""
    graph = ranged(tiny_spikformer(4))
    for item in PASSES:
        graph = item.run(graph, target(bits=10))
    assert 127 < np.abs(weights_of(graph).astype(np.int64)).max() <= 512


def test_sums_that_leave_32_bits_are_found_by_the_checker():
    program = compile_graph(ranged(tiny_spikformer(2)), SPINNAKER2, Options(placement="hilbert", weight_bits=16))
    network = program.network
    many = tuple(replace(p, high=1 << 20) if p.neuron.kind == "lif" else p for p in network.populations)
    with pytest.raises(ProgramError, match=r"sums of .* leave 32 bits"):
        check_program(replace(program, network=replace(network, populations=many)))
