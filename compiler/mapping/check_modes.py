"""Checker, part five: who multiplies. Payloads fit axons and operands, and the inputs of a core are of one mode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from compiler.mapping.check_arithmetic import current_range
from neurochip.chip.spec import ChipSpec
from neurochip.network.network import Population
from neurochip.network.projections import Bias
from neurochip.program.image import NEURON_CORE, Program


def mode_problems(program: Program) -> Iterator[str]:
    """Every rule about payloads and the modes of cores that ``program`` breaks."""
    for population in program.network.populations:
        if population.coding == "graded":
            yield from _payload(program, population)
    yield from _accumulators(program)
    if program.chip.core.modes is not None:
        yield from _cores(program)
        yield from _biases(program)


def _payload(program: Program, population: Population) -> Iterator[str]:
    """A payload fits the packet and the operand of whoever multiplies it; one from the host needs a chip that can."""
    chip, where = program.chip, f"population {population.name!r}"
    bits = operand_bits(chip) - (1 if population.signed else 0)
    if population.high >= 1 << bits:
        sign = "signed " if population.signed else ""
        yield f"{where}: payloads reach {population.high}, a spike carries {operand_bits(chip)} {sign}bits to a synapse"
    if population.neuron.kind == "source" and "core" not in (chip.encoder.where, chip.encoder.also):
        yield f"{where}: analog input on cores, {chip.name!r} takes it on the {chip.encoder.where}"


def operand_bits(chip: ChipSpec) -> int:
    """Widest payload that a packet carries and a synapse multiplies."""
    widths = [chip.spikes.payload.value]
    if chip.core.modes is not None:
        widths.append(chip.core.modes.activation.value)
    if chip.core.software is not None and chip.core.software.mac_array is not None:
        widths.append(max(chip.core.software.mac_array.operands.value))
    return min(widths)


def _cores(program: Program) -> Iterator[str]:
    """All axons of a core bring spikes, or all of them bring payloads; and the chip has cores of that mode."""
    modes, by_name = program.chip.core.modes, program.network.by_name
    assert modes is not None
    graded = np.array([any(by_name[s.population].coding == "graded" for s in b) for b in program.bundles], bool)
    brings = graded[program.ports["bundle"]]
    neural = program.cores["kind"][program.ports["core"]] == NEURON_CORE
    found = {
        "graded": np.unique(program.ports["core"][brings & neural]),
        "spiking": np.unique(program.ports["core"][~brings & neural]),
    }
    mixed = np.intersect1d(found["graded"], found["spiking"])
    if len(mixed):
        more = f" ({len(mixed)} such cores)" if len(mixed) > 1 else ""
        yield f"core {mixed[0]}: some axons bring spikes and some payloads, a core has one mode{more}"
    for mode, cores in found.items():
        if len(cores) and mode not in modes.kinds:
            yield f"core {cores[0]}: {mode} inputs, the chip's cores are {' or '.join(modes.kinds)}"


def _biases(program: Program) -> Iterator[str]:
    """Always-on axons of graded cores carry activations, of any value that fits; those of spiking cores spikes."""
    chip, network = program.chip, program.network
    allowed = chip.weight_format(program.origin.weight_bits)
    for projection in network.projections:
        if not isinstance(projection, Bias) or projection.place != "axon" or projection.types:
            continue
        reads = [s.population for p in network.incoming[projection.target] for s in p.sources]
        graded = bool(reads) and all(network.by_name[name].coding == "graded" for name in reads)
        high = allowed.shift_high + (operand_bits(chip) - 1 if graded else 0)
        if not all(allowed.shift_low <= shift <= high for shift in projection.shifts):
            found = ", ".join(map(str, projection.shifts))
            yield f"projection {projection.name!r}: shifts {found}, its axons have {allowed.shift_low} to {high}"


def _accumulators(program: Program) -> Iterator[str]:
    """Sums of products fit the accumulator of a graded core, where the chip names one beside its registers."""
    modes, network = program.chip.core.modes, program.network
    if modes is None or modes.accumulator is None:
        return
    top = (1 << (modes.accumulator.value - 1)) - 1
    for population in network.populations:
        incoming = network.incoming[population.name]
        if not any(network.by_name[s.population].coding == "graded" for p in incoming for s in p.sources):
            continue
        ends = [current_range(network, p) for p in incoming if p.sources or isinstance(p, Bias)]
        worst = max(int(np.abs(np.sum([end[side] for end in ends], axis=0)).max()) for side in (0, 1))
        if worst > top:
            yield f"population {population.name!r}: sums of {worst}, an accumulator holds {top}"
