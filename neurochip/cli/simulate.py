"""``neurochip simulate``: a program and input data -> what the chip does, takes and answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from neurochip.cli.console import Progress, json_option, print_table, refuse_unwritable, write_json

if TYPE_CHECKING:
    from neurochip.report.report import Report


@click.command("simulate")
@click.argument("program", metavar="PROGRAM.ncp")
@click.option(
    "--input", "input_file", required=True, metavar="FILE|FOLDER",
    help="Input data: .npy or .npz (channels first), a folder of PNG or JPEG images (sub-folders = classes), or "
    "recordings of an event camera (.npz or HDF5 with x, y, p, t; AEDAT).",
)  # fmt: skip
@click.option(
    "--normalise", metavar="mean=M,std=S", help="Images: (pixel / 255 - M) / S, one number or one for each channel."
)
@click.option(
    "--encode", "encoding", type=click.Choice(["direct", "rate", "latency"]), default="direct", show_default=True,
    help="Values 0..1 as they are, or as spikes: more for larger ones, or earlier.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of --encode rate.")
@click.option(
    "--windows", type=click.Choice(["time", "count"]), default="time", show_default=True,
    help="Recordings: steps of equal time or of equally many events.",
)  # fmt: skip
@click.option("--binary-events", is_flag=True, help="Recordings: several events of a pixel in a step count as one.")
@click.option("--labels", "labels_file", metavar="Y.npy", help="Class numbers, for the accuracy.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N inputs.")
@click.option(
    "--noc", type=click.Choice(["analytic", "packet"]), default="analytic", show_default=True,
    help="Network timing: bounds from link loads, or every packet moved.",
)  # fmt: skip
@click.option(
    "--check", is_flag=True, help="Compare every spike with the integer reference; exit code 1 if one differs."
)
@click.option(
    "--check-sample", type=click.IntRange(min=1), metavar="N",
    help="Instead of --check: recompute N positions of every population from the spikes they received.",
)  # fmt: skip
@click.option("--profile", metavar="NAME", help="Cost profile  [default: the one compiled with]")
@json_option
@click.option(
    "--report", "report_file", metavar="FILE.html", help="Write the report as one page that needs no network."
)
def simulate_command(
    program: str,
    input_file: str,
    normalise: str | None,
    encoding: Literal["direct", "rate", "latency"],
    seed: int,
    windows: Literal["time", "count"],
    binary_events: bool,
    labels_file: str | None,
    limit: int | None,
    noc: str,
    check: bool,
    check_sample: int | None,
    profile: str | None,
    json_file: str | None,
    report_file: str | None,
) -> None:
    """Run a program on input data, spike for spike."""
    refuse_unwritable(json_file, report_file)
    if check and check_sample:
        raise click.UsageError("--check compares all neurons: leave out --check-sample")
    from neurochip import api
    from neurochip.errors import SimulationError
    from neurochip.input_data.images import Normalisation
    from neurochip.input_data.load import Choices, load_data
    from neurochip.inputs import load_labels

    if report_file is not None:
        from neurochip.report.html import write_html  # says now, not after the run, if an extra is missing
    loaded = api.load_program(program)
    choices = Choices(
        normalise=None if normalise is None else Normalisation.parse(normalise), encoding=encoding, seed=seed,
        windows=windows, binary=binary_events, limit=limit,
    )  # fmt: skip
    x, labels = load_data(input_file, loaded.network.input, loaded.network.timesteps, choices)
    if labels_file is not None:
        said = load_labels(labels_file)
        labels = said[:limit] if Path(input_file).is_dir() else said  # of a folder only so many are read
    with Progress("simulate") as progress:
        result = api.simulate(
            loaded,
            x,
            labels=labels,
            limit=limit,
            noc=noc,
            check=check,
            check_sample=check_sample,
            profile=profile,
            progress=progress.count,
        )
    facts = result.to_dict()
    if json_file is not None:
        write_json(json_file, facts)
    if report_file is not None:
        write_html(result, report_file)
    if json_file != "-":
        print_report(result.report)
    if (check or check_sample) and not result.exact:
        raise SimulationError(
            f"the simulation differs from the integer reference: {facts['check'].get('first_difference')}"
        )


def print_report(report: Report) -> None:
    """Print the sections of a report as tables, each with its notes."""
    from neurochip.report.render import sections

    for section in sections(report):
        print_table(section.title, section.mappings())
        for note in section.notes:
            click.echo(f"  {note}")
