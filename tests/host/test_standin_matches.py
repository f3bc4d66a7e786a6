"""The stand-in of the WebUI offers nothing that the real one does not have.

Both are read, not run: modules, functions with their parameters, classes with their methods and
attributes, options with their defaults, flags.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .server import Installation

STANDIN = Path(__file__).parent.parent / "standin"
MODULES = sorted(path.relative_to(STANDIN / "webui") for path in STANDIN.glob("webui/**/*.py"))
NEWEST = (1, 10)
PLACES = {
    "k_diffusion": "repositories/k-diffusion",
    "modules": "",
    "launch.py": "",
}
"""Where the real host keeps what the stand-in has under the same names."""
LDM = "repositories/stable-diffusion-stability-ai/ldm"
MODEL = {
    "LatentDiffusion": [f"{LDM}/models/diffusion/ddpm.py", "modules/sd_models_types.py"],
    "DiffusionWrapper": [f"{LDM}/models/diffusion/ddpm.py"],
    "UNetModel": [f"{LDM}/modules/diffusionmodules/openaimodel.py"],
    "AutoencoderKL": [f"{LDM}/models/autoencoder.py"],
    "Encoder": [f"{LDM}/modules/diffusionmodules/model.py"],
    "Decoder": [f"{LDM}/modules/diffusionmodules/model.py"],
    "DiagonalGaussianDistribution": [f"{LDM}/modules/distributions/distributions.py"],
}
"""Where the real classes of the stand-in's model are."""
LIGHTNING = {"dtype", "device"}
"""What a model has from its base class, which is no part of the host."""


@pytest.fixture(scope="module")
def folder(installation: Installation) -> Path:
    if installation.version < NEWEST:
        pytest.skip("the stand-in is that of 1.10")
    return installation.folder


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_names_and_signatures_are_the_hosts(path: Path, installation: Installation, folder: Path):
    real = real_module(path, installation)
    assert real.is_file(), f"the host has no {path}"
    offered, there = Module(STANDIN / "webui" / path), Module(real)
    assert list(problems(offered, there, folder)) == []


@pytest.mark.parametrize("name", MODEL)
def test_the_models_attributes_are_the_hosts(name: str, folder: Path):
    offered = Module(STANDIN / "model.py").classes[name]
    members: set[str] = set(LIGHTNING)
    for place in MODEL[name]:
        for one in Module(folder / place).classes.values():
            members |= set(one.members)
    if name == "LatentDiffusion":
        members |= assigned_by_the_host(folder)
    assert public(offered.members) - members == set()


def test_options_have_the_hosts_defaults(folder: Path):
    real = real_options(folder)
    call = Module(STANDIN / "webui/modules/shared_options.py").values["_DEFAULTS"]
    assert isinstance(call, ast.Call)
    offered = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    assert set(offered) - set(real) == set()
    told = {k: ast.literal_eval(v) for k, v in real.items() if isinstance(v, ast.Constant)}
    assert {k: v for k, v in offered.items() if k in told and told[k] != v} == {}


def test_flags_are_the_hosts(folder: Path):
    call = Module(STANDIN / "webui/modules/shared_cmd_options.py").values["cmd_opts"]
    assert isinstance(call, ast.Call)
    tree = ast.parse((folder / "modules/cmd_args.py").read_text(encoding="utf-8"))
    flags = {
        text.value.lstrip("-").replace("-", "_")
        for text in ast.walk(tree)
        if isinstance(text, ast.Constant) and str(text.value).startswith("--")
    }
    assert {keyword.arg for keyword in call.keywords} - flags == set()


def test_prompts_and_samplers_mean_the_same(installation: Installation, folder: Path):
    theirs = meaning(installation.python, folder, folder / PLACES["k_diffusion"])
    ours = meaning(Path(sys.executable), STANDIN / "webui", STANDIN.parent.parent)
    assert list(theirs) == list(ours)
    for part, values in ours.items():
        for name, value in values.items():
            assert alike(value, theirs[part][name]), (part, name, value, theirs[part][name])


def meaning(python: Path, *path: Path) -> dict[str, dict[str, Any]]:
    """What `standin/meaning.py` prints with these folders on the path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    found = subprocess.run(
        [python, STANDIN / "meaning.py"], check=True, capture_output=True, text=True,
        env=environment,
    )  # fmt: skip
    return json.loads(found.stdout.strip().splitlines()[-1])


def alike(one: Any, other: Any) -> bool:
    """Equal, but for the last digits of numbers."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) or isinstance(other, float):
        return one == pytest.approx(other, rel=1e-4, abs=1e-5)
    return one == other


def real_module(path: Path, installation: Installation) -> Path:
    """The file that the stand-in's `path` stands for."""
    package = path.parts[0]
    if package in PLACES:
        return installation.folder / PLACES[package] / path
    code = f"import importlib.util as u; print(u.find_spec({package!r}).origin)"
    found = subprocess.run(
        [installation.python, "-I", "-c", code], check=True, capture_output=True, text=True
    )
    return Path(found.stdout.strip()).parent / Path(*path.parts[1:])


class Class:
    """A class as written: its own members, its bases' names, and its fields if a dataclass."""

    def __init__(self, node: ast.ClassDef) -> None:
        self.bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        self.methods = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
        is_dataclass = any("dataclass" in ast.unparse(d) for d in node.decorator_list)
        self.fields = [
            n.target.id
            for n in node.body
            if is_dataclass
            and isinstance(n, ast.AnnAssign)
            and isinstance(n.target, ast.Name)
            and "init=False" not in ast.unparse(n)
        ]
        self.members = {*self.methods, *_set_on_self(node)}
        for statement in node.body:
            self.members |= set(_targets(statement))


class Module:
    """A module as written: functions, classes, assigned and imported names."""

    def __init__(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self.functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        self.classes = {n.name: Class(n) for n in tree.body if isinstance(n, ast.ClassDef)}
        self.values: dict[str, ast.expr | None] = {}
        self.imported: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                aliases = (alias.asname or alias.name for alias in node.names)
                self.imported |= {alias.partition(".")[0] for alias in aliases}
        for node in tree.body:
            value = getattr(node, "value", None)
            self.values |= {name: value for name in _targets(node)}
        self.offers_imports = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and (node.level or "modules" in str(node.module))
            for alias in node.names
        }

    @property
    def names(self) -> set[str]:
        return {*self.functions, *self.classes, *self.values}


def problems(offered: Module, real: Module, folder: Path) -> Iterator[str]:
    """What a stand-in's module has that the real one has not, or has otherwise."""
    for name in sorted(public(offered.names | offered.offers_imports)):
        if name not in real.names | real.imported:
            yield f"{name}: the host has none"
    for name, function in offered.functions.items():
        if name in real.functions and parameters(function) != parameters(real.functions[name]):
            yield f"{name}{parameters(function)}, not {parameters(real.functions[name])}"
    for name, one in offered.classes.items():
        if name in real.classes:
            for problem in class_problems(one, real.classes[name], real, folder):
                yield f"{name}.{problem}"


def class_problems(one: Class, real: Class, module: Module, folder: Path) -> Iterator[str]:
    family = [real, *ancestors(real, module, folder)]
    members = set().union(*(each.members for each in family))
    for name in sorted(public(one.members) - members):
        yield f"{name}: the host has none"
    if one.fields and one.fields != real.fields:
        yield f"fields {one.fields}, not {real.fields}"
    for name, method in one.methods.items():
        found = next((each.methods[name] for each in family if name in each.methods), None)
        if found is None or not public({name}):
            continue
        if is_property(method) != is_property(found):
            yield f"{name} is a property in one of both"
        elif parameters(method) != parameters(found):
            yield f"{name}{parameters(method)}, not {parameters(found)}"


def ancestors(real: Class, module: Module, folder: Path) -> Iterator[Class]:
    for base in real.bases:
        found = module.classes.get(base) or host_classes(folder).get(base)
        if found is not None:
            yield found
            yield from ancestors(found, module, folder)


@cache
def host_classes(folder: Path) -> dict[str, Class]:
    """All classes of the host's own modules by name."""
    found: dict[str, Class] = {}
    for path in folder.glob("modules/*.py"):
        found |= Module(path).classes
    return found


@cache
def assigned_by_the_host(folder: Path) -> set[str]:
    """Attributes that the host's own modules set on objects, such as a loaded model."""
    return {
        node.attr
        for path in folder.glob("modules/*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }


def real_options(folder: Path) -> dict[str, ast.expr]:
    """The host's options: the default of each, as written."""
    found: dict[str, ast.expr] = {}
    tree = ast.parse((folder / "modules/shared_options.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            while isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
                value = value.func.value  # noqa: PLW2901 OptionInfo(...).info(...)
            if isinstance(key, ast.Constant) and isinstance(value, ast.Call) and value.args:
                found[key.value] = value.args[0]
    return found


def parameters(function: ast.FunctionDef) -> str:
    """Names, order and kinds of a function's parameters, and which have defaults."""
    given = function.args
    for annotated in ast.walk(given):
        if isinstance(annotated, ast.arg):
            annotated.annotation = None
    given.defaults = [ast.Constant(...) for _ in given.defaults]
    given.kw_defaults = [d and ast.Constant(...) for d in given.kw_defaults]
    return f"({ast.unparse(given)})"


def is_property(function: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(d) or ".setter" in ast.unparse(d)
               for d in function.decorator_list)  # fmt: skip


def public(names: set[str]) -> set[str]:
    return {name for name in names if name.startswith("__") or not name.startswith("_")}


def _targets(node: ast.stmt) -> Iterator[str]:
    """Names that a statement assigns to, in branches of it too."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        for name in ast.walk(target) if target is not None else ():
            if isinstance(name, ast.Name):
                yield name.id
    for branch in ("body", "orelse", "handlers"):
        if isinstance(node, (ast.If, ast.Try)):
            for inner in getattr(node, branch, []):
                yield from _targets(inner)


def _set_on_self(node: ast.ClassDef) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            if ast.unparse(inner.value) == "self":
                yield inner.attr
        elif isinstance(inner, ast.Call) and ast.unparse(inner.func) == "self.register_buffer":
            yield ast.literal_eval(inner.args[0])
