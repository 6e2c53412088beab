"""The attention benchmark: one small layer on one chip, and its page and plots."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from benchmarks.attention_on_chips import Case, measure, neuron_rows
from benchmarks.attention_page import write
from benchmarks.dssa_on_chips import dssa_network
from compiler.legal.expansions import Shape, expansions


def test_every_method_of_a_chip_is_compiled_and_simulated(monkeypatch):
    monkeypatch.setattr("benchmarks.attention_on_chips.HEAD", 4)
    case = Case(tokens=4, width=8, timesteps=2)
    found = {one.method: one for one in measure(case, "attention_chip", quick=True)}
    assert [one.how for one in found.values()] == ["simulated"] * 4
    assert [one.method for one in found.values() if one.chosen] == ["unit"]
    assert found["plastic"].interval == 9
    plan = expansions(Shape(height=2, width=2, heads=2, depth=4), ("digits", "levels"), 7)[0]
    assert found["coincidence"].neurons - found["unit"].neurons >= plan.neurons


def test_methods_that_are_too_large_are_counted_only(monkeypatch):
    monkeypatch.setattr("benchmarks.attention_on_chips.MOST_NEURONS", {True: 5000})
    found = {one.method: one for one in measure(Case(tokens=16, width=64, timesteps=1), "loihi", quick=True)}
    assert found["coincidence"].how == "counted"
    assert found["coincidence"].neurons == 4 * 16 * 64 + 2 + 132_864
    assert found["processor"].how == "simulated"


def test_the_page_has_a_table_for_each_layer_and_two_plots(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.attention_on_chips.HEAD", 4)
    found = list(measure(Case(tokens=4, width=8, timesteps=1), "loihi", quick=True))
    found = [replace(one, case=Case(tokens=4, width=64, timesteps=1)) for one in found]
    monkeypatch.setattr("benchmarks.dssa_on_chips.HEAD", 4)
    dual = list(measure(Case(tokens=4, width=8, timesteps=1, patch=2), "loihi", quick=True, layer=dssa_network))
    assert {one.method: one.how.partition(":")[0] for one in dual} == {
        "processor": "simulated", "plastic": "refused", "coincidence": "simulated",
    }  # fmt: skip
    write(found, neuron_rows(quick=True), dual, tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "### N = 4, D = 64, T = 1" in text
    assert "| loihi | processor * |" in text
    assert "### DSSA, windows of 2 x 2, N = 4, D = 8, T = 1" in text
    for name in ("attention-neurons.svg", "attention-energy.svg"):
        assert f"]({name})" in text
        ElementTree.parse(tmp_path / name)
