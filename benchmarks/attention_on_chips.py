"""What spiking self-attention costs on each chip: cores, neurons, ticks, packets and energy of every method.

One layer alone: spikes enter, three one-to-one layers keep the channels of q, k and v (each of them at random, so that
a neuron fires in a fifth of the steps), and one layer of neurons takes the products. Everything else on the chip is the
same for all methods. Figures are those of the compiled program and of its simulation on one random input; a program
too large to compile or simulate here is only counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import text
from compiler.legal.choose_attention import choose_attention, estimates
from compiler.legal.expansions import Shape, expansions, matrix_product_neurons, naive_neurons
from compiler.legal.target import Choices
from compiler.lower.balance import balance
from compiler.mapping.check import check_program
from compiler.mapping.map import map_network
from compiler.pipeline import legalise
from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import NeurochipError
from neurochip.network.network import InputSpec, Network, Neuron, Population, ReadoutSpec
from neurochip.network.projections import Conv, Gather, Pool, Product, Source
from neurochip.program.image import Layer, Origin, Program
from neurochip.report.energy import chip_bill
from neurochip.sim.engine import run_program

CHIPS = ("loihi", "loihi2", "truenorth", "darwin3", "tianjic", "spinnaker", "spinnaker2", "attention_chip")
QUICK_CHIPS = ("loihi", "loihi2", "spinnaker2", "attention_chip")
TOKENS, WIDTHS, HEAD = (16, 64, 196), (64, 256, 512), 64
RATE = 0.2
INPUT_RATE = 0.5
MOST_TICKS = 1024
"""Longest step tried, so that learning 196 tokens one by one is part of the comparison."""
MOST_NEURONS = {True: 300_000, False: 2_500_000}
"""Neurons of a program that is compiled, for quick runs and for full ones."""
MOST_WORK = 2e9
"""Neuron updates of a simulation that fits a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """N tokens of D channels in heads of ``HEAD``, T steps; ``patch``: side of the windows of DSSA, 0 elsewhere."""

    tokens: int
    width: int
    timesteps: int
    patch: int = 0

    @property
    def shape(self) -> Shape:
        """Sizes for ``expansions``."""
        side = int(self.tokens**0.5)
        return Shape(height=side, width=side, heads=self.width // HEAD, depth=HEAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One method on one chip. ``how``: simulated, compiled, counted, or why the chip cannot.

    ``partial``: a price of something that happened is not published, so that the energy is a lower bound.
    """

    chip: str
    method: str
    case: Case
    how: str
    neurons: int | None = None
    cores: int | None = None
    chips: int | None = None
    interval: int | None = None
    ticks: int | None = None
    packets: int | None = None
    latency_us: float | None = None
    energy_uj: float | None = None
    partial: bool = False
    chosen: bool = False

    def row(self) -> dict[str, object]:
        """For a table."""
        case = self.case
        energy: object = self.energy_uj
        if self.partial and self.energy_uj is not None:
            energy = f"> {text(self.energy_uj)}"
        return {
            "chip": self.chip, "method": f"{self.method}{' *' if self.chosen else ''}", "N": case.tokens,
            "D": case.width, "heads": case.width // HEAD, "T": case.timesteps, "neurons": self.neurons,
            "cores": self.cores, "chips": self.chips, "ticks/step": self.interval, "ticks": self.ticks,
            "packets": self.packets, "latency us": self.latency_us, "energy uJ": energy, "how": self.how,
        }  # fmt: skip


def layer_network(case: Case, chip: ChipSpec) -> Network:
    """The layer by the rules of ``chip``: x -> q, k, v -> product -> y -> readout."""
    shape, rules, weights = case.shape, chip.arithmetic, chip.weight_format()
    rng = np.random.default_rng(0)
    shift = min(max(rules.threshold_shift, weights.shift_low), weights.shift_high)
    unit, late = 1 << shift, rules.fires == "gt"

    def population(name: str, kind: Neuron, channels: int = case.width, high: int = 1) -> Population:
        return Population(
            name=name, height=shape.height, width=shape.width, channels=channels, neuron=kind, origin=name, high=high
        )

    def kept(name: str) -> Conv:
        some = (rng.random((1, 1, 1, case.width)) < RATE / INPUT_RATE).astype(np.int8)
        return Conv(
            name=f"{name}.w", sources=(Source("x"),), target=name, origin=name, weight=some, groups=case.width,
            shift=shift,
        )  # fmt: skip

    scale = RATE * RATE * RATE * case.tokens * HEAD
    threshold = max(2, round(scale))
    once = Neuron(kind="lif", threshold=(1 - late) * unit)
    populations = (
        population("x", Neuron(kind="source")),
        *(population(name, once) for name in "qkv"),
        population("attention", Neuron(kind="product"), high=case.tokens * HEAD),
        population("y", Neuron(kind="lif", threshold=(threshold - late) * unit)),
        replace(population("out", Neuron(kind="readout"), 2), height=1, width=1),
    )
    projections = (
        *(kept(name) for name in "qkv"),
        Product(
            name="attention.product", sources=tuple(Source(n) for n in "qkv"), target="attention", origin="attention",
            heads=shape.heads,
        ),
        Pool(name="y.w", sources=(Source("attention"),), target="y", origin="y", shift=shift),
        Gather(
            name="out.w", sources=(Source("y"),), target="out", origin="out", shift=weights.shift_low,
            weight=np.ones((case.width, 2), np.int8),
        ),
    )  # fmt: skip
    return Network(
        name="attention", timesteps=case.timesteps, populations=populations, projections=projections,
        input=InputSpec(shape=(case.width, shape.height, shape.width), kind="spikes", scale=1.0, low=0, high=1),
        readout=ReadoutSpec(population="out", scale=1.0, divisor=1, bias=(0.0, 0.0)), arithmetic=rules,
    )  # fmt: skip


def spikes_for(case: Case) -> NDArray[np.float64]:
    """One random input (T, 1, D, H, W)."""
    rng = np.random.default_rng(1)
    shape = (case.timesteps, 1, case.width, case.shape.height, case.shape.width)
    return (rng.random(shape) < INPUT_RATE).astype(np.float64)


def measure(
    case: Case, name: str, *, quick: bool, layer: Callable[[Case, ChipSpec], Network] = layer_network
) -> Iterator[Measured]:
    """Every method that chip ``name`` lists."""
    chip = load_chip(name)
    ideal = layer(case, chip)
    choices = Choices(weight_bits=chip.default_weight_bits, attention="auto", max_interval=MOST_TICKS)
    found = estimates(ideal, chip, choices, chip.costs())
    working = [estimate for estimate in found if not estimate.refusal]
    best = choose_attention("auto", ideal, found) if working else ""
    for estimate in found:
        start = Measured(
            chip=name,
            method=estimate.method,
            case=case,
            how=f"refused: {estimate.refusal}",
            chosen=estimate.method == best,
        )
        if estimate.refusal:
            yield start
            continue
        model = sum(p.size for p in ideal.populations if p.neuron.kind in ("lif", "readout"))
        counted = replace(start, how="counted", neurons=model + estimate.neurons, interval=estimate.interval)
        if model + estimate.neurons > MOST_NEURONS[quick]:
            yield replace(counted, cores=-(-(model + estimate.neurons) // chip.limits.neurons))
            continue
        yield compiled(counted, ideal, chip, replace(choices, attention=estimate.method))


def compiled(start: Measured, ideal: Network, chip: ChipSpec, choices: Choices) -> Measured:
    """Compile, check, and simulate one input if that fits a minute."""
    try:
        program = program_of(ideal, chip, choices)
    except NeurochipError as error:
        return replace(start, how=f"refused: {str(error).splitlines()[0]}")
    network = program.network
    size = sum(p.size for p in network.populations if p.neuron.kind not in ("product", "source"))
    found = replace(
        start, how="compiled", neurons=size, cores=program.n_cores, chips=program.n_chips, interval=network.interval,
        ticks=network.ticks,
    )  # fmt: skip
    if size * network.ticks > MOST_WORK:
        return found
    trace = run_program(program, spikes_for(start.case))
    bill = chip_bill(program, trace)
    billed = [joules for kind, joules in bill.kinds.items() if kind != "static"]
    how = "simulated" if not trace.saturations else f"simulated, {trace.saturations} saturations"
    return replace(
        found, how=how, packets=trace.packets, latency_us=float(trace.tick_ns.sum()) * 1e-3,
        energy_uj=sum(joules or 0.0 for joules in billed) * 1e6 or None, partial=None in billed,
    )  # fmt: skip


def program_of(ideal: Network, chip: ChipSpec, choices: Choices) -> Program:
    """The layer on ``chip`` by the method of ``choices``; checked."""
    network = balance(legalise(ideal, chip, choices), chip.max_delay)
    origin = Origin(
        model="attention layer", model_sha256="", family="attention", compiler_version="", placement="hilbert",
        weight_bits=choices.weight_bits, attention=choices.attention, profile=chip.costs().profile, seed=0,
    )  # fmt: skip
    program = map_network(network, chip, origin, (Layer(name="attention", kind="attention", dense_macs=0),))
    check_program(program)
    return program


def cases(*, quick: bool) -> list[Case]:
    """All sizes with T = 1, and the middle one with T = 4."""
    if quick:
        return [Case(tokens=16, width=64, timesteps=1)]
    sizes = [Case(tokens=n, width=d, timesteps=1) for n in TOKENS for d in WIDTHS]
    return [*sizes, Case(tokens=64, width=256, timesteps=4)]


def neuron_rows(*, quick: bool) -> list[dict[str, object]]:
    """Neurons of every expansion beside the naive ones, by arithmetic alone."""
    rows = []
    for case in cases(quick=quick):
        if case.timesteps > 1:
            continue
        shape = case.shape
        digits, burst, graded = (expansions(shape, (coding,), 15)[0] for coding in ("digits", "burst", "graded"))
        rows.append(
            {
                "N": case.tokens, "D": case.width, "heads": shape.heads, "exact ANDs of spikes": naive_neurons(shape),
                "ours, digits": digits.neurons, "order": digits.order, "ours, bursts": burst.neurons,
                "burst ticks/step": burst.interval, "ours, graded": graded.neurons,
                "h w d tool (not exact)": matrix_product_neurons(shape),
            }
        )  # fmt: skip
    return rows


def measured(
    wanted: list[Case],
    layer: Callable[[Case, ChipSpec], Network] = layer_network,
    *,
    quick: bool,
    chips: tuple[str, ...] = CHIPS,
) -> list[Measured]:
    """Everything, with a line of progress each."""
    found = []
    for case in wanted:
        for name in chips:
            for one in measure(case, name, quick=quick, layer=layer):
                found.append(one)
                stamp = time.strftime("%H:%M:%S")
                print(f"{stamp} {name} {one.method} N={case.tokens} D={case.width} T={case.timesteps}: {one.how[:90]}")
    return found
