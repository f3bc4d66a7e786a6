"""The quality preset in Chromium: first sight, what has been changed, sampler and steps."""

from __future__ import annotations

import pytest

from msbd.webui.fields import CONTROLS, FIRST_SIGHT, FOLDED

from .client import Scene, edited
from .server import Webui
from .test_browser import Play, browser, play

__all__ = ["browser", "play"]
BEFORE = ["DPM++ 2M", "20", "Karras"]
USE = "Use Euler a, 25 steps, schedule Automatic"
CANNOT = "DPM++ 2M cannot build on earlier steps"


@pytest.mark.timeout(400)
def test_the_quality_preset(webui: Webui, play: Play, small: Scene) -> None:
    fields = {"preset": "fast", "candidates": 7, "guidance_later": 0.8, "context": 0.5}
    answer = edited(webui, small, {**fields, "upscaler": "Lanczos"}, sampler_name="Heun")
    infotext = answer.info["infotexts"][0]
    found = play("presets", small, prompt="a red star", seed=1, steps=4, infotext=infotext)

    assert found["controls"] == list(FIRST_SIGHT) and len(FIRST_SIGHT) == 7
    folded = [name for names in FOLDED.values() for name in names]
    assert found["unfolded"] == [*FIRST_SIGHT, *folded] and {*found["unfolded"]} == {*CONTROLS}

    assert "but:" not in found["first"] and CANNOT in found["first"]
    assert found["before"] == found["after"] == BEFORE, "not touched until the button is pressed"
    assert found["use"] == found["back"] == USE
    assert found["measured"] == ["Euler a", "25", "Automatic"] and found["calm"] == ""
    assert found["undo"] == "Undo: back to DPM++ 2M, 20 steps, schedule Karras"

    one = "recommended, but: Candidates 3 instead of 5"
    rest = " · Detail 0.4 instead of 0.25 · Tone off instead of last layer"
    assert (found["one"], found["three"]) == (one, one + rest)
    assert found["dragged"] not in ("3", "5"), "the slider was moved"
    assert found["drawn"] == one.replace("3", found["dragged"]) + rest
    assert found["fast"] == ["", "3"], "nothing differs when the preset is chosen again"
    assert found["fewer"] == "Use Euler a, 20 steps"

    said, offer, preset = found["pasted"]
    assert preset == "fast" and offer.startswith("Use Euler a, 20 steps")
    assert said.startswith("fast, but: Candidates 7 instead of 3 · Upscaler Lanczos instead of ")
    assert said.endswith(
        "Prompt in later stages 0.8 instead of 0.5 · "
        "Surroundings in later stages 0.5 instead of 0.125"
    )

    assert "Repeats of each step 1 instead of 0" in found["warned"] and CANNOT in found["warned"]
    assert found["pictures"], "an edit with the sampler that is warned of"
    assert CANNOT not in found["infotext"] + found["log"]
