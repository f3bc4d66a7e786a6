"""The forks' own ControlNet: every tile has the hint that is made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from . import models
from .client import QUICK, Pixels, Scene, decoded, edited, scene
from .conftest import Start
from .server import CONTROL, HOOK, Installation, Webui

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def controlled(start: Start, installation: Installation) -> Webui:
    """A fork with the made-up control model, and with what notes each tile's picture."""
    if not installation.is_fork:
        pytest.skip("this WebUI has no ControlNet of its own")
    return start(extensions=(CONTROL, HOOK))


def with_unit(
    webui: Webui, subject: Scene, fields: dict[str, Any], **unit: Any
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """An edit with a unit of ControlNet; what it and the hook's witness saw."""
    reply = webui.get("/controlnet/model_list")
    assert reply.status == 200, reply.text
    model = next(name for name in reply.json["model_list"] if name.startswith(models.CONTROL))
    one = {"enabled": True, "module": "None", "model": model, "weight": 1.0, **unit}
    for name in ("control", "hook"):
        assert webui.post(f"/msbd-{name}/forget").status == 200
    extensions = {"ControlNet": {"args": [one]}}
    answer = edited(webui, subject, fields, steps=3, alwayson_scripts=extensions)
    told = webui.get("/msbd-control/seen").json, webui.get("/msbd-hook/seen").json
    return answer, *told


def grey(pixels: Pixels) -> np.ndarray:
    return pixels.astype(int)


@pytest.mark.parametrize("module", ["None", "tile_resample"])
@pytest.mark.parametrize("tile_size", [1.0, 4.0])
def test_the_hint_is_the_tile(controlled: Webui, module: str, tile_size: float) -> None:
    """Within a level, in every stage and tile; the model works in every call, and is gone then."""
    edited(controlled, scene(), QUICK)
    subject = scene(420, 600, 220.0, 150.0)
    fields = {**QUICK, "tile_size": tile_size}
    unit = {"module": module, "threshold_a": 1.0, "pixel_perfect": True}
    answer, control, hook = with_unit(controlled, subject, fields, **unit)
    stages = answer.report["plan"]["stages"]
    assert len(control["hints"]) == len(hook["hooks"]) == sum(len(s["tiles"]) for s in stages)
    for hint, tile in zip(control["hints"], hook["hooks"], strict=True):
        shown, expected = decoded(hint), decoded(tile["picture"])
        assert shown.shape == expected.shape
        assert np.abs(grey(shown) - expected).max() <= 1
    assert control["calls"] == hook["network"] > 0 and not control["left"]
    assert subject.is_edited(answer.picture)


def test_the_model_has_an_effect_by_its_weight(controlled: Webui) -> None:
    subject = scene(420, 600, 220.0, 150.0)
    plain = edited(controlled, subject, QUICK, steps=3).picture
    first, again, none = (
        with_unit(controlled, subject, QUICK, weight=weight)[0].picture
        for weight in (1.0, 1.0, 0.0)
    )
    assert (first == again).all() and (first != plain).any()
    assert np.abs(grey(none) - plain).max() <= 1


def test_a_unit_without_a_model_is_named(controlled: Webui, small: Scene) -> None:
    unit = {"enabled": True, "module": "None", "model": "None"}
    extensions = {"ControlNet": {"args": [unit]}}
    reply = controlled.post("/sdapi/v1/img2img", small.request(QUICK, alwayson_scripts=extensions))
    assert reply.status == 422 and "ControlNet" in reply.reason, reply.reason
