"""Energy and operations of every attention method split by layer and core, and each split sums to its total."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from neurochip.program.image import UNIT
from neurochip.report.energy import billed_prices, chip_bill, core_joules, joules_by_kind, run_counts
from neurochip.report.layers import layer_counts, layer_reports
from neurochip.sim.engine import run_program
from neurochip.sim.trace import Trace
from tests.attention_networks import METHODS, Sizes, able_chip, attention_network, lowered, mapped

ABLE = able_chip(neurons=64)
SIZES = Sizes(height=2, width=3, heads=2, depth=3, timesteps=2)


def ran(method: str):
    network, x = attention_network(SIZES, ABLE, seed=5)
    program = mapped(lowered(network, ABLE, method), ABLE, method)
    return program, run_program(program, x), network.run(x)


@pytest.mark.parametrize("method", METHODS)
def test_what_layers_do_adds_up_to_what_cores_did(method: str) -> None:
    program, trace, _ = ran(method)
    total = run_counts(program, trace)
    parts = [layer_counts(program, trace, p) for p in program.network.populations]
    for field in total.__dataclass_fields__:
        assert sum(getattr(part, field) for part in parts) == getattr(total, field), field


@pytest.mark.parametrize("method", METHODS)
def test_energy_of_layers_and_of_cores_adds_up_to_the_bill(method: str) -> None:
    program, trace, _ = ran(method)
    kinds = joules_by_kind(billed_prices(ABLE.costs(), run_counts(program, trace)), run_counts(program, trace))
    bill = chip_bill(program, trace)
    assert sum(layer.dynamic_j for layer in layer_reports(program, trace)) == pytest.approx(sum(kinds.values()))
    outside = {"hops", "chip_crossings", "local_delivery"}
    inside = sum(joules for kind, joules in kinds.items() if kind not in outside)
    assert core_joules(program, trace).sum() == pytest.approx(inside)
    assert bill.total_j == pytest.approx(sum(joules or 0.0 for joules in bill.kinds.values()))


def test_learning_is_billed_by_coincidence_and_by_synapse_cleared() -> None:
    program, trace, ideal = ran("plastic")
    k, v = (ideal.spikes[name].reshape(2, 2, 6, 2, 3).astype(int) for name in "kv")  # B, T, N, heads, d
    outer = np.einsum("btnhc,btnhe->bthce", k, v)
    expected = outer.sum() + (outer > 0).sum()
    copies = trace.cores.learning_updates.sum() / expected
    assert copies >= 1
    assert copies == int(copies)
    assert program.network.interval == 2 * 6 + 1
    assert trace.tick_ns.shape == (2, program.network.ticks)


def test_units_do_the_operations_of_processors_at_their_own_price() -> None:
    (unit_program, unit, _), (_, processor, _) = ran("unit"), ran("processor")
    units = unit_program.cores["kind"] == UNIT
    assert unit.cores.processor_ops[units].sum() == processor.cores.processor_ops.sum() > 0
    assert run_counts(unit_program, unit).processor_ops == 0
    assert unit.packets < processor.packets, "a payload is one packet, digits are several"


def test_synapses_that_a_payload_reaches_multiply() -> None:
    program, trace, _ = ran("graded")
    reports = {layer.name: layer for layer in layer_reports(program, trace)}
    assert trace.cores.macs.sum() > 0
    assert reports["y"].mac > 0
    assert reports["y"].ac == 0
    spiking: Trace = ran("coincidence")[1]
    assert spiking.cores.macs.sum() == 0


def test_every_copy_of_learning_synapses_is_billed() -> None:
    small = able_chip(neurons=6)
    network, x = attention_network(replace(SIZES, timesteps=1), small, seed=5)
    one, many = (
        run_program(mapped(lowered(network, chip, "plastic"), chip, "plastic"), x) for chip in (able_chip(), small)
    )
    assert many.cores.learning_updates.sum() > one.cores.learning_updates.sum()
    assert np.array_equal(one.readout, many.readout)
