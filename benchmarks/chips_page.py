"""The page ``docs/digits-on-chips.md``, its plot, and the matrix of the README, from what ``bench_chips`` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.attention_page import table
from benchmarks.line_chart import line_chart
from benchmarks.settings import ROOT
from benchmarks.table import Row, text
from neurochip.atomic import write_text

PAGE = ROOT / "docs" / "digits-on-chips.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- matrix: written by `python benchmarks/run.py chips` -->", "<!-- end of matrix -->"

TITLES = {"spikformer": "Spikformer, T = 4", "meta": "SDSA-3, T = 1", "qk": "QK attention, T = 1"}

HEAD_TEXT = """# Digits models on every chip

Three trained models ([examples/digits](../examples/digits/README.md)) compiled for every chip described and simulated
on 360 test images, each spike of each neuron compared with the integer reference ("exact"). Written by
`python benchmarks/run.py chips`. Energy is the chip's own bill for one image with static power; ">" means that its
maker publishes no price for something that happened. Prices of different makers count different things: compare
methods on one chip, not chips.
"""

WIDTH_TEXT = """## Accuracy by weight width

Weights of each width in the arithmetic of Loihi, nothing retrained: Spikformer was trained with 6 bits, the other two
with 4. Widths include the sign; weights of 2 bits are -1, 0, 1. One bit is the sign alone: each weight of a layer is -1
or +1 times one size, of which the mean of |w| errs least. These models were not trained for that, so little is left of
them: with one bit use a model that was trained with signs, or take 2 bits. More than 8 bits change only what rounding
decides by chance.

![Accuracy by weight width](accuracy-by-width.svg)
"""


def write(matrix: Sequence[Row], widths: Sequence[Row], page: Path = PAGE, readme: Path = README) -> None:
    """Write the page and its plot, and the matrix into the README."""
    parts = [HEAD_TEXT]
    for model, title in TITLES.items():
        rows = [{k: v for k, v in row.items() if k != "model"} for row in matrix if row["model"] == model]
        parts += [f"## {title}\n", table([row for row in rows if row["exact"] != "refused"]), ""]
        parts += [f"- `{row['chip']}` refuses: {' '.join(str(row['why']).split())}" for row in rows if "why" in row]
        parts += [""]
    parts += [WIDTH_TEXT, table(widths)]
    write_text(page, "\n".join(parts) + "\n")
    write_text(page.with_name("accuracy-by-width.svg"), width_plot(widths))
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    write_text(readme, f"{before}{BEGIN}\n{summary(matrix)}\n{END}{after}")


def summary(matrix: Sequence[Row]) -> str:
    """Model by chip as one Markdown table: cores, ticks, energy and accuracy, or the kind of refusal."""
    chips = list(dict.fromkeys(str(row["chip"]) for row in matrix))
    found = {(row["chip"], row["model"]): row for row in matrix}
    rows = [{"chip": f"`{chip}`", **{title: cell(found[chip, m]) for m, title in TITLES.items()}} for chip in chips]
    return table(rows)


def cell(row: Row) -> str:
    """One cell of the README's matrix."""
    if row["exact"] == "refused":
        return f"refused: {reason(str(row['why']))}"
    energy = row["chip, uJ"]
    return (
        f"{row['exact']}, {row['cores']} cores, {row['ticks']} ticks, {energy if energy == '-' else f'{energy} uJ'}, "
        f"{text(row['accuracy'])}"
    )


REASONS: Mapping[str, str] = {
    "continuous time": "continuous time",
    "its leak is exponential": "no exponential leak",
    "no attention method": "attention too large",
    "too many": "too large",
}


def reason(why: str) -> str:
    """A refusal in a few words."""
    return next((short for words, short in REASONS.items() if words in why), "see the page")


def width_plot(widths: Sequence[Row]) -> str:
    """Accuracy over bits, a line a model."""
    lines = {
        TITLES[str(row["model"])]: [
            (float(key.split()[0]), 100 * float(str(value))) for key, value in row.items() if key.endswith("bits")
        ]
        for row in widths
    }
    return line_chart("Digits: accuracy by weight width", "bits of a weight", "accuracy, %", lines, percent=True)
