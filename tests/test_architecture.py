"""The rules of docs/architecture.md that a reader cannot see in one file: who imports whom, sizes, names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from neurochip.chip.load import shipped_chips

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("neurochip/**/*.py"), *ROOT.glob("compiler/**/*.py")])
LARGEST_MODULE = 400
SLOW_TO_IMPORT = {"numba", "torch", "pydantic"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> frozenset[str]:
    """Modules of ours that a module imports, anywhere in its text: at its top, in functions, for types only."""
    found = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found |= submodules or {node.module}
    return frozenset(name for name in found if name.split(".")[0] in ("neurochip", "compiler"))


@cache
def layers() -> tuple[tuple[str, ...], ...]:
    """The packages of docs/architecture.md, top to bottom; a line may name several."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## Packages, top to bottom")[2].partition("\n`compiler` never")[0]
    lines = [line.split("  ")[0] for line in re.findall(r"^    (\S.*)$", section, flags=re.MULTILINE)]
    return tuple(tuple(name.strip() for name in line.split(",")) for line in lines)


def layer_of(module: str) -> int:
    """Number of a module's layer, 0 at the top; the longest name that fits counts, a bare package is the top."""
    if module in ("neurochip", "compiler"):
        return 0
    fits = [(len(n), i) for i, names in enumerate(layers()) for n in names if f"{module}.".startswith(f"{n}.")]
    assert fits, f"docs/architecture.md does not say in which layer {module} is"
    return max(fits)[1]


def test_the_documented_layers_exist():
    named = {name for names in layers() for name in names}
    assert len(named) == sum(map(len, layers())) > 10, "each is listed once"
    assert named <= MODULES.keys()


def imports(importers: str, imported: tuple[str, ...]) -> list[str]:
    """Who imports what, of the modules whose names start so."""
    starts = [module for module in MODULES if module.startswith(importers)]
    return [f"{module} imports {name}" for module in starts for name in imports_of(module) if name.startswith(imported)]


def test_modules_import_their_own_layer_and_lower_ones_only():
    upward = [(m, name) for m in MODULES for name in imports_of(m) if layer_of(name) < layer_of(m)]
    assert upward == []


def test_the_compiler_never_imports_the_simulator_or_the_report():
    assert imports("compiler", ("neurochip.sim", "neurochip.report")) == []


def test_nobody_imports_the_command_line():
    guilty = [line for line in imports("", ("neurochip.cli",)) if not line.startswith("neurochip.cli")]
    assert guilty == []


def test_modules_do_not_import_each_other_in_a_circle():
    def top_level(module: str) -> set[str]:
        nodes = [n for n in tree_of(module).body if isinstance(n, ast.ImportFrom) and n.module in MODULES]
        return {
            full if (full := f"{node.module}.{alias.name}") in MODULES else str(node.module)
            for node in nodes
            for alias in node.names
        }

    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module not in done:
            for name in top_level(module):
                visit(name, (*trail, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_modules_are_short_enough_to_read():
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in MODULES.items()}
    too_long = {name: count for name, count in lines.items() if count > LARGEST_MODULE}
    assert too_long == {}, "split them where their parts know least of each other"


def test_code_names_no_chip():
    """A chip is a file in chips/; a rule that only one chip has is a value of that file."""
    chip = re.compile(rf"(?<![a-z])({'|'.join(map(re.escape, shipped_chips()))})(?![a-z])", re.IGNORECASE)
    assert [f"{module}: {word}" for module in MODULES for word in words(module) if chip.search(word)] == []


def words(module: str) -> set[str]:
    """Names and strings of the code; docstrings, which may name a chip as an example or a source, left out."""
    nodes = list(ast.walk(tree_of(module)))
    documentation = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    constants = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in documentation]
    found = {node.value for node in constants if isinstance(node.value, str)}
    found |= {node.id for node in nodes if isinstance(node, ast.Name)}
    return found | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_no_star_imports():
    nodes = [(m, node) for m in MODULES for node in ast.walk(tree_of(m)) if isinstance(node, ast.ImportFrom)]
    assert [module for module, node in nodes if any(alias.name == "*" for alias in node.names)] == []


def test_what_is_public_is_documented_and_annotated():
    faults = [f"{module}: no docstring" for module, tree in trees() if tree.body and not ast.get_docstring(tree)]
    for module, tree in trees():
        for node, inside in public_definitions(tree):
            name = f"{module}.{inside}{node.name}"
            faults += [f"{name}: no docstring"] * (ast.get_docstring(node) is None)
            faults += [f"{name}: no annotation of {what}" for what in unannotated(node)]
    assert faults == []


def trees() -> list[tuple[str, ast.Module]]:
    return [(module, tree_of(module)) for module in MODULES]


def unannotated(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """Arguments of a function that lack a type, and "its result" if that does; nothing for a class."""
    if isinstance(node, ast.ClassDef):
        return []
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
    bare = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return bare + ["its result"] * (node.returns is None)


def public_definitions(tree: ast.Module) -> list[tuple[ast.FunctionDef | ast.ClassDef, str]]:
    """Functions, classes and methods without a leading underscore, and the class they are in.

    Methods of a class with bases are left out: what they override is documented there.
    """
    found: list[tuple[ast.FunctionDef | ast.ClassDef, str]] = []
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        found.append((node, ""))
        if isinstance(node, ast.ClassDef) and not node.bases:
            found += [
                (child, f"{node.name}.")
                for child in node.body
                if isinstance(child, ast.FunctionDef) and not child.name.startswith("_")
            ]
    return found


def test_help_imports_nothing_slow():
    code = (
        "from neurochip.cli.main import main\n"
        "sys.argv = ['neurochip', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
    )
    assert not SLOW_TO_IMPORT & imported_by(code)


def test_importing_the_package_imports_nothing_slow():
    assert not SLOW_TO_IMPORT & imported_by("import neurochip\n")


def imported_by(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has loaded after ``code``."""
    code = f"import sys\n{code}print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())
