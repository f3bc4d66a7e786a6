"""What cannot be done is refused with 422 and words that say what to change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from msbd.presets import DEFAULT_PRESET, preset
from msbd.settings import SETTINGS
from msbd.webui.fields import FIELDS, HOST_OWNED, OLD_CONTROLS

from .client import QUICK, Scene, encoded, refused
from .conftest import Start
from .server import Webui

NUMBERS = [name for name in FIELDS if name != "preset" and SETTINGS[name].high is not None]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"candidate": 3}, ["'candidate'", "candidates"]),
        ({"": 1}, ["unknown"]),
        ({"preset": "best"}, ["preset", "paper, recommended, fast, draft"]),
        ({"preset": 3}, ["preset"]),
        ({"candidates": "many"}, ["candidates", "1 to 16"]),
        ({"candidates": 2.5}, ["candidates", "1 to 16"]),
        ({"candidates": True}, ["candidates"]),
        ({"candidates": [1]}, ["candidates"]),
        ({"margin": {"a": 1}}, ["margin", "1 to 4"]),
        ({"margin": float("nan")}, ["margin"]),
        ({"margin": float("inf")}, ["margin"]),
        ({"choose": "best"}, ["choose", "clip, fit, first"]),
        ({"whole_cells": "perhaps"}, ["whole_cells", "true or false"]),
        ({"upscaler": 4}, ["upscaler"]),
        ({"upscaler": "ESRGAN 100x"}, ["ESRGAN 100x"]),
    ],
    ids=str,
)
def test_fields(webui: Webui, small: Scene, fields: dict[str, Any], words: list[str]) -> None:
    status, reason = refused(webui, small.request({**QUICK, **fields}))
    assert status == 422, reason
    for word in words:
        assert word in reason


@pytest.mark.parametrize("name", NUMBERS)
def test_out_of_range(webui: Webui, small: Scene, name: str) -> None:
    setting = SETTINGS[name]
    assert setting.low is not None and setting.high is not None
    for value in (setting.low - 1, setting.high + 1):
        status, reason = refused(webui, small.request({**QUICK, name: value}))
        assert status == 422 and name in reason and f"{setting.high:g}" in reason, reason


@pytest.mark.parametrize("name", HOST_OWNED)
def test_the_hosts_own_fields_are_named(webui: Webui, small: Scene, name: str) -> None:
    value = preset(DEFAULT_PRESET).flat()[name]
    status, reason = refused(webui, small.request({**QUICK, name: value}))
    assert status == 422 and name in reason and HOST_OWNED[name] in reason


def test_too_many_positions(webui: Webui, small: Scene) -> None:
    args = ["draft"] + [None] * len(OLD_CONTROLS)
    status, reason = refused(webui, small.request(*args))
    assert status == 422 and ("too many" in reason or "at most" in reason)


def test_positions_out_of_range_name_the_field(webui: Webui, small: Scene) -> None:
    status, reason = refused(webui, small.request("draft", 99))
    assert status == 422 and "candidates" in reason


def test_no_mask(webui: Webui, small: Scene) -> None:
    body = small.request()
    del body["mask"]
    status, reason = refused(webui, body)
    assert status == 422 and "mask" in reason


@pytest.mark.parametrize("invert", [0, 1])
def test_an_empty_mask(webui: Webui, small: Scene, invert: int) -> None:
    blank = np.full_like(small.mask, 255 * invert)
    body = small.request(mask=encoded(blank), inpainting_mask_invert=invert)
    status, reason = refused(webui, body)
    assert status == 422 and "empty" in reason


def test_a_mask_of_another_size(webui: Webui, small: Scene) -> None:
    status, reason = refused(webui, small.request(mask=encoded(small.mask[:-8])))
    assert status == 422 and "256x200" in reason and "256x208" in reason


def test_pictures_of_two_sizes(webui: Webui, small: Scene) -> None:
    pictures = [encoded(small.picture), encoded(small.picture[:-8])]
    status, reason = refused(webui, small.request(init_images=pictures, batch_size=2))
    assert status == 422 and "size" in reason


def test_the_host_works_after_a_refusal(webui: Webui, small: Scene) -> None:
    before = webui.probe("state")
    refused(webui, small.request({**QUICK, "candidates": 99}))
    refused(webui, small.request(mask=encoded(np.zeros_like(small.mask))))
    after = webui.probe("state")
    assert {k for k in before if before[k] != after[k]} <= {"python rng"}
    progress = webui.get("/sdapi/v1/progress").json
    assert progress["progress"] == 0 and not progress["state"]["job"]


def test_a_missing_network_is_named(start: Start, small: Scene) -> None:
    """The host alone would answer 200 with a picture enlarged by Lanczos."""
    webui = start(upscaler=False)
    try:
        status, reason = refused(webui, small.request({"preset": "draft"}))
        assert status in (422, 500)
        assert "R-ESRGAN 4x+" in reason and "RealESRGAN_x4plus.pth" in reason
        answer = webui.post("/sdapi/v1/img2img", small.request())
        assert answer.status == 200, "other upscalers work"
    finally:
        webui.stop()
