"""The mend of torchvision, and that importing the backend loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from msbd.miniature import torchvision_patch

ROOT = Path(__file__).parent.parent
HEAVY = ("diffusers", "transformers", "open_clip", "spandrel", "torchvision", "yaml")


def run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def test_the_backend_imports_nothing_heavy_by_itself():
    code = f"import sys, msbd.standalone.model; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code).stdout.strip() == "[]"


def test_torchvision_can_be_imported_after_the_mend():
    """In a fresh process, twice, whether it was broken or not."""
    pytest.importorskip("open_clip")
    code = (
        "from msbd.miniature.torchvision_patch import patch_torchvision as mend;"
        "mend(); mend();"
        "import torchvision.transforms, open_clip, spandrel;"
        "from transformers import CLIPTextModel;"
        "print('sound')"
    )
    result = run(code)
    assert result.stdout.strip() == "sound", result.stderr


def test_an_absent_torchvision_is_none_of_its_business(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(torchvision_patch, "import_module", absent)
    torchvision_patch.patch_torchvision()


def test_other_errors_pass(monkeypatch):
    def broken(name):
        raise RuntimeError("something else")

    monkeypatch.setattr(torchvision_patch, "import_module", broken)
    with pytest.raises(RuntimeError, match="something else"):
        torchvision_patch.patch_torchvision()
