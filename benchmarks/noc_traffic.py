"""Packet mode of the network under synthetic traffic on an 8x8 mesh: latency, saturation, and packet-hops per second.

    python benchmarks/noc_traffic.py                                    # ours, beside the stored reference numbers
    python benchmarks/noc_traffic.py --booksim PATH_TO_BINARY           # BookSim2 beside ours, in the same run
    python benchmarks/noc_traffic.py --booksim PATH --commit ID --save  # and store what BookSim2 says

Saturation is the injection rate at which the mean latency is three times that of an idle network.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # so that `python benchmarks/noc_traffic.py` finds the packages beside this folder
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.settings import BenchmarkError
from neurochip.errors import NeurochipError
from neurochip.noc.analytic import tick_loads
from neurochip.noc.mesh import Mesh
from neurochip.noc.packet import Injections, simulate_tick
from neurochip.noc.timing import Timing
from neurochip.noc.traffic import PATTERNS, hotspots, simulate_traffic

REFERENCE = Path(__file__).parent / "reference" / "noc_booksim.json"
MESH = Mesh(columns=8, rows=8)
CHIPS = Mesh(columns=8, rows=4, chip_columns=8, chip_rows=10, cores_per_router=4)
FRACTIONS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.9)
SATURATED = 3.0  # times the latency of an idle network
SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """One router design in both simulators. One virtual channel, single-flit packets, round-robin arbitration.

    ``parts``: cycles of ``timing`` in one of BookSim2's, for intervals that are no whole number of its cycles.
    """

    timing: Timing
    booksim: dict[str, str | int]
    parts: int = 1


LOOKAHEAD: dict[str, str | int] = {
    "speculative": 1,
    "vc_allocator": "piggyback",
    "routing_delay": 0,
    "credit_delay": 0,
    "vc_buf_size": 8,
}
ROUTERS = {
    # look-ahead routing; one arbitration a hop, then switch and link
    "lookahead": Router(
        timing=Timing(x_latency=3, y_latency=3, inject_latency=2, eject_latency=3, credit_latency=2, buffer_packets=8),
        booksim=LOOKAHEAD,
    ),
    # the same, but four slots and a slower credit: a round trip of seven cycles limits every link to 4/7. In BookSim2
    # it limits the way into a core, too, where ours takes a packet in so many cycles: seven quarters of BookSim2's
    "shallow": Router(
        timing=Timing(
            x_latency=12,
            y_latency=12,
            link_service=4,
            input_interval=4,
            inject_latency=8,
            inject_interval=4,
            eject_latency=12,
            eject_service=7,
            credit_latency=16,
            buffer_packets=4,
        ),
        booksim={**LOOKAHEAD, "credit_delay": 2, "vc_buf_size": 4},
        parts=4,
    ),
    # route, allocate the channel, allocate the switch: three cycles a packet at the head of a buffer, two at an output
    "pipeline": Router(
        timing=Timing(
            x_latency=5,
            y_latency=5,
            inject_latency=4,
            eject_latency=3,
            credit_latency=2,
            buffer_packets=8,
            input_interval=3,
            inject_interval=3,
            link_service=2,
            eject_service=2,
        ),
        booksim={**LOOKAHEAD, "speculative": 0, "vc_allocator": "islip", "routing_delay": 1},
    ),
}

Measure = Callable[[str, str, float], tuple[float, float]]
"""(router, pattern, rate) -> mean latency, accepted packets per core and cycle; all in BookSim2's cycles."""

Curves = dict[str, dict[str, dict]]
"""router -> pattern -> what `curve` measured."""


def ours(cycles: int) -> Measure:
    def measure(router: str, pattern: str, rate: float) -> tuple[float, float]:
        timing, parts = ROUTERS[router].timing, ROUTERS[router].parts
        measured, before = cycles * parts, cycles * parts // 4
        result = simulate_traffic(
            MESH, timing, PATTERNS[pattern], rate / parts, cycles=measured, warmup=before, seed=SEED
        )
        return result.latency.mean / parts, result.accepted * parts

    return measure


def booksim(binary: Path, cycles: int) -> Measure:
    spots = ",".join(str(router) for router in hotspots(MESH))
    names = {"bit_complement": "bitcomp", "hotspot": f"hotspot({{{{{spots}}},{{1,1,1,1}}}})"}

    def measure(router: str, pattern: str, rate: float) -> tuple[float, float]:
        settings = {
            "topology": "mesh",
            "k": MESH.width,
            "n": 2,
            "routing_function": "dor",
            "num_vcs": 1,
            "packet_size": 1,
            "sw_allocator": "islip",
            "vc_alloc_delay": 1,
            "sw_alloc_delay": 1,
            "traffic": names.get(pattern, pattern),
            "injection_rate": rate,
            "sample_period": cycles // 4,
            "warmup_periods": 2,
            "max_samples": 10,
            "latency_thres": f"{2 * SATURATED * zero_load(router, pattern):.1f}",
            "deadlock_warn_timeout": 1_000_000,
            "seed": SEED,
            "sim_type": "throughput" if rate == 1 else "latency",
            **ROUTERS[router].booksim,
        }
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "settings"
            file.write_text("".join(f"{key} = {value};\n" for key, value in settings.items()))
            run = subprocess.run([binary, file], capture_output=True, text=True, check=False)
        found = [
            re.findall(rf"{name} average = ([-+.\deE]+)", run.stdout)
            for name in ("Packet latency", "Accepted packet rate")
        ]
        if not all(found):
            raise BenchmarkError(
                f"{binary}: no result for {router}, {pattern}, rate {rate}; it says:\n{run.stdout}{run.stderr}"
            )
        stable = "unstable" not in run.stdout
        return float(found[0][-1]) if stable else np.inf, float(found[1][-1])

    return measure


def zero_load(router: str, pattern: str) -> float:
    """Mean latency of the pattern in an idle network, and so of both simulators at a vanishing rate."""
    source, target = _sample(pattern)
    return float(ROUTERS[router].timing.zero_load_latency(MESH, source, target).mean()) / ROUTERS[router].parts


def capacity(router: str, pattern: str) -> float:
    """The rate at which the pattern's busiest link or port has no idle cycle left."""
    source, target = _sample(pattern)
    timing, packets = ROUTERS[router].timing, len(source) / MESH.n_cores * ROUTERS[router].parts
    links = tick_loads(MESH, source, target, np.ones(len(source))).link_load.max() / packets
    ports = np.bincount(target).max() / packets
    return float(min(1 / (links * timing.link_service), 1 / (ports * timing.eject_service), 1.0))


def _sample(pattern: str) -> tuple[np.ndarray, np.ndarray]:
    source = np.tile(np.arange(MESH.n_routers), 2000)
    return source, PATTERNS[pattern](MESH, source, np.random.default_rng(SEED))


def saturation(measure: Measure, router: str, pattern: str) -> float:
    """The rate at which the mean latency reaches three times that of an idle network, within 0.5 %."""
    low, high, limit = 0.0, capacity(router, pattern), SATURATED * zero_load(router, pattern)
    while high - low > 0.005 * high:
        rate = (low + high) / 2
        if measure(router, pattern, rate)[0] < limit:
            low = rate
        else:
            high = rate
    return low


def curve(measure: Measure, router: str, pattern: str, rates: list[float]) -> dict[str, object]:
    """Latency at each rate, the saturation rate, and what is accepted when every core injects in every cycle."""
    points = [dict(zip(("latency", "accepted"), measure(router, pattern, rate), strict=True)) for rate in rates]
    return {
        "rates": rates,
        "latency": [round(point["latency"], 3) for point in points],
        "saturation": round(saturation(measure, router, pattern), 5),
        "overload_accepted": round(measure(router, pattern, 1.0)[1], 5),
    }


def speed(repeats: int) -> list[dict[str, object]]:
    """Packet-hops per second of warmed runs, one core: a small mesh, and 80 Loihi-sized chips with Loihi's timing."""
    loihi = Timing.from_ns(
        hop_x_ns=4.1,
        hop_y_ns=6.5,
        link_service_ns=0.2907,
        buffer_packets=16,
        chip_link_latency_ns=100,
        chip_link_service_ns=2.907,
    )
    rows = []
    for name, mesh, timing, spread in (
        ("8x8 mesh, one cycle a packet", MESH, ROUTERS["lookahead"].timing, 40_000),
        ("80 chips, 10,240 cores, Loihi's times", CHIPS, loihi, 200_000),
    ):
        rng = np.random.default_rng(SEED)
        ends = rng.integers(0, mesh.n_cores, (2, 20_000))
        flows = Injections.of(ends[0], ends[1], 25, rng.integers(0, spread, 20_000), 100)
        simulate_tick(mesh, timing, flows)
        best, hops = np.inf, 0
        for _ in range(repeats):
            start = time.process_time()
            hops = simulate_tick(mesh, timing, flows).packet_hops
            best = min(best, time.process_time() - start)
        rows.append({"workload": name, "packet_hops": hops, "cpu_seconds": best, "packet_hops_per_second": hops / best})
    return rows


def analytic_speed(repeats: int) -> dict[str, float]:
    """Seconds for the loads of one tick on 80 chips, by number of flows."""
    seconds = {}
    for flows in (100_000, 1_000_000):
        ends = np.random.default_rng(SEED).integers(0, CHIPS.n_routers, (2, flows))
        packets, best = np.ones(flows, np.int64), np.inf
        for _ in range(repeats + 1):
            start = time.process_time()
            tick_loads(CHIPS, ends[0], ends[1], packets)
            best = min(best, time.process_time() - start)
        seconds[str(flows)] = best
    return seconds


def report(router: str, pattern: str, mine: dict, other: dict | None) -> None:
    print(f"\n{router} router, {pattern} traffic{'' if other else ' (no reference)'}")
    print("   rate  of sat.   latency" + ("   BookSim2   differs" if other else ""))
    for i, rate in enumerate(mine["rates"]):
        line = f"  {rate:.4f}  {rate / mine['saturation']:5.0%}  {mine['latency'][i]:9.2f}"
        if other:
            line += f"  {other['latency'][i]:9.2f}   {mine['latency'][i] / other['latency'][i] - 1:+6.1%}"
        print(line)
    for key, label in (("saturation", "saturation rate"), ("overload_accepted", "accepted in overload")):
        line = f"  {label:20s} {mine[key]:.4f}"
        print(line + (f"     {other[key]:.4f}   {mine[key] / other[key] - 1:+6.1%}" if other else ""))


def compare(arguments: argparse.Namespace, stored: dict) -> tuple[Curves, Curves]:
    """Measure and print all curves; returns ours and, if it ran, BookSim2's."""
    mine = ours(arguments.cycles)
    theirs = booksim(arguments.booksim, arguments.cycles) if arguments.booksim else None
    results: Curves = {}
    references: Curves = {}
    for router in arguments.router or ROUTERS:
        for pattern in arguments.pattern or PATTERNS:
            reference = None if theirs else stored["curves"].get(router, {}).get(pattern)
            if reference:
                rates = reference["rates"]
            else:
                top = saturation(mine, router, pattern)
                rates = [round(fraction * top, 5) for fraction in FRACTIONS]
            if theirs:
                reference = curve(theirs, router, pattern, rates)
                references.setdefault(router, {})[pattern] = reference
            results.setdefault(router, {})[pattern] = curve(mine, router, pattern, rates)
            report(router, pattern, results[router][pattern], reference)
            sys.stdout.flush()
    return results, references


def save(stored: dict, references: Curves, commit: str, cycles: int) -> None:
    """Store BookSim2's curves beside those of other routers and patterns."""
    about = {
        "simulator": "BookSim 2",
        "commit": commit,
        "measured_cycles": cycles,
        "mesh": "8x8",
        "saturation": f"rate at which the mean latency is {SATURATED} x that of an idle network",
        "settings": {name: router.booksim for name, router in ROUTERS.items()},
    }
    curves = {name: {**stored["curves"].get(name, {}), **references.get(name, {})} for name in ROUTERS}
    REFERENCE.write_text(json.dumps({"about": about, "curves": curves}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--booksim", type=Path, help="BookSim2's program, run beside ours")
    parser.add_argument("--commit", default="unknown", help="which commit of BookSim2 it is, for the reference file")
    parser.add_argument("--save", action="store_true", help=f"store BookSim2's numbers in {REFERENCE.name}")
    parser.add_argument("--router", choices=ROUTERS, action="append", help="only these router designs")
    parser.add_argument("--pattern", choices=PATTERNS, action="append", help="only these patterns")
    parser.add_argument("--cycles", type=int, default=20_000, help="cycles measured at each rate")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    arguments = parser.parse_args()
    try:
        measure_all(arguments)
    except (BenchmarkError, NeurochipError, OSError) as error:
        parser.exit(1, f"noc_traffic.py: {error}\n")


def measure_all(arguments: argparse.Namespace) -> None:
    """Everything that was asked for, printed and written."""
    stored = json.loads(REFERENCE.read_text()) if REFERENCE.exists() else {"curves": {}}
    results, references = compare(arguments, stored)
    speeds, analytic = speed(5), analytic_speed(5)
    print()
    for row in speeds:
        print(f"{row['workload']:40s} {row['packet_hops_per_second'] / 1e6:6.1f} M packet-hops/s (one core)")
    for flows, seconds in analytic.items():
        print(f"analytic loads of {int(flows):9,d} flows, 80 chips    {seconds * 1e3:6.2f} ms (one core)")
    if arguments.save and references:
        save(stored, references, arguments.commit, arguments.cycles)
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
        timings = {name: asdict(router.timing) for name, router in ROUTERS.items()}
        everything = {"machine": machine, "timings": timings, "curves": results, "speed": speeds, "analytic": analytic}
        arguments.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
