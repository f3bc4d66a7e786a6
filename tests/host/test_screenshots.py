"""The documentation's pictures of the user interface, into the folder MSBD_SCREENSHOTS names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from msbd.miniature import scene as world

from .client import Scene
from .server import Webui
from .test_browser import Play, browser, play

__all__ = ["browser", "play"]
NAMES = ("tab", "dry-run", "running", "result", "settings")
WIDTH = 1400
LARGEST = 400_000


@pytest.mark.timeout(1000)
def test_screenshots(webui: Webui, play: Play, tmp_path: Path) -> None:
    folder = os.environ.get("MSBD_SCREENSHOTS")
    if not folder:
        pytest.skip("MSBD_SCREENSHOTS names no folder")
    scene = world.Scene()
    as_users_have_it = {"show_progress_type": "Full", "msbd_preset": "recommended"}
    webui.post("/sdapi/v1/options", as_users_have_it)
    try:
        play(
            "screenshots",
            Scene(world.draw_picture(scene), world.draw_mask(scene)),
            prompt=scene.prompt,
            seed=scene.seed,
            steps=25,
            guidance=4,
            during="Stage 2 of ",
            fields={"preset": "recommended"},
            scale=2,
            limit=900,
        )
    finally:
        own = {"show_progress_type": "Approx cheap", "msbd_preset": "paper"}
        webui.post("/sdapi/v1/options", own)
    for name in NAMES:
        path = Path(folder) / f"webui-{name}.jpg"
        with Image.open(tmp_path / f"{name}.png") as shot:
            height = round(shot.height * WIDTH / shot.width)
            picture = shot.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        picture.save(path, quality=85, optimize=True)
        assert path.stat().st_size < LARGEST
