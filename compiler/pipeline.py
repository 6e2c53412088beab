"""The stages in order: read this file first. Graph -> passes -> Network -> legal Network -> balanced -> Program."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from compiler.ir.graph import Graph
from compiler.ir.ops.attention import Attention
from compiler.ir.ops.conv import Conv2d
from compiler.ir.ops.linear import Linear
from compiler.ir.ops.pool import SumPool
from compiler.ir.ops.quantised import QuantiseInput
from compiler.ir.ops.readout import Readout
from compiler.ir.ops.weighted_product import WeightedProduct
from compiler.ir.text import print_graph
from compiler.ir.verify import verify
from compiler.legal import LEGAL, Choices
from compiler.legal.choose_attention import choose_attention, estimates, print_estimates
from compiler.legal.repeaters import repeated_if_cheaper, with_repeaters
from compiler.legal.target import MAX_INTERVAL
from compiler.lower.balance import balance
from compiler.lower.lower import lower_graph
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from compiler.passes import PASSES
from compiler.passes.target import Target
from neurochip.chip.sections import EncoderHome
from neurochip.chip.spec import ChipSpec
from neurochip.errors import CapacityError, UnsupportedError
from neurochip.network.network import Network
from neurochip.network.text import print_network
from neurochip.network.validate import validate_network
from neurochip.program.image import Layer, Origin, Program
from neurochip.version import VERSION

Report = Callable[[str, Callable[[], str]], None]
"""Called after a stage with its name and a function that renders its text."""

STAGES: tuple[str, ...] = (
    "import",
    *(p.name for p in PASSES),
    "network",
    "attention-methods",
    *(p.name for p in LEGAL),
    "balance",
    "mapping",
)
"""Names of the stages, as ``--print-after`` takes them."""

APPROXIMATIONS: tuple[str, ...] = ("leak",)
"""What ``Options.approximate`` may name: ``leak`` = a leak of the chip's kind in the place of the model's."""

SUMS: tuple[str, ...] = ("auto", "none")
"""What ``Options.sums`` may be: ``auto`` = where populations of running sums spare many cores."""

LAYER_KINDS = (
    (Conv2d, "conv"),
    (Linear, "linear"),
    (Attention, "attention"),
    (WeightedProduct, "attention"),
    (SumPool, "pool"),
    (Readout, "readout"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a user may choose; ``None`` means the chip's default.

    Attributes:
        weight_bits: width of a synaptic weight, sign included.
        encoder: where analog input is convolved: ``auto`` or a place that the chip lists.
        attention: ``auto`` or a method the chip lists.
        placement: a name of ``compiler.mapping.place.METHODS``.
        profile: cost profile of the chip. seed: of everything random.
        approximate: what need not be exact: names of ``APPROXIMATIONS``; nothing is approximated unless it is named.
        max_interval: most ticks that one step may take.
        sums: one of ``SUMS``: whether residual streams are summed up on the way.
    """

    weight_bits: int | None = None
    attention: str = "auto"
    placement: str = "anneal"
    profile: str | None = None
    seed: int = 0
    approximate: tuple[str, ...] = ()
    max_interval: int = MAX_INTERVAL
    encoder: str = "auto"
    sums: str = "auto"


def compile_graph(
    graph: Graph,
    chip: ChipSpec,
    options: Options,
    *,
    model_sha256: str = "",
    on_stage: Report | None = None,
) -> Program:
    """Compile a float graph for ``chip``.

    Where the first of its places for analog input does not take the model, the chip's other place is tried.

    Args:
        on_stage: called after each of ``STAGES`` with its name and a function that renders its text.
    Raises:
        UnsupportedError, CapacityError: naming the layer, the limit and the remedy.
    """
    report = on_stage or (lambda _name, _text: None)
    if chip.refusal is not None:
        raise UnsupportedError(chip.refusal)
    refuse_unknown(options.approximate)
    if options.sums not in SUMS:
        raise UnsupportedError(f"--sums {options.sums}: expected one of {', '.join(SUMS)}")
    *others, last = encoder_places(graph, chip, options.encoder)
    for place in others:
        try:
            return compile_encoded(graph, chip, options, place, model_sha256, report)
        except (UnsupportedError, CapacityError):
            continue
    return compile_encoded(graph, chip, options, last, model_sha256, report)


def encoder_places(graph: Graph, chip: ChipSpec, wanted: str) -> tuple[EncoderHome, ...]:
    """Places to try for the analog input of ``graph``, in order: all that ``chip`` lists, or the one ``wanted``.

    Raises ``UnsupportedError`` for a place that the chip does not list.
    """
    places = chip.encoder.places
    chosen = tuple(place for place in places if wanted in (place, "auto"))
    if not chosen:
        raise UnsupportedError(f"--encoder {wanted}: chip {chip.name!r} can take analog input on: {', '.join(places)}")
    return chosen if takes_analog(graph) else chosen[:1]


def takes_analog(graph: Graph) -> bool:
    """Whether some input of ``graph`` is no spikes."""
    return any(not graph.type_of(node).is_counts for node in graph.inputs)


def compile_encoded(
    graph: Graph, chip: ChipSpec, options: Options, place: EncoderHome, model_sha256: str, report: Report
) -> Program:
    """``compile_graph`` with the analog input in one ``place``."""
    weights = chip.weight_format(options.weight_bits)
    wanted = attention_method(options.attention, chip)
    costs = chip.costs(options.profile)
    report("import", lambda: print_graph(graph))
    quantised = run_passes(graph, chip, weights.bits, report, options.approximate, place)
    lowered, layers = lower_graph(quantised, chip, weights.bits), layers_of(quantised)
    del quantised  # its weights are those of the network in another order
    choices = Choices(
        weight_bits=weights.bits, attention=wanted, approximate=options.approximate,
        max_interval=options.max_interval, sums=options.sums != "none",
    )  # fmt: skip
    report("network", lambda: print_network(lowered))
    choices = replace(choices, attention=chosen_attention(lowered, chip, choices, report))
    legal = legalise(lowered, chip, choices, report)
    origin = Origin(
        model=graph.name,
        model_sha256=model_sha256,
        family=graph.name,
        compiler_version=VERSION,
        weight_bits=weights.bits,
        attention=choices.attention,
        placement=options.placement,
        profile=costs.profile,
        seed=options.seed,
        settings=tuple((s.name, str(s.value), s.origin) for s in graph.settings),
        ignored=graph.ignored,
        approximate=options.approximate,
    )
    program = mapped(legal, chip, origin, layers, report)
    check_program(program)
    report("mapping", lambda: print_mapping(program))
    return program


def mapped(legal: Network, chip: ChipSpec, origin: Origin, layers: tuple[Layer, ...], report: Report) -> Program:
    """``legal`` balanced and mapped; with repeaters where it does not fit the chip, or would take many more cores."""

    def balanced(network: Network) -> Network:
        timed = balance(network, chip.max_delay, exact=chip.limits.axon_types > 0)
        report("balance", lambda: print_network(timed))
        return timed

    bits = origin.weight_bits
    network = repeated_if_cheaper(legal, chip, bits)
    validate_network(network, timed=False)
    try:
        return map_network(balanced(network), chip, origin, layers)
    except CapacityError:
        network = with_repeaters(legal, chip, bits)
        if network is legal:
            raise
        validate_network(network, timed=False)
        return map_network(balanced(network), chip, origin, layers)


def refuse_unknown(approximate: tuple[str, ...]) -> None:
    """Raises ``UnsupportedError`` for what cannot be approximated."""
    unknown = [name for name in approximate if name not in APPROXIMATIONS]
    if unknown:
        raise UnsupportedError(f"--approximate {unknown[0]}: expected one of {', '.join(APPROXIMATIONS)}")


def run_passes(
    graph: Graph,
    chip: ChipSpec,
    bits: int,
    report: Report | None = None,
    approximate: tuple[str, ...] = (),
    encoder: EncoderHome = "host",
) -> Graph:
    """Every pass in order, verified after each; ``encoder``: who convolves analog input."""
    weights = chip.weight_format(bits)
    target = Target(
        arithmetic=chip.arithmetic, weight_low=weights.low, weight_high=weights.high,
        shift_low=weights.shift_low, shift_high=weights.shift_high, dendrites=chip.max_compartments,
        weight_zero=weights.zero, encoder_weight_bits=max(8, weights.bits),
        host_neurons=chip.encoder.delivery == "spikes", approximate=approximate,
        encoder=encoder, input_bits=min(8, chip.activation_bits) if encoder == "core" else 8,
    )  # fmt: skip
    latest = [verify(graph)]
    del graph
    for item in PASSES:
        latest.append(verify(item.run(latest.pop(), target)))  # no pass's result outlives the next pass's need of it
        if report is not None:
            report(item.name, partial(print_graph, latest[0]))
    return latest[0]


def legalise(network: Network, chip: ChipSpec, choices: Choices, report: Report | None = None) -> Network:
    """Every legalisation in order, each result checked to be well formed."""
    for item in LEGAL:
        network = item.run(network, chip, choices)
        validate_network(network, timed=False)
        if report is not None:
            report(item.name, partial(print_network, network))
    return network


def attention_method(wanted: str, chip: ChipSpec) -> str:
    """``wanted`` if it is ``auto`` or a method that ``chip`` lists. Raises ``UnsupportedError`` for any other."""
    if wanted != "auto" and wanted not in chip.attention_methods:
        can = ", ".join(chip.attention_methods) or "none"
        raise UnsupportedError(f"--attention {wanted}: chip {chip.name!r} can do: {can}")
    return wanted


def chosen_attention(network: Network, chip: ChipSpec, choices: Choices, report: Report | None = None) -> str:
    """The method that ``choices`` names, or for ``auto`` the cheapest (``choose_attention``); every price is reported.

    The prices are those of the chip's default profile, so that a program does not depend on the profile.
    """
    found = estimates(network, chip, choices, chip.costs())
    chosen = choose_attention(choices.attention, network, found)
    if report is not None:
        report("attention-methods", lambda: print_estimates(found, chosen))
    return chosen


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """Weight layers of a quantised graph, with the operations an ANN would do."""
    layers = []
    for node in graph.nodes:
        kind = next((name for op, name in LAYER_KINDS if isinstance(node.op, op)), None)
        if kind is None:
            continue
        analog = any(isinstance(graph.by_name[name].op, QuantiseInput) for name in node.inputs)
        macs = node.op.dense_macs(*(graph.types[name] for name in node.inputs))
        layers.append(Layer(name=node.name, kind=kind, dense_macs=macs, analog=analog))
    return tuple(layers)


def print_mapping(program: Program) -> str:
    """One line a population: tile shape and cores."""
    lines = []
    for number, population in enumerate(program.network.populations):
        tiles = program.tiles[program.tiles["population"] == number]
        shape = " x ".join(str(int((tiles[f"{a}1"] - tiles[f"{a}0"]).max())) for a in "yxc")
        cores = len(set(tiles["core"].tolist()))
        lines.append(
            f"{population.name}: {population.height} x {population.width} x {population.channels} neurons, depth "
            f"{population.depth}, {len(tiles)} tiles of {shape} on {cores} cores"
        )
    costs = ", ".join(f"{name} {cost:,.0f}" for name, cost in program.placement_costs.items())
    return "\n".join([*lines, f"{program!r}", f"placement cost (neuron hops): {costs}"])


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
