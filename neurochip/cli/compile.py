"""``neurochip compile``: a trained model and a chip -> a program file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurochip.cli.console import Progress, json_option, print_table, refuse_unwritable, write_json

if TYPE_CHECKING:
    from neurochip.program.image import Program


def parse_settings(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """``KEY=VALUE`` options as a dict; click callback."""
    settings: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"expected KEY=VALUE, found {text!r}", context, parameter)
        if settings.setdefault(key.strip(), value.strip()) != value.strip():
            raise click.BadParameter(f"{key.strip()} is given twice, with different values", context, parameter)
    return settings


@click.command("compile")
@click.argument("model", metavar="MODEL.pt")
@click.option("--chip", required=True, help="A shipped chip (see: neurochip chips) or a chip file.")
@click.option("-o", "--output", metavar="PROGRAM.ncp", help="Where the program goes  [default: MODEL.ncp, here]")
@click.option("--arch", metavar="NAME", help="Architecture of the model, if its tensors do not tell.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, callback=parse_settings,
    help="A fact that the model file does not tell (T=4, num_heads=8, ...); may be repeated.",
)  # fmt: skip
@click.option("--ema", is_flag=True, help="The averaged weights of the model file.")
@click.option("--weight-bits", type=click.IntRange(1, 64), metavar="B", help="Width of a weight, sign included.")
@click.option(
    "--attention", default="auto", show_default=True, metavar="METHOD", help="How the chip computes attention."
)
@click.option(
    "--encoder", type=click.Choice(["auto", "host", "core"]), default="auto", show_default=True,
    help="Who convolves analog input: the host, or cores that multiply.",
)  # fmt: skip
@click.option(
    "--approximate", multiple=True, metavar="WHAT",
    help="What need not be exact: `leak` = the chip's kind of leak for the model's.",
)  # fmt: skip
@click.option(
    "--max-interval", type=click.IntRange(1, 4096), metavar="TICKS",
    help="Most ticks of a time step where sums travel as bursts  [default: 256]",
)  # fmt: skip
@click.option(
    "--sums", type=click.Choice(["auto", "none"]), default="auto", show_default=True,
    help="Whether residual streams are summed up on the way, which spares cores and takes ticks.",
)  # fmt: skip
@click.option("--placement", default="anneal", show_default=True, metavar="METHOD", help="How tiles find their cores.")
@click.option("--profile", metavar="NAME", help="Cost profile of the chip  [default: the chip's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything random.")
@click.option("--print-after", "print_after", metavar="STAGE", help="Print a stage: a pass, `network` or `mapping`.")
@json_option
def compile_command(
    model: str, chip: str, output: str | None, print_after: str | None, json_file: str | None, **options: Any
) -> None:
    """Compile a trained model for a chip into a program.

    The same model, chip, options and seed always give the same bytes.
    """
    if print_after is not None and json_file == "-":
        raise click.UsageError("--print-after and --json - both want standard output; give --json a file")
    target = output if output is not None else f"{Path(model).stem}.ncp"
    refuse_unwritable(target, json_file)
    from neurochip import api

    stages = _stages(print_after)
    with Progress("compile", len(stages)) as progress:
        texts: list[str] = []
        program = api.compile(model, chip, on_stage=_watch(progress, print_after, texts), **options)
        api.save_program(program, target)
    for text in texts:
        click.echo(text)
    if json_file is not None:
        write_json(json_file, {**program.to_dict(), "program": target, "bytes": Path(target).stat().st_size})
    if json_file != "-" and print_after is None:
        _print_summary(program, target)


def _stages(print_after: str | None) -> tuple[str, ...]:
    from compiler.pipeline import STAGES

    if print_after is not None and print_after not in STAGES:
        raise click.BadParameter(
            f"no stage {print_after!r}; the stages are: {', '.join(STAGES)}", param_hint="--print-after"
        )
    return STAGES


def _watch(progress: Progress, wanted: str | None, texts: list[str]) -> Callable[[str, Callable[[], str]], None]:
    def on_stage(name: str, render: Callable[[], str]) -> None:
        progress.step(name)
        if name == wanted:
            texts.append(render())

    return on_stage


def _print_summary(program: Program, target: str) -> None:
    facts = program.summary()
    used = {f"mean use: {name.replace('_', ' ')}": share for name, share in facts.pop("utilisation").items()}
    costs = {f"neuron hops, {method}": cost for method, cost in facts.pop("placement_costs").items()}
    rows = {name.replace("_", " "): value for name, value in facts.items()}
    rows |= {name: None if share is None else f"{share:.1%}" for name, share in used.items()}
    rows |= {**costs, "program": target}
    print_table("Compiled", [{"fact": name, "value": value} for name, value in rows.items()])
