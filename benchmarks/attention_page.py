"""The page ``docs/attention-on-chips.md`` and its plots, from what ``attention_on_chips`` measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.attention_on_chips import HEAD, INPUT_RATE, MOST_NEURONS, RATE, Measured
from benchmarks.line_chart import line_chart
from benchmarks.settings import ROOT
from benchmarks.table import Row, text
from neurochip.atomic import write_text

PAGE = ROOT / "docs" / "attention-on-chips.md"
PLOTTED = (
    ("loihi", "processor"), ("loihi", "plastic"), ("loihi", "coincidence"), ("truenorth", "coincidence"),
    ("attention_chip", "unit"), ("darwin3", "processor"), ("darwin3", "plastic"), ("spinnaker2", "processor"),
    ("spinnaker2", "graded"),
)  # fmt: skip
"""(chip, method) pairs whose energy is plotted: each chip's own, and the unit that the proposed chip adds."""

HEAD_TEXT = f"""# Spiking attention on chips

What spiking self-attention, y = q (k^T v) of spikes, costs on every described chip by every method it has. Written by
`python benchmarks/run.py attention`; how each method works is in [architecture.md](architecture.md#attention).

One attention layer stands alone, its cores along Hilbert's curve:
spikes come in ({INPUT_RATE:.0%} of them ones), three one-to-one layers keep random
channels as q, k and v (so that {RATE:.0%} of their neurons fire), one layer of neurons takes the products. N tokens, D
channels in heads of {HEAD}, T steps. Neurons, cores, chips and ticks are those of the compiled program; packets,
latency and energy those of one simulated input. All methods of a table compute the same integers. `*` marks the
method that `--attention auto` takes.

- "counted": more than {MOST_NEURONS[False]:,} neurons by the estimate, so not compiled here; cores are neurons over
  neurons a core.
- Energy is the chip's own bill without static power. ">" means that the chip's maker does not publish a price of
  something that happened (on Loihi: the x86 cores, axons), so that the true figure is larger; "-" that no price of
  the run is published.
- On chips with a fixed tick the latency is ticks times that tick, or more where the work did not fit.
"""


DUAL_TEXT = """
## Dual spike self-attention

SpikingResformer's DSSA multiplies spikes z with weighted sums of spikes: y = a convolution of spikes x, per head y^T z.
The tables below are of one such product: windows of 2 x 2 on the grid of the N tokens, so M = N / 4 positions of y;
whole weights of -2 to 2. What holds above holds here; what takes more than 300,000 neurons by its estimate is only
counted. Learning synapses cannot: they count spikes that meet, and a weighted sum is no count."""


def write(found: Sequence[Measured], neurons: Sequence[Row], dual: Sequence[Measured] = (), page: Path = PAGE) -> None:
    """Write the page and its two plots beside it."""
    plots = {
        "attention-neurons.svg": neuron_plot(neurons),
        "attention-energy.svg": energy_plot(found),
    }
    for name, svg in plots.items():
        write_text(page.with_name(name), svg)
    parts = [
        HEAD_TEXT,
        "## Neurons of attention by coincidence\n",
        "Exact unless it says otherwise. The exact ANDs spread both products over ANDs of single spikes; h w d is what "
        "HiAER-Spike's converter makes for each product, the second of which sees only whether a count is zero. "
        "Bursts trade neurons for ticks: taken where digits do not fit, or cannot be forgotten after a step.\n",
        "![Neurons](attention-neurons.svg)\n",
        table(neurons),
        "\n## Every method on every chip\n",
        "A line ends where its program is too large to be compiled here.\n",
        "![Energy](attention-energy.svg)\n",
    ]
    parts += [*by_case(found), *dual_parts(dual)]
    write_text(page, "\n".join(parts) + "\n")


def by_case(found: Sequence[Measured]) -> list[str]:
    """A heading and a table for each layer."""
    parts = []
    for case in dict.fromkeys(one.case for one in found):
        dual = f"DSSA, windows of {case.patch} x {case.patch}, " if case.patch else ""
        parts.append(f"\n### {dual}N = {case.tokens}, D = {case.width}, T = {case.timesteps}\n")
        drop = ("N", "D", "heads", "T")
        rows = [{k: v for k, v in one.row().items() if k not in drop} for one in found if one.case == case]
        parts.append(table(rows))
    return parts


def dual_parts(found: Sequence[Measured]) -> list[str]:
    """The tables of DSSA and what they show; without the method that no chip can use, of which the text tells."""
    return [DUAL_TEXT, *by_case([one for one in found if one.method != "plastic"])] if found else []


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(text(row.get(head)).replace("|", "/") for head in heads) + " |" for row in rows]
    return "\n".join(lines)


def neuron_plot(neurons: Sequence[Row], width: int = 256) -> str:
    """Neurons over tokens for one width."""
    columns = ("exact ANDs of spikes", "h w d tool (not exact)", "ours, digits", "ours, bursts", "ours, graded")
    mine = [row for row in neurons if row["D"] == width] or list(neurons)
    lines = {name: [(float(str(row["N"])), float(str(row[name]))) for row in mine] for name in columns}
    return line_chart(f"Neurons for attention, D = {width}, heads of {HEAD}", "tokens N", "neurons", lines)


def energy_plot(found: Sequence[Measured], width: int = 64) -> str:
    """Energy of one input over tokens, for the chips that publish prices."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for one in found:
        case = one.case
        if (one.chip, one.method) in PLOTTED and one.energy_uj and case.width == width and case.timesteps == 1:
            name = f"{one.chip} {one.method}{' >' if one.partial else ''}"
            lines.setdefault(name, []).append((case.tokens, one.energy_uj))
    return line_chart(f"Energy of one attention layer, D = {width}", "tokens N", "uJ an input", lines)
