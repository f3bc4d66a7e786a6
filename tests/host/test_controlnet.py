"""The forks' built-in ControlNet guides every tile by a hint made of that very tile."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msbd.compositing import cropped, padded, resized
from msbd.geometry import Box, Size

from . import models
from .client import QUICK, Answer, Scene, decoded, edited, encoded, refused, scene
from .conftest import Start
from .server import CONTROL, Installation, Webui

pytestmark = pytest.mark.timeout(600)
FIELDS = {**QUICK, "tile_size": 1.0, "lowpass_background": False}
"""An edit with tiles, of which the surroundings are the user's picture at every stage."""


@pytest.fixture(scope="module")
def forked(start: Start, installation: Installation) -> Webui:
    if not installation.is_fork:
        pytest.skip("A1111 has no built-in ControlNet, and its extension takes no part by the hook")
    found = start(extensions=(CONTROL,))
    edited(found, scene())  # so that a checkpoint is there
    return found


@pytest.fixture(scope="module")
def large() -> Scene:
    return scene(420, 600, 220.0, 150.0)


def unit(webui: Webui, module: str = "tile_resample", **more: Any) -> dict[str, Any]:
    listed = webui.get("/controlnet/model_list").json["model_list"]
    model = next(name for name in listed if name.startswith(models.CONTROL))
    return {"enabled": True, "module": module, "model": model, **more}


def controlled(webui: Webui, subject: Scene, *units: dict[str, Any], **more: Any) -> Answer:
    scripts = {"alwayson_scripts": {"controlnet": {"args": list(units)}}} if units else {}
    return edited(webui, subject, FIELDS, **scripts, **more)


def seen(webui: Webui, subject: Scene, *units: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
    assert webui.post("/msbd-control/forget").status == 200
    answer = controlled(webui, subject, *units)
    reply = webui.get("/msbd-control/seen")
    assert reply.status == 200, reply.text
    return answer, reply.json


def array(told: dict[str, Any]) -> NDArray[np.float32]:
    values = np.frombuffer(base64.b64decode(told["float32"]), np.float32)
    return values.reshape(told["shape"])


def box(told: dict[str, int]) -> Box:
    return Box(told["top"], told["left"], told["bottom"], told["right"])


def size(told: Any) -> Size:
    return Size(told["height"], told["width"])


def planned(picture: NDArray[np.uint8], answer: Answer) -> list[NDArray[np.float32]]:
    """The part of a picture under each tile of an edit, at its stage's size, [3,H,W] in [0,255]."""
    whole = torch.from_numpy(picture).float().permute(2, 0, 1)[None]
    parts = []
    for stage in answer.report["plan"]["stages"]:
        there = resized(cropped(whole, box(stage["box"])), size(stage["size"]))
        canvas = padded(there, size(stage["canvas"]))
        parts += [cropped(canvas, box(tile))[0].numpy() for tile in stage["tiles"]]
    return parts


@pytest.mark.parametrize("module", ["tile_resample", "inpaint_global_harmonious", "inpaint_only"])
def test_a_hint_is_its_tile(forked: Webui, large: Scene, module: str) -> None:
    answer, found = seen(forked, large, unit(forked, module))
    expected = planned(large.picture, answer)
    assert len(found["hints"]) == len(found["pictures"]) == len(expected) > 3
    shares = []
    for told, picture, part in zip(found["hints"], found["pictures"], expected, strict=True):
        hint = array(told["hint"])[0]
        known = (array(told["mask"])[0] < 0.5) if told["mask"] else (hint >= 0)
        known = np.broadcast_to(known, hint.shape)
        tile = decoded(picture).transpose(2, 0, 1)
        assert hint.shape == part.shape == tile.shape
        visible = np.ones_like(known) if told["mask"] else known
        difference = np.where(visible, np.abs(255 * hint - tile), 0)
        assert difference.max() <= 1, "the tile as the stage begins"
        difference = np.where(known, np.abs(255 * hint - part), 0)
        assert difference.max() <= 1, "the planned box of the picture, outside the mask"
        shares.append(known.mean())
    assert 0.1 < np.mean(shares) < 0.9
    assert found["control"] == found["network"] > 0, "in every one of the network's calls"
    assert not found["left"]
    assert large.is_edited(answer.picture)


def test_it_takes_part_and_the_same_edit_gives_the_same_bytes(forked: Webui, large: Scene) -> None:
    for module in ("tile_resample", "inpaint_only"):
        first, second = (controlled(forked, large, unit(forked, module)) for _ in range(2))
        assert np.array_equal(first.picture, second.picture), module
        without = controlled(forked, large)
        changed = np.abs(first.picture.astype(int) - without.picture)[large.mask >= 128]
        assert changed.mean() > 1, module
    idle = controlled(forked, large, unit(forked, weight=0.0))
    assert np.array_equal(idle.picture, without.picture)


def test_its_own_picture_is_cropped_to_the_tile(forked: Webui, large: Scene) -> None:
    """A guide of the whole picture, here at half its size."""
    y, x = np.mgrid[:210, :300]
    guide = np.stack([y, x * 2 // 3, (x + y) // 3], -1).astype(np.uint8)
    own = unit(forked, "None", image=encoded(guide))
    answer, found = seen(forked, large, own)
    doubled = np.asarray(torch.from_numpy(guide).repeat_interleave(2, 0).repeat_interleave(2, 1))
    for told, part in zip(found["hints"], planned(doubled, answer), strict=True):
        inside = np.abs(255 * array(told["hint"])[0] - part)
        assert inside.mean() < 2 and inside.max() < 12, (inside.mean(), inside.max())


def test_the_first_tiles_map_comes_after_the_result(forked: Webui, large: Scene) -> None:
    answer = controlled(forked, large, unit(forked, "tile_resample"))
    tile = answer.report["plan"]["stages"][0]["tiles"][0]
    assert large.is_edited(answer.picture)
    api = forked.installation.folder / "modules" / "api" / "api.py"
    if "extra_images" in api.read_text(encoding="utf-8"):  # else only the page shows it
        sides = [list(one.shape[:2]) for one in answer.pictures[1:]]
        assert [tile["bottom"] - tile["top"], tile["right"] - tile["left"]] in sides
    assert "ControlNet 0" in answer.info["infotexts"][0]


def test_what_cannot_be_done_is_said(forked: Webui, large: Scene) -> None:
    units = {"alwayson_scripts": {"controlnet": {"args": [unit(forked, model="None")]}}}
    status, reason = refused(forked, large.request(FIELDS, **units))
    assert status == 422 and "ControlNet" in reason and "model" in reason, reason
    assert not forked.get("/msbd-control/seen").json["left"]
    assert large.is_edited(controlled(forked, large).picture)


def switched_on(webui: Webui) -> dict[str, dict[str, Any]]:
    """The host's own always-on scripts that a checkbox turns on, with all else as the page has
    it."""
    found = {}
    for script in webui.get("/sdapi/v1/script-info").json:
        values = [one["value"] for one in script["args"]]
        if script["is_alwayson"] and script["is_img2img"] and values and values[0] is False:
            found[script["name"]] = {script["name"]: {"args": [True, *values[1:]]}}
    return found


def test_the_hosts_own_extensions_take_part_or_are_named(forked: Webui, large: Scene) -> None:
    found = switched_on(forked)
    assert len(found) > 5
    for name, scripts in found.items():
        reply = forked.post("/sdapi/v1/img2img", large.request(FIELDS, alwayson_scripts=scripts))
        assert reply.status in (200, 422), (name, reply.reason)
        if reply.status == 200:
            assert large.is_edited(decoded(reply.json["images"][0])), name
