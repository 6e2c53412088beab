"""Tables, JSON and progress: plain where nobody watches, drawn on a terminal, and files whole or not at all."""

from __future__ import annotations

import errno
import json
from types import SimpleNamespace

import numpy as np
import pytest

import neurochip.atomic
from neurochip.cli import console
from neurochip.cli.console import (
    OutputError,
    Progress,
    number_text,
    print_table,
    refuse_unwritable,
    write_json,
)

ROWS = [{"layer": "conv[1]", "spikes": 12345, "rate": 0.25}, {"layer": "head", "spikes": 7, "rate": None}]


@pytest.fixture
def terminal(monkeypatch):
    screen = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=screen, stderr=screen))


def test_a_plain_table_is_aligned(capsys):
    print_table("Layers", ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "Layers",
        "  layer    spikes  rate",
        "  conv[1]  12,345  0.25",
        "  head          7     -",
    ]


def test_a_terminal_gets_a_drawn_table_with_text_as_it_is(capsys, terminal):
    print_table("Layers", ROWS)
    out = capsys.readouterr().out
    assert "─" in out
    assert "conv[1]" in out


def test_no_rows_print_nothing(capsys):
    print_table("Layers", [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (True, "yes"), (1234567, "1,234,567"), (0.123456, "0.1235"), (123456.7, "123,457"),
        (float("inf"), "inf"), ("a", "a"),
    ],
)  # fmt: skip
def test_numbers_are_readable(value, text):
    assert number_text(value) == text


def test_json_holds_numpy_values_and_nulls_for_what_is_not_finite(capsys):
    write_json("-", {"a": np.float64(0.5), "b": np.arange(2), "c": (float("nan"), np.inf), 3: True, "d": None})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [0, 1], "c": [None, None], "3": True, "d": None}


def test_a_json_file_is_replaced_whole(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    write_json(str(path), {"ä": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_json_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    path.write_text("old")

    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(neurochip.atomic.os, "fsync", fail)
    with pytest.raises(OutputError, match="cannot write the file: no space left on device"):
        write_json(str(path), {})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_written_and_not_replaced():
    write_json("/dev/null", {"a": 1})
    refuse_unwritable("/dev/null", None, "-")


def test_places_that_cannot_be_written_are_found_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="found a folder"):
        refuse_unwritable(str(tmp_path))
    with pytest.raises(OutputError, match="there is no folder"):
        refuse_unwritable(str(tmp_path / "none" / "x.json"))
    monkeypatch.setattr(console.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="permission denied"):
        refuse_unwritable(str(tmp_path / "x.json"))


def test_progress_is_plain_lines_on_standard_error(capsys):
    with Progress("compile", 2) as progress:
        progress.step("import")
        progress.step("mapping")
    with Progress("simulate") as progress:
        for i in range(1, 101):
            progress.count(i, 100)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert lines[:2] == ["compile 1/2: import", "compile 2/2: mapping"]
    assert lines[2:] == [f"simulate {n}/100" for n in range(10, 101, 10)]


def test_progress_is_a_bar_on_a_terminal(capsys, terminal):
    with Progress("simulate") as progress:
        progress.count(1, 3)
        progress.count(3, 3)
    with Progress("compile", 1) as progress:
        progress.step("import")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "simulate 1/3" not in captured.err
