"""The text report and the JSON document: names, units, rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neurochip.report.layers import AttentionCounts
from neurochip.report.render import resources, sections, warnings
from neurochip.report.report import RULES, Report
from neurochip.report.units import count, percent, quantity
from tests.report_samples import PROFILES, hand_report, random_report

TOP = ("accuracy", "timesteps", "inputs", "spikes", "packets", "hops", "ac", "mac", "cores", "chips", "layers", "rules")
ENERGY = {"ops_45nm": ("ac_j", "mac_j", "total_j"), "chip": ("total_j", "static_j"), "ann_45nm": ("total_j",)}


def table(report: Report, title: str) -> list[dict[str, Any]]:
    return next(section.mappings() for section in sections(report) if section.title.startswith(title))


def test_json_has_the_documented_keys_and_survives_json() -> None:
    d = json.loads(json.dumps(random_report(4).to_dict(), allow_nan=False))
    assert set(TOP) <= set(d)
    for bill, names in ENERGY.items():
        assert set(names) <= set(d["energy"][bill])
    assert {"ticks", "seconds"} <= set(d["latency"])
    assert d["check"] == {"exact": None}
    assert d["rules"] == RULES
    assert d["origin"]["settings"] == [{"name": "T", "value": "4", "origin": "given"}]


def test_per_input_figures_are_sums_divided_by_inputs() -> None:
    d = random_report(4).to_dict()
    assert {name: value * d["inputs"] for name, value in d["per_input"].items() if name in d} == pytest.approx(
        {name: d[name] for name in d["per_input"] if name in d}
    )
    assert d["per_input"]["energy_chip_j"] * d["inputs"] == pytest.approx(d["energy"]["chip"]["total_j"])
    assert d["latency"]["seconds"] * d["inputs"] == pytest.approx(d["latency"]["seconds_all_inputs"])


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.5e-06, "J", "1.5 uJ"),
        (2.3724e-06, "J", "2.372 uJ"),
        (9.99996e-04, "s", "1 ms"),
        (0.0, "J", "0 J"),
        (None, "J", "not published"),
        (3e-19, "J", "0.0003 fJ"),
        (12.0, "s", "12 s"),
        (-0.002, "s", "-2 ms"),
    ],
)
def test_quantities_carry_an_si_prefix(value: float | None, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (9999, "9,999"), (10_000, "10 k"), (50_826_322, "50.83 M"), (999_999_999, "1 G"),
     (0.5, "0.5"), (1262.4, "1,262"), (None, "-")],
)  # fmt: skip
def test_counts_are_short_above_ten_thousand(value: float | None, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.0496, "5.0 %"), (0.1234, "12.3 %"), (0.0995, "10.0 %"), (0.00074, "0.074 %")],
)
def test_shares_are_per_cent(share: float, text: str) -> None:
    assert percent(share) == text


def test_every_row_is_as_wide_as_its_columns() -> None:
    for section in sections(random_report(4)):
        assert section.rows
        assert {len(row) for row in section.rows} == {len(section.columns)}, section.title
        assert len(section.mappings()) == len(section.rows)


def test_energy_table_shows_three_bills_and_names_what_is_not_published() -> None:
    rows = table(hand_report(), "Energy per input")
    assert list(dict.fromkeys(row["bill"] for row in rows)) == [
        "operations at 45 nm", "the chip's own", "same model as an ANN",
    ]  # fmt: skip
    parts = {row["part"]: row["energy"] for row in rows}
    assert parts["AC x 0.9 pJ"] == "7.2 pJ"
    assert parts["dense MAC x 4.6 pJ"] == "36.8 pJ"
    assert parts["hops"] == "20 pJ"
    assert parts["axons in"] == "not published"
    assert "total of the published" in parts


def test_summary_tells_accuracy_and_latency() -> None:
    rows = {row["figure"]: row for row in table(hand_report(), "Summary")}
    assert rows["accuracy"]["all inputs"] == "100 %"
    assert rows["latency"]["per input"].startswith("4 ticks, ")
    assert rows["spikes"]["all inputs"] == "5"


def test_attention_shows_three_counts_with_three_names() -> None:
    report = hand_report()
    counted = replace(
        report.layers[1],
        attention=AttentionCounts(event_driven=20_000, effective=300, rate_times_dense=1e6),
    )
    rows = table(replace(report, layers=(report.layers[0], counted)), "Attention")
    assert rows == [{"layer": "hidden", "event-driven": "20 k", "effective": "300", "rate x dense": "1 M"}]


def test_placement_marks_the_chosen_method() -> None:
    rows = table(hand_report(), "Placement")
    assert [row["method"] for row in rows if row[""] == "chosen"] == ["row-major"]


def test_unpublished_and_assumed_figures_are_listed() -> None:
    report = hand_report()
    rows = table(report, f"What profile {PROFILES[0]}")
    assert [row["figure"] for row in rows if row[""] == "assumed"] == list(report.chip.assumed)
    assert "axon_in.energy" in rows[-1]["figure"]


def test_resources_count_every_core_once() -> None:
    report = random_report(4)
    for found in resources(report):
        assert sum(found.histogram) == report.program.n_cores
        assert found.mean <= found.largest <= (found.limit or 0)


def test_a_full_core_is_in_the_last_tenth_and_an_empty_one_in_the_first() -> None:
    report = hand_report()
    use = report.program.use.copy()
    use["neurons"] = [0, 1024, 0]
    full = replace(report, program=replace(report.program, use=use))
    assert resources(full)[0].histogram == (1, *([0] * 8), 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"overruns": 2}, "2 ticks"), ({"wraps": 3}, "3 currents"), ({"clips": 4}, "4 membranes")],
)
def test_overflows_and_overruns_are_warned_of(change: dict[str, int], words: str) -> None:
    report = hand_report()
    assert warnings(report) == ()
    (line,) = warnings(replace(report, trace=replace(report.trace, **change)))
    assert line.startswith(words)


def test_a_failed_check_names_the_first_difference() -> None:
    report = replace(hand_report(), check={"exact": False, "first_difference": "input 0, readout 1"})
    assert "input 0, readout 1" in warnings(report)[0]
    assert table(report, "Equal to")[0] == {"fact": "exact", "value": False}


def test_repr_is_one_readable_line() -> None:
    text = repr(hand_report())
    assert "\n" not in text
    assert "accuracy 1.0000" in text


def test_rates_are_spikes_per_neuron_and_step() -> None:
    report = random_report(4)
    steps = report.program.network.timesteps * report.trace.inputs
    assert np.allclose([row.rate for row in report.layers], [r.spikes / (r.neurons * steps) for r in report.layers])
