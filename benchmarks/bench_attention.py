"""Spiking self-attention on every chip, every method (``benchmarks/attention_on_chips.py`` says how)."""

from __future__ import annotations

from benchmarks import attention_on_chips, attention_page, dssa_on_chips
from benchmarks.settings import Results, Settings


def run(settings: Settings) -> Results:
    """The smallest layer on some chips if quick; else all, and ``docs/attention-on-chips.md`` with its plots."""
    chips = attention_on_chips.QUICK_CHIPS if settings.quick else attention_on_chips.CHIPS
    found = attention_on_chips.measured(
        attention_on_chips.cases(quick=settings.quick), quick=settings.quick, chips=chips
    )
    dual = dssa_on_chips.measured_dssa(quick=settings.quick, chips=chips)
    neurons = attention_on_chips.neuron_rows(quick=settings.quick)
    if not settings.quick:
        attention_page.write(found, neurons, dual)
    tables = {
        "Neurons of attention by coincidence": neurons,
        "Attention on chips (* = chosen by auto)": [one.row() for one in found],
        "Dual spike self-attention on chips": [one.row() for one in dual],
    }
    return Results(tables=tables)
