"""Repeaters: networks whose neurons reach more cores than one core has output axons, and lists that positions share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.legal.repeaters import SAVES, cores_of, repeated_if_cheaper, with_repeaters
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.demand import repeated_lists, shared_words
from compiler.mapping.map import map_network
from compiler.mapping.narrower import narrower
from compiler.pipeline import mapped
from neurochip.errors import CapacityError
from neurochip.network.arithmetic import Arithmetic
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Conv, Dense, Gather, Source
from neurochip.sim.check import Check
from neurochip.sim.engine import run_program
from tests.property.test_simulator import ORIGIN
from tests.small_chips import small_chip


def wide(channels: int = 24, side: int = 4) -> Network:
    """Spikes -> a -> b -> c -> readout, convolutions of 3 x 3: few channels fit a core."""
    rng = np.random.default_rng(0)
    fires = Neuron(kind="lif", decay=2048, threshold=2 << 6)

    def grid(name: str, neuron: Neuron, size: int = side) -> Population:
        return Population(name=name, height=size, width=size, channels=channels, neuron=neuron, origin=name)

    def conv(source: str, target: str) -> Conv:
        weight = rng.integers(-20, 21, (3, 3, channels, channels)).astype(np.int8)
        return Conv(
            name=f"{target}.synapses", sources=(Source(source),), target=target, origin=target, weight=weight,
            padding=(1, 1), shift=6,
        )  # fmt: skip

    sums = rng.integers(-9, 10, (channels, channels)).astype(np.int8)
    triple = np.eye(channels, dtype=np.int8) * 3
    x, a, b, c = grid("x", Neuron(kind="source")), grid("a", fires), grid("b", fires), grid("c", fires)
    return Network(
        name="wide",
        timesteps=3,
        populations=(x, a, b, c, grid("y", Neuron(kind="readout"), 1)),
        projections=(
            Dense(name="a.synapses", sources=(Source("x"),), target="a", origin="a", weight=triple, shift=6),
            conv("a", "b"),
            conv("b", "c"),
            Gather(name="y.synapses", sources=(Source("c"),), target="y", origin="y", weight=sums, shift=6),
        ),
        input=InputSpec(shape=(channels, side, side), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="y", scale=1.0, divisor=3, bias=(0.0,) * channels),
        arithmetic=Arithmetic(),
    )


def test_a_network_whose_neurons_reach_too_many_cores_compiles_with_repeaters_and_is_exact() -> None:
    chip = small_chip(neurons=256, output_axons=40, words=200)
    network = wide()
    with pytest.raises(CapacityError, match="output axons"):
        map_network(balance(network, chip.max_delay), chip, ORIGIN, ())
    program = mapped(network, chip, ORIGIN, (), lambda _name, _text: None)
    check_program(program)
    assert any(p.name.endswith(".split") for p in program.network.populations)
    x = np.random.default_rng(1).integers(0, 2, (3, 2, 24, 4, 4)).astype(np.float64)
    assert np.array_equal(network.run(x).readout, program.network.run(x).readout)
    check = Check(program.network, x)
    run_program(program, x, observe=check.observe)
    assert check.result()["exact"]


def test_a_large_network_that_fits_takes_repeaters_where_they_spare_many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    chip, network = small_chip(neurons=256, output_axons=80, words=200), wide()
    plain, spared = cores_of(network, chip, 8), cores_of(with_repeaters(network, chip, 8), chip, 8)
    assert spared <= SAVES * plain
    assert repeated_if_cheaper(network, chip, 8) is network  # a small one, so that nothing is gained for its ticks
    monkeypatch.setattr("compiler.legal.repeaters.LARGE", 100.0)
    program = mapped(network, chip, ORIGIN, (), lambda _name, _text: None)
    assert program.n_cores < plain
    assert any(p.name.endswith(".split") for p in program.network.populations)


def test_a_neuron_too_large_for_a_core_is_told_the_weight_bits_that_would_fit_if_any_do() -> None:
    network = wide()  # 24 lists of 9 synapses: 3 words each with 8 bits, 2 with 3 bits
    needed = {words: narrower(network, network.by_name["b"], small_chip(words=words), 8) for words in (60, 40)}
    assert needed[60].startswith("use --weight-bits 3,")
    assert needed[40].startswith("narrower weights do not help")


def test_positions_with_equal_weights_share_their_lists() -> None:
    chip, kernel = small_chip(), np.arange(9)[np.array([0, 1, 1, 1, 2])[:, None] * 3 + np.array([0, 1, 1, 1, 2])]
    weight = np.broadcast_to(kernel[:, :, None, None], (5, 5, 4, 6)).astype(np.int8)
    neuron = Neuron(kind="lif", threshold=64)
    source = Population(name="a", height=5, width=5, channels=4, neuron=neuron, origin="a")
    target = Population(name="b", height=1, width=1, channels=6, neuron=neuron, origin="b")
    conv = Conv(name="sum", sources=(Source("a"),), target="b", origin="b", weight=weight)
    assert repeated_lists(conv, target, chip) == 9
    words = shared_words(conv, source, target, np.array([1, 6]), chip, 8)
    # 25 synapses of 18 bits are one list of 8 words; a list of up to 6 synapses of 8 bits is a word, and there are 9
    assert words.tolist() == [4 * 8, 4 * 9]
    distinct = np.arange(150).astype(np.uint8).view(np.int8).reshape(5, 5, 1, 6)
    assert repeated_lists(replace(conv, weight=distinct), target, chip) == 0
