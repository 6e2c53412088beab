"""Every shipped chip gives the published figures, says where each is from, and keeps what does not mix apart."""

from __future__ import annotations

import json

import pytest

from neurochip.chip.describe import describe, kinds
from neurochip.chip.load import load_chip, parse_chip, shipped_chips
from neurochip.chip.spec import ChipSpec
from neurochip.errors import ChipError

CHIPS = {name: load_chip(name) for name in shipped_chips()}
every_chip = pytest.mark.parametrize("chip", CHIPS.values(), ids=CHIPS)

# name: cores a chip, neurons a core, input axons, largest system, weight widths, longest delay
LIMITS = {
    "attention_chip": (128, 1024, 4096, 768, (2, 3, 4, 5, 6, 7, 8), 7),
    "brainscales2": (2, 256, 256, 1, (2, 3, 4, 5, 6, 7), 1),
    "darwin": (1, 2048, 30720, 1, (2, 3, 4, 5, 6, 7, 8), 15),
    "darwin3": (576, 4096, 32768, 960, (1, 2, 4, 8, 16), 1),
    "loihi": (128, 1024, 4096, 768, (2, 3, 4, 5, 6, 7, 8), 7),
    "loihi2": (128, 8192, 4096, 1152, (2, 3, 4, 5, 6, 7, 8), 62),
    "spinnaker": (16, 256, 524288, 57600, tuple(range(2, 17)), 16),
    "spinnaker2": (114, 1024, 8192, 34560, tuple(range(2, 17)), 16),
    "tianjic": (156, 256, 256, 25, (2, 3, 4, 5, 6, 7, 8), 1),
    "truenorth": (4096, 256, 256, 16, (2, 3, 4, 5, 6, 7, 8), 15),
}
# name: tick in ns, one spike an axon and tick counts more than once, destinations of a neuron
CLOCKS = {
    "attention_chip": (None, True, None),
    "brainscales2": (None, True, None),
    "darwin": (1e6, True, None),
    "darwin3": (5e5, True, None),
    "loihi": (None, True, None),
    "loihi2": (None, True, None),
    "spinnaker": (1e6, True, None),
    "spinnaker2": (1e6, True, None),
    "tianjic": (16.8e3, False, 1),
    "truenorth": (1e6, False, 1),
}
# name: profile, event, pJ
ENERGIES = [
    ("darwin3", "darwin3_incremental", "synaptic_op_dense", 5.47),
    ("spinnaker", "spinnaker_events", "synaptic_op_dense", 13_300),
    ("spinnaker", "spinnaker_events", "neuron_active", 26_000),
    ("spinnaker", "spinnaker_events", "hop_x", 1_000),
    ("spinnaker2", "spinnaker2_prototype", "synaptic_op_sparse", 450),
    ("spinnaker2", "spinnaker2_prototype", "neuron_inactive", 2_190),
    ("tianjic", "tianjic_all_in", "synaptic_event_all_in", 1.54),
    ("truenorth", "truenorth_parts", "hop_y", 2.3),
    ("truenorth", "truenorth_parts", "chip_crossing", 832),
    ("truenorth", "truenorth_all_in", "synaptic_event_all_in", 26),
    ("loihi2", "loihi2_published", "synaptic_op_dense", None),
    ("attention_chip", "attention_chip_derived", "unit_op", 5.2),
]


def test_every_shipped_chip_is_in_these_tables():
    assert sorted(LIMITS) == sorted(CLOCKS) == shipped_chips()


@every_chip
def test_limits_are_as_published(chip: ChipSpec):
    limits = chip.limits
    found = (chip.cores_per_chip, limits.neurons, limits.input_axons, chip.max_chips, chip.weight_bits, chip.max_delay)
    assert found == LIMITS[chip.name]
    tick = None if chip.time.tick is None else chip.time.tick.base
    assert (tick, chip.spikes.counts, limits.fan_out_per_neuron) == CLOCKS[chip.name]


@pytest.mark.parametrize(("name", "profile", "event", "pj"), ENERGIES)
def test_energies_are_as_published(name: str, profile: str, event: str, pj: float | None):
    assert CHIPS[name].costs(profile).energy_pj[event] == (None if pj is None else pytest.approx(pj))


@pytest.mark.parametrize(
    ("name", "profile", "chip_mw", "core_mw"),
    [("truenorth", None, 42, 0), ("tianjic", None, 400, 0), ("darwin", None, 58.8, 0), ("loihi2", None, 1000, 0),
     ("spinnaker", None, 350, 0), ("spinnaker", "spinnaker_power", 350, 34), ("spinnaker2", None, None, None),
     ("darwin3", None, None, None)],
)  # fmt: skip
def test_static_power_is_as_published(name: str, profile: str | None, chip_mw: float | None, core_mw: float | None):
    costs = CHIPS[name].costs(profile)
    assert (costs.static_mw_per_chip, costs.static_mw_per_core) == (chip_mw, core_mw)


@every_chip
def test_descriptions_survive_json_and_yaml(chip: ChipSpec):
    for again in (ChipSpec.model_validate_json(chip.to_json()), parse_chip(chip.to_yaml(), "again.yaml")):
        assert again == chip
        assert again.digest == chip.digest


@every_chip
def test_what_nobody_published_has_no_value_and_assumptions_have_reasons(chip: ChipSpec):
    for row in describe(chip):
        assert (row.value == "not published") == (row.status == "unpublished"), row.key
        assert row.status != "assumed" or row.note, row.key
    assert chip.not_modelled


@every_chip
def test_an_all_in_figure_stands_alone_in_its_profile(chip: ChipSpec):
    for name in chip.profile_names:
        costs = chip.costs(name)
        if costs.energy_pj["synaptic_event_all_in"] is None:
            continue
        assert {event for event, pj in costs.energy_pj.items() if pj} - {"mac_all_in"} == {"synaptic_event_all_in"}
        assert costs.static_mw_per_chip is None


def test_static_power_beside_an_all_in_figure_is_refused():
    chip = CHIPS["truenorth"]
    data = json.loads(chip.to_json())
    power = {"value": 42, "unit": "mW", "source": "merolla2014", "status": "D"}
    data["profiles"]["truenorth_all_in"]["static_power"]["per_chip"] = power
    with pytest.raises(ValueError, match="an all-in energy per synaptic event already includes this"):
        ChipSpec.model_validate(data)


def test_number_bases_bound_the_weights_of_a_crossbar():
    chip = CHIPS["truenorth"]
    four, two = chip.weight_format(4), chip.weight_format(2)
    assert (four.high, four.shift_low, four.shift_high, four.stored_bits) == (7, 0, 5, 1)
    assert (two.high, two.shift_high) == (1, 7)
    assert -8 << four.shift_high == -(1 << (chip.limits.axon_type_bits - 1))
    data = json.loads(chip.to_json())
    data["weights"]["widths"]["value"] = [2, 3, 4, 10]
    with pytest.raises(
        ValueError, match="a weight of 10 bits has digits that an axon type's weight of 9 bits does not"
    ):
        ChipSpec.model_validate(data)


@pytest.mark.parametrize(
    ("method", "section", "needs"),
    [("unit", "attention_unit", "an `attention_unit` section"), ("processor", "embedded_processors", "an `embedded")],
)
def test_a_method_needs_what_computes_it(method: str, section: str, needs: str):
    data = json.loads(CHIPS["attention_chip"].to_json())
    assert method in data["attention"]
    data[section] = None
    with pytest.raises(ValueError, match=f"'{method}' needs {needs}"):
        ChipSpec.model_validate(data)


def test_an_optional_part_left_out_does_not_change_the_digest():
    data = json.loads(CHIPS["loihi"].to_json())
    for section in ("mesh", "core", "weights", "neuron", "time", "encoder"):
        data[section] = {key: value for key, value in data[section].items() if value is not None}
    data = {key: value for key, value in data.items() if value is not None}
    assert ChipSpec.model_validate(data).digest == CHIPS["loihi"].digest


def test_only_continuous_time_is_refused():
    assert [name for name, chip in CHIPS.items() if chip.refusal is not None] == ["brainscales2"]
    text = CHIPS["loihi"].to_yaml().replace("kind: barrier", "kind: continuous")
    with pytest.raises(ChipError, match=r"a profile has a `barrier` table exactly when `time.kind` is barrier"):
        parse_chip(text, "c.yaml")


def test_kinds_tell_what_figures_do_not():
    told = dict(kinds(CHIPS["spinnaker2"]))
    assert (told["mesh.multicast"], told["time.kind"], told["learning.rule"]) == ("tree", "fixed", "program")
    assert told["neuron.product"] == "yes"
    assert dict(kinds(CHIPS["brainscales2"]))["weights.sign"] == "row"
    assert not {key for key in told if key.endswith((".source", ".status", ".note"))}


def test_software_neurons_fit_the_memory_of_a_core():
    data = json.loads(CHIPS["spinnaker"].to_json())
    data["core"]["software"]["neuron"]["value"] = 257
    with pytest.raises(ValueError, match="256 neurons of 257 bytes do not fit 64 KiB"):
        ChipSpec.model_validate(data)
