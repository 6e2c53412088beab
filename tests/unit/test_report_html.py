"""The HTML report: one whole file, harmless names, small for huge boards, the same bytes for the same run."""

from __future__ import annotations

import builtins
import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurochip.errors import MissingExtraError, NeurochipError
from neurochip.report.charts import nice_top, tick_chart, tick_labels
from neurochip.report.html import mesh_data, render_html, write_html
from neurochip.report.mesh_map import BINS, load_bins, mesh_map
from neurochip.report.report import Report
from tests.report_samples import big_report, hand_report, random_report

VOID = {"meta", "link", "br", "img", "input", "hr"}
EVIL = "<script>alert(1)</script>\"'&</title><img src=x onerror=alert(2)>"


class Page(HTMLParser):
    """Checks that tags are balanced; keeps attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.texts.append((self.stack[-1], data))

    def values(self, name: str) -> list[str]:
        return [value for _, key, value in self.attributes if key == name]

    def data(self) -> dict[str, Any]:
        return json.loads(next(text for tag, text in self.texts if tag == "script"))


@pytest.fixture(scope="module")
def text() -> str:
    return render_html(random_report(4))


@pytest.mark.parametrize("seed", [0, 2, 4, 9])
def test_page_is_balanced_and_needs_no_network(seed: int) -> None:
    text = render_html(random_report(seed))
    page = Page(text)
    assert not re.search(r"https?://|url\(|@import|//cdn", text)
    assert page.values("src") == []
    assert all(link.startswith("#") or link == "data:," for link in page.values("href"))
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    targets = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert targets <= set(page.values("id"))


def test_policy_allows_only_the_script_of_the_page(text: str) -> None:
    policy = next(v for _, name, v in Page(text).attributes if name == "content" and "default-src" in v)
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]


def test_names_cannot_break_out_of_their_place() -> None:
    report = hand_report(name=EVIL)
    named = replace(report.program, origin=replace(report.program.origin, model=EVIL, settings=((EVIL, EVIL, EVIL),)))
    page = Page(render_html(replace(report, program=named), generated=EVIL))
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert page.tags.count("title") == 1 + len([t for t in page.tags if t == "g"])
    assert page.data()["names"][1] == EVIL
    assert ("th", EVIL) in page.texts
    assert any(tag == "h1" and EVIL in data for tag, data in page.texts)


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    write_html(random_report(4), tmp_path / "a.html")
    again = random_report.__wrapped__(4)
    slower = replace(again, trace=replace(again.trace, wall_seconds=99.0))
    write_html(slower, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert "2026" in render_html(slower, generated="on 1 January 2026")


def test_result_of_a_simulation_is_taken_as_well(tmp_path: Path) -> None:
    class Result:
        report: Report = random_report(4)

    write_html(Result(), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == render_html(random_report(4))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(NeurochipError, match=r"folder: cannot write the report: .*choose another place"):
        write_html(hand_report(), tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_missing_jinja2_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "jinja2":
            raise ModuleNotFoundError("No module named 'jinja2'")
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "neurochip.report.html")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"an HTML report needs the 'report' extra; .*neurochip\[report\]"):
        importlib.import_module("neurochip.report.html")


def test_a_board_of_12000_cores_stays_small() -> None:
    report = big_report()
    text = render_html(report)
    assert len(text.encode()) < 5_000_000
    data = Page(text).data()
    assert len(data["cores"]["router"]) == 12_000
    assert len(data["chips"]) == 94
    assert len(data["links"]) == report.mesh.n_links


def test_maps_draw_every_core_once_and_every_link_in_use() -> None:
    report = random_report(2)
    drawing = mesh_map(report)
    used = int((report.trace.links > 0).sum())
    slots = report.program.n_chips * report.program.chip.cores_per_chip
    assert sum(path.count("M") for path in drawing.core_paths) == report.program.n_cores
    assert drawing.unused.count("M") == slots - report.program.n_cores
    assert sum(path.count("M") for path in drawing.link_paths) == used
    assert drawing.routers.count("M") == report.mesh.n_routers


def test_arrows_of_both_directions_do_not_overlap() -> None:
    report = hand_report()
    links = np.zeros_like(report.trace.links)
    links[[0, report.mesh.link_blocks[1]]] = 5
    drawing = mesh_map(replace(report, trace=replace(report.trace, links=links)))
    east, west = (part for part in drawing.link_paths[BINS].split("M") if part)
    middle = drawing.layout.centre(0, 0)[1]

    def heights(path: str) -> list[float]:
        return [float(point.split(" ")[1]) for point in path.rstrip("z").split("L")]

    assert max(heights(east)) < middle < min(heights(west))


def test_load_bins_split_the_scale_evenly() -> None:
    values = np.array([0.0, 0.1, 10.0, 10.1, 99.9, 100.0])
    assert load_bins(values, 100.0).tolist() == [0, 1, 1, 2, 10, 10]
    assert load_bins(values, 0.0).tolist() == [0] * 6


def test_tips_know_what_every_core_holds() -> None:
    report = random_report(2)
    data = mesh_data(report, mesh_map(report))
    tiles = report.program.tiles
    for core, held in enumerate(data["cores"]["layers"]):
        assert held == sorted(set(tiles["population"][tiles["core"] == core].tolist()))
    assert sum(data["links"]) == report.trace.hops


def test_tick_chart_has_a_bar_for_every_tick_and_a_row_for_every_layer() -> None:
    report = random_report(2)
    chart = tick_chart(report)
    assert len(chart.bars) == report.program.network.ticks
    assert [row.name for row in chart.rows] == [r.name for r in sorted(report.layers, key=lambda r: r.depth)]
    assert all(0 <= bar.high <= bar.y <= bar.low for bar in chart.bars)
    assert all(row.x + row.width <= chart.width for row in chart.rows)


def test_long_runs_share_bars() -> None:
    report = hand_report()
    long = replace(report, trace=replace(report.trace, tick_ns=np.full((2, 5000), 7.0)))
    chart = tick_chart(long)
    assert chart.ticks_per_bar == 16
    assert len(chart.bars) == 313
    assert chart.bars[-1].label.startswith("ticks 4992 to 4999, each: 7 ns")


@pytest.mark.parametrize(("value", "top"), [(0.0, 1.0), (194.0, 200.0), (235.0, 240.0), (9.1, 10.0), (1.0, 1.0)])
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert nice_top(value) == pytest.approx(top)


def test_tick_labels_stay_readable() -> None:
    assert tick_labels(7) == tuple(range(7))
    assert len(tick_labels(5000)) == 25


@pytest.fixture(autouse=True)
def _keep_modules() -> Iterator[None]:
    before = sys.modules["neurochip.report.html"]
    yield
    sys.modules["neurochip.report.html"] = before
