"""``neurochip inspect``: what is in a file, decided by its content and not by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from neurochip.cli.compile import parse_settings
from neurochip.cli.console import json_option, print_table, write_json

if TYPE_CHECKING:
    from compiler.ir.graph import Graph, Node

Sections = dict[str, list[dict[str, Any]]]


@click.command("inspect")
@click.argument("file", metavar="FILE")
@click.option("--arch", metavar="NAME", help="Architecture of a model, if its tensors do not tell.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, callback=parse_settings,
    help="A fact that a model file does not tell (T=4, num_heads=8, ...); may be repeated.",
)  # fmt: skip
@click.option("--ema", is_flag=True, help="The averaged weights of a model.")
@json_option
def inspect_command(file: str, arch: str | None, settings: dict[str, str], ema: bool, json_file: str | None) -> None:
    """Show what is in a model, a program or a chip file.

    The content decides, not the name. A shipped chip's name will do as well.
    """
    kind, sections = describe_file(file, arch=arch, settings=settings, ema=ema)
    if json_file is not None:
        write_json(json_file, {"file": file, "kind": kind, **sections})
    if json_file != "-":
        click.echo(f"{file}: {kind}")
        for title, rows in sections.items():
            print_table(title, rows)


def describe_file(
    file: str, *, arch: str | None = None, settings: dict[str, str] | None = None, ema: bool = False
) -> tuple[str, Sections]:
    """What ``file`` is, and its tables. Raises the error of the reader that its content asks for."""
    from compiler.importers.nir_file import is_hdf5
    from neurochip.program.file import is_program

    path = Path(file)
    if not path.is_file():
        return "chip", _chip(file)  # a shipped chip's name; anything else is refused there
    if is_program(path):
        from compiler.mapping.bounds import core_rows
        from neurochip.program.describe import describe_program
        from neurochip.program.file import load_program

        program = load_program(path)
        return "program", {**describe_program(program), "cores": core_rows(program)}
    if _is_text(path):
        return "chip", _chip(file)
    return _nir(path) if is_hdf5(path) else _model(path, arch, settings, ema)


def _is_text(path: Path) -> bool:
    with open(path, "rb") as stream:
        head = stream.read(4096)
    return bool(head) and not any(byte < 9 or 13 < byte < 32 for byte in head) and b"\x7f" not in head


def _chip(file: str) -> Sections:
    from dataclasses import asdict

    from neurochip.chip.describe import describe
    from neurochip.chip.load import load_chip

    spec = load_chip(file)
    facts = {
        "name": spec.name,
        "title": spec.title,
        "description": spec.description,
        "cores per chip": spec.cores_per_chip,
        "largest system, chips": spec.max_chips,
        "attention": ", ".join(spec.attention_methods),
        "profiles": ", ".join(spec.profile_names),
        "default profile": spec.default_profile,
        "sha256": spec.digest,
    }
    return {
        "chip": [{"fact": name, "value": value} for name, value in facts.items()],
        "figures": [asdict(row) for row in describe(spec)],
        "arithmetic": [
            {"rule": name, "value": value} for name, value in json.loads(spec.arithmetic.model_dump_json()).items()
        ],
    }


def _model(path: Path, arch: str | None, settings: dict[str, str] | None, ema: bool) -> tuple[str, Sections]:
    from compiler.importers import load_model
    from compiler.importers.checkpoint import read_checkpoint
    from neurochip.errors import CheckpointError

    checkpoint = read_checkpoint(path, ema=ema)
    tensors: list[dict[str, Any]] = [
        {"tensor": name, "dtype": str(array.dtype), "shape": " x ".join(map(str, array.shape)), "bytes": array.nbytes}
        for name, array in checkpoint.tensors.items()
    ]
    arguments = [{"argument": name, "value": str(value)} for name, value in checkpoint.args.items()]
    file: list[dict[str, Any]] = [
        {"fact": "container", "value": checkpoint.container},
        {"fact": "tensors", "value": len(tensors)},
        {"fact": "bytes", "value": sum(array.nbytes for array in checkpoint.tensors.values())},
        {"fact": "also in the file", "value": ", ".join(checkpoint.other) or "nothing"},
    ]
    try:
        graph = load_model(path, arch=arch, settings=settings, ema=ema)
    except CheckpointError as error:
        if arch is not None or settings:
            raise
        click.echo(f"not of an architecture this version knows, so only its tensors are shown: {error}", err=True)
        return "tensors", {"file": file, "arguments": arguments, "tensors": tensors}
    return "model", {"file": file, **_graph(graph), "arguments": arguments, "tensors": tensors}


def _nir(path: Path) -> tuple[str, Sections]:
    """The nodes of the file; a Graph needs settings that it does not tell, such as T."""
    from compiler.importers.nir_file import printable, read_nir_file
    from neurochip.errors import CheckpointError

    try:
        top = read_nir_file(path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    edges = [f"{source} -> {target}" for source, target in top.edges]
    nodes: list[dict[str, Any]] = [
        {
            "node": printable(name),
            "primitive": printable(node.kind),
            "parameters": ", ".join(f"{key} {_shape(value)}" for key, value in node.values.items()),
            "metadata": ", ".join(f"{key} = {value}" for key, value in node.metadata.items()),
        }
        for name, node in top.nodes.items()
    ]
    metadata = [{"metadata": key, "value": str(value)} for key, value in top.metadata.items()]
    return "NIR graph", {"metadata": metadata, "nodes": nodes, "edges": [{"edge": edge} for edge in edges]}


def _shape(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_shape(inner)}" for key, inner in value.items()) + "}"
    shape = getattr(value, "shape", ())
    return " x ".join(map(str, shape)) if shape else str(value)[:40]


def _graph(graph: Graph) -> Sections:
    facts = {
        "family": graph.name,
        "timesteps": graph.timesteps,
        "outputs": ", ".join(graph.outputs),
        "multiply-accumulates of one step": sum(graph.macs(node) for node in graph.nodes),
        "tensors not read": ", ".join(graph.ignored) or "none",
    }
    return {
        "model": [{"fact": name, "value": value} for name, value in facts.items()],
        "operations": _operations(graph),
        "settings": [{"setting": s.name, "value": str(s.value), "from": s.origin} for s in graph.settings],
        "nodes": [_node(graph, node) for node in graph.nodes],
    }


def _operations(graph: Graph) -> list[dict[str, Any]]:
    """What is not spiking about the model, in the words of docs/supported-models.md."""
    from compiler.ir.survey import survey

    found = survey(graph)
    rows = {
        "stacked / MLP": found.stacked,
        "attention": found.attention,
        "residual connections": found.residual,
        "patch embedding": found.embedding,
        "layers that read counts above 1": ", ".join(found.counts) or "none",
        "layers that read real values": ", ".join(found.reals) or "none",
    }
    return [{"part": part, "what it takes": words} for part, words in rows.items()]


def _node(graph: Graph, node: Node) -> dict[str, Any]:
    return {
        "node": node.name,
        "op": node.op.mnemonic,
        "from": ", ".join(node.inputs),
        "type": str(graph.type_of(node)),
        "MACs": graph.macs(node),
    }
