"""Every total of a report is the sum of its layers, of its cores and of its links."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurochip.network.projections import Encoder
from neurochip.report.energy import PRICES, EventCounts, billed_prices, joules_by_kind, run_counts, unpublished_kinds
from neurochip.report.layers import layer_counts
from neurochip.report.report import Report
from tests.hand_programs import LOIHI
from tests.report_samples import PROFILES, hand_report, random_report

INSIDE_CORES = ("synapses", "neurons", "spikes", "axons_in", "axons_out", "processor_ops", "processor_messages")
COUNTS = tuple(EventCounts.__dataclass_fields__)

runs = st.builds(random_report, st.integers(0, 40), st.sampled_from(PROFILES))


def published(report: Report, kinds: tuple[str, ...]) -> float:
    return sum(report.chip.kinds.get(kind) or 0.0 for kind in kinds)


@settings(deadline=None, max_examples=20)
@given(runs)
def test_layers_add_up_to_the_events_that_cores_counted(report: Report) -> None:
    parts = [layer_counts(report.program, report.trace, p) for p in report.program.network.populations]
    whole = run_counts(report.program, report.trace)
    assert {name: sum(getattr(part, name) for part in parts) for name in COUNTS} == {
        name: getattr(whole, name) for name in COUNTS
    }


@settings(deadline=None, max_examples=20)
@given(runs)
def test_layers_add_up_to_operations_packets_and_hops(report: Report) -> None:
    d, trace = report.to_dict(), report.trace
    counted = [p for p in report.program.network.projections if p.counted and not isinstance(p, Encoder)]
    assert d["ac"] == sum(row.ac for row in report.layers) == sum(trace.projections[p.name].ops for p in counted)
    assert d["mac"] == sum(row.mac for row in report.layers) == trace.host_macs
    assert d["ac"] + d["overhead_ops"] == trace.synaptic_operations + int(trace.cores.processor_ops.sum())
    assert d["packets"] == sum(row.packets for row in report.layers) == int(trace.cores.packets_out.sum())
    assert d["packets"] == int(trace.cores.packets_in.sum())
    assert d["hops"] == sum(row.hops for row in report.layers) == int(trace.links.sum())
    assert d["spikes"] == sum(sum(row.spikes_per_step) for row in report.layers)


@settings(deadline=None, max_examples=20)
@given(runs)
def test_energy_splits_by_layer_core_and_link(report: Report) -> None:
    kinds, links = report.chip.kinds, report.link_energy()
    everywhere = tuple(PRICES)
    assert sum(row.dynamic_j for row in report.layers) == pytest.approx(published(report, everywhere), rel=1e-12)
    assert report.core_energy().sum() == pytest.approx(published(report, INSIDE_CORES), rel=1e-12)
    assert links.sum() == pytest.approx(kinds["hops"], rel=1e-12)
    assert sum(row.ops_45nm_j for row in report.layers) == pytest.approx(report.ops_45nm.total_j, rel=1e-12)
    assert report.chip.total_j == sum(value for value in kinds.values() if value is not None)


@settings(deadline=None, max_examples=10)
@given(runs)
def test_ann_counts_every_weight_layer_once(report: Report) -> None:
    used = {p.origin for p in report.program.network.projections if p.counted and not isinstance(p, Encoder)}
    assert sum(row.dense_macs for row in report.layers) == 1000 * len(used)
    assert report.ann_j == pytest.approx(1000 * len(used) * report.trace.inputs * 4.6e-12)


def test_a_price_missing_for_an_event_that_happened_hides_its_whole_kind() -> None:
    costs = LOIHI.costs(PROFILES[1])
    costs = replace(costs, energy_pj={**costs.energy_pj, "hop_y": None})
    only_x, both = EventCounts(hops_x=10, spikes=3), EventCounts(hops_x=10, hops_y=1, spikes=3)
    assert unpublished_kinds(costs, only_x) == frozenset()
    assert unpublished_kinds(costs, both) == {"hops"}
    assert joules_by_kind(billed_prices(costs, only_x), only_x)["hops"] == pytest.approx(10 * 3.0e-12)
    bill = joules_by_kind(billed_prices(costs, both), both)
    assert bill["hops"] == 0.0
    assert bill["spikes"] > 0.0


def test_energies_of_a_network_counted_by_hand() -> None:
    report = hand_report()
    counts = run_counts(report.program, report.trace)
    # 3 input spikes reach 2 neurons each; both fire once and reach the readout: 6 + 2 accumulates, 3 + 2 packets.
    # 2 neurons and 1 readout in 4 ticks; each has input or charge in 2 of them, at work only in its own window.
    assert counts == EventCounts(
        ops_dense=8, idle=6, active=6, spikes=2, axons_in=5, axons_out=2, hops_x=4, hops_y=2, local=3,
        processor_messages=3,
    )  # fmt: skip
    assert report.ops_45nm.ac_j == pytest.approx(8 * 0.9e-12)
    assert report.ops_45nm.mac_j == 0.0
    assert report.ann_j == pytest.approx(8 * 4.6e-12)
    kinds = report.chip.kinds
    assert kinds["synapses"] == pytest.approx(8 * 23.6e-12)
    assert kinds["neurons"] == pytest.approx((6 * 52 + 6 * 81) * 1e-12)
    assert kinds["hops"] == pytest.approx((4 * 3.0 + 2 * 4.0) * 1e-12)
    assert kinds["local_delivery"] == pytest.approx(3 * 1.7e-12)
    assert kinds["spikes"] is None
    assert kinds["axons_in"] is None
    assert kinds["chip_crossings"] == 0.0
    assert kinds["host_io"] == 0.0
    costs = report.program.chip.costs()
    seconds = float(report.trace.tick_ns.sum()) * 1e-9
    milliwatts = (costs.static_mw_per_chip or 0.0) + 2 * (costs.static_mw_per_core or 0.0)
    assert kinds["static"] == pytest.approx(milliwatts * 1e-3 * seconds)


def test_a_complete_profile_bills_spikes_and_axons() -> None:
    report = hand_report(PROFILES[1])
    prices = report.program.chip.costs(PROFILES[1]).energy_pj
    assert report.chip.kinds["spikes"] == pytest.approx(2 * prices["spike"] * 1e-12)
    assert report.chip.kinds["axons_out"] == pytest.approx(2 * prices["axon_out"] * 1e-12)
    assert report.chip.kinds["processor_messages"] is None


def test_layers_of_the_hand_network() -> None:
    rows = {row.name: row for row in hand_report().layers}
    assert [(row.kind, row.spikes, row.ac, row.packets, row.hops) for row in rows.values()] == [
        ("input", 3, 0, 3, 0),
        ("linear", 2, 6, 2, 6),
        ("readout", 0, 2, 0, 0),
    ]
    assert rows["hidden"].rate == 2 / (2 * 2)
    assert rows["hidden"].spikes_per_step == (2, 0)


def test_payloads_of_attention_are_not_spikes() -> None:
    report = next(r for r in map(random_report, range(20)) if any(row.kind == "attention" for row in r.layers))
    row = next(row for row in report.layers if row.kind == "attention")
    assert row.spikes == 0
    assert sum(row.spikes_per_step) == 0
    assert row.attention is not None
    assert row.attention.effective <= row.attention.event_driven


def test_busiest_core_and_link_hold_the_largest_loads() -> None:
    report = hand_report()
    busiest = report.to_dict()["busiest"]
    assert busiest["core"]["busy_seconds"] == pytest.approx(report.trace.cores.busy_ns[1:].max() * 1e-9)
    assert busiest["core"]["layers"] == ["hidden"]
    assert busiest["processor"] is None
    assert busiest["link"] == {"from": [0, 0], "to": [1, 0], "packets": 2, "between_chips": False}


def test_a_run_without_spikes_has_no_busiest_link() -> None:
    report = hand_report()
    silent = replace(report, trace=replace(report.trace, links=np.zeros_like(report.trace.links)))
    assert silent.busiest_link() is None
