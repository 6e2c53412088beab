"""The Python interface: load, compile, simulate. The command line calls nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neurochip.chip.load import load_chip
from neurochip.chip.spec import ChipSpec
from neurochip.errors import InputError
from neurochip.program.file import load_program, save_program
from neurochip.program.image import Program
from neurochip.report.report import Report, make_report

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from compiler.feasibility import Feasibility
    from compiler.ir.graph import Graph

__all__ = [
    "Result",
    "check",
    "check_all",
    "compile",
    "load_chip",
    "load_model",
    "load_program",
    "save",
    "save_nir",
    "save_program",
    "simulate",
    "trace",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Result:
    """A simulation: ``report`` (with ``trace`` and ``program``), ``logits`` (B, O), ``predictions`` (B,)."""

    report: Report

    @property
    def logits(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(B, O) float64, in the units of the trained model."""
        return self.report.trace.logits

    @property
    def predictions(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(B,) index of the largest logit."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    @property
    def exact(self) -> bool | None:
        """Whether every spike and readout equalled the integer reference; None if it was not checked."""
        return None if self.report.check is None else bool(self.report.check["exact"])

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return self.report.to_dict()

    def __repr__(self) -> str:
        return f"Result({self.report!r})"


def load_model(
    path: str | Path, *, arch: str | None = None, settings: Mapping[str, str] | None = None, ema: bool = False
) -> Graph:
    """Read a model file into a float Graph; see ``compiler.importers.load_model``."""
    from compiler.importers import load_model as read

    return read(path, arch=arch, settings=settings, ema=ema)


def save_nir(graph: Graph, path: str | Path, *, dt: float = 1e-4) -> tuple[str, ...]:
    """Write a Graph as a NIR file; returns what other readers will not see. See ``compiler.exporters.save_nir``."""
    from compiler.exporters import save_nir as write

    return write(graph, path, dt=dt)


def trace(module: Any, example_input: Any, timesteps: int | None = None, **options: Any) -> Graph:
    """Record what a live PyTorch module does as a Graph; see ``compiler.importers.trace`` for the options."""
    from compiler.importers.trace import trace as record

    return record(module, example_input, timesteps, **options)


def save(graph: Graph, path: str | Path) -> None:
    """Write a Graph to a file that ``load_model`` and ``neurochip compile`` take like any checkpoint."""
    from compiler.importers.graph_file import save_graph

    save_graph(graph, path)


def check(
    model: str | Path | Graph,
    chip: str | Path | ChipSpec,
    *,
    arch: str | None = None,
    settings: Mapping[str, str] | None = None,
    ema: bool = False,
    weight_bits: int | None = None,
    attention: str = "auto",
    approximate: Sequence[str] = (),
    encoder: str = "auto",
    fixes: bool = True,
) -> Feasibility:
    """What a chip would refuse of a model, and how close each layer is to the limits, without placing anything.

    Args:
        arch, settings, ema: how to read a model file; see ``load_model``.
        approximate, encoder: as for ``compile``.
        fixes: where the chip refuses, try fewer bits, one step, other attention methods and the shipped chips.
    Raises:
        NeurochipError: the model or the chip cannot be read; what the chip refuses is in the result.
    """
    from compiler.feasibility import examine, remedies
    from compiler.pipeline import Options
    from neurochip.chip.load import shipped_chips

    spec = chip if isinstance(chip, ChipSpec) else load_chip(chip)
    options = Options(
        weight_bits=weight_bits, attention=attention, approximate=tuple(approximate), encoder=encoder
    )  # fmt: skip
    graph = load_model(model, arch=arch, settings=settings, ema=ema) if isinstance(model, str | Path) else model
    found = examine(graph, spec, options)
    if found.fits or not fixes:
        return found
    return replace(found, fixes=tuple(remedies(graph, spec, options, [load_chip(name) for name in shipped_chips()])))


def check_all(
    model: str | Path | Graph,
    *,
    arch: str | None = None,
    settings: Mapping[str, str] | None = None,
    ema: bool = False,
    weight_bits: int | None = None,
    attention: str = "auto",
    approximate: Sequence[str] = (),
    encoder: str = "auto",
) -> list[Feasibility]:
    """``check`` of every shipped chip, without fixes."""
    from neurochip.chip.load import shipped_chips

    graph = load_model(model, arch=arch, settings=settings, ema=ema) if isinstance(model, str | Path) else model
    options: dict[str, Any] = {
        "weight_bits": weight_bits, "attention": attention, "approximate": approximate, "encoder": encoder,
    }  # fmt: skip
    return [check(graph, name, fixes=False, **options) for name in shipped_chips()]


def compile(
    model: str | Path | Graph,
    chip: str | Path | ChipSpec,
    *,
    arch: str | None = None,
    settings: Mapping[str, str] | None = None,
    ema: bool = False,
    weight_bits: int | None = None,
    attention: str = "auto",
    placement: str = "anneal",
    profile: str | None = None,
    seed: int = 0,
    approximate: Sequence[str] = (),
    max_interval: int | None = None,
    sums: str = "auto",
    encoder: str = "auto",
    on_stage: Callable[[str, Callable[[], str]], None] | None = None,
) -> Program:
    """Compile a model (file or Graph) for a chip (file, name of a shipped chip, or ChipSpec).

    Args:
        arch, settings, ema: how to read a model file; see ``load_model``.
        approximate: what need not be exact (``leak``: the chip's kind of leak for the model's); nothing by default.
        max_interval: most ticks a time step may take where sums travel as bursts; default 256.
        sums: ``auto``: populations add up residual streams where that spares many cores, at the price of ticks;
            ``none``: every layer reads all currents or spikes before it.
        encoder: who convolves analog input, ``host`` or ``core``, as far as the chip can; ``auto``: as its file says.
        on_stage: called after each stage with its name and a function that renders the stage as text.
    Raises:
        NeurochipError: see ``compiler.pipeline.compile_graph``, ``load_model`` and ``load_chip``.
    """
    from compiler.pipeline import Options, compile_graph, file_sha256

    spec = chip if isinstance(chip, ChipSpec) else load_chip(chip)
    options = Options(
        weight_bits=weight_bits, attention=attention, placement=placement, profile=profile, seed=seed,
        approximate=tuple(approximate), encoder=encoder, sums=sums,
    )  # fmt: skip
    options = options if max_interval is None else replace(options, max_interval=max_interval)
    if isinstance(model, str | Path):
        graph = load_model(model, arch=arch, settings=settings, ema=ema)
        return compile_graph(graph, spec, options, model_sha256=file_sha256(model), on_stage=on_stage)
    return compile_graph(model, spec, options, on_stage=on_stage)


def simulate(
    program: Program | str | Path,
    x: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    limit: int | None = None,
    noc: str = "analytic",
    check: bool = False,
    check_sample: int | None = None,
    profile: str | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Run inputs ``x`` (B, *shape) or (T, B, *shape) through a compiled program.

    Args:
        labels: (B,) class numbers, for the accuracy.
        limit: only the first ``limit`` inputs.
        noc: ``analytic`` or ``packet``.
        check: compare every spike with the integer reference.
        check_sample: instead of that, recompute this many positions of every population from the spikes they received.
        profile: bill with another cost profile than the program was compiled with.
        threads: how many to compute with, by default one for each core of this machine; no result depends on it.
        progress: called with (inputs done, inputs in all).
    Raises:
        InputError, ProgramError, SimulationError, ChipError.
    """
    from neurochip.sim.check import Check
    from neurochip.sim.engine import run_program
    from neurochip.sim.sample import SampledCheck

    if check_sample is not None and (check or check_sample < 1):
        raise InputError(f"check_sample: expected at least 1 position, and no check of all, found {check_sample}")
    loaded = program if isinstance(program, Program) else load_program(program)
    if profile is not None:
        loaded = replace(loaded, origin=replace(loaded.origin, profile=loaded.chip.costs(profile).profile))
    values, classes = _limited(loaded, np.asarray(x), labels, limit)
    checker: Check | SampledCheck | None = Check(loaded.network, values) if check else None
    if check_sample is not None:
        checker = SampledCheck(loaded.network, values, check_sample)
    trace = run_program(
        loaded,
        values,
        noc=noc,
        threads=threads or os.cpu_count() or 1,
        observe=checker.observe if checker else None,
        progress=progress,
    )
    report = make_report(loaded, trace, labels=classes, check=checker.result() if checker else None)
    return Result(report=report)


def _limited(
    program: Program, x: np.ndarray[Any, Any], labels: ArrayLike | None, limit: int | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """The first ``limit`` inputs and labels, checked against each other."""
    batch_axis = 1 if x.ndim == len(program.network.input.shape) + 2 else 0
    count = x.shape[batch_axis] if x.ndim > batch_axis else 0
    if count == 0:
        raise InputError(f"input: expected at least one input, found shape {x.shape}")
    if limit is not None and limit < 1:
        raise InputError(f"limit: expected at least 1, found {limit}")
    wanted = count if limit is None else min(limit, count)
    values = x[:, :wanted] if batch_axis else x[:wanted]
    if labels is None:
        return values, None
    classes = np.asarray(labels)
    if classes.dtype.kind not in "iu" or classes.shape != (count,):
        raise InputError(f"labels: expected {count} whole numbers, found {classes.dtype} of shape {classes.shape}")
    outputs = len(program.network.readout.bias)
    if classes.min() < 0 or classes.max() >= outputs:
        raise InputError(f"labels: expected classes 0..{outputs - 1}, found {classes.min()} to {classes.max()}")
    return values, classes[:wanted]
