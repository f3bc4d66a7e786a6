"""The house's walls: who may import whom, and what importing may do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOST_ONLY = {"modules", "gradio"}
TORCH_FREE = [
    *("errors", "geometry", "masks", "setting", "settings", "presets", "legacy"),
    *("plan", "parts", "planning", "cost"),
]
ORDER = [
    *TORCH_FREE,
    *("backend", "memory", "precision", "compositing", "noise", "spectra", "seam"),
    *("report", "progress", "diffusion"),
    *("decoder.regression", "decoder.fine_tune", "decoder.last_layer", "decoder"),
    *("tone", "stage", "texture", "pipeline"),
]
"""The engine's modules; each knows only what is before it."""
MOST_MODULES, MOST_LINES, MOST_STATEMENTS = 30, 250, 40

FLOORS = (
    "keeping",
    "pictures",
    "miniature",
    "standalone",
    "check",
    "evaluation",
    "benchmark",
    "webui",
    "cli",
)
"""Packages, from the engine upwards."""


def imported(path: Path) -> set[str]:
    """Every module that a file imports, relative ones as `.name`; type-checking ones excepted."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            inner = [module + alias.name for alias in node.names if module == "."]
            names.update(inner or [module])
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return names


def sources() -> list[Path]:
    return sorted((ROOT / "msbd").rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_webui_part_imports_the_host(path):
    roots = {name.split(".")[0] for name in imported(path)}
    in_host_part = "webui" in path.relative_to(ROOT).parts
    assert in_host_part or not roots & HOST_ONLY


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_python_3_10_can_read_it(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


@pytest.mark.parametrize("name", TORCH_FREE)
def test_planning_needs_no_torch(name):
    code = f"import sys, msbd.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def engine() -> list[Path]:
    """The files of the engine."""
    package = ROOT / "msbd"
    files = [*package.glob("*.py"), *(package / "decoder").glob("*.py")]
    return sorted(path for path in files if path.name != "__main__.py")


def named(path: Path) -> str:
    """A module's name in the package."""
    parts = path.relative_to(ROOT / "msbd").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def used(path: Path) -> set[str]:
    """The modules of the package that one imports, by name; "" for the package itself."""
    relative = (name for name in imported(path) if name[0] == ".")
    places = (resolved(path, name) for name in relative)
    return {".".join(place).removesuffix("__version__") for place in places}


def test_the_order_holds_every_module_of_the_engine():
    assert sorted(ORDER) == sorted(filter(None, map(named, engine())))


@pytest.mark.parametrize("path", engine(), ids=named)
def test_the_core_depends_only_on_what_is_listed_before_it(path):
    name = named(path)
    before = ORDER[: ORDER.index(name)] if name else []
    assert used(path) <= {"", *before}


def test_the_engine_is_small():
    assert len(engine()) <= MOST_MODULES


@pytest.mark.parametrize("path", engine(), ids=named)
def test_a_module_of_the_engine_can_be_read_in_one_go(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            statements = sum(isinstance(part, ast.stmt) for part in ast.walk(node)) - 1
            assert statements <= MOST_STATEMENTS, f"{node.name} has {statements} statements"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_runs_back_up(path):
    own = floor(path.relative_to(ROOT / "msbd").parts)
    for name in imported(path):
        other = floor(resolved(path, name)) if name[0] == "." else 0
        assert other <= own, f"{name} is above {path.name}"


def resolved(path: Path, name: str) -> tuple[str, ...]:
    """A relative import's place in the package."""
    level = len(name) - len(name.lstrip("."))
    here = path.relative_to(ROOT / "msbd").parts
    return (*here[: len(here) - level], *filter(None, name.lstrip(".").split(".")))


def floor(place: tuple[str, ...]) -> int:
    """The higher, the more it may know; the engine is at the bottom."""
    if place == ("__main__.py",):
        return len(FLOORS)
    return FLOORS.index(place[0]) + 1 if place and place[0] in FLOORS else 0


def test_the_map_names_what_exists():
    """Every file, folder and name in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) >= 12
    named: list[tuple[str, str]] = []
    for row in rows:
        path = ""
        for word in re.findall(r"`([^`]+)`", row):
            if "/" in word:
                path = word
                assert (ROOT / path).exists(), path
            elif path.endswith(".py"):
                named.append((path, word))
    for path, name in named:
        defined = {
            node.name
            for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        assert name in defined, f"{path} has no {name}"
    assert len(named) >= 12
    drawn = text.split("```")[1]
    for module in re.findall(r"(\w+)\.py", drawn):
        assert list((ROOT / "msbd").glob(f"{module}.py")), module


def test_importing_the_engine_changes_no_global_state():
    code = (
        "import logging, random, torch, numpy; before = torch.get_rng_state();"
        "level, handlers = logging.root.level, list(logging.root.handlers);"
        "import msbd.pipeline;"
        "assert torch.equal(before, torch.get_rng_state());"
        "assert (level, handlers) == (logging.root.level, logging.root.handlers);"
        "assert torch.is_grad_enabled()"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_nothing_that_only_unix_has_is_needed():
    code = (
        "import sys; sys.modules['resource'] = sys.modules['fcntl'] = None;"
        "import msbd.pipeline, msbd.pictures.sheet, torch;"
        "assert msbd.report.peak_memory(torch.device('cpu')) == 0"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
