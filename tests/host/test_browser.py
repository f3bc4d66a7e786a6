"""The user interface in headless Chromium, used as a person uses it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msbd.settings import SETTINGS
from msbd.webui.fields import CONTROLS, FIRST_SIGHT, FOLDED, PANEL, THIS_RUN, UNSEEN

from .client import QUICK, TITLE, Scene, edited, scene
from .server import Webui

SCENARIOS = Path(__file__).parent / "browser"
LIMIT = 240
FIELDS = {"upscaler": "Lanczos"}
Play = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def browser() -> dict[str, str]:
    """Environment for node, and where Chromium is."""
    modules = os.environ.get("MSBD_BROWSER_MODULES", "")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("MSBD_BROWSER") or next(filter(None, map(shutil.which, names)), "")
    if not shutil.which("node") or not found:
        pytest.skip("needs node and Chromium (MSBD_BROWSER)")
    if not (Path(modules) / "playwright-core").is_dir():
        pytest.skip("MSBD_BROWSER_MODULES names no node_modules with playwright-core")
    return {"modules": modules, "browser": found}


@pytest.fixture
def play(browser: dict[str, str], webui: Webui, tmp_path: Path) -> Play:
    """Play a scenario of the folder `browser` with a scene; what it found."""

    def played(
        name: str, subject: Scene | None = None, limit: float = LIMIT, **work: Any
    ) -> dict[str, Any]:
        if subject is not None:
            for kind in ("picture", "mask"):
                path = tmp_path / f"{kind}.png"
                Image.fromarray(getattr(subject, kind)).save(path)
                work[kind] = str(path)
        work |= {"url": webui.url, "browser": browser["browser"], "folder": str(tmp_path)}
        done = subprocess.run(
            ["node", SCENARIOS / f"{name}.js", json.dumps(work)],
            env=os.environ | {"NODE_PATH": browser["modules"]},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
        assert done.returncode == 0, f"{done.stderr}\nsee {tmp_path}/failure.png"
        found = json.loads(done.stdout.splitlines()[-1])
        assert not found.pop("errors"), "errors on the page"
        return found

    return played


def quick(**more: Any) -> dict[str, Any]:
    return {"prompt": "a red star", "seed": 1, "steps": 6, "fields": FIELDS, **more}


def wide() -> Scene:
    return scene(288, 320, 220, 88)


def shown(webui: Webui, picture: dict[str, Any]) -> np.ndarray:
    """The pixels of a picture of the gallery, from the file it is saved in."""
    path = Path(re.sub(r"\?.*", "", picture["url"].partition("file=")[2]))
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_inpaint_upload_from_the_mask_to_the_result(webui: Webui, play: Play) -> None:
    subject = wide()
    found = play("edit", subject, **quick(controls=FIRST_SIGHT, folded=list(FOLDED.values())))
    assert found["hiddenBefore"] and all(found["seen"].values()), found["seen"]
    assert {*found["seen"], *found["unfolded"]} == {*CONTROLS}
    assert found["filled"] == "0", "the preset fills the other controls in"
    assert "painted at 128x128" in found["plan"] and "4 overlapping tiles" in found["plan"]
    assert min(found["drawn"]) > 320, "a drawing to look at"
    said = " ".join(found["said"])
    assert "1 of 3: Painting" in said and "3 of 3: Adding detail" in said and "%" in said
    assert found["previews"] >= 2
    (picture,) = found["pictures"]
    assert (picture["width"], picture["height"]) == (320, 288)
    result = shown(webui, picture)
    assert subject.is_edited(result)
    assert (result == edited(webui, subject, steps=6).picture).all(), "as through the API"
    assert "Script: Multi-Stage Blended Diffusion" in found["infotext"]
    below = found["infotext"] + found["log"]
    assert "Painted in 3 stages" in below and "Nothing outside the mask changed." in below


@pytest.mark.parametrize("clicks", [1, 2])
def test_interrupt(webui: Webui, play: Play, clicks: int) -> None:
    """One click lets the running picture finish, the second ends it where it is."""
    subject = wide()
    found = play("interrupt", subject, **quick(steps=20, clicks=clicks))
    results = [p for p in found["pictures"] if (p["width"], p["height"]) == (320, 288)]
    assert results and len(results) < 3
    assert subject.is_edited(shown(webui, results[0]))
    said = found["infotext"] + found["log"]
    assert ("Stopped after stage" in said) == (clicks == 2)
    assert found["after"]["pictures"], "usable at once"


def test_paste(webui: Webui, play: Play, small: Scene) -> None:
    fields = {**QUICK, "candidates": 3, "margin": 1.45, "guidance_later": 0.8, "context": 0.5,
              "whole_cells": False, "growth": 1.7, "choose": "first"}  # fmt: skip
    answer = edited(webui, small, fields, mask_blur=9, prompt="a blue ring, (old:1.2)")
    ticks = [name for name, known in SETTINGS.items() if known.type is bool]
    names = [name for name in CONTROLS if name not in (*ticks, *THIS_RUN)]
    found = play(
        "paste",
        infotext=answer.info["infotexts"][0],
        prompt="a blue ring, (old:1.2)",
        controls=names,
    )
    assert found["script"] == TITLE and found["blur"] == "9" and not found["checked"]
    for kept in ("MSBD growth per stage: 1.7", "MSBD choose by: first"):
        assert kept in found["overrides"], "what has no control is an override of the settings"
    expected = {"preset": "draft", **answer.report["settings"], "start": "automatic"}
    for name, value in found["values"].items():
        if isinstance(expected[name], str):
            assert value == expected[name], name
        else:
            assert float(value) == pytest.approx(expected[name]), name


@pytest.mark.parametrize("mode", ["Inpaint", "Inpaint sketch"])
def test_a_mask_drawn_by_hand(webui: Webui, play: Play, small: Scene, mode: str) -> None:
    found = play("draw", small, **quick(mode=mode, steps=4))
    assert "painted at 128x128" in found["plan"]
    picture = found["pictures"][0]
    assert (picture["width"], picture["height"]) == (256, 208)
    changed = (shown(webui, picture) != small.picture).any(-1)
    assert 0.01 < changed.mean() < 0.7 and not changed[:8, -8:].any()


def test_dry_run_says_what_is_missing(play: Play, small: Scene) -> None:
    found = play("nothing")
    assert "picture" in found["plan"]


def test_settings_and_reload(webui: Webui, play: Play, small: Scene) -> None:
    """The section is there; a changed default shows after Reload UI, and the edit is the same."""
    options = ("preset", *PANEL, "clip_model", "clip_weights", "clip_device", "decoder_device",
               "candidates", "stages", "sheet", "keep", "keep_gib", "keep_days",
               "memory_limit")  # fmt: skip
    before = edited(webui, small).picture
    try:
        found = play("settings", options=options, unseen=UNSEEN)
    finally:
        webui.post("/sdapi/v1/options", {"msbd_preset": "paper"})
    assert all(found["shown"].values()), found["shown"]
    assert all(found["hidden"].values()) and not found["faults"], found
    assert found["preset"] == "draft" and found["candidates"] == "1"
    assert (edited(webui, small).picture == before).all()
