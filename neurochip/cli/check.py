"""``neurochip check``: before compiling, what a chip would refuse of a model, how close every layer is, what helps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from neurochip.cli.compile import parse_settings
from neurochip.cli.console import json_option, print_table, write_json

if TYPE_CHECKING:
    from compiler.feasibility import Feasibility

REFUSED = 1
"""Exit code when the chip cannot take the model."""
SHOWN_LAYERS = 12
SHOWN_LETTERS = 160


@click.command("check")
@click.argument("model", metavar="MODEL.pt")
@click.option("--chip", help="A shipped chip (see: neurochip chips) or a chip file.")
@click.option("--all-chips", is_flag=True, help="The matrix of the model and every shipped chip.")
@click.option("--arch", metavar="NAME", help="Architecture of the model, if its tensors do not tell.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, callback=parse_settings,
    help="A fact that the model file does not tell (T=4, num_heads=8, ...); may be repeated.",
)  # fmt: skip
@click.option("--ema", is_flag=True, help="The averaged weights of the model file.")
@click.option("--weight-bits", type=click.IntRange(1, 64), metavar="B", help="Width of a weight, sign included.")
@click.option("--attention", default="auto", show_default=True, metavar="METHOD", help="How the chip does attention.")
@click.option(
    "--encoder", type=click.Choice(["auto", "host", "core"]), default="auto", show_default=True,
    help="Who convolves analog input: the host, or cores that multiply.",
)  # fmt: skip
@click.option(
    "--approximate", multiple=True, metavar="WHAT", help="What need not be exact, as for compile; may be repeated."
)
@click.option("--fixes/--no-fixes", default=True, help="Try what would help where the chip refuses.  [default: fixes]")
@json_option
def check_command(
    model: str,
    chip: str | None,
    all_chips: bool,
    json_file: str | None,
    fixes: bool,
    **options: Any,
) -> None:
    """Check whether a chip can take a model, before compiling.

    Every stage but placement runs, and what is refused is collected. Exit code 1 if the chip named refuses the model.
    """
    if all_chips == (chip is not None):
        raise click.UsageError("give either --chip or --all-chips")
    from neurochip import api

    if chip is None:
        found = api.check_all(model, **options)
        if json_file is not None:
            write_json(json_file, [one.to_dict() for one in found])
        if json_file != "-":
            print_table(f"{model}: chips", [matrix_row(one) for one in found])
        return
    one = api.check(model, chip, fixes=fixes, **options)
    if json_file is not None:
        write_json(json_file, one.to_dict())
    if json_file != "-":
        _print(one)
    click.get_current_context().exit(0 if one.fits else REFUSED)


def matrix_row(found: Feasibility) -> dict[str, object]:
    """One line of the matrix."""
    tightest = found.layers[0] if found.layers else None
    return {
        "chip": found.chip,
        "verdict": "fits" if found.fits else "refused",
        "bits": found.weight_bits,
        "attention": found.attention,
        "cores": found.cores,
        "chips": found.chips,
        "ticks": found.ticks,
        "tightest": "-" if tightest is None else f"{tightest.tightest.replace('_', ' ')} {tightest.share:.0%}",
        "because": shortened(found.refusals[0].message) if found.refusals else "",
    }


def shortened(message: str) -> str:
    """The beginning of a message, on one line; ``--chip`` and ``--json`` give all of it."""
    text = " ".join(message.split())
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 3]}..."


def _print(found: Feasibility) -> None:
    verdict = "fits" if found.fits else f"refused: {len(found.refusals)} found"
    click.echo(f"{found.model} on {found.chip}: {verdict}")
    for refusal in found.refusals:
        click.echo(f"  {refusal.stage}: {refusal.message}")
    for number, fix in enumerate(found.fixes):
        click.echo(f"{'what helps:' if not number else '           '} {fix}")
    facts = {
        "weight bits": found.weight_bits,
        "attention": found.attention,
        "analog input": {"core": "cores multiply it", "host": "the host convolves it"}.get(found.encoder),
        "time steps": found.timesteps,
        "cores": found.cores,
        "cores of the largest system": found.available,
        "chips": found.chips,
        "neurons": found.neurons,
        "repeaters and splitters": found.repeaters or None,
        "ticks a step": found.interval,
        "ticks an input": found.ticks,
        "longest delay, ticks": found.longest_delay,
    }
    print_table("Needs", [{"fact": name, "value": value} for name, value in facts.items() if value is not None])
    shown = found.layers[:SHOWN_LAYERS]
    rows = [
        {
            "population": use.population,
            "neurons": use.neurons,
            "tiles": use.tiles,
            "tightest for one neuron": use.tightest.replace("_", " "),
            "needs": use.need,
            "a core has": use.limit,
            "share": f"{use.share:.1%}",
            "current bits": use.current_bits,
            **({} if use.mode is None else {"core mode": use.mode}),
        }
        for use in shown
    ]
    print_table(f"Layers, tightest first ({len(shown)} of {len(found.layers)})", rows)
