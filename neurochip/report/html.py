"""A report as one HTML file that needs nothing else: no network, no fonts, no libraries. Needs the ``report`` extra.

Python prepares numbers and texts, ``templates/report.html`` lays them out and escapes every text. The page's content
security policy forbids all connections and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import asdict
from importlib.resources import files
from typing import Any, Protocol

import numpy as np

from neurochip.atomic import reason, write_text
from neurochip.errors import MissingExtraError, NeurochipError
from neurochip.program.image import HOST, NEURON_CORE, PROCESSOR
from neurochip.report.charts import tick_chart
from neurochip.report.mesh_map import BINS, MeshMap, mesh_map
from neurochip.report.page import page
from neurochip.report.report import Report
from neurochip.report.units import count, quantity

try:
    import jinja2
    import markupsafe
except ImportError as error:
    raise MissingExtraError("an HTML report", "report") from error

DETAILED_CORES = 20_000
"""Up to so many cores the page tells each core's figures on touch; beyond, only its load, to stay below 5 MB."""


class HasReport(Protocol):
    """A simulation's result."""

    @property
    def report(self) -> Report: ...


def write_html(result: Report | HasReport, path: str | os.PathLike[str], *, generated: str | None = None) -> None:
    """Write the page; the file at ``path`` is either the old one or the new one, whole.

    Args:
        generated: a line that says when or by whom; without it, equal runs give equal bytes.
    Raises:
        NeurochipError: the file cannot be written.
    """
    text = render_html(result, generated=generated)
    try:
        write_text(path, text)
    except OSError as error:
        raise NeurochipError(
            f"{path}: cannot write the report: {reason(error)}; free some space, or choose another place"
        ) from error


def render_html(result: Report | HasReport, *, generated: str | None = None) -> str:
    """The page as text."""
    report = result if isinstance(result, Report) else result.report
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["micro"] = lambda text: re.sub(r"(?<=\d) u(?=[sJ]\b)", " µ", str(text))
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    script, drawing = _template("report.js"), mesh_map(report)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text: str = environment.get_template("report.html").render(
        **page(report),
        style=markupsafe.Markup(_template("report.css")),
        script=markupsafe.Markup(script),
        script_hash=digest,
        chart=tick_chart(report),
        mesh=drawing,
        bins=range(1, BINS + 1),
        core_top=quantity(drawing.core_top * 1e-9, "s"),
        link_top=count(round(drawing.link_top)),
        data=mesh_data(report, drawing),
        generated=generated,
    )
    return text


def mesh_data(report: Report, drawing: MeshMap) -> dict[str, Any]:
    """What the page's script tells about the core or link under the pointer; columns of numbers, per input."""
    program, counts, n = report.program, report.trace.cores, report.trace.inputs
    cores, layout = program.cores, drawing.layout
    seconds = float(report.trace.tick_ns.sum()) * 1e-9 / n
    facts: dict[str, Any] = {
        "layout": asdict(layout),
        "names": [p.name for p in program.network.populations],
        "kinds": {NEURON_CORE: "core", PROCESSOR: "processor", HOST: "host"},
        "seconds": seconds,
        "inputs": n,
        "links": report.trace.links.tolist(),
        "chips": {f"{b.number}": [b.x, b.y, b.width, b.height] for b in drawing.chips if b.number is not None},
        "cores": None,
    }
    if len(cores) <= DETAILED_CORES:
        router = cores["y"].astype(np.int64) * layout.routers_x + cores["x"]
        work = counts.ops_dense + counts.ops_conv + counts.ops_sparse + counts.processor_ops
        facts["cores"] = {
            "router": router.tolist(),
            "slot": cores["slot"].tolist(),
            "kind": cores["kind"].tolist(),
            "chip": cores["chip"].tolist(),
            "busy_us": [float(f"{v:.4g}") for v in counts.busy_ns / n * 1e-3],
            "ops": (work // n).tolist(),
            "packets_in": (counts.packets_in // n).tolist(),
            "packets_out": (counts.packets_out // n).tolist(),
            "layers": held_layers(report),
        }
    return facts


def held_layers(report: Report) -> list[list[int]]:
    """Numbers of the populations with neurons on each core."""
    tiles = report.program.tiles
    pairs = np.unique(np.stack([tiles["core"], tiles["population"]]), axis=1)
    found: list[list[int]] = [[] for _ in range(len(report.program.cores))]
    for core, population in pairs.T.tolist():
        found[core].append(population)
    return found


def _template(name: str) -> str:
    return (files("neurochip.report") / "templates" / name).read_text(encoding="utf-8")
