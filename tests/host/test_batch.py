"""The Batch tab on the WebUI's page: a folder of twenty files, five of them bad."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .client import Scene, edited, scene
from .server import Webui
from .test_browser import Play, browser, play, quick

__all__ = ["browser", "play"]
COUNT = 20
UNREADABLE, UNMASKED, DEEP, SMALL, EMPTY = 3, 6, 9, 13, 20
"""Numbers of those that cannot be edited; at the first two the host itself goes on."""
NOT_EDITED = {
    DEEP: "more than 8 bits per channel",
    SMALL: "the mask is 100x100 but the picture is",
    EMPTY: "the mask is empty",
}
SIZES = ((200, 240), (256, 208), (288, 320))


def subject(number: int) -> Scene:
    height, width = SIZES[number % len(SIZES)]
    return scene(height, width, radius=40)


def folders(root: Path) -> dict[str, str]:
    """Input, masks and output; the files in the host's order."""
    found = {name: root / name for name in ("input_dir", "inpaint_mask_dir", "output_dir")}
    for folder in found.values():
        folder.mkdir()
    pictures, masks, _ = found.values()
    for number in range(1, COUNT + 1):
        one, name = subject(number), f"{number}.png"
        picture, mask = Image.fromarray(one.picture), Image.fromarray(one.mask)
        if number == UNREADABLE:
            (pictures / name).write_text("no picture")
        elif number == DEEP:
            Image.fromarray(one.picture[..., 0].astype(np.uint16) * 257).save(pictures / name)
        else:
            picture.save(pictures / name)
        if number == SMALL:
            mask = mask.resize((100, 100))
        if number == EMPTY:
            mask = Image.new("L", mask.size)
        if number != UNMASKED:
            mask.save(masks / name)
    return {name: str(folder) for name, folder in found.items()}


@pytest.fixture
def named_as_they_were(webui: Webui) -> Iterator[None]:
    """The results have their pictures' names, which Forge has a setting for."""
    own = "img2img_batch_use_original_name"
    if own not in webui.get("/sdapi/v1/options").json:
        yield
        return
    webui.post("/sdapi/v1/options", {own: True})
    yield
    webui.post("/sdapi/v1/options", {own: False})


@pytest.mark.timeout(900)
def test_a_folder_of_twenty_files_five_of_them_bad(
    webui: Webui, play: Play, tmp_path: Path, named_as_they_were: None
) -> None:
    named = folders(tmp_path)
    played = play("batch", **quick(folders=named, patience=600_000), limit=800)
    bad = {UNREADABLE, UNMASKED, *NOT_EDITED}
    good = [number for number in range(1, COUNT + 1) if number not in bad]
    results = Path(named["output_dir"]).glob("*.png")
    made = {path.stem.partition("-")[2]: path for path in results}
    assert made.keys() == {str(number) for number in good}
    for number in good:
        with Image.open(made[str(number)]) as image:
            assert subject(number).is_edited(np.asarray(image.convert("RGB"))), number
    first = edited(webui, subject(good[0]), {"preset": "draft", "upscaler": "Lanczos"}, steps=6)
    with Image.open(made[str(good[0])]) as image:
        assert (np.asarray(image.convert("RGB")) == first.picture).all(), "as through the API"
    assert len(played["pictures"]) == len(good)
    for number in range(1, COUNT + 1):
        (told,) = re.findall(rf"Picture {number} of {COUNT}: (.*)", played["log"]) or [""]
        if number in (UNREADABLE, UNMASKED):
            assert told == ""
        elif number in NOT_EDITED:
            assert told.startswith("Not edited: ") and NOT_EDITED[number] in told
        else:
            assert told.startswith("Painted in "), told
