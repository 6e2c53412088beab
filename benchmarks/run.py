"""Run the benchmarks: print their tables and write one JSON file with machine and commit.

python benchmarks/run.py --quick           # under two minutes
python benchmarks/run.py                   # all of them
python benchmarks/run.py sim cli           # some of them
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

if __name__ == "__main__":  # so that `python benchmarks/run.py` finds the packages beside this folder
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import describe
from benchmarks.models import MODELS, default_cache, model_of
from benchmarks.settings import BenchmarkError, Results, Settings
from benchmarks.table import print_table, text
from benchmarks.targets import target_rows
from neurochip.atomic import write_text
from neurochip.errors import NeurochipError

BENCHES = ("cli", "compile", "sim", "noc", "placement", "chips", "attention", "imagenet")
"""Each is a module ``benchmarks.bench_NAME`` with ``run(settings) -> Results``."""
MODELS_MEASURED = (
    "spikformer-4-384@4",
    "spikformer-8-384@4",
    "spikformer-8-512@1",
    "spikformer-8-512@4",
    "spikformer-8-768@4",
)
QUICK_MODELS = ("spikformer-4-384@1",)


def _models(_context: click.Context, _option: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse misspelt models before anything is measured."""
    for name in names:
        try:
            model_of(name)
        except BenchmarkError as error:
            raise click.BadParameter(str(error)) from None
    return names


@click.command()
@click.argument("benches", nargs=-1, type=click.Choice(BENCHES))
@click.option("--quick", is_flag=True, help="Small workloads, under two minutes in all.")
@click.option(
    "--model", "models", multiple=True, metavar="NAME@T[/BITS]", callback=_models,
    help=f"Full-size models: {', '.join(MODELS)}.",
)  # fmt: skip
@click.option("--packet/--no-packet", "packet_noc", default=True, help="Move every packet of full-size models, too.")
@click.option("--check", is_flag=True, help="Compare full-size models with the integer reference: slow, much memory.")
@click.option(
    "--torch-python", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PYTHON",
    help="A Python with PyTorch and SpikingJelly 2 to run the same models with.",
)  # fmt: skip
@click.option(
    "--sanafe-python", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PYTHON",
    help="A Python with SANA-FE to run the integrate-and-fire network with.",
)  # fmt: skip
@click.option(
    "--booksim", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="PROGRAM",
    help="BookSim2's program, to run beside the network instead of its stored curves.",
)  # fmt: skip
@click.option("--cache", type=click.Path(file_okay=False, path_type=Path), help="Where models and programs are kept.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="JSON file to write.")
def main(
    benches: tuple[str, ...],
    quick: bool,
    models: tuple[str, ...],
    packet_noc: bool,
    check: bool,
    torch_python: Path | None,
    sanafe_python: Path | None,
    booksim: Path | None,
    cache: Path | None,
    output: Path | None,
) -> None:
    """Run BENCHES (all of them if none is named); exit code 1 if one of them failed."""
    settings = Settings(
        quick=quick,
        cache=cache or default_cache(),
        models=models or (QUICK_MODELS if quick else MODELS_MEASURED),
        torch_python=torch_python,
        sanafe_python=sanafe_python,
        booksim=booksim,
        packet_noc=packet_noc,
        check=check,
    )
    machine = describe()
    print_table("Machine", [{"fact": name, "value": text(value)} for name, value in machine.items()])
    target = output or Path(__file__).parent / "results" / f"{'quick' if quick else 'all'}.local.json"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(f"{target.parent} cannot be made: {error.strerror}", param_hint="-o") from None
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in benches or BENCHES:
        begun = time.perf_counter()
        try:
            results: Results = importlib.import_module(f"benchmarks.bench_{name}").run(settings)
        except (BenchmarkError, NeurochipError, OSError) as error:  # the others still run
            failed[name] = str(error)
            click.echo(f"\nError: {name}: {error}", err=True)
            continue
        for title, rows in results.tables.items():
            print_table(title, rows)
        found[name] = {"seconds": time.perf_counter() - begun, **results.to_dict()}
    targets = target_rows(found)
    if targets:
        print_table("Targets", targets)
    document = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "quick": quick, "machine": machine, **found}
    document |= {"targets": targets, "failed": failed}
    write_text(target, f"{json.dumps(document, indent=1, default=str)}\n")
    click.echo(f"\nwritten to {target}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
