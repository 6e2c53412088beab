"""The YAML reader: plain data with lines; everything unsafe or unclear is refused with file and line."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurochip.chip.yaml_reader import MAX_DEPTH, MAX_NODES, read_yaml
from neurochip.chip.yaml_writer import write_yaml
from neurochip.errors import ChipError

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)

REFUSED = {
    "empty": ("", "f:1: expected a mapping of keys to values at the top of the file; found nothing"),
    "list": ("[]", "f:1: expected a mapping of keys to values at the top of the file; found a list"),
    "text": ("hello", "f:1: expected a mapping of keys to values at the top of the file; found a text"),
    "duplicate key": ("a: 1\nb: 2\na: 3", "f:3: duplicate key 'a'; first given on line 1"),
    "nested duplicate": ("a:\n  b: 1\n  b: 1", "f:3: duplicate key 'b'; first given on line 2"),
    "recursive alias": ("a: &x [*x]", "f:1: unknown or unfinished anchor '*x'"),
    "unknown alias": ("a: 1\nb: *x", "f:2: unknown or unfinished anchor '*x'"),
    "object tag": (
        "a: 1\nb: !!python/object/apply:os.system [ls]",
        "f:2: tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed; "
        "a chip file holds plain values only",
    ),
    "own tag": ("a: !x 1", "f:1: tag '!x' is not allowed; a chip file holds plain values only"),
    "syntax": ("a: {b: 1\nc: 2", "f:2: not valid YAML: expected ',' or '}', but got ':'"),
    "two documents": ("a: 1\n---\nb: 2", "f:2: expected one YAML document; found a second one after '---'"),
    "list as key": ("? [a]\n: b", "f:1: a key must be text; found a list or mapping"),
    "long number": (f"a: {'9' * 200}", "f:1: a number of 200 digits is too long"),
    "surrogate": ('a: "\\ud800"', "f:1: not a Unicode text: '\\ud800'"),
    "deep": ("a: " + "[" * 40 + "]" * 40, f"f:1: nested deeper than {MAX_DEPTH} levels"),
    "billion laughs": (
        LAUGHS,
        f"f:5: aliases expand to more than {MAX_NODES} values; write them out, or fewer of them",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_unsafe_or_unclear_yaml_is_refused_with_its_line(text, message):
    with pytest.raises(ChipError, match=f"^{re.escape(message)}$"):
        read_yaml(text, "f")


def test_scalars_follow_the_core_schema():
    text = "a: 12\nb: -1.5e3\nc: true\nd: null\ne: 'true'\nf: 0x1f\ng: 010\nh: yes\ni: ~\nj: 1:30\nk: .5\nl: 2001-01-01"
    assert read_yaml(text, "f").data == {
        "a": 12,
        "b": -1500.0,
        "c": True,
        "d": None,
        "e": "true",
        "f": 31,
        "g": 10,
        "h": "yes",
        "i": None,
        "j": "1:30",
        "k": 0.5,
        "l": "2001-01-01",
    }


def test_lines_point_at_keys_and_fall_back_to_the_parent():
    document = read_yaml("a:\n  b: {c: 1,\n    d: [1,\n 2]}\ne: 1\n", "f")
    assert document.line(("a", "b", "d")) == 3
    assert document.line(("a", "b", "d", 1)) == 4
    assert document.line(("a", "b", "missing", "x")) == 2
    assert document.line(("nowhere",)) == 1


def test_aliases_repeat_the_anchored_value():
    assert read_yaml("a: &x {b: 1}\nc: [*x, *x]", "f").data == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}


scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(texts, values, max_size=4))
def test_written_yaml_reads_back_equal(data):
    assert read_yaml(write_yaml(data), "f").data == data


@settings(deadline=None, max_examples=150)
@given(st.text(max_size=60) | st.text("[]{}:,-?&*!|>'\"%@# \nab1", max_size=40))
def test_any_text_is_read_or_refused_never_a_crash(text):
    try:
        outcome = f"f:1: {read_yaml(text, 'f').data}"
    except ChipError as error:
        outcome = str(error)
    assert re.match(r"f:\d+: ", outcome)
