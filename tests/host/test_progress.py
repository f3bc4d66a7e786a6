"""While it runs: progress, the stage's name, previews, Interrupt and Skip."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest

from .client import QUICK, Answer, Pixels, Scene, decoded, edited, scene
from .http import Reply
from .server import Webui
from .watching import Once, in_stage, watched


def wide() -> Scene:
    """Three stages, the last of four tiles: time enough to look."""
    return scene(288, 320, 220, 88)


def slow(**more: Any) -> dict[str, Any]:
    return wide().request(**{"steps": 10, **more})


def answered(reply: Reply) -> Answer:
    assert reply.status == 200, reply.reason
    answer = reply.json
    return Answer([decoded(image) for image in answer["images"]], json.loads(answer["info"]))


def result(reply: Reply) -> Pixels:
    return answered(reply).picture


@pytest.mark.parametrize("more", [{}, {"batch_size": 2, "n_iter": 2, "steps": 5}], ids=str)
def test_progress_only_grows_and_ends_at_the_end(webui: Webui, more: dict[str, Any]) -> None:
    reply, seen = watched(webui, slow(**more))
    assert reply.status == 200, reply.reason
    figures = [m.progress for m in seen if m.progress]
    assert all(a <= b for a, b in pairwise(figures)), figures
    assert len(set(figures)) > 8, "it moves in small steps"
    assert figures[-1] >= 0.99, figures[-10:]
    after = webui.get("/sdapi/v1/progress").json
    assert after["progress"] == 0 and not after["textinfo"]


def test_progress_is_honest(webui: Webui) -> None:
    """Half of the bar is about half of the time."""
    body = slow()
    body["script_args"] = [{**QUICK, "decoder": "fine-tune", "decoder_iterations": 2}]
    reply, seen = watched(webui, body)
    assert reply.status == 200, reply.reason
    for share in (0.25, 0.5, 0.75):
        reached = next(m.seconds for m in seen if m.progress >= share) / seen[-1].seconds
        assert abs(reached - share) < 0.25, f"{share:.0%} of the bar at {reached:.0%} of the time"


def test_the_stage_is_named(webui: Webui) -> None:
    reply, seen = watched(webui, slow())
    planned = answered(reply).report["plan"]["stages"]
    texts = [m.text for m in seen]
    for number in range(1, len(planned) + 1):
        said = [t for t in texts if t.startswith(f"Stage {number} of {len(planned)}: ")]
        assert said, f"stage {number} was never named: {sorted(set(texts))}"
        words = "Painting" if number == 1 else "Adding detail"
        assert any(words in text for text in said)


def test_every_stage_has_a_preview(webui: Webui) -> None:
    reply, seen = watched(webui, slow(), pictures=True)
    stages = len(answered(reply).report["stages"])
    for number in range(1, stages + 1):
        shown = {m.picture for m in seen if m.stage == number and m.picture}
        assert shown, f"no preview in stage {number}"
    assert len({m.picture for m in seen if m.picture}) >= 2 * stages


def test_interrupted_after_the_first_stage(webui: Webui) -> None:
    once = Once(in_stage(2), lambda: webui.post("/sdapi/v1/interrupt"))
    reply, _ = watched(webui, slow(), once)
    answer = answered(reply)
    assert wide().is_edited(answer.picture), "the first stage's result at full size"
    report = answer.report
    assert report["interrupted"] and 1 <= len(report["stages"]) < len(report["plan"]["stages"])
    assert any(note.startswith("stopped after stage ") for note in report["notes"])
    assert wide().is_edited(edited(webui, wide()).picture), "the WebUI is usable at once"


def test_interrupted_at_once(webui: Webui) -> None:
    """As soon as the picture is begun with: before, the host gives none."""
    once = Once(in_stage(1), lambda: webui.post("/sdapi/v1/interrupt"))
    start = time.monotonic()
    reply, _ = watched(webui, slow(steps=150), once)
    assert time.monotonic() - start < 10
    answer = answered(reply)
    assert (answer.picture == wide().picture).all()
    assert answer.report["interrupted"]
    assert any("unchanged" in note for note in answer.report["notes"])
    assert wide().is_edited(edited(webui, wide()).picture)


def test_an_interrupted_batch_ends(webui: Webui) -> None:
    once = Once(in_stage(2), lambda: webui.post("/sdapi/v1/interrupt"))
    reply, _ = watched(webui, slow(batch_size=2, n_iter=3), once)
    answer = answered(reply)
    assert 1 <= len(answer.pictures) <= 2 and len(answer.info["msbd"]) <= len(answer.pictures)
    for picture in answer.pictures:
        assert picture.shape == wide().picture.shape


def test_skip_goes_on_with_the_next_picture(webui: Webui) -> None:
    once = Once(in_stage(2), lambda: webui.post("/sdapi/v1/skip"))
    reply, seen = watched(webui, slow(n_iter=2), once)
    answer = answered(reply)
    assert len(answer.pictures) == 2
    first, second = answer.info["msbd"]
    assert first["interrupted"] and not second["interrupted"]
    assert any(note.startswith("skipped after stage 1 of 3") for note in first["notes"])
    assert all(wide().is_edited(picture) for picture in answer.pictures)
    figures = [m.progress for m in seen if m.progress]
    assert all(a <= b for a, b in pairwise(figures)) and figures[-1] >= 0.99
    alone = edited(webui, wide(), steps=10, seed=2)
    assert (second["seed"], alone.report["seed"]) == (2, 2)
    assert (answer.pictures[1] == alone.picture).all()


def test_the_first_click_lets_the_running_picture_finish(webui: Webui) -> None:
    """With more pictures to come the UI's first click only asks to stop after this one."""
    once = Once(in_stage(2), lambda: webui.probe("stop"))
    reply, _ = watched(webui, slow(n_iter=3), once)
    answer = answered(reply)
    assert len(answer.pictures) == 1 and not answer.report["interrupted"]
    assert wide().is_edited(answer.picture)


def test_previews_do_not_change_the_result(webui: Webui) -> None:
    off = {"live_previews_enable": False}
    quiet = edited(webui, wide(), override_settings=off)
    reply, _ = watched(webui, slow(steps=4), pictures=True)
    assert (quiet.picture == result(reply)).all()
