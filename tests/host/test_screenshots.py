"""The documentation's pictures of the user interface, into the folder MSBD_SCREENSHOTS names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msbd.miniature import scene as world

from .client import Scene
from .server import Webui
from .test_browser import Play, browser, play

__all__ = ["browser", "play"]
NAMES = {"a1111": ("tab", "dry-run", "running", "result", "settings"), "forge": ("tab", "result")}
"""By host."""
OF_KEPT = ("buttons", "choose", "compare")
WIDTH = 1400
LARGEST = 400_000


def stored(shot: Image.Image, path: Path) -> None:
    """Save a picture of the page for the documentation."""
    height = round(shot.height * WIDTH / shot.width)
    picture = shot.resize((WIDTH, height), Image.Resampling.LANCZOS)
    picture.save(path, quality=85, optimize=True)
    assert path.stat().st_size < LARGEST


@pytest.mark.timeout(1500)
def test_screenshots_of_a_kept_edit(webui: Webui, play: Play, tmp_path: Path) -> None:
    folder = os.environ.get("MSBD_SCREENSHOTS")
    if not folder or webui.installation.kind != "a1111":
        pytest.skip("MSBD_SCREENSHOTS names no folder, or none are made of this WebUI")
    scene = world.Scene()
    play(
        "kept",
        Scene(world.draw_picture(scene), world.draw_mask(scene)),
        prompt=scene.prompt,
        other="a blue ring on grass",
        seed=scene.seed,
        steps=25,
        guidance=4,
        preset="recommended",
        fields={},
        choice=2,
        scale=2,
        limit=1400,
    )
    shots = {name: Image.open(tmp_path / f"{name}.png").convert("RGB") for name in OF_KEPT}
    stored(beside(shots["buttons"], shots["choose"]), Path(folder) / "webui-choose.jpg")
    stored(shots["compare"], Path(folder) / "webui-compare.jpg")


def strokes(mask: np.ndarray, rows: int = 6) -> list[tuple[float, float]]:
    """A way of the mouse over the whole mask, in parts of the picture's width and height."""
    height, width = mask.shape
    found = []
    filled = np.flatnonzero(mask.any(1))
    for place, y in enumerate(np.linspace(filled[0], filled[-1], rows + 2)[1:-1].astype(int)):
        ends = np.flatnonzero(mask[y])[[0, -1]]
        found += [(x / width, y / height) for x in (ends if place % 2 else ends[::-1])]
    return found


def beside(canvas: Image.Image, panel: Image.Image) -> Image.Image:
    """The panel stands far from the canvas on the page: the canvas's upper part, and the panel."""
    both = Image.new("RGB", (canvas.width + panel.width, panel.height), "white")
    both.paste(canvas, (0, 0))
    both.paste(panel, (canvas.width, 0))
    return both


@pytest.mark.timeout(1000)
def test_screenshots(webui: Webui, play: Play, tmp_path: Path) -> None:
    """On Forge the mask is drawn."""
    kind = webui.installation.kind
    folder = os.environ.get("MSBD_SCREENSHOTS")
    if not folder or kind not in NAMES:
        pytest.skip("MSBD_SCREENSHOTS names no folder, or none are made of this WebUI")
    scene = world.Scene()
    mask = world.draw_mask(scene)
    drawn = {} if kind == "a1111" else {"path": strokes(mask)}
    as_users_have_it = {"show_progress_type": "Full", "msbd_preset": "recommended"}
    webui.post("/sdapi/v1/options", as_users_have_it)
    try:
        play(
            "screenshots",
            Scene(world.draw_picture(scene), mask),
            prompt=scene.prompt,
            seed=scene.seed,
            steps=25,
            guidance=4,
            during="Stage 2 of ",
            fields={"preset": "recommended"},
            scale=2,
            limit=900,
            **drawn,
        )
    finally:
        own = {"show_progress_type": "Approx cheap", "msbd_preset": "paper"}
        webui.post("/sdapi/v1/options", own)
    prefix = "webui" if kind == "a1111" else f"webui-{kind}"
    for name in NAMES[kind]:
        path = Path(folder) / f"{prefix}-{name}.jpg"
        shot = Image.open(tmp_path / f"{name}.png").convert("RGB")
        if drawn and name == "tab":
            shot = beside(Image.open(tmp_path / "canvas.png"), shot)
        stored(shot, path)
