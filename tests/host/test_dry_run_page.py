"""The dry run on the WebUI's page: in every mode with a mask, where it shows, and when it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from . import models
from .client import Scene
from .server import Webui
from .test_browser import Play, browser, play, quick, wide

__all__ = ["browser", "play"]
SOON = 300
"""Milliseconds until a press must have an answer."""


@pytest.fixture
def shots() -> dict[str, str]:
    """Where to leave pictures of the page, for people to look at."""
    folder = os.environ.get("MSBD_DRY_RUN_SHOTS")
    return {"shots": folder} if folder else {}


def batch(folder: Path, subject: Scene) -> dict[str, str]:
    """Three pictures in the host's order, two of them with a mask of their name."""
    pictures, masks = folder / "pictures", folder / "masks"
    pictures.mkdir()
    masks.mkdir()
    for name, size in (("10.png", 256), ("2.png", 208), ("1.png", 192)):
        Image.fromarray(subject.picture[:size, :size]).save(pictures / name)
        if name != "1.png":
            Image.fromarray(subject.mask[:size, :size]).save(masks / name)
    return {"batch": str(pictures), "masks": str(masks)}


def test_every_mode(play: Play, tmp_path: Path, shots: dict[str, str]) -> None:
    subject = wide()
    folders = batch(tmp_path, subject)
    played = play("dry_run", subject, **quick(scenario="modes", **folders, **shots))
    found, large = played["found"], played["large"]
    assert not played["before"] and large["width"] == 1200
    for name, one in found.items():
        assert 0 < one["after"] < SOON and "Planning" in one["said"], (name, one)
    for name in ("upload", "Inpaint", "Inpaint sketch", "batch"):
        assert found[name]["size"][0] == 1200 and found[name]["place"], name
        assert "the model works on" in found[name]["text"]
    assert (
        "First of 2 pictures: 2.png. Pictures left out, without a mask: 1."
        in found["batch"]["text"]
    )
    for name in ("uploads", "nothing"):
        assert "Input directory: name a folder" in found[name]["text"] and not found[name]["size"]
    for name in ("Inpaint", "Inpaint sketch"):
        assert (found[name]["untouched"], found[name]["touched"]) == ("shown", "old"), name


def test_it_goes_and_grows_old(play: Play, shots: dict[str, str]) -> None:
    seen = play("dry_run", wide(), **quick(scenario="goes", **shots))
    gone = ("closed", "generating", "other")
    assert {name: seen[name] for name in gone} == dict.fromkeys(gone, False)
    assert seen["changed"][0] == "old" and "Something was changed" in seen["changed"][1]
    assert seen["againState"] == "shown" and "Something" not in seen["again"]["text"]
    assert seen["kept"], "the gallery's results are there under the drawing"


def test_it_follows_the_checkpoint(webui: Webui, play: Play) -> None:
    names = {"first": models.PLAIN, "other": models.PERTURBED}
    seen = play("dry_run", wide(), **quick(scenario="checkpoint", **names))
    assert seen["changed"][0] == "old" and "checkpoint" in seen["changed"][1]
    assert "the model works on" in seen["after"]["text"] and seen["after"]["place"]
