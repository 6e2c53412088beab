"""Cores that multiply: what they simulate equals the integer reference, the inputs of a core are of one mode."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.ops import Conv2d, Input, Linear, MaxPool, Neuron, Reshape, TimeMean
from compiler.legal.core_modes import CoreModes
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from compiler.pipeline import Options, compile_graph
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import ProgramError, UnsupportedError
from neurochip.network.network import InputSpec, Network
from neurochip.network.network import Neuron as Cells
from neurochip.network.projections import Bias, Encoder, Gather, Source
from neurochip.network.validate import validate_network
from neurochip.program.file import load_program, save_program
from neurochip.program.image import NEURON_CORE, Program
from neurochip.report.report import make_report
from tests.exact import assert_exact
from tests.legal_networks import EIGHT_BITS
from tests.mode_networks import analog, graded_chip, mixed, population
from tests.property.test_simulator import ORIGIN, differing
from tests.small_chips import small_chip
from tests.spiking_graphs import Model, tiny_spikformer

SEEDS = st.integers(0, 10_000)


def mapped(network: Network, chip: ChipSpec) -> Program:
    legal = CoreModes().run(network, chip, EIGHT_BITS)
    validate_network(legal, timed=False)
    program = map_network(balance(legal, chip.max_delay), chip, ORIGIN, ())
    check_program(program)
    return program


def image(seed: int, low: int, high: int, steps: int = 1) -> np.ndarray:
    """Two images, of which a quarter of the values are zero."""
    rng = np.random.default_rng(seed)
    x = rng.integers(low, high + 1, (steps, 2, 2, 4, 5)) * (rng.random((steps, 2, 2, 4, 5)) < 0.75)
    return 0.5 * (x[0] if steps == 1 else x)


def reached(network: Network, x: np.ndarray) -> int:
    """Values that are not zero times the synapses of the first layer that they reach, by counting."""
    conv = network.projections[0]
    target = network.by_name[conv.target]
    count, levels = 0, np.rint(x / network.input.scale)
    frames = levels if levels.ndim == 5 else np.repeat(levels[None], network.timesteps, axis=0)
    for frame in frames.reshape(-1, 2, 4, 5):
        padded = np.pad(frame, ((0, 0), (1, 1), (1, 1)))
        for y in range(target.height):
            for column in range(target.width):
                left = column * conv.stride[1]
                count += int((padded[:, y : y + 3, left : left + 3] != 0).sum()) * target.channels
    return count


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.sampled_from([(0, 255), (-127, 127), (0, 15), (-3, 9)]), st.sampled_from([1, 3]))
def test_values_that_cores_multiply_give_every_spike(seed: int, levels: tuple[int, int], steps: int) -> None:
    network = analog(*levels, seed=seed, timesteps=3)
    program = mapped(network, graded_chip())
    x = image(seed, *levels, steps)
    difference, trace = differing(program, x)
    assert difference is None
    expected = network.run(x)
    assert (trace.wraps, trace.clips) == (expected.wraps, expected.clips) == (0, expected.clips)
    assert int(trace.cores.macs.sum()) == trace.projections["conv"].ops == reached(network, x)
    frames = np.rint(x / 0.5) if steps > 1 else np.repeat(np.rint(x / 0.5)[None], 3, axis=0)
    assert trace.populations["x"].spikes.tolist() == [int((frame != 0).sum()) for frame in frames]


def with_array(chip: ChipSpec) -> ChipSpec:
    data = json.loads(chip.to_json())
    source = {"source": "neurochip", "status": "assumed", "note": "test"}
    data["core"]["software"] = {
        "clock": {"value": 100, "unit": "MHz", **source},
        "memory": {"value": 64, "unit": "KiB", **source},
        "neuron": {"value": 8, "unit": "bytes", **source},
        "mac_array": {
            "lanes": {"value": 4, "unit": "MACs per cycle", **source},
            "operands": {"value": [8], "unit": "bits", **source},
            "clock": {"value": 100, "unit": "MHz", **source},
        },
    }
    return ChipSpec.model_validate(data)


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_a_matrix_unit_multiplies_zeros_too(seed: int) -> None:
    network = analog(seed=seed)
    x = image(seed, 0, 255)
    difference, trace = differing(mapped(network, with_array(graded_chip())), x)
    assert difference is None
    assert int(trace.cores.macs.sum()) == network.by_name["first"].size * 3 * 3 * 2 * network.timesteps * 2


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_neurons_of_both_inputs_keep_every_spike_on_cores_of_one_mode(seed: int) -> None:
    network, chip = mixed(seed, timesteps=4), graded_chip()
    program = mapped(network, chip)
    x = np.random.default_rng(seed).integers(0, 2, (4, 3, 3)).astype(float)
    difference, _ = differing(program, x)
    assert difference is None
    expected, found = network.run(x), program.network.run(x)
    for name, spikes in expected.spikes.items():
        assert np.array_equal(spikes, found.spikes[name]), name
    graded = [program.network.by_name[bundle[0].population].coding == "graded" for bundle in program.bundles]
    brings = np.array(graded)[program.ports["bundle"]]
    for core in np.flatnonzero(program.cores["kind"] == NEURON_CORE):
        assert len(set(brings[program.ports["core"] == core].tolist())) <= 1


def test_two_senders_of_payloads_share_axons_that_count() -> None:
    """Both are delivered and multiplied where one projection reads two populations of payloads."""
    network = mixed(3, timesteps=2)
    sums = network.by_name["sums"]
    twin = replace(sums, name="twin")
    into = next(p for p in network.projections if p.name == "as")
    joined = [
        replace(p, sources=(Source("sums"), Source("twin"))) if p.name == "sc" else p for p in network.projections
    ]
    network = replace(
        network,
        populations=(*network.populations[:3], twin, *network.populations[3:]),
        projections=(*joined, replace(into, name="at", target="twin")),
    )
    x = np.ones((2, 1, 3))
    difference, trace = differing(mapped(network, graded_chip(kinds=("spiking", "graded"))), x)
    assert difference is None
    assert trace.projections["sc"].ops == 2 * int((network.run(x).spikes["sums"] != 0).sum())


@pytest.mark.parametrize("kind", ["graded sums", "a block"])
def test_payloads_reach_dense_and_gathered_synapses(kind: str) -> None:
    """An image of three channels feeds one position at once, or the positions of blocks of four."""
    rng, chip = np.random.default_rng(1), graded_chip()
    network = analog(timesteps=1)
    block = (1, 1) if kind == "graded sums" else (2, 2)
    gather = Gather(
        name="conv", sources=(Source("x"),), target="first", origin="first",
        weight=rng.integers(-9, 10, (2, 3)).astype(np.int8),
    )  # fmt: skip
    first = population("first", block[0], block[1], 3, Cells(kind="lif", threshold=640))
    x = population("x", 4, 4, 2, Cells(kind="source"), coding="graded", high=255)
    network = replace(
        network,
        populations=(x, first, network.populations[2]),
        projections=(gather, *network.projections[1:]),
        input=InputSpec(shape=(2, 4, 4), kind="analog", scale=1.0, low=0, high=255),
    )
    values = rng.integers(0, 256, (3, 2, 4, 4)).astype(float)
    difference, trace = differing(mapped(network, chip), values)
    assert difference is None
    assert int(trace.cores.macs.sum()) == int((values != 0).sum()) * 3


def spiking_model(seed: int, *, low: float = 0.0, timesteps: int = 1) -> Any:
    graph = tiny_spikformer(seed)
    nodes = [
        replace(node, op=replace(node.op, low=low, high=1.0)) if isinstance(node.op, Input) else node
        for node in graph.nodes
    ]
    return replace(graph.with_nodes(nodes), timesteps=timesteps)


@pytest.mark.parametrize(
    ("name", "timesteps", "low"),
    [("tianjic", 1, 0.0), ("tianjic", 1, -1.0), ("spinnaker2", 4, -1.0), ("loihi2", 4, 0.0), ("loihi2", 1, -1.0)],
)
def test_the_quantised_graph_is_what_cores_compute(name: str, timesteps: int, low: float) -> None:
    """The graph that cores adopt has no rescaling behind the first layer, and every spike equals its own."""
    program = assert_exact(spiking_model(1, low=low, timesteps=timesteps), load_chip(name), seed=1, encoder="core")
    first = program.network.populations[0]
    assert (first.neuron.kind, first.coding, first.signed) == ("source", "graded", low < 0)


def test_a_program_with_payloads_from_the_host_survives_its_file(tmp_path: Any) -> None:
    program = mapped(analog(-127, 127), graded_chip())
    save_program(program, tmp_path / "a.ncp")
    again = load_program(tmp_path / "a.ncp")
    x = image(0, -127, 127)
    assert differing(again, x)[1].logits.tolist() == differing(program, x)[1].logits.tolist()


def problems(program: Program) -> str:
    with pytest.raises(ProgramError) as found:
        check_program(program)
    return str(found.value)


def test_the_checker_refuses_cores_of_both_modes() -> None:
    network, chip = balance(mixed(), 7), graded_chip()
    free = small_chip(payload=8)  # whose cores mix spikes and payloads as they like
    program = map_network(network, free, ORIGIN, ())
    assert "some axons bring spikes and some payloads" in problems(replace(program, chip=chip))
    plain = graded_chip(kinds=("spiking",), where="host", also=None)
    assert "graded inputs, the chip's cores are spiking" in problems(replace(program, chip=plain))
    with pytest.raises(UnsupportedError, match="its inputs are graded and spiking, the cores of 'loihi' are spiking"):
        CoreModes().run(mixed(), plain, EIGHT_BITS)


def test_the_checker_recounts_widths_and_places() -> None:
    program = mapped(analog(), graded_chip())
    narrow = replace(program, chip=graded_chip(activation=7))
    assert "payloads reach 255, a spike carries 7 bits to a synapse" in problems(narrow)
    assert "takes it on the host" in problems(replace(program, chip=graded_chip(where="host", also=None)))
    assert "an accumulator holds 131071" in problems(replace(program, chip=graded_chip(accumulator=18)))
    signed = mapped(analog(-127, 127), graded_chip())
    assert "a spike carries 7 signed bits" in problems(replace(signed, chip=graded_chip(activation=7)))


@pytest.mark.parametrize(("target", "more"), [("first", 7), ("out", 0)])
def test_always_on_axons_carry_values_beside_payloads_only(target: str, more: int) -> None:
    """Seven bits of an activation more than the exponent of weights, which is all that spikes have."""
    chip, network = graded_chip(), analog()
    largest = chip.weight_format().shift_high + more
    width = network.by_name[target].channels
    bias = Bias(
        name="more", sources=(), target=target, origin=target, shifts=(largest, 0), weight=np.ones((2, width), np.int16)
    )  # fmt: skip
    for shift, accepted in ((largest, True), (largest + 1, False)):
        one = replace(network, projections=(*network.projections, replace(bias, shifts=(shift, 0))))
        program = map_network(balance(one, chip.max_delay), chip, ORIGIN, ())
        if accepted:
            check_program(program)
        else:
            assert f"shifts {shift}, 0, its axons have 0 to {largest}" in problems(program)


def refused(graph: Any, chip: ChipSpec, encoder: str = "core") -> str:
    with pytest.raises(UnsupportedError) as found:
        compile_graph(graph, chip, Options(encoder=encoder))
    return str(found.value)


def test_what_cores_cannot_multiply_is_refused_or_goes_to_the_host() -> None:
    chip = graded_chip()
    graph = tiny_spikformer(0)
    only_host = graded_chip(where="host", also=None)
    assert "can take analog input on: host" in refused(graph, only_host)
    m = Model(0)
    x = m.add("conv", Conv2d(weight=m.weight(3, 2, 3, 3)), m.add("input", Input(shape=(2, 8, 8), low=0.0, high=1.0)))
    pooled = m.add("pool", MaxPool(kernel=(2, 2), stride=(2, 2)), x)
    z = m.add("lif", Neuron(tau=2.0), pooled)
    flat = m.add("flat", Reshape(shape=(27,)), z)
    model = m.graph(m.add("mean", TimeMean(), m.add("head", Linear(weight=m.weight(4, 27)), flat)))
    assert "takes maxima of what analog input charges" in refused(model, chip)
    program = compile_graph(model, chip, Options())
    assert any(isinstance(p, Encoder) for p in program.network.projections), "the other place takes it"


def test_a_place_that_nothing_multiplies_at_is_no_description() -> None:
    with pytest.raises(ValueError, match="'core' needs payloads"):
        graded_chip(payload=0)


def test_reports_count_multiply_accumulates_of_cores() -> None:
    program = mapped(analog(), graded_chip())
    trace = differing(program, image(0, 0, 255))[1]
    layer = make_report(program, trace).layers[1]
    assert (layer.kind, layer.mac) == ("conv (analog)", int(trace.cores.macs.sum()))
    assert layer.ops_45nm_j == pytest.approx(layer.mac * 4.6e-12)
