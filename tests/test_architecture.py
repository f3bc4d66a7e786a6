"""The house's walls: who may import whom, and what importing may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOST_ONLY = {"modules", "gradio"}
TORCH_FREE = ["geometry", "masks", "settings", "plan", "tiling", "errors"]
ORDER = [
    *("errors", "geometry", "masks", "settings", "tiling", "plan", "noise"),
    *(
        "backend",
        "blended",
        "upscaling",
        "composite",
        "layers",
        "checkpointing",
        "precision",
        "decoder",
        "memory",
        "regression",
        "refit",
        "report",
        "job",
        "denoising",
        "patches",
        "fitting",
        "stage",
    ),
    "pipeline",
]

FLOORS = ("pictures", "miniature", "standalone", "check", "evaluation", "benchmark", "webui", "cli")
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


@pytest.mark.parametrize("name", ORDER)
def test_the_core_depends_only_on_what_is_listed_before_it(name):
    relative = {n.lstrip(".") for n in imported(ROOT / "msbd" / f"{name}.py") if n[0] == "."}
    later = set(ORDER[ORDER.index(name) :])
    assert not relative & later
    assert relative <= {*ORDER, "__version__"}


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_runs_back_up(path):
    own = floor(path.relative_to(ROOT / "msbd").parts)
    for name in imported(path):
        used = floor(resolved(path, name)) if name[0] == "." else 0
        assert used <= own, f"{name} is above {path.name}"


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
