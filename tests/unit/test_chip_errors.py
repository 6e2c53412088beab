"""Every mistake in a chip file is told as file:line, key, expected, found, what to try: whole messages."""

import re
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurochip.chip.costs import EVENTS
from neurochip.chip.load import check_chip, load_chip, parse_chip
from neurochip.chip.spec import ChipSpec
from neurochip.chip.yaml_reader import MAX_BYTES, Document, read_yaml
from neurochip.errors import ChipError

LOIHI = load_chip("loihi")
# The layout the package writes, one figure a line: messages below do not depend on the shipped file's comments.
TEXT = LOIHI.to_yaml()
NEURONS = "neurons: {value: 1024, unit: neurons, source: davies2018, status: V2"
DENSE = "synaptic_op_dense:\n        energy: {value: 23.6, unit: pJ, source: davies2018"
SOURCES = "davies2018, davies2021, frady2020, dey2022, nengo_loihi, lava, sana_fe, neurochip"
CORE_KEYS = (
    "neurons, input_axons, output_axons, fan_out_per_neuron, fan_in_per_neuron, synapse_memory, weight_sharing, "
    "axon_types, modes, software, formats"
)
PROFILE = "profiles.loihi_davies2018"

# name: (text replaced and replacement, start of the line that the message names, message)
WRONG = {
    "typo": (
        (NEURONS, NEURONS + ", sorce: x"),
        "  neurons: {",
        "core.neurons.sorce: unknown key (did you mean 'source'?); allowed: value, unit, source, status, note",
    ),
    "negative size": (
        (NEURONS, NEURONS.replace("1024", "-5")),
        "  neurons: {",
        "core.neurons.value: expected a number of at least 1; found -5",
    ),
    "fraction of a neuron": (
        (NEURONS, NEURONS.replace("1024", "10.5")),
        "  neurons: {",
        "core.neurons.value: expected a whole number; found 10.5",
    ),
    "text for a number": (
        (NEURONS, NEURONS.replace("1024", "'1024'")),
        "  neurons: {",
        "core.neurons.value: expected a whole number; found '1024'",
    ),
    "wrong unit": (
        (NEURONS, NEURONS.replace("unit: neurons", "unit: axons")),
        "  neurons: {",
        "core.neurons.unit: expected neurons; found 'axons'",
    ),
    "energy in watts": (
        (DENSE, DENSE.replace("pJ", "mW")),
        "        energy: {",
        f"{PROFILE}.costs.synaptic_op_dense.energy.unit: expected one of fJ, pJ, nJ, uJ; found 'mW'",
    ),
    "not a number": (
        (DENSE, DENSE.replace("23.6", ".nan")),
        "        energy: {",
        f"{PROFILE}.costs.synaptic_op_dense.energy.value: expected a finite number; found nan",
    ),
    "missing source": (
        (NEURONS, NEURONS.replace(", source: davies2018", "")),
        "  neurons: {",
        "core.neurons.source: missing; it is a key of the file's `sources` table",
    ),
    "unknown source": (
        (NEURONS, NEURONS.replace("davies2018", "davis2018")),
        "  neurons: {",
        "core.neurons.source: unknown source 'davis2018' (did you mean 'davies2018'?); "
        f"name one of the `sources` table: {SOURCES}",
    ),
    "unknown status": (
        (NEURONS, NEURONS.replace("V2", "V3")),
        "  neurons: {",
        "core.neurons.status: expected one of V, V2, D, M, assumed, unpublished; found 'V3' (did you mean 'V'?)",
    ),
    "assumption without a reason": (
        ("status: assumed, note: one accumulate per cycle at the assumed 400 MHz", "status: assumed"),
        None,
        f"{PROFILE}.costs.processor_op.latency: an assumed figure needs a `note` that says why",
    ),
    "bare number": (
        ("  word: {value: 64, unit: bits, source: davies2018, status: V2}", "  word: 64"),
        "    word: 64",
        "core.synapse_memory.word: expected a mapping with the keys value, unit, source, status, note; found 64",
    ),
    "null that is not a cost": (
        (
            "word: {value: 64, unit: bits, source: davies2018, status: V2}",
            "word: {value: null, unit: bits, source: davies2018, status: V2}",
        ),
        "    word: {",
        "core.synapse_memory.word.value: expected a whole number; found nothing",
    ),
    "null without saying so": (
        (DENSE, DENSE.replace("23.6", "null")),
        "        energy: {",
        f"{PROFILE}.costs.synaptic_op_dense.energy: `value: null` and `status: unpublished` go together",
    ),
    "unknown event": (
        ("synaptic_op_dense:", "synaptic_op_dens:"),
        "      synaptic_op_dens:",
        f"{PROFILE}.costs.synaptic_op_dens: unknown key (did you mean 'synaptic_op_dense'?); allowed: "
        f"{', '.join(EVENTS)}",
    ),
    "mixed profiles": (
        (DENSE, DENSE.replace("davies2018", "sana_fe")),
        "        energy: {",
        f"{PROFILE}.costs.synaptic_op_dense.energy.source: 'sana_fe' is not one of this profile's sources "
        "(davies2018, frady2020): profiles never mix; use a figure of its own sources, or mark it assumed with a note",
    ),
    "newer schema": (
        ('schema: "neurochip/1"', "schema: neurochip/2"),
        "schema:",
        "schema: expected neurochip/1; found 'neurochip/2' (did you mean 'neurochip/1'?)",
    ),
    "name with blanks": (
        ("name: loihi\n", "name: Loihi Chip\n"),
        "name: Loihi",
        "name: expected a name that matches ^[a-z][a-z0-9_]*$; found 'Loihi Chip'",
    ),
    "unknown topology": (
        ("topology: mesh", "topology: tours"),
        "  topology:",
        "mesh.topology: expected one of mesh, torus, triangular_torus; found 'tours' (did you mean 'torus'?)",
    ),
    "unknown attention method": (
        ("attention: [processor", "attention: [procesor"),
        "attention:",
        "attention[0]: expected one of processor, unit, plastic, coincidence, graded; found 'procesor' "
        "(did you mean 'processor'?)",
    ),
    "unknown default profile": (
        ("default_profile: loihi_davies2018", "default_profile: davies2018"),
        "default_profile:",
        "default_profile: no profile 'davies2018' (did you mean 'loihi_davies2018'?); "
        "defined: loihi_davies2018, loihi_sanafe_nahuku",
    ),
    "processor off the mesh": (
        ("[[0, 0], [0, 1], [0, 2]]", "[[0, 0], [0, 1], [0, 9]]"),
        "  routers: {value: [[",
        "embedded_processors.routers.value: [0, 9] is outside the 8 x 4 routers",
    ),
    "missing section": (
        ("encoder:\n  where: host\n", ""),
        None,
        "encoder: missing; it holds: where, also, delivery",
    ),
    "list for a section": (
        ("encoder:\n  where: host\n", "encoder: [host]\n"),
        "encoder:",
        "encoder: expected a mapping with the keys where, also, delivery; found a list of 1",
    ),
    "register too wide": (
        ("current_bits: 24", "current_bits: 64"),
        "    current_bits:",
        "neuron.arithmetic.current_bits: expected a number of at most 32; found 64",
    ),
    "default width not offered": (
        ("default: {value: 8", "default: {value: 9"),
        "  default: {",
        "weights.default.value: 9 is not one of `widths`",
    ),
    "more chips than places": (
        ("max_chips: {value: 768", "max_chips: {value: 769"),
        "  max_chips: {",
        "boards.max_chips: 769 chips do not fit a grid of 12 x 64",
    ),
    "mesh beyond reason": (
        ("columns: {value: 8", "columns: {value: 8000000"),
        "mesh:",
        "mesh: 98304000000 cores on all chips; at most 10000000 can be described",
    ),
    "barrier out of order": (
        ("{chips: 256", "{chips: 999"),
        "      by_chips:",
        f"{PROFILE}.barrier.by_chips: entries must ascend without repeats; found [999, 768]",
    ),
}


def broken(old, new):
    assert old in TEXT, old
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize(("change", "place", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_told_with_line_and_remedy(change, place, message):
    text = broken(*change)
    if place is None:
        pattern = rf"c\.yaml:\d+: {re.escape(message)}"
    else:
        line = text[: text.index(f"\n{place}") + 1].count("\n") + 1 if not text.startswith(place) else 1
        pattern = re.escape(f"c.yaml:{line}: {message}")
    with pytest.raises(ChipError, match=f"^{pattern}$"):
        parse_chip(text, "c.yaml")


def test_a_renamed_key_is_told_as_missing_and_as_unknown():
    with pytest.raises(ChipError) as caught:
        parse_chip(broken("  neurons: {", "  nuerons: {"), "c.yaml")
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == [
        "core.neurons: missing; it holds: value, unit, source, status, note",
        f"core.nuerons: unknown key (did you mean 'neurons'?); allowed: {CORE_KEYS}",
    ]


def test_a_barrier_chip_without_barrier_tables_is_told_for_each_profile():
    with pytest.raises(ChipError) as caught:
        parse_chip(broken("kind: barrier", "kind: fixed"), "c.yaml")
    rule = "a profile has a `barrier` table exactly when `time.kind` is barrier"
    assert [line.split(": ", 1)[1] for line in str(caught.value).splitlines()] == [
        "time: `kind: fixed` needs a `tick`",
        f"profiles.loihi_davies2018: {rule}",
        f"profiles.loihi_sanafe_nahuku: {rule}",
    ]


def test_an_all_in_energy_is_kept_apart_from_its_parts():
    extra = (
        "synaptic_event_all_in:\n        energy: {value: 26, unit: pJ, source: davies2018, status: V2}\n"
        "        latency: {value: null, unit: ns, source: davies2018, status: unpublished}\n      "
    )
    with pytest.raises(ChipError, match="an all-in energy per synaptic event already includes this"):
        parse_chip(broken("synaptic_op_dense:", extra + "synaptic_op_dense:"), "c.yaml")


def test_many_mistakes_are_cut_at_ten():
    with pytest.raises(ChipError) as caught:
        parse_chip("schema: neurochip/1", "c.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 11
    assert re.fullmatch(r"\.\.\. and \d+ more", lines[-1])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("loih", "loih: no such file, and no shipped chip of that name (did you mean 'loihi'?); shipped chips: loihi"),
        (
            "no/loihi",
            "no/loihi: no such file, and no shipped chip of that name (did you mean 'loihi'?); shipped chips: loihi",
        ),
    ],
)
def test_an_unknown_chip_names_the_closest_one(name, message, monkeypatch):
    monkeypatch.setattr("neurochip.chip.load.shipped_chips", lambda: ["loihi"])
    with pytest.raises(ChipError, match=f"^{re.escape(message)}$"):
        load_chip(name)


def test_unreadable_files_are_refused(tmp_path):
    with pytest.raises(ChipError, match=r"expected a chip file; found a folder$"):
        load_chip(tmp_path)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ChipError, match="larger than 1000000 bytes"):
        load_chip(large)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\xfe")
    with pytest.raises(ChipError, match=r"binary.yaml:2: not UTF-8 text"):
        load_chip(binary)
    with pytest.raises(ChipError, match="cannot be read"):
        load_chip("x" * 5000)


def paths(part, path=()):
    yield path
    if isinstance(part, dict):
        for key, value in part.items():
            yield from paths(value, (*path, key))
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from paths(value, (*path, index))


DATA = read_yaml(TEXT, "loihi").data
PATHS = [path for path in paths(DATA) if path]
odd = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1,
        10**30,
        1.5,
        1e300,
        float("inf"),
        float("nan"),
        "",
        "V",
        "assumed",
        "neurons",
        "é\n",
        [],
        [1],
        {},
        {"value": 1},
    ]
)


def edited(path, change):
    copy = deepcopy(DATA)
    parent = copy
    for step in path[:-1]:
        parent = parent[step]
    change(parent, path[-1])
    return Document(copy, {(): 1})


def loads_or_is_refused(load):
    try:
        spec, refusal = load(), None
    except ChipError as error:
        spec, refusal = None, str(error)
    if spec is None:
        assert all(re.match(r"c\.yaml:\d+: |\.\.\. and ", line) for line in refusal.splitlines())
        return
    again = ChipSpec.model_validate_json(spec.to_json())
    assert again == spec
    assert again.digest == spec.digest
    for profile in spec.profile_names:
        spec.costs(profile).barrier_ns(3, 2)
    assert spec.weight_format().high > 0


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(PATHS), odd)
def test_any_changed_value_loads_or_is_refused(path, value):
    def change(parent, key):
        parent[key] = value

    loads_or_is_refused(lambda: check_chip(edited(path, change), "c.yaml"))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(PATHS), st.booleans())
def test_any_removed_or_renamed_key_loads_or_is_refused(path, rename):
    def change(parent, key):
        value = parent.pop(key)
        if rename and isinstance(parent, dict):
            parent[f"{key}x"] = value

    loads_or_is_refused(lambda: check_chip(edited(path, change), "c.yaml"))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, len(TEXT) - 1), st.integers(0, 30), st.text(max_size=4))
def test_any_damaged_text_loads_or_is_refused(start, length, insert):
    loads_or_is_refused(lambda: parse_chip(TEXT[:start] + insert + TEXT[start + length :], "c.yaml"))


def test_the_shipped_file_itself_loads():
    folder = Path(__file__).parents[2] / "chips"
    assert load_chip(folder / "loihi.yaml") == LOIHI
