"""What would help: changes that are tried and accepted, nearest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from compiler.feasibility.examine import examine
from compiler.feasibility.split_heads import FACTORS, heads_of, split_heads
from compiler.ir.graph import Graph
from compiler.pipeline import APPROXIMATIONS, Options
from neurochip.chip.spec import ChipSpec
from neurochip.errors import UnsupportedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A change after which a chip takes a model: the sentence to print, and what to compile then."""

    text: str
    graph: Graph
    chip: ChipSpec
    options: Options


def remedies(graph: Graph, chip: ChipSpec, options: Options, others: Sequence[ChipSpec] = ()) -> Iterator[str]:
    """The sentences of ``accepted_changes``."""
    return (remedy.text for remedy in accepted_changes(graph, chip, options, others))


def accepted_changes(
    graph: Graph, chip: ChipSpec, options: Options, others: Sequence[ChipSpec] = ()
) -> Iterator[Remedy]:
    """Changes after which ``graph`` is accepted: fewer bits, one step, both, narrower attention heads, another
    attention method, an approximation, another chip.

    At most one of each kind, in that order; other chips are tried as they are, and only those that accept are named.
    """
    if chip.refusal is None:
        yield from _Trials(graph=graph, chip=chip, options=options).accepted()
    for other in others:
        wanted = replace(options, weight_bits=None, attention="auto")
        if other.name != chip.name and examine(graph, other, wanted).fits:
            text = f"another chip: {other.name} takes the model as it is"
            yield Remedy(text=text, graph=graph, chip=other, options=wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trials:
    """Changes on the chip asked for."""

    graph: Graph
    chip: ChipSpec
    options: Options

    def accepted(self) -> Iterator[Remedy]:
        """Each change that is accepted."""
        fewer = self.widest(self.graph)
        if fewer is not None:
            text = f"{fewer}-bit weights (--weight-bits {fewer}); measure the accuracy"
            yield self.remedy(text, replace(self.options, weight_bits=fewer))
        if self.graph.timesteps > 1:
            yield from self.one_step(alone=fewer is not None)
        yield from self.narrower_heads()
        methods = [m for m in self.chip.attention_methods if m != self.options.attention]
        for method in methods if self.options.attention != "auto" or len(methods) > 1 else ():
            wanted = replace(self.options, attention=method)
            if self.fits(self.graph, wanted):
                yield self.remedy(f"attention by {method} (--attention {method})", wanted)
                break
        for name in (name for name in APPROXIMATIONS if name not in self.options.approximate):
            more = replace(self.options, approximate=(*self.options.approximate, name))
            if self.fits(self.graph, more):
                text = f"an approximation (--approximate {name}): no longer exact; measure the accuracy"
                yield self.remedy(text, more)

    def one_step(self, *, alone: bool) -> Iterator[Remedy]:
        """T = 1, or, unless fewer bits do ``alone``, T = 1 with fewer bits."""
        single = replace(self.graph, timesteps=1)
        if self.fits(single, self.options):
            text = "one time step (T = 1): there is no leak and no memory then; measure the accuracy or retrain"
            yield self.remedy(text, self.options, single)
        elif not alone and (bits := self.widest(single)) is not None:
            text = (
                f"one time step (T = 1) and {bits}-bit weights (--weight-bits {bits}); measure the accuracy or retrain"
            )
            yield self.remedy(text, replace(self.options, weight_bits=bits), single)

    def narrower_heads(self) -> Iterator[Remedy]:
        """The least splitting of attention heads that is accepted."""
        for factor in FACTORS:
            try:
                split = split_heads(self.graph, self.chip, factor)
            except UnsupportedError:
                return
            if split is None:
                return
            if self.fits(split, self.options):
                heads, name = heads_of(split), _setting_of_heads(self.graph)
                setting = f" (--set {name}={heads[0]})" if name and len(set(heads)) == 1 else ""
                text = f"attention heads split in {factor}: {_listed(heads)} heads{setting}; another model: retrain it"
                yield self.remedy(text, self.options, split)
                return

    def widest(self, graph: Graph) -> int | None:
        """The widest weights, below those asked for, with which ``graph`` is accepted; the narrowest are tried first,
        and then halves of the widths that are left, as what fits with some fits with fewer bits, too.
        """
        used = self.options.weight_bits or self.chip.default_weight_bits
        widths = sorted(bits for bits in self.chip.weight_bits if bits < used)
        if not widths or not self.fits(graph, replace(self.options, weight_bits=widths[0])):
            return None
        low, high = 0, len(widths)
        while high - low > 1:
            middle = (low + high) // 2
            fits = self.fits(graph, replace(self.options, weight_bits=widths[middle]))
            low, high = (middle, high) if fits else (low, middle)
        return widths[low]

    def fits(self, graph: Graph, options: Options) -> bool:
        """Whether ``graph`` is accepted with ``options``."""
        return examine(graph, self.chip, options).fits

    def remedy(self, text: str, options: Options, graph: Graph | None = None) -> Remedy:
        """An accepted change."""
        return Remedy(text=text, graph=graph or self.graph, chip=self.chip, options=options)


def _setting_of_heads(graph: Graph) -> str | None:
    """The setting of the model's importer that gives the number of heads, if there is one."""
    return next((s.name for s in graph.settings if "heads" in s.name and str(s.value).isdigit()), None)


def _listed(heads: Sequence[int]) -> str:
    return str(heads[0]) if len(set(heads)) == 1 else ", ".join(map(str, heads))
