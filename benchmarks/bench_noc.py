"""The network of routers alone: packet-hops a second, and curves of latency beside those of BookSim2."""

from __future__ import annotations

import json

from benchmarks import noc_traffic
from benchmarks.settings import Results, Settings
from benchmarks.table import Row

BELOW_SATURATION = 0.7
"""Share of the saturation rate up to which latencies are compared."""
QUICK = {"lookahead": ("uniform",)}


def run(settings: Settings) -> Results:
    """Speed of the packet and the analytic network, and how far curves are from the reference."""
    repeats, cycles = (1, 5_000) if settings.quick else (5, 20_000)
    speed = [
        {
            "workload": row["workload"],
            "packet-hops": row["packet_hops"],
            "M hops/s": row["packet_hops_per_second"] / 1e6,
        }
        for row in noc_traffic.speed(repeats)
    ]
    loads = [
        {"flows": int(flows), "ms": seconds * 1e3} for flows, seconds in noc_traffic.analytic_speed(repeats).items()
    ]
    stored = json.loads(noc_traffic.REFERENCE.read_text(encoding="utf-8"))["curves"]
    measure = noc_traffic.ours(cycles)
    theirs = noc_traffic.booksim(settings.booksim, cycles) if settings.booksim else None
    curves: list[Row] = []
    for router, patterns in stored.items():
        for pattern, reference in patterns.items():
            if not settings.quick or pattern in QUICK.get(router, ()):
                rates = reference["rates"]
                ours = noc_traffic.curve(measure, router, pattern, rates)
                beside = noc_traffic.curve(theirs, router, pattern, rates) if theirs else reference
                curves.append({"router": router, "pattern": pattern, **_difference(ours, beside)})
    tables = {
        "Packet network, one core": speed,
        "Analytic loads of one tick on 80 chips, one core": loads,
        f"8x8 mesh beside BookSim2 ({'run beside' if theirs else 'stored'})": curves,
    }
    return Results(tables=tables)


def _difference(ours: dict, reference: dict) -> Row:
    """Largest difference of latency at low load, and differences at saturation, as shares."""
    low = [
        abs(mine / theirs - 1)
        for rate, mine, theirs in zip(reference["rates"], ours["latency"], reference["latency"], strict=True)
        if rate <= BELOW_SATURATION * reference["saturation"] * 1.001
    ]
    return {
        "latency, worst": max(low),
        "saturation rate": ours["saturation"] / reference["saturation"] - 1,
        "accepted in overload": ours["overload_accepted"] / reference["overload_accepted"] - 1,
    }
