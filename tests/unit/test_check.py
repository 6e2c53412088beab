"""The checker accepts right programs and finds every single wrong entry; its bounds are those of the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from compiler.mapping.check import check_program, mapping_problems, receptive_fields
from compiler.mapping.check_arithmetic import current_range, encoder_range, largest_product
from compiler.mapping.check_cores import recount
from neurochip.chip.spec import ChipSpec
from neurochip.errors import ProgramError
from neurochip.network.network import Neuron
from neurochip.network.projections import Bias, Conv, Encoder, Product, Source
from neurochip.network.reference import product, projected
from neurochip.program.image import PORTS, ROUTES, SYNAPSES, TILES, USE
from tests.hand_programs import LOIHI, image_network, naive_program, naive_routes, spike_network
from tests.strategies import random_network

HEAVY = np.full((3, 3, 4, 6), 127, np.int8)
SHAPES = [{}, {"rows": 1, "channels": 3}, {"rows": 9, "channels": 99}, {"channels": 2, "tiles_per_core": 3}]


@pytest.fixture(scope="module")
def program():
    return naive_program(image_network(), rows=2, channels=4)


def with_entry(program, table, row, column, value):
    rows = getattr(program, table).copy()
    rows[column][row] = value
    return replace(program, **{table: rows})


def without_row(program, table, row):
    return replace(program, **{table: np.delete(getattr(program, table), row)})


def with_network(program, kind, name, /, **fields):
    network = program.network
    items = tuple(replace(i, **fields) if i.name == name else i for i in getattr(network, kind))
    return replace(program, network=replace(network, **{kind: items}))


def with_chip(program, path, value):
    """``program`` on a chip whose figure at ``path`` is ``value``."""
    data = program.chip.model_dump(mode="json", by_alias=True)
    *folders, last = path.split(".")
    place = data
    for folder in folders:
        place = place[folder]
    place[last] = value
    return replace(program, chip=ChipSpec.model_validate(data))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("network", [image_network(), spike_network()], ids=lambda n: n.name)
def test_right_programs_are_accepted(network, shape):
    check_program(naive_program(network, **shape))


@pytest.mark.parametrize("seed", range(25))
def test_right_mappings_of_random_networks_are_accepted(seed):
    network, _ = random_network(seed)
    rng = np.random.default_rng(seed)
    program = naive_program(network, rows=int(rng.integers(1, 4)), channels=int(rng.integers(1, 5)))
    check_program(program, arithmetic=False)


@pytest.mark.parametrize("table", ["tiles", "ports", "synapses", "use"])
def test_every_wrong_entry_is_found(program, table):
    rng = np.random.default_rng(3)
    rows = getattr(program, table)
    for _ in range(60):
        row = rng.choice(np.flatnonzero(program.cores["kind"] == 0)) if table == "use" else rng.integers(len(rows))
        column = rng.choice(rows.dtype.names)
        old = int(rows[column][row])
        value = old + int(rng.choice([-2, -1, 1, 2, 3]))
        with pytest.raises(ProgramError):
            check_program(with_entry(program, table, row, column, value))


@pytest.mark.parametrize("table", ["tiles", "synapses"])
def test_every_missing_or_repeated_row_is_found(program, table):
    rows = getattr(program, table)
    for row in range(len(rows)):
        with pytest.raises(ProgramError):
            check_program(without_row(program, table, row))
        with pytest.raises(ProgramError):
            check_program(replace(program, **{table: np.append(rows, rows[row : row + 1])}))


def problem(program, **options):
    with pytest.raises(ProgramError) as caught:
        check_program(program, **options)
    return str(caught.value)


def test_overlapping_tiles_are_named(program):
    tiles = program.tiles.copy()
    tiles["y0"][1], tiles["y1"][1] = tiles["y0"][0], tiles["y1"][0]  # as many neurons as before, in the wrong place
    overlapping = replace(program, tiles=tiles)
    assert "tiles of population 'stem': expected the cells that cuts of its rows" in problem(overlapping)
    text = next(mapping_problems(overlapping))
    assert "population 'stem': neuron (y 0, x 0, channel 0) is in 2 tiles, expected 1" in text


def test_a_missing_synapse_block_is_named(program):
    row = int(np.flatnonzero(program.synapses["projection"] == 1)[0])
    assert "projection 'conv.w': tile 3 has 0 synapse blocks for it, expected 1" in problem(
        without_row(program, "synapses", row)
    )


def test_a_port_that_is_too_small_is_named(program):
    row = int(program.synapses["port"][program.synapses["projection"] == 1][0])
    smaller = with_entry(program, "ports", row, "y1", int(program.ports["y1"][row]) - 1)
    assert f"projection 'conv.w': port {row} does not cover all that tile 3 listens to" in problem(smaller)


def test_an_idle_port_is_named(program):
    extra = np.append(program.ports, program.ports[:1])
    assert "feeds no synapse block" in problem(replace(program, ports=extra))


def test_two_cores_at_one_place_are_named(program):
    one = with_entry(program, "cores", 1, "slot", 0)
    assert "cores 0 and 1 are at the same place: router (0, 0) slot 0" in problem(one)


def test_a_core_on_the_wrong_chip_is_named(program):
    assert "do not correspond one to one" in problem(with_entry(program, "cores", 5, "chip", 1))
    assert "do not correspond one to one" in problem(with_entry(program, "cores", 5, "x", 8))


def test_a_second_chip_is_accepted(program):
    moved = with_entry(with_entry(program, "cores", 5, "x", 8), "cores", 5, "chip", 1)
    check_program(moved)


def test_a_processor_where_none_is_is_named(program):
    row = int(np.flatnonzero(program.cores["kind"] == 1)[0])
    assert "no embedded processor at router (3, 0)" in problem(with_entry(program, "cores", row, "x", 3))


def test_a_population_on_the_wrong_kind_of_core_is_named(program):
    row = int(np.flatnonzero(program.cores["kind"] == 1)[0])
    text = problem(with_entry(with_entry(program, "cores", row, "kind", 0), "cores", row, "slot", 1))
    assert "population 'attention': expected on a embedded processor" in text


def test_a_wrong_count_is_named(program):
    wrong = with_entry(program, "use", 4, "synapse_words", 7)
    assert "core 4: synapse_words recounted to" in problem(wrong)
    assert "the program says 7" in problem(wrong)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("core.neurons.value", "neurons"),
        ("core.input_axons.value", "input_axons"),
        ("core.output_axons.value", "output_axons"),
        ("core.synapse_memory.words.value", "synapse_words"),
    ],
)
def test_a_core_over_its_limit_is_named(program, path, name):
    most = int(program.use[name][program.cores["kind"] == 0].max())
    check_program(with_chip(program, path, most))
    assert f"{most} {name}, the limit is {most - 1} (" in problem(with_chip(program, path, most - 1))


def test_fan_out_is_counted_neuron_by_neuron(program):
    figure = {"value": 4, "unit": "axons", "source": "neurochip", "status": "assumed", "note": "a test"}
    routes, fans = np.array(naive_routes(program)), []
    for t, tile in enumerate(program.tiles):
        if program.cores["kind"][tile["core"]] == 0:
            ports = program.ports[routes[routes[:, 0] == t, 1]]
            for y, x, c in np.ndindex(*(tile[a + "1"] - tile[a + "0"] for a in "yxc")):
                here = zip("yxc", (y + tile["y0"], x + tile["x0"], c + tile["c0"]), strict=True)
                inside = np.all([(ports[a + "0"] <= v) & (v < ports[a + "1"]) for a, v in here], axis=0)
                fans.append(int(inside.sum()))
    check_program(with_chip(program, "core.fan_out_per_neuron", {**figure, "value": max(fans)}))
    few = with_chip(program, "core.fan_out_per_neuron", {**figure, "value": max(fans) - 1})
    assert f"a neuron feeds {max(fans)} axons, it reaches {max(fans) - 1}" in problem(few)


def test_chips_that_cannot_share_weights_pay_for_every_position(program):
    lone = recount(with_chip(program, "core.weight_sharing", False))
    shared = recount(program)
    assert (lone["input_axons"] >= shared["input_axons"]).all()
    assert lone["synapse_words"].sum() > shared["synapse_words"].sum()


# Arithmetic


@pytest.mark.parametrize(
    ("kind", "name", "fields", "words"),
    [
        ("populations", "conv", {"neuron": Neuron(kind="lif", threshold=100)}, "threshold 100 is not a whole number"),
        ("populations", "conv", {"neuron": Neuron(kind="lif", threshold=1 << 23)}, "threshold 8388608 is not"),
        ("populations", "conv", {"neuron": Neuron(kind="lif", decay=4096)}, "decay 4096, the chip's largest is 4095"),
        ("populations", "conv", {"neuron": Neuron(kind="lif", reset="soft")}, "the chip has no soft reset"),
        ("populations", "attention", {"high": 35}, "payloads reach 36, but high is 35"),
        ("projections", "conv.w", {"shift": 15}, "shift (15,), the chip's are 0 to 14"),
        (
            "projections",
            "conv.w",
            {"weight": np.full((3, 3, 4, 6), -128, np.int8)},
            "weights of -128 to 0, a weight of 8 bits is -127",
        ),
        ("projections", "conv.b", {"weight": np.full((2, 6), 128, np.int16)}, "weights of 0 to 128"),
        ("projections", "conv.b", {"shifts": (15, 6)}, "shift (15, 6), the chip's are"),
        ("projections", "stem.encoder", {"down": 1}, "do not fit a bias register of 13 bits << 0 to 7"),
        ("projections", "stem.encoder", {"shift": 8}, "do not fit a bias register"),
        ("projections", "conv.w", {"shift": 14, "weight": HEAVY}, "can wrap in 24 bits"),
    ],
)
def test_values_the_chip_cannot_hold_are_named(program, kind, name, fields, words):
    assert words in problem(with_network(program, kind, name, **fields))


def test_a_longer_delay_than_the_chips_is_named(program):
    assert "delay 4 from 'pool': expected depth 6 - 2, between 1 and the chip's longest, 3" in problem(
        with_chip(program, "delays.max.value", 3)
    )


def test_a_chip_that_clips_may_overflow(program):
    wild = with_network(program, "projections", "conv.w", shift=14, weight=HEAVY)
    arithmetic = wild.chip.arithmetic.model_copy(update={"current_overflow": "clip"})
    wild = with_chip(wild, "neuron.arithmetic", arithmetic.model_dump())
    check_program(replace(wild, network=replace(wild.network, arithmetic=arithmetic)))


def test_another_chips_arithmetic_is_named(program):
    arithmetic = program.chip.arithmetic.model_copy(update={"membrane_bits": 20})
    other = replace(program, network=replace(program.network, arithmetic=arithmetic))
    assert "its arithmetic is not that of 'loihi'" in problem(other)


def dense_matrix(network, projection):
    """(source neurons, target positions, target channels) and where reads fall, from the reference, spike by spike."""
    target = network.by_name[projection.target]
    source = network.by_name[projection.sources[0].population]
    x = np.eye(source.size, dtype=np.int64).reshape(source.size, source.height, source.width, source.channels)
    silent = {s.population: np.zeros_like(x) for s in projection.sources[1:]}
    out = projected(projection, target, {**silent, projection.sources[0].population: x}, np.zeros(1))
    return np.broadcast_to(out, (source.size, target.height, target.width, target.channels))


@pytest.mark.parametrize("seed", range(20))
def test_bounds_and_receptive_fields_are_those_of_the_reference(seed):
    network, _ = random_network(seed) if seed else (image_network(), None)
    for projection in network.projections:
        if isinstance(projection, Bias | Encoder | Product):
            continue
        matrix = dense_matrix(network, projection)
        spikes = sum(network.by_name[s.population].high for s in projection.sources)
        low, high = current_range(network, projection)
        assert np.array_equal(np.minimum(matrix, 0).sum(axis=0).min(axis=(0, 1)) * spikes, low), projection.name
        assert np.array_equal(np.maximum(matrix, 0).sum(axis=0).max(axis=(0, 1)) * spikes, high), projection.name
        source = network.by_name[projection.sources[0].population]
        reads = (matrix != 0).reshape(source.height, source.width, source.channels, *matrix.shape[1:])
        for axis, (first, last) in enumerate(receptive_fields(network, projection)):
            along = reads.any(axis=tuple(i for i in range(6) if i not in (axis, axis + 3)))
            for output, (begin, end) in enumerate(zip(first, last, strict=True)):
                taps = np.flatnonzero(along[:, output])
                assert len(taps) == 0 or (begin <= taps[0] and taps[-1] < end), (projection.name, axis, output)


def test_a_bias_is_its_own_bound():
    network = image_network()
    bias = next(p for p in network.projections if isinstance(p, Bias))
    low, high = current_range(network, bias)
    assert np.array_equal(low, projected(bias, network.by_name["conv"], {}, np.zeros(1)))
    assert np.array_equal(low, high)


def test_the_encoders_range_is_reached():
    network = image_network()
    encoder = next(p for p in network.projections if isinstance(p, Encoder))
    found = []
    for channel in range(4):
        for level in (-15, 15):
            frame = np.where(encoder.weight[..., channel] > 0, level, -level)[None]
            here = projected(replace(encoder, padding=(0, 0)), network.by_name["stem"], {}, frame.astype(np.int64))
            found.append(here[..., channel] >> encoder.shift)
    assert (np.min(found), np.max(found)) == encoder_range(network, encoder)


def test_the_largest_product_is_reached():
    network = image_network()
    projection = next(p for p in network.projections if isinstance(p, Product))
    ones = np.ones((1, 3, 3, 8), np.int64)
    assert product(ones, ones, ones, projection.heads).max() == largest_product(network, projection)


# Corners


def test_a_tile_that_sees_only_padding_may_have_an_empty_port():
    network = spike_network()
    grid = replace(network.populations[1], height=3, width=1)
    conv = Conv(
        name="w1",
        sources=(Source("p0", 1),),
        target="p1",
        origin="x",
        weight=np.ones((1, 1, 20, 16), np.int8),
        padding=(1, 0),
        shift=6,
    )
    gather = replace(network.projections[1], weight=network.projections[1].weight)
    taps = np.arange(3 * 16 * 5).astype(np.int8).reshape(3, 1, 16, 5)
    flat = Conv(name="w2", sources=gather.sources, target="p2", origin="x", weight=taps)
    populations = (network.populations[0], grid, network.populations[2])
    network = replace(network, populations=populations, projections=(conv, flat))
    program = naive_program(network, rows=1, channels=99)
    assert not list(mapping_problems(program))


def test_table_columns_are_the_documented_ones():
    assert (len(TILES), len(PORTS), len(SYNAPSES), len(ROUTES), len(USE)) == (8, 8, 3, 3, 4)


def test_an_all_zero_use_is_refused():
    program = naive_program(spike_network())
    assert "recounted" in problem(replace(program, use=np.zeros_like(program.use)))
    assert program.chip is LOIHI
