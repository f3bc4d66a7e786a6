"""The WebUI's start survives us, and keeps its packages."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

INSTALL = str(Path(__file__).parent.parent / "install.py")


@pytest.fixture
def launch(monkeypatch):
    module = SimpleNamespace(missing=set(), commands=[], error=None)
    module.is_installed = lambda name: name not in module.missing

    def run_pip(command, description):
        module.commands.append(command)
        if module.error:
            raise module.error

    module.run_pip = run_pip
    monkeypatch.setitem(sys.modules, "launch", module)
    return module


def test_nothing_is_installed_where_nothing_is_missing(launch):
    runpy.run_path(INSTALL)
    assert launch.commands == []


def test_only_what_is_missing_is_installed_and_never_torch(launch):
    launch.missing = {"open_clip"}
    runpy.run_path(INSTALL)
    assert launch.commands == ["install --no-deps open_clip_torch"]


def test_a_failure_is_a_message(launch, capsys):
    launch.missing, launch.error = {"open_clip"}, RuntimeError("no network")
    runpy.run_path(INSTALL)
    assert "no network" in capsys.readouterr().out
