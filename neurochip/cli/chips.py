"""``neurochip chips``: list the shipped chips, show one with all its sources, check a file, print the schema.

Heavy imports happen inside the commands, so that ``neurochip --help`` stays fast.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from neurochip.chip.spec import ChipSpec

json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write the same facts as JSON to FILE; - is standard output, alone."
)


@click.group(invoke_without_command=True)
@click.pass_context
def chips(context: click.Context) -> None:
    """The chips that models can be compiled for. Without a command, the list of them."""
    if context.invoked_subcommand is None:
        context.invoke(list_chips, json_file=None)


@chips.command("list")
@json_option
def list_chips(json_file: str | None) -> None:
    """List the shipped chips."""
    from neurochip.chip.load import load_chip, shipped_chips

    rows = [_summary(load_chip(name)) for name in shipped_chips()]
    if json_file is not None:
        _write_json(json_file, rows)
    if json_file != "-":
        heads = ("name", "title", "cores", "neurons_per_core", "max_chips", "attention", "profiles")
        _print_table(heads, [[_text(row[head]) for head in heads] for row in rows])


@chips.command()
@click.argument("chip", metavar="NAME")
@json_option
def show(chip: str, json_file: str | None) -> None:
    """Show a chip: every figure with its unit, source and status. NAME is a shipped chip or a file."""
    from neurochip.chip.describe import describe, kinds
    from neurochip.chip.load import load_chip

    spec = load_chip(chip)
    if json_file is not None:
        facts = {**_summary(spec), "digest": spec.digest, "figures": [asdict(row) for row in describe(spec)]}
        told = {"kinds": dict(kinds(spec)), "refusal": spec.refusal}
        _write_json(json_file, {**facts, **told, "chip": json.loads(spec.to_json())})
    if json_file != "-":
        _print_chip(spec)


@chips.command()
@click.argument("file", metavar="FILE")
@json_option
@click.pass_context
def validate(context: click.Context, file: str, json_file: str | None) -> None:
    """Check a chip file; exit code 1 and one line per mistake if it is wrong."""
    from neurochip.chip.describe import describe
    from neurochip.chip.load import load_chip
    from neurochip.errors import ChipError

    try:
        spec = load_chip(file)
    except ChipError as error:
        if json_file is None:
            raise
        _write_json(json_file, {"file": file, "valid": False, "errors": str(error).splitlines()})
        if json_file != "-":
            click.echo(str(error), err=True)
        context.exit(error.exit_code)
    status = [row.status for row in describe(spec)]
    counts = {"figures": len(status), "assumed": status.count("assumed"), "unpublished": status.count("unpublished")}
    if json_file is not None:
        _write_json(json_file, {"file": file, "valid": True, "errors": [], **counts, "digest": spec.digest})
    if json_file != "-":
        told = f"{counts['figures']} figures, {counts['assumed']} assumed, {counts['unpublished']} not published"
        click.echo(f"{file}: valid: {spec.title} ({told})")


@chips.command()
@click.option("--json", "json_file", metavar="FILE", default="-", help="Where to write it; default standard output.")
def schema(json_file: str) -> None:
    """Print the JSON schema of chip files, for editors and checkers."""
    from neurochip.chip.load import chip_json_schema

    _write_json(json_file, chip_json_schema())


def _summary(spec: ChipSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "cores": spec.cores_per_chip,
        "neurons_per_core": spec.limits.neurons,
        "max_chips": spec.max_chips,
        "attention": list(spec.attention_methods),
        "profiles": list(spec.profile_names),
        "default_profile": spec.default_profile,
    }


def _print_chip(spec: ChipSpec) -> None:
    from neurochip.chip.describe import describe, kinds
    from neurochip.chip.quantity import STATUS_MEANING

    rows = describe(spec)
    click.echo(f"{spec.title} ({spec.name})\n{spec.description}\n")
    click.echo(f"default profile: {spec.default_profile}\nattention: {', '.join(spec.attention_methods)}")
    if spec.refusal is not None:
        click.echo(f"\nNot simulated: {spec.refusal}")
    click.echo("\nKinds")
    _print_table(("kind", "value"), kinds(spec))
    for prefix, heading in (("", "Limits and rules"), *((f"profiles.{n}.", f"Profile {n}") for n in spec.profiles)):
        click.echo(f"\n{heading}")
        if prefix:
            click.echo(spec.profiles[prefix.removeprefix("profiles.")[:-1]].note)
        picked = [row for row in rows if row.key.startswith(prefix or "profiles.") == bool(prefix)]
        _print_table(
            ("figure", "value", "source", "status", "note"),
            [
                (row.key.removeprefix(prefix).removeprefix("costs."), row.value, row.source, row.status, row.note)
                for row in picked
            ],
        )
    rules = [(key, _text(value)) for key, value in spec.arithmetic.model_dump(exclude_none=True).items()]
    click.echo(f"\nNeuron arithmetic ({', '.join(spec.neuron.sources)}; {spec.neuron.status})")
    if spec.neuron.note:
        click.echo(spec.neuron.note)
    _print_table(("rule", "value"), rules)
    click.echo("\nNot modelled")
    for line in spec.not_modelled:
        click.echo(f"  - {line}")
    click.echo("\nSources")
    for key, citation in spec.sources.items():
        click.echo(f"  {key}: {citation}")
    used = {row.status for row in rows}
    click.echo("\nStatus: " + "; ".join(f"{key} = {text}" for key, text in STATUS_MEANING.items() if key in used))


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn by rich on a terminal, columns parted by tabs otherwise."""
    if not sys.stdout.isatty():
        for row in (heads, *rows):
            click.echo("\t".join(row).rstrip("\t"))
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    narrow = heads[-1] == "note" and console.width < 100
    table = Table(box=SIMPLE)
    for column, head in enumerate(heads[:-1] if narrow else heads):
        table.add_column(head, overflow="fold", no_wrap=column == 0)
    for row in rows:
        table.add_row(*map(escape, row[: len(table.columns)]))
    console.print(table)
    if narrow:
        click.echo("(notes: in a terminal of 100 columns or more, or with --json)")


def _write_json(file: str, data: object) -> None:
    text = json.dumps(data, indent=1, ensure_ascii=False)
    if file == "-":
        click.echo(text)
        return
    with click.open_file(file, "w", encoding="utf-8", atomic=True) as stream:
        stream.write(f"{text}\n")
