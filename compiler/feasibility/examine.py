"""Runs every stage but placement and collects what is refused, instead of stopping at the first error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from compiler.feasibility.usage import layer_uses, refused_tiles
from compiler.feasibility.verdict import Feasibility, Refusal
from compiler.ir.graph import Graph
from compiler.legal import LEGAL, Choices
from compiler.legal.repeaters import repeated_if_cheaper, with_repeaters
from compiler.legal.splitters import SPLIT
from compiler.lower.balance import balance
from compiler.lower.lower import lower_graph, lower_node
from compiler.lower.state import Lowering
from compiler.mapping.formats import formats_of, limited
from compiler.mapping.pack import pack
from compiler.mapping.tile import Tiling, tile_network
from compiler.pipeline import (
    Options,
    attention_method,
    chosen_attention,
    encoder_places,
    refuse_unknown,
    run_passes,
    takes_analog,
)
from neurochip.chip.sections import EncoderHome
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, ChipError, UnsupportedError
from neurochip.network.network import Network

ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class Collector:
    """Runs steps and keeps what they refuse."""

    refusals: list[Refusal] = field(default_factory=list)

    def attempt(self, stage: str, step: Callable[[], ValueT]) -> ValueT | None:
        """The result of ``step``, or None with its refusal kept."""
        try:
            return step()
        except (UnsupportedError, CapacityError, ChipError) as error:
            self.add(stage, str(error))
            return None

    def add(self, stage: str, *messages: str) -> None:
        """Keep ``messages``, each once."""
        known = {refusal.message for refusal in self.refusals}
        self.refusals += [Refusal(stage=stage, message=m) for m in dict.fromkeys(messages) if m not in known]

    def add_all(self, refusals: list[Refusal]) -> None:
        """Keep ``refusals``, each message once."""
        for refusal in refusals:
            self.add(refusal.stage, refusal.message)


def examine(graph: Graph, chip: ChipSpec, options: Options) -> Feasibility:
    """Check a float graph against ``chip``: every stage of the compiler but placement.

    A width, attention method or encoder that the chip lacks is refused, and the rest is checked with the chip's own. A
    stage that fails ends the check, after all that it can find has been collected. As in compiling, the chip's places
    for analog input are tried in order; what the last one refuses is told.
    """
    wrong = Collector()
    places = wrong.attempt("encoder", lambda: encoder_places(graph, chip, options.encoder))
    for place in places or chip.encoder.places[:1]:
        found = examine_encoded(graph, chip, options, place)
        if found.fits:
            break
    encoder = found.encoder if takes_analog(graph) else "none"
    return replace(found, encoder=encoder, refusals=(*wrong.refusals, *found.refusals))


def examine_encoded(graph: Graph, chip: ChipSpec, options: Options, place: EncoderHome) -> Feasibility:
    """``examine`` with the analog input in one ``place``."""
    found = Collector()
    bits = chip.default_weight_bits
    if options.weight_bits is not None:
        format_ = found.attempt("weights", lambda: chip.weight_format(options.weight_bits))
        bits = bits if format_ is None else format_.bits
    if found.attempt("attention", lambda: attention_method(options.attention, chip)) is None:
        options = replace(options, attention="auto")
    network, tilings, cores, method = None, None, None, "none"
    if chip.refusal is not None:
        found.add("chip", chip.refusal)
    else:
        legal, method = legal_network(graph, chip, bits, options, place, found)
        if legal is not None:
            network, tilings, cores = tiled(legal, chip, bits, found)
    per_chip = chip.cores_per_chip
    return Feasibility(
        model=graph.name,
        chip=chip.name,
        weight_bits=bits,
        encoder=place,
        attention=method,
        timesteps=graph.timesteps,
        refusals=tuple(found.refusals),
        layers=() if network is None or tilings is None else layer_uses(network, tilings, chip, bits),
        cores=cores,
        chips=None if cores is None else -(-cores // per_chip),
        available=chip.max_chips * per_chip,
        neurons=None if network is None else sum(p.size for p in network.populations),
        interval=None if network is None else network.interval,
        ticks=None if network is None else network.ticks,
        repeaters=0 if network is None else sum(p.name.endswith(SPLIT) for p in network.populations),
        longest_delay=None
        if network is None
        else max((s.delay for p in network.projections for s in p.sources), default=0),
    )


def legal_network(
    graph: Graph, chip: ChipSpec, bits: int, options: Options, place: EncoderHome, found: Collector
) -> tuple[Network | None, str]:
    """The legal network without delays, or None with every refusal on the way collected; its attention method."""
    choices = Choices(
        weight_bits=bits, attention="none", approximate=options.approximate, max_interval=options.max_interval,
        sums=options.sums != "none",
    )  # fmt: skip
    quantised = found.attempt("passes", lambda: approximated(graph, chip, bits, options, place))
    if quantised is None:
        return None, "none"
    lowered = found.attempt("lowering", lambda: lower_graph(quantised, chip, bits))
    if lowered is None:
        found.add("lowering", *refused_nodes(quantised, chip, bits))
        return None, "none"
    wanted = replace(choices, attention=options.attention)
    method = found.attempt("attention", lambda: chosen_attention(lowered, chip, wanted))
    if method is None:
        return None, "none"
    network, choices = lowered, replace(choices, attention=method)
    for item in LEGAL:
        rewritten = found.attempt(item.name, partial(item.run, network, chip, choices))
        if rewritten is None:
            return None, method
        network = rewritten
    return network, method


def tiled(
    legal: Network, chip: ChipSpec, bits: int, found: Collector
) -> tuple[Network | None, dict[str, Tiling] | None, int | None]:
    """The balanced network, how it is cut into tiles, and its cores; with repeaters as compiling sets them."""
    first = Collector()
    result = tiled_once(repeated_if_cheaper(legal, chip, bits), chip, bits, first)
    if first.refusals:
        repeated = first.attempt("repeaters", lambda: with_repeaters(legal, chip, bits))
        if repeated is not None and repeated is not legal:
            first = Collector()
            result = tiled_once(repeated, chip, bits, first)
    found.add_all(first.refusals)
    return result


def tiled_once(
    legal: Network, chip: ChipSpec, bits: int, found: Collector
) -> tuple[Network | None, dict[str, Tiling] | None, int | None]:
    """``tiled``, of ``legal`` as it is."""
    exact = chip.limits.axon_types > 0
    network = found.attempt("delays", lambda: balance(legal, chip.max_delay, exact=exact))
    if network is None:
        return None, None, None
    timed = network
    tilings = found.attempt("tiling", lambda: tile_network(timed, chip, bits))
    if tilings is None:
        found.add("tiling", *refused_tiles(network, chip, bits))
        return network, None, None
    return network, tilings, core_count(network, tilings, chip, found)


def approximated(graph: Graph, chip: ChipSpec, bits: int, options: Options, place: EncoderHome) -> Graph:
    """The quantised graph; refuses unknown approximations as compiling does."""
    refuse_unknown(options.approximate)
    return run_passes(graph, chip, bits, None, options.approximate, place)


def refused_nodes(graph: Graph, chip: ChipSpec, bits: int) -> list[str]:
    """Every node that the lowering refuses; what depends on a refused node is left out."""
    state = Lowering(graph, chip.arithmetic, chip.weight_format(bits))
    messages = []
    for node in graph.nodes:
        if any(name not in state.values for name in node.inputs):
            continue
        try:
            state.values[node.name] = lower_node(state, node)
        except UnsupportedError as error:
            messages.append(str(error))
    return messages


def core_count(network: Network, tilings: dict[str, Tiling], chip: ChipSpec, found: Collector) -> int:
    """Cores that the tiles take, packed as the mapping packs them, whether or not the chip has as many."""
    on_cores = [tilings[p.name] for p in network.populations if tilings[p.name].demand]
    formats = [formats_of(network, t.population) for t in on_cores] if limited(chip) else None
    many = chip.boards.max_chips.model_copy(update={"value": 1 << 40})
    endless = chip.model_copy(update={"boards": chip.boards.model_copy(update={"max_chips": many})})
    needed = int(pack(on_cores, endless, formats).max(initial=-1)) + 1
    if needed > chip.max_chips * chip.cores_per_chip:
        found.attempt("capacity", lambda: pack(on_cores, chip, formats))
    return needed
