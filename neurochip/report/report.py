"""Program + Trace -> Report: what a person asks of a run, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurochip.noc.mesh import Mesh
from neurochip.program.image import HOST, NEURON_CORE, PROCESSOR, Program
from neurochip.report.energy import MAC_PJ, ChipBill, Ops45nm, chip_bill, core_joules, link_joules, ops_45nm, run_prices
from neurochip.report.layers import LayerReport, layer_reports
from neurochip.sim.clock import program_mesh
from neurochip.sim.trace import Trace

RULE_LINES = (
    "Sums run over all inputs; per_input holds means.",
    "AC: one accumulate per spike and synapse reached, padding excluded; an integer activation k counts k times.",
    "MAC: analog input, on the host once a frame (mac_every_step: T times), on cores in every step; and payloads.",
    "overhead_ops: pools, relays, payload digits and biases; the chip pays for them, the 45 nm count leaves them out.",
    "energy.ops_45nm = 0.9 pJ AC + 4.6 pJ MAC (Horowitz 2014, 32-bit float).",
    "energy.ann_45nm = dense MACs of the same layers x 4.6 pJ, one pass.",
    "energy.chip is the chip's own bill by kind; null means that no figure is published, and the total leaves it out.",
)
RULES = " ".join(RULE_LINES)
"""The counting rules, printed with every report."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """Everything measured in one run; see ``RULES`` for how it is counted.

    Attributes:
        accuracy: share of inputs whose largest logit is the label; None without labels.
        check: what ``--check`` found; None if it did not run.
    """

    program: Program
    trace: Trace
    layers: tuple[LayerReport, ...]
    ops_45nm: Ops45nm
    chip: ChipBill
    ann_j: float
    accuracy: float | None
    check: Mapping[str, Any] | None

    @property
    def mesh(self) -> Mesh:
        """The mesh of all chips in use."""
        return program_mesh(self.program)

    def core_energy(self) -> NDArray[np.float64]:
        """Dynamic joules inside each core, (n_cores,)."""
        return core_joules(self.program, self.trace)

    def link_energy(self) -> NDArray[np.float64]:
        """Joules of the hops over each link, (n_links,)."""
        return link_joules(self.mesh, run_prices(self.program, self.trace), self.trace.links)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of a run."""
        trace, program = self.trace, self.program
        ac, mac = sum(r.ac for r in self.layers), sum(r.mac for r in self.layers)
        spikes, n = sum(r.spikes for r in self.layers), trace.inputs
        seconds = float(trace.tick_ns.sum()) * 1e-9
        return {
            "rules": RULES,
            "accuracy": self.accuracy,
            "timesteps": program.network.timesteps,
            "approximated": list(program.origin.approximate),
            "inputs": n,
            "spikes": spikes,
            "packets": trace.packets,
            "hops": trace.hops,
            "chip_crossings": trace.crossings,
            "ac": ac,
            "mac": mac,
            "mac_every_step": sum(r.mac_every_step for r in self.layers),
            "overhead_ops": sum(r.overhead_ops for r in self.layers),
            "synaptic_operations": trace.synaptic_operations,
            "energy": {
                "ops_45nm": self.ops_45nm.to_dict(),
                "chip": self.chip.to_dict(),
                "ann_45nm": {"total_j": self.ann_j, "dense_macs": sum(r.dense_macs for r in self.layers) * n},
            },
            "per_input": {
                "spikes": spikes / n,
                "packets": trace.packets / n,
                "hops": trace.hops / n,
                "ac": ac / n,
                "mac": mac / n,
                "energy_ops_45nm_j": self.ops_45nm.total_j / n,
                "energy_chip_j": self.chip.total_j / n,
                "energy_ann_45nm_j": self.ann_j / n,
            },
            "latency": {
                "ticks": program.network.ticks,
                "ticks_per_step": program.network.interval,
                "seconds": seconds / n,
                "seconds_min": float(trace.tick_ns.sum(axis=1).min()) * 1e-9,
                "seconds_max": float(trace.tick_ns.sum(axis=1).max()) * 1e-9,
                "seconds_all_inputs": seconds,
                "overruns": trace.overruns,
                "scope": "ticks and seconds of one input, mean over inputs",
            },
            "noc": dict(trace.noc),
            "busiest": {
                "core": self.busiest_core(),
                "processor": self.busiest_core(PROCESSOR),
                "link": self.busiest_link(),
            },
            "overflows": {
                "current_wraps": trace.wraps,
                "membrane_clips": trace.clips,
                "saturations": trace.saturations,
            },
            "host_writes": trace.host_writes,
            "host": self.host(),
            **{key: value for key, value in program.summary().items() if key != "timesteps"},
            "origin": self.origin(),
            "layers": [row.to_dict() for row in self.layers],
            "check": dict(self.check) if self.check is not None else {"exact": None},
            "setup_seconds": trace.setup_seconds,
            "wall_seconds": trace.wall_seconds,
        }

    def origin(self) -> dict[str, Any]:
        """Where the program came from: everything needed to make it again."""
        origin = self.program.origin
        return {
            "weight_bits": origin.weight_bits,
            "attention": origin.attention,
            "placement": origin.placement,
            "seed": origin.seed,
            "compiler_version": origin.compiler_version,
            "family": origin.family,
            "model_sha256": origin.model_sha256,
            "chip_sha256": self.program.chip.digest,
            "settings": [{"name": n, "value": v, "origin": o} for n, v, o in origin.settings],
            "ignored": list(origin.ignored),
        }

    def host(self) -> dict[str, int]:
        """What the host did and exchanged with the chip, all inputs."""
        outside, cores = self.program.cores["kind"] == HOST, self.trace.cores
        return {
            "macs": self.trace.host_macs,
            "accumulates": self.trace.host_ops,
            "words_written": self.trace.host_writes,
            "packets_to_chip": int(cores.packets_out[outside].sum()),
            "packets_from_chip": int(cores.packets_in[outside].sum()),
        }

    def busiest_core(self, kind: int = NEURON_CORE) -> dict[str, Any] | None:
        """The core of ``kind`` that worked longest, and whose neurons it holds; None if there is no such core."""
        program = self.program
        candidates = np.flatnonzero(program.cores["kind"] == kind)
        if not len(candidates):
            return None
        core = int(candidates[self.trace.cores.busy_ns[candidates].argmax()])
        row = program.cores[core]
        held = np.unique(program.tiles["population"][program.tiles["core"] == core])
        return {
            "core": core,
            "chip": int(row["chip"]),
            "router": [int(row["x"]), int(row["y"])],
            "layers": [program.network.populations[i].name for i in held],
            "busy_seconds": float(self.trace.cores.busy_ns[core]) * 1e-9,
        }

    def busiest_link(self) -> dict[str, Any] | None:
        """The link with most packets; None if no packet left its router."""
        links = self.trace.links
        if not links.any():
            return None
        link = int(links.argmax())
        ends, width = self.mesh.link_ends(), self.mesh.width
        return {
            "from": [int(ends.source[link] % width), int(ends.source[link] // width)],
            "to": [int(ends.target[link] % width), int(ends.target[link] // width)],
            "packets": int(links[link]),
            "between_chips": bool(ends.crossing[link]),
        }

    def __repr__(self) -> str:
        d = self.to_dict()
        accuracy = "" if self.accuracy is None else f"accuracy {self.accuracy:.4f}, "
        return (
            f"Report({accuracy}{d['inputs']} inputs, {d['spikes']:,} spikes, AC {d['ac']:,}, MAC {d['mac']:,}, "
            f"{d['per_input']['energy_ops_45nm_j'] * 1e6:.4g} uJ at 45 nm and "
            f"{d['per_input']['energy_chip_j'] * 1e6:.4g} uJ on {d['chip']} per input, "
            f"{d['latency']['seconds'] * 1e6:.4g} us per input)"
        )


def make_report(
    program: Program,
    trace: Trace,
    *,
    labels: NDArray[np.integer[Any]] | None = None,
    check: Mapping[str, Any] | None = None,
) -> Report:
    """Put a run's counts, bills and accuracy together."""
    layers = layer_reports(program, trace)
    ac, mac = sum(row.ac for row in layers), sum(row.mac for row in layers)
    dense = sum(row.dense_macs for row in layers)
    accuracy = None if labels is None else float((trace.logits.argmax(axis=1) == labels).mean())
    return Report(
        program=program,
        trace=trace,
        layers=layers,
        ops_45nm=ops_45nm(ac, mac),
        chip=chip_bill(program, trace),
        ann_j=dense * MAC_PJ * 1e-12 * trace.inputs,
        accuracy=accuracy,
        check=check,
    )
