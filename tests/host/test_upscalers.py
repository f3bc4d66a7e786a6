"""The WebUI's upscaler: its tiles, files that do no good, and numbers that are none."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from . import models
from .client import Scene, edited
from .server import Webui
from .test_left_alone import failing, unchanged

NETWORK = {"preset": "draft", "upscaler": "R-ESRGAN 4x+"}
PLAN = "/msbd/v1/plan"
TILES = {"ESRGAN_tile": 192, "ESRGAN_tile_overlap": 8}


@contextmanager
def tiles(webui: Webui, size: int, overlap: int) -> Iterator[None]:
    """The WebUI's settings for upscalers."""
    chosen = dict(zip(TILES, (size, overlap), strict=True))
    assert webui.post("/sdapi/v1/options", chosen).status == 200
    try:
        yield
    finally:
        webui.post("/sdapi/v1/options", TILES)


@contextmanager
def weights(webui: Webui, write: Any) -> Iterator[None]:
    """`write(path)` makes the network's file; tiles are new, so that a plan tries it as well."""
    path = webui.data / "models" / "RealESRGAN" / "RealESRGAN_x4plus.pth"
    kept = path.rename(path.with_suffix(".kept"))
    try:
        write(path)
        with tiles(webui, 208, 9):
            yield
    finally:
        path.unlink(missing_ok=True)
        kept.rename(path)


def refused(webui: Webui, small: Scene, *routes: str) -> str:
    """What an edit says, and other routes alike."""
    body = small.request(NETWORK)
    replies = [webui.post(route, body) for route in ("/sdapi/v1/img2img", *routes)]
    assert {reply.status for reply in replies} == {422}, [reply.reason for reply in replies]
    assert len({reply.reason for reply in replies}) == 1
    return replies[0].reason


@pytest.mark.parametrize("overlap", [24, 32, 48])
def test_a_large_overlap(webui: Webui, small: Scene, overlap: int) -> None:
    usual = edited(webui, small, NETWORK).picture
    with tiles(webui, 192, overlap):
        assert (edited(webui, small, NETWORK).picture == usual).all()
        assert webui.post(PLAN, small.request(NETWORK)).status == 200


@pytest.mark.parametrize(("size", "overlap"), [(0, 48), (16, 8), (64, 48), (192, 0)])
def test_other_tiles(webui: Webui, small: Scene, size: int, overlap: int) -> None:
    with tiles(webui, size, overlap):
        assert small.is_edited(edited(webui, small, NETWORK).picture)
        assert webui.post(PLAN, small.request(NETWORK)).status == 200


@pytest.mark.parametrize(("size", "overlap"), [(16, 48), (16, 16), (32, 48), (48, 48)])
def test_an_overlap_no_smaller_than_the_tiles(
    webui: Webui, small: Scene, size: int, overlap: int
) -> None:
    with tiles(webui, size, overlap):
        said = refused(webui, small, PLAN)
    assert f"tile overlap of ESRGAN upscalers, {overlap}, must be smaller" in said
    assert "Settings → Upscaling" in said


def damaged(path: Path) -> None:
    path.write_bytes(b"not a network")


def of_nan(path: Path) -> None:
    """The miniature's network with weights that are no numbers."""

    def spoilt(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: spoilt(inner) for name, inner in value.items()}
        return torch.full_like(value, float("nan")) if isinstance(value, torch.Tensor) else value

    state = torch.load(models.WEIGHTS / "miniature_x4.pth", weights_only=True)
    # In the older layout, since the WebUI refuses newer PyTorch's entries.
    torch.save(spoilt(state), path, _use_new_zipfile_serialization=False)


@pytest.fixture
def reads_anew(webui: Webui) -> None:
    if webui.installation.kind == "reforge":
        pytest.skip("reForge keeps the networks that it has read")


def test_the_reason_is_told(webui: Webui, small: Scene, reads_anew: None) -> None:
    with weights(webui, damaged):
        said = refused(webui, small)
    assert "'R-ESRGAN 4x+' does not work (" in said and "Error: " in said


def test_a_missing_file(webui: Webui, small: Scene) -> None:
    with weights(webui, lambda path: None):
        said = refused(webui, small)
    assert "weights are missing or damaged" in said and "console" in said


def test_weights_that_are_no_numbers(webui: Webui, small: Scene, reads_anew: None) -> None:
    with weights(webui, of_nan), unchanged(webui):
        said = refused(webui, small)
    assert "'R-ESRGAN 4x+' gives numbers that are not finite" in said and "choose another" in said


def test_what_is_no_number_once_is_computed_again(webui: Webui, small: Scene) -> None:
    """The first call is the trial, the second enlarges the first stage's picture."""
    usual = edited(webui, small, NETWORK).picture
    with unchanged(webui), failing(webui, "upscale", "nan", 2):
        assert (edited(webui, small, NETWORK).picture == usual).all()


def test_what_is_no_number_twice_keeps_the_stage_that_is_done(webui: Webui, small: Scene) -> None:
    with unchanged(webui):
        with failing(webui, "upscale", "nan", 2), failing(webui, "upscale", "nan", 3):
            answer = edited(webui, small, NETWORK)
        assert small.is_edited(answer.picture)
    assert answer.report["interrupted"] and len(answer.report["stages"]) == 1
    assert any("R-ESRGAN 4x+" in n and "not finite" in n for n in answer.report["notes"])


def test_a_plan_waits_for_a_checkpoint(webui: Webui, small: Scene) -> None:
    webui.probe("hide", seconds=2)
    start = time.monotonic()
    reply = webui.post(PLAN, small.request())
    assert reply.status == 200, reply.reason
    assert time.monotonic() - start > 1


def test_after_a_change_that_failed_the_plan_is_of_what_is_in_force(
    webui: Webui, small: Scene
) -> None:
    """Some hosts go back to the checkpoint before; others have none then."""
    if webui.installation.kind == "forge":
        pytest.skip("it has no checkpoint after that, whatever is chosen, until it is restarted")
    broken = webui.data / "models" / "Stable-diffusion" / "broken.safetensors"
    broken.write_bytes(b"no weights")
    assert webui.post("/sdapi/v1/refresh-checkpoints").status == 200
    try:
        webui.post("/sdapi/v1/options", {"sd_model_checkpoint": broken.name})
        reply = webui.post(PLAN, small.request())
    finally:
        # A host that went back by itself has part of the old checkpoint in another place.
        for name in (models.PERTURBED, models.PLAIN):
            webui.post("/sdapi/v1/options", {"sd_model_checkpoint": name})
        broken.unlink(missing_ok=True)  # some WebUIs rename it
        webui.post("/sdapi/v1/refresh-checkpoints")
    expected = webui.post(PLAN, small.request())
    assert expected.status == 200
    if webui.installation.kind == "a1111":  # which goes back to the checkpoint before
        assert reply.status == 200, reply.reason
        assert reply.json["stages"] == expected.json["stages"]
    else:
        assert reply.status == 422 and "checkpoint" in reply.reason, reply.reason


def test_plans_while_the_checkpoint_is_changed(webui: Webui, small: Scene) -> None:
    def change() -> None:
        for name in (models.VELOCITY, models.INPAINTING, models.PLAIN):
            webui.post("/sdapi/v1/options", {"sd_model_checkpoint": name})

    replies, changing = [], threading.Thread(target=change)
    changing.start()
    while changing.is_alive():
        replies.append(webui.post(PLAN, small.request()))
    for reply in replies:
        assert reply.status == 200 or (reply.status == 422 and "checkpoint" in reply.reason), (
            reply.status,
            reply.reason,
        )
    assert webui.post(PLAN, small.request()).status == 200
