"""Edits that the WebUI keeps: through its API, and as a person goes on with them in a browser."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .client import QUICK, Scene, edited, refused
from .server import Webui
from .test_browser import Play, browser, play, shown, wide
from .test_left_alone import reload

__all__ = ["browser", "play"]
EDITS = "/msbd/v1/edits"
CHOOSING = {"preset": "fast", "upscaler": "Lanczos", "candidates": 3}


def test_candidates_then_one_goes_on_then_it_is_redone(
    webui: Webui, request: pytest.FixtureRequest
) -> None:
    subject = wide()
    made = edited(webui, subject, {**CHOOSING, "candidates_only": True}, steps=8)
    edit_id = made.report["edit_id"]
    assert re.fullmatch("[0-9a-f]{32}", edit_id)
    assert (made.picture == subject.picture).all() and len(made.info["infotexts"]) == 4
    told = webui.get(f"{EDITS}/{edit_id}").json
    assert told["parts"][0]["candidates"]["numbers"] == [1, 2, 3] and not told["finished"]

    third = {**CHOOSING, "edit_id": edit_id, "candidate": "3"}
    going_on = edited(webui, subject, third, steps=8)
    alone = edited(webui, subject, {**CHOOSING, "candidate": "3"}, steps=8)
    assert subject.is_edited(going_on.picture)
    difference = np.abs(going_on.picture.astype(int) - alone.picture)
    if webui.installation.kind == "reforge":
        # Its attention computes the third sample of a batch otherwise than a lone one.
        request.applymarker(pytest.mark.xfail(difference.max() > 1, reason="up to 3 levels there"))
    assert difference.max() <= 1
    again = edited(webui, subject, {**CHOOSING, "edit_id": edit_id}, steps=8)
    assert (again.picture == going_on.picture).all()

    stages = len(going_on.report["stages"])
    redo = {**CHOOSING, "edit_id": edit_id, "continue_from": stages, "final_strength": 0.5}
    redone = edited(webui, subject, redo, steps=8, prompt="a blue ring on grass")
    assert subject.is_edited(redone.picture) and (redone.picture != going_on.picture).any()
    assert redone.report["edit_id"] != edit_id
    for one in (edit_id, redone.report["edit_id"]):
        assert webui.delete(f"{EDITS}/{one}").json["forgotten"]


def test_reload_ui_between_costs_nothing(webui: Webui) -> None:
    subject = wide()
    made = edited(webui, subject, {**CHOOSING, "candidates_only": True}, steps=8)
    reload(webui)
    third = {**CHOOSING, "edit_id": made.report["edit_id"], "candidate": "3"}
    done = edited(webui, subject, third, steps=8)
    reload(webui)
    again = edited(webui, subject, {**CHOOSING, "edit_id": "last"}, steps=8)
    assert subject.is_edited(done.picture) and (again.picture == done.picture).all()


@pytest.mark.parametrize("wrong", ["x", "..", "0" * 32, "A" * 32])
def test_what_is_not_kept_is_refused(webui: Webui, small: Scene, wrong: str) -> None:
    status, reason = refused(webui, small.request({**QUICK, "edit_id": wrong}))
    assert status == 422 and "edit" in reason


def test_another_picture_is_refused(webui: Webui, small: Scene) -> None:
    made = edited(webui, small, {**CHOOSING, "candidates_only": True})
    fields = {**CHOOSING, "edit_id": made.report["edit_id"]}
    status, reason = refused(webui, wide().request(fields))
    assert status == 422 and "of another picture" in reason


def test_later_stages_follow_the_prompt_for_details(webui: Webui) -> None:
    subject = wide()
    plain = edited(webui, subject, CHOOSING)
    same = edited(webui, subject, {**CHOOSING, "details": "a red star"})
    other = edited(webui, subject, {**CHOOSING, "details": "a blue ring, <lora:fur:1>"})
    assert (same.picture == plain.picture).all()
    assert subject.is_edited(other.picture) and (other.picture != plain.picture).any()
    assert "extra networks in the prompt for details" in " ".join(other.report["notes"])


def test_the_whole_way_in_the_browser(webui: Webui, play: Play, tmp_path: Path) -> None:
    subject = wide()
    found = play(
        "kept",
        subject,
        prompt="a red star",
        other="a blue ring",
        seed=secrets.randbelow(1000),
        steps=8,
        fields={"upscaler": "Lanczos", "candidates": 3},
        choice=3,
    )
    candidates, continued, redone = (found[n] for n in ("candidates", "continued", "redone"))
    pictures = [p for p in candidates["pictures"] if (p["width"], p["height"]) == (320, 288)]
    assert len(pictures) >= 4 and "press Continue" in candidates["infotext"] + candidates["log"]
    third = shown(webui, continued["pictures"][0])
    assert subject.is_edited(third)
    assert "MSBD candidate: 3" in continued["infotext"]
    assert found["left"] == found["before"], "nothing stays set for what is generated next"
    assert len(found["views"]) == 2 and found["views"][0] == found["views"][1]
    assert found["at"].strip() == "25%"
    page = Image.open(tmp_path / "saved.jpg")
    assert found["name"] == "before-after.jpg" and page.width > 3 * found["views"][0][0]
    other = shown(webui, redone["pictures"][0])
    assert subject.is_edited(other) and (other != third).any()
    assert "a blue ring" in redone["infotext"]
    assert "is deleted" in found["forgotten"]
