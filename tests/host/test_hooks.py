"""Other extensions take part in sampling: their hook is called at every tile, which they see as
the whole picture, and what they attach to the network is at work there and gone afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from .client import QUICK, Scene, decoded, edited, scene
from .conftest import Start
from .server import HOOK, Webui

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def hooked(start: Start) -> Webui:
    """A WebUI with an extension that has registered for the hook."""
    found = start(extensions=(HOOK,))
    if not has_the_hook(found):
        pytest.skip("this WebUI has no such hook")
    return found


def has_the_hook(webui: Webui) -> bool:
    text = (webui.installation.folder / "modules" / "scripts.py").read_text(encoding="utf-8")
    return "process_before_every_sampling" in text


def seen(webui: Webui, subject: Scene, fields: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    """An edit, and what the extension saw of it."""
    edited(webui, subject, fields, **more)  # so that a checkpoint is there
    assert webui.post("/msbd-hook/forget").status == 200
    answer = edited(webui, subject, fields, **more)
    reply = webui.get("/msbd-hook/seen")
    assert reply.status == 200, reply.text
    return answer, reply.json


@pytest.mark.parametrize("fields", [{}, {"candidates": 3, "early_selection": 0.5}])
def test_once_per_tile(hooked: Webui, fields: dict[str, Any]) -> None:
    subject = scene(420, 600, 220.0, 150.0)
    answer, found = seen(hooked, subject, {**QUICK, **fields, "tile_size": 1.0})
    stages = answer.report["plan"]["stages"]
    tiles = [(stage, tile) for stage in stages for tile in stage["tiles"]]
    assert len(found["hooks"]) == len(tiles) > len(stages) > 1
    for hook, (_, tile) in zip(found["hooks"], tiles, strict=True):
        size = [tile["bottom"] - tile["top"], tile["right"] - tile["left"]]
        cells = [side // 8 for side in size]
        assert hook["size"] == size
        assert hook["latents"][1:] == hook["noise"][1:] == hook["init_latent"][1:] == [4, *cells]
        for name in ("picture", "mask"):
            assert list(decoded(hook[name]).shape[:2]) == size
    assert found["network"] > 0 and not found["left"]
    if found["attaches"]:
        assert found["attached"] == found["network"], "in every one of the network's calls"
    assert found["after"]["pictures"] == [[420, 600]], "the request is as it was"
    assert subject.is_edited(answer.picture)


def test_a_tile_is_its_part_of_the_picture(hooked: Webui) -> None:
    """In the last stage, outside the mask, where it is the user's unless low-passed."""
    subject = scene(420, 600, 220.0, 150.0)
    fields = {**QUICK, "tile_size": 1.0, "lowpass_background": False}
    answer, found = seen(hooked, subject, fields)
    stage = answer.report["plan"]["stages"][-1]
    crop, hooks = stage["box"], found["hooks"][-len(stage["tiles"]) :]
    compared = []
    for hook, tile in zip(hooks, stage["tiles"], strict=True):
        top, left = crop["top"] + tile["top"], crop["left"] + tile["left"]
        height, width = hook["size"]
        there = np.s_[top : min(top + height, 420), left : min(left + width, 600)]
        plain, painted = subject.picture[there], subject.mask[there] >= 128
        shown, told = decoded(hook["picture"]), decoded(hook["mask"])[..., 0]
        shown, told = (one[: plain.shape[0], : plain.shape[1]] for one in (shown, told))
        assert (told[painted] == 255).all()
        compared.append(np.abs(shown.astype(int) - plain)[told == 0])
    assert np.concatenate(compared).max() <= 1 and sum(map(len, compared)) > 5000


def test_the_same_picture_as_without(hooked: Webui, webui: Webui, small: Scene) -> None:
    """The hook alone changes nothing, though tiles are denoised one at a time for it."""
    fields = {**QUICK, "candidates": 2, "tile_size": 1.0}
    subject = scene(420, 600, 220.0, 150.0)
    with_hook, without = (edited(one, subject, fields).picture for one in (hooked, webui))
    assert np.abs(with_hook.astype(int) - without).max() <= 1
    assert Image.fromarray(with_hook).size == (600, 420)
