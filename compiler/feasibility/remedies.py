"""What would help: changes that are tried and accepted, nearest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from compiler.feasibility.examine import examine
from compiler.ir.graph import Graph
from compiler.pipeline import APPROXIMATIONS, Options
from neurochip.chip.spec import ChipSpec


def remedies(graph: Graph, chip: ChipSpec, options: Options, others: Sequence[ChipSpec] = ()) -> Iterator[str]:
    """Changes after which ``graph`` is accepted: fewer bits, one step, both, another attention method, an
    approximation, another chip.

    At most one of each kind, in that order; other chips are tried as they are, and only those that accept are named.
    """
    if chip.refusal is None:
        yield from _on_this_chip(graph, chip, options)
    for other in others:
        if other.name != chip.name and examine(graph, other, replace(options, weight_bits=None)).fits:
            yield f"another chip: {other.name} takes the model as it is"


def _on_this_chip(graph: Graph, chip: ChipSpec, options: Options) -> Iterator[str]:
    used = options.weight_bits or chip.default_weight_bits
    narrower = [bits for bits in reversed(chip.weight_bits) if bits < used]
    fewer = _first(graph, chip, options, narrower)
    if fewer is not None:
        yield f"{fewer}-bit weights (--weight-bits {fewer}); measure the accuracy"
    if graph.timesteps > 1:
        single = replace(graph, timesteps=1)
        if examine(single, chip, options).fits:
            yield "one time step (T = 1): there is no leak and no memory then; measure the accuracy or retrain"
        elif fewer is None and (bits := _first(single, chip, options, narrower)) is not None:
            yield f"one time step (T = 1) and {bits}-bit weights; measure the accuracy or retrain"
    methods = [m for m in chip.attention_methods if m != options.attention]
    for method in methods:
        if examine(graph, chip, replace(options, attention=method)).fits:
            yield f"attention by {method} (--attention {method})"
            break
    for name in (name for name in APPROXIMATIONS if name not in options.approximate):
        if examine(graph, chip, replace(options, approximate=(*options.approximate, name))).fits:
            yield f"an approximation (--approximate {name}): no longer exact; measure the accuracy"


def _first(graph: Graph, chip: ChipSpec, options: Options, widths: Sequence[int]) -> int | None:
    """The widest of ``widths`` with which ``graph`` is accepted."""
    return next((b for b in widths if examine(graph, chip, replace(options, weight_bits=b)).fits), None)
