"""The Loihi description gives the published figures, in plain numbers and the right units, from the right source."""

import pytest

from neurochip.chip.costs import EVENT_MEANING, EVENTS
from neurochip.chip.describe import describe
from neurochip.chip.load import chip_json_schema, load_chip, parse_chip, shipped_chips
from neurochip.chip.spec import ChipSpec
from neurochip.errors import ChipError
from neurochip.network.arithmetic import Arithmetic

LOIHI = load_chip("loihi")


def test_shipped_chips_are_found_by_name_and_file_name():
    assert "loihi" in shipped_chips()
    assert load_chip("loihi.yaml") == load_chip("loihi")


def test_geometry_and_core_limits():
    assert (LOIHI.mesh_columns, LOIHI.mesh_rows, LOIHI.cores_per_router, LOIHI.cores_per_chip) == (8, 4, 4, 128)
    assert (LOIHI.max_chips, LOIHI.chip_columns, LOIHI.chip_rows) == (768, 12, 64)
    limits = LOIHI.limits
    assert (limits.neurons, limits.input_axons, limits.output_axons) == (1024, 4096, 4096)
    assert limits.fan_out_per_neuron is None
    assert limits.synapse_words * limits.word_bits == 128 * 1024 * 8
    assert (limits.header_bits, limits.block_synapses, limits.index_bits, limits.delay_bits) == (10, 64, 10, 0)
    assert LOIHI.max_delay == 7
    assert LOIHI.weight_sharing
    assert len(LOIHI.processors) == 3
    assert "processor" in LOIHI.attention_methods


def test_arithmetic_is_the_bit_accurate_lif():
    assert LOIHI.arithmetic == Arithmetic()
    assert LOIHI.arithmetic.current_overflow == "wrap"
    assert LOIHI.arithmetic.membrane_overflow == "clip"
    assert LOIHI.arithmetic.fires == "gt"


@pytest.mark.parametrize(
    ("bits", "high", "shift_low", "shift_high", "stored"),
    [(8, 127, 0, 14, 8), (7, 63, 1, 15, 8), (4, 7, 4, 18, 4), (2, 1, 6, 20, 2)],
)
def test_weights_are_left_aligned_in_nine_bits(bits, high, shift_low, shift_high, stored):
    weight = LOIHI.weight_format(bits)
    assert (weight.low, weight.high) == (-high, high)
    assert (weight.shift_low, weight.shift_high, weight.stored_bits) == (shift_low, shift_high, stored)


def test_the_narrowest_and_widest_weight_reach_the_same_range():
    widest, narrowest = LOIHI.weight_format(8), LOIHI.weight_format(2)
    assert (widest.high + 1) << widest.shift_high == (narrowest.high + 1) << narrowest.shift_high


def test_nine_bit_mixed_sign_weights_are_refused():
    with pytest.raises(ChipError) as caught:
        LOIHI.weight_format(9)
    assert str(caught.value) == (
        "chip 'loihi' has no 9-bit weights; choose one of 2, 3, 4, 5, 6, 7, 8 bits (sign included)"
    )


def test_davies_profile_is_table_2_of_the_paper():
    costs = LOIHI.costs("loihi_davies2018")
    energy = {name: value for name, value in costs.energy_pj.items() if value is not None}
    assert energy == {
        "synaptic_op_dense": 23.6,
        "synaptic_op_sparse": 23.6,
        "synaptic_op_conv": 23.6,
        "neuron_inactive": 52.0,
        "neuron_active": 81.0,
        "local_delivery": 1.7,
        "hop_x": 3.0,
        "hop_y": 4.0,
        "learning_update": 120.0,
    }
    assert costs.latency_ns["synaptic_op_dense"] == 3.5
    assert (costs.latency_ns["neuron_active"], costs.latency_ns["neuron_inactive"]) == (8.4, 5.3)
    assert (costs.noc.hop_x_ns, costs.noc.hop_y_ns) == (4.1, 6.5)
    assert costs.noc.link_service_ns == pytest.approx(1 / 3.44, rel=1e-3)
    assert costs.static_mw_per_chip == pytest.approx(3340 / 32, rel=1e-3)
    assert costs.static_mw_per_core == 0


def test_sanafe_profile_is_its_calibrated_set():
    costs = LOIHI.costs("loihi_sanafe_nahuku")
    assert (costs.energy_pj["synaptic_op_dense"], costs.latency_ns["synaptic_op_dense"]) == (35.5, 3.8)
    assert (costs.energy_pj["synaptic_op_conv"], costs.latency_ns["synaptic_op_conv"]) == (24.0, 3.1)
    assert costs.energy_pj["neuron_active"] == pytest.approx(51.2 + 21.6)
    assert costs.latency_ns["neuron_active"] == pytest.approx(6.0 + 3.7)
    assert (costs.energy_pj["spike"], costs.energy_pj["axon_out"], costs.energy_pj["hop_y"]) == (69.3, 111.0, 4.2)
    assert costs.static_mw_per_chip is None
    assert "static_power.per_chip" in costs.not_published


def test_profiles_never_share_a_source():
    sources = [
        {row.source for row in describe(LOIHI) if row.key.startswith(f"profiles.{name}.") and row.status != "assumed"}
        for name in LOIHI.profile_names
    ]
    assert sources == [{"davies2018", "frady2020"}, {"sana_fe"}]


def test_barrier_times_are_exact_at_the_published_points():
    davies, sanafe = LOIHI.costs("loihi_davies2018"), LOIHI.costs("loihi_sanafe_nahuku")
    assert [davies.barrier_ns(n, 1) for n in (0, 1, 32, 40)] == [113, 113, 465, 465]
    assert davies.barrier_ns(2, 1) == pytest.approx(113 + 352 / 31)
    assert [davies.barrier_ns(900, chips) for chips in (256, 768)] == [14300, 16200]
    assert davies.barrier_ns(32, 1) < davies.barrier_ns(33, 2) < davies.barrier_ns(8192, 256)
    assert [sanafe.barrier_ns(n, 1) for n in (1, 2, 3, 4, 28, 29, 32)] == [600, 1000, 1000, 1400, 1400, 1800, 1800]


def test_what_no_source_gives_is_listed():
    costs = LOIHI.costs()
    assert costs.profile == LOIHI.default_profile == "loihi_davies2018"
    assert "processor_op.energy" in costs.not_published
    assert "chip_crossing.energy" in costs.not_published
    assumed = [line.split(" = ")[0] for line in costs.assumed]
    assert "processor_op.latency" in assumed
    assert "noc.chip_link_service" in assumed
    assert "embedded_processors.routers" in assumed
    assert costs.latency_ns["processor_op"] == 2.5
    assert costs.noc.chip_link_latency_ns == 100


def test_every_event_has_a_meaning_and_a_place_in_the_costs():
    assert set(EVENT_MEANING) == set(EVENTS)
    assert set(LOIHI.costs().energy_pj) == set(LOIHI.costs().latency_ns) == set(EVENTS)


def test_an_unknown_profile_names_the_closest():
    with pytest.raises(ChipError) as caught:
        LOIHI.costs("loihi_davis2018")
    assert str(caught.value) == (
        "chip 'loihi' has no profile 'loihi_davis2018' (did you mean 'loihi_davies2018'?); "
        "it has: loihi_davies2018, loihi_sanafe_nahuku"
    )


def test_a_description_survives_json_and_yaml_with_its_digest():
    for again in (
        ChipSpec.model_validate_json(LOIHI.to_json()),
        ChipSpec.model_validate_json(LOIHI.model_dump_json()),
        parse_chip(LOIHI.to_yaml(), "again.yaml"),
    ):
        assert again == LOIHI
        assert again.digest == LOIHI.digest
        assert again.costs() == LOIHI.costs()


def test_the_digest_sees_every_value_and_no_layout():
    text = LOIHI.to_yaml()
    assert parse_chip("# a comment\n" + text.replace("value: 23.6", "value: 23.60"), "c").digest == LOIHI.digest
    assert parse_chip(text.replace("value: 23.6", "value: 23.7", 1), "c").digest != LOIHI.digest
    assert parse_chip(text.replace("soft_reset: false", "soft_reset: true"), "c").digest != LOIHI.digest


def test_units_are_converted():
    text = LOIHI.to_yaml().replace("{value: 23.6, unit: pJ", "{value: 0.0236, unit: nJ", 1)
    assert parse_chip(text, "c").costs().energy_pj["synaptic_op_dense"] == pytest.approx(23.6)


def test_a_description_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        LOIHI.name = "other"


def test_describe_shows_value_unit_source_and_status():
    rows = {row.key: row for row in describe(LOIHI)}
    row = rows["core.neurons"]
    assert (row.value, row.source, row.status) == ("1024 neurons", "davies2018", "V2")
    assert rows["weights.widths"].value == "2, 3, 4, 5, 6, 7, 8 bits"
    assert rows["profiles.loihi_davies2018.costs.spike.energy"].value == "not published"
    assert repr(LOIHI) == (
        "ChipSpec('loihi': 128 cores of 1024 neurons on 8 x 4 routers, up to 768 chips, "
        "profiles loihi_davies2018, loihi_sanafe_nahuku)"
    )


def test_the_json_schema_describes_every_section_and_unit():
    schema = chip_json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"schema", "mesh", "core", "profiles"} <= set(schema["required"])
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Energy"]["properties"]["unit"]["enum"] == ["fJ", "pJ", "nJ", "uJ"]
