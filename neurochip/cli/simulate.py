"""``neurochip simulate``: a program and input data -> what the chip does, takes and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from neurochip.cli.console import Progress, json_option, print_table, refuse_unwritable, write_json

if TYPE_CHECKING:
    from neurochip.report.report import Report


@click.command("simulate")
@click.argument("program", metavar="PROGRAM.ncp")
@click.option("--input", "input_file", required=True, metavar="X.npy|X.npz", help="Input data, channels first.")
@click.option("--labels", "labels_file", metavar="Y.npy", help="Class numbers, for the accuracy.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the first N inputs.")
@click.option(
    "--noc", type=click.Choice(["analytic", "packet"]), default="analytic", show_default=True,
    help="Network timing: bounds from link loads, or every packet moved.",
)  # fmt: skip
@click.option(
    "--check", is_flag=True, help="Compare every spike with the integer reference; exit code 1 if one differs."
)
@click.option("--profile", metavar="NAME", help="Cost profile  [default: the one compiled with]")
@json_option
@click.option(
    "--report", "report_file", metavar="FILE.html", help="Write the report as one page that needs no network."
)
def simulate_command(
    program: str,
    input_file: str,
    labels_file: str | None,
    limit: int | None,
    noc: str,
    check: bool,
    profile: str | None,
    json_file: str | None,
    report_file: str | None,
) -> None:
    """Run a program on input data, spike for spike."""
    refuse_unwritable(json_file, report_file)
    from neurochip import api
    from neurochip.errors import SimulationError
    from neurochip.inputs import load_input, load_labels

    if report_file is not None:
        from neurochip.report.html import write_html  # says now, not after the run, if an extra is missing
    loaded = api.load_program(program)
    x = load_input(input_file)
    labels = None if labels_file is None else load_labels(labels_file)
    with Progress("simulate") as progress:
        result = api.simulate(
            loaded, x, labels=labels, limit=limit, noc=noc, check=check, profile=profile, progress=progress.count
        )
    facts = result.to_dict()
    if json_file is not None:
        write_json(json_file, facts)
    if report_file is not None:
        write_html(result, report_file)
    if json_file != "-":
        print_report(result.report)
    if check and not result.exact:
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
