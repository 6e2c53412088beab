"""Every command and every Python example that the documentation shows works; the few that cannot run here say why."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from compiler.importers import FAMILIES
from compiler.ir.ops import OPS
from compiler.legal import LEGAL
from compiler.passes import PASSES
from neurochip.chip.load import shipped_chips
from neurochip.network.network import NeuronKind
from neurochip.network.projections import PROJECTIONS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
PAGES += [path for path in ROOT.glob("benchmarks/**/*.md") if "results" not in path.parts]
PROGRAMS = ("bash", "git", "mypy", "neurochip", "pip", "pytest", "python", "python3", "ruff")
"""An indented line is a command if it starts with one of these; a line in a ``sh`` fence always is."""

NOT_RUN = {
    r"python3 -m venv \.venv": "sets up an environment; .ci/run does",
    r"\. \.venv/bin/activate": "sets up an environment; .ci/run does",
    r"pip install .*": "installs packages; .ci/run does",
    r"pytest( .*)?": "this is the suite; .ci/run runs it",
    r"ruff .*|mypy": "style and types; .ci/run checks them",
    r"python examples/\w+/train\w*\.py.*": "trains for minutes, needs the torch extra; what it makes is tested",
    r"python benchmarks/\w+\.py.*": "measures for a minute or more; tests/benchmarks covers the parts",
}
"""Commands that this test does not run (regular expressions on the whole command), and the reason."""

NEEDS = {"docs/inputs.md": "PIL", "docs/nir.md": "h5py", "docs/tracing.md": "spikingjelly"}
"""Packages that are not required, without which a page's examples cannot run."""


def blocks(text: str, language: str) -> list[str]:
    """The contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The shell commands that a page shows, in order, without comments; parts joined by && count one by one."""
    text = page.read_text(encoding="utf-8")
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    indented = [line.strip() for line in prose.splitlines() if line.startswith("    ")]
    lines += [line for line in indented if line.split(" ")[0] in PROGRAMS]
    parts = (part.strip() for line in lines for part in re.sub(r"\s#\s.*|^#.*", "", line).split("&&"))
    return [part for part in parts if part]


def reason_not_to_run(command: str) -> str | None:
    return next((reason for pattern, reason in NOT_RUN.items() if re.fullmatch(pattern, command)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that looks like a clone, where commands may leave files, with neurochip and python on the PATH."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("benchmarks", "chips", "compiler", "examples", "neurochip"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    script = folder / "bin" / "neurochip"
    script.write_text(f"#!{sys.executable}\nfrom neurochip.cli.main import main\nmain()\n")
    script.chmod(0o755)
    return folder


def run(arguments, folder):
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_shown_python_and_commands_work(page, folder):
    """In the order of the page: first its Python, then its commands."""
    if (name := str(page.relative_to(ROOT))) in NEEDS:
        pytest.importorskip(NEEDS[name])
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        done = run([sys.executable, "-c", code], folder)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
    for command in commands(page):
        if reason_not_to_run(command) is None:
            done = run(["bash", "-c", command], folder)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_every_reason_not_to_run_is_still_needed():
    shown = [command for page in PAGES for command in commands(page)]
    unused = [pattern for pattern in NOT_RUN if not any(re.fullmatch(pattern, command) for command in shown)]
    assert unused == []


def test_the_readme_has_the_two_commands_and_ci_runs_the_second():
    shown = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "sh")
    main_job, suite = (block.strip() for block in shown[:2])
    assert "\n" not in main_job + suite
    assert "neurochip compile" in main_job
    assert "--labels" in main_job
    assert "--report" in main_job
    assert suite.endswith("&& pytest")
    assert suite in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_every_model_family_and_chip_is_named():
    families = (ROOT / "docs" / "supported-models.md").read_text(encoding="utf-8")
    assert [family.name for family in FAMILIES if f"`{family.name}`" not in families] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in shipped_chips() if f"`{name}`" not in readme] == []


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_the_tables_of_the_architecture_are_complete():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line.split(" | ", 2) for line in text.splitlines() if line.startswith("| ")]
    told = {name.strip("`"): row[1] for row in rows for name in row[0].removeprefix("| ").split(", ")}
    names = [*(op.__name__ for op in OPS), *(kind.__name__ for kind in PROJECTIONS), *get_args(NeuronKind)]
    names += [step.name for step in LEGAL]
    assert [name for name in names if name not in told] == []
    attributes = {op.__name__: [field.name for field in fields(op)] for op in OPS}
    silent = {op: [a for a in names if not re.search(rf"\b{a}\b", told[op])] for op, names in attributes.items()}
    assert {op: names for op, names in silent.items() if names and not told[op].startswith("as ")} == {}
    assert [step.name for step in PASSES if f"`{step.name}`" not in text] == []
