"""Edits in the WebUI on a GPU, in its default precision; `-s` prints what each took.

`MSBD_WEBUI=... python -m pytest -m "host and gpu" tests/host/test_gpu.py -s`
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from msbd.presets import DEFAULT_PRESET, PRESETS

from .client import Scene, edited, scene
from .conftest import Start
from .server import Webui

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
SIZES = {"1 MP": (896, 1152, 150), "6 MP": (2000, 3000, 400), "24 MP": (4000, 6000, 800)}
"""Height, width, and the mask's radius."""
CASES = [(size, preset) for size in ("1 MP", "6 MP") for preset in PRESETS]


@pytest.fixture(scope="module")
def usual(start: Start) -> Webui:
    return start(precision=(), on_a_cpu=False)


@pytest.fixture(scope="module")
def medvram(start: Start) -> Webui:
    return start("--medvram", precision=(), on_a_cpu=False)


def drawn(size: str) -> Scene:
    height, width, radius = SIZES[size]
    return scene(height, width, unit=3.4 * radius, radius=radius)


def looked_at(webui: Webui, size: str, preset: str) -> dict[str, Any]:
    """The report of an edit, which must be right."""
    subject = drawn(size)
    answer = edited(webui, subject, {"preset": preset}, steps=25)
    assert subject.is_edited(answer.picture)
    report = answer.report
    assert not report["interrupted"] and report["outside_max_difference"] == 0
    assert not report["notes"], report["notes"]
    stages = [[s["name"], s["seconds"], s["fitting_seconds"]] for s in report["stages"]]
    row = {"flags": webui.flags, "size": size, "preset": preset, "seconds": report["seconds"]}
    print(json.dumps(row | {"GiB": report["peak_memory_bytes"] / 2**30, "stages": stages}))
    return report


@pytest.mark.parametrize(("size", "preset"), [*CASES, ("24 MP", DEFAULT_PRESET)])
def test_every_preset(usual: Webui, size: str, preset: str) -> None:
    looked_at(usual, size, preset)


@pytest.mark.parametrize("preset", [DEFAULT_PRESET, "paper"])
def test_with_medvram(medvram: Webui, preset: str) -> None:
    looked_at(medvram, "1 MP", preset)


def test_the_check_passes(usual: Webui) -> None:
    reply = usual.post("/msbd/v1/check", {"presets": [DEFAULT_PRESET, "draft"]}, timeout=600)
    assert reply.status == 200 and reply.json["ok"], reply.text
    print(reply.json["text"])
