"""What the user sees while an edit runs, and what comes with the result: previews, words, notes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from .client import QUICK, Pixels, Scene, asked, decoded, edited, scene
from .server import Webui
from .test_browser import Play, browser, play
from .test_progress import answered, slow, wide
from .watching import Moment, Once, in_stage, watched

__all__ = ["browser", "play"]

WORK, STANDSTILL = 1.0, 3.0
"""Seconds that each call of a network takes at least, where they are slowed down; and how long
nothing may change, where nothing else runs on the machine."""


def large() -> Scene:
    """Larger than a preview; a small place of it is painted."""
    return scene(900, 1300, 220, 130)


def reduced(picture: Pixels, size: tuple[int, int]) -> Pixels:
    small = Image.fromarray(picture)
    small.thumbnail((768, 768), Image.Resampling.LANCZOS)
    assert small.size == size
    return np.asarray(small)


def busy() -> float:
    """How many times as long everything takes, for all that runs on the machine."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def previews(seen: list[Moment]) -> Iterator[tuple[int, Pixels]]:
    """Each with the number of the stage in which it was seen; every one once."""
    shown = {m.picture: m.stage for m in reversed(seen) if m.picture}
    for picture, stage in shown.items():
        yield stage, decoded(picture)


@pytest.mark.parametrize("method", ["Approx cheap", "Full"])
@pytest.mark.parametrize("subject", [wide, large], ids=lambda one: one.__name__)
def test_previews_are_the_whole_picture(webui: Webui, subject: Any, method: str) -> None:
    """In every stage; outside the mask they are the user's picture, and inside they change."""
    if method == "Full" and webui.installation.kind == "reforge":
        pytest.skip("it shows Approx NN in its place, which it would have to download")
    one = subject()
    body = one.request({**QUICK, "candidates": 3}, steps=10)
    reply, seen = watched(
        webui, {**body, "override_settings": {"show_progress_type": method}}, pictures=True
    )
    stages = len(answered(reply).report["stages"])
    changed: dict[int, int] = {}
    for stage, shown in previews(seen):
        plain = reduced(one.picture, (shown.shape[1], shown.shape[0]))
        mask = Image.fromarray(one.mask).resize((shown.shape[1], shown.shape[0]), Image.BOX)
        touched = np.asarray(mask) > 0
        assert (shown[~touched] == plain[~touched]).all(), f"stage {stage}"
        different = np.abs(shown.astype(int) - plain)[touched].mean()
        changed[stage] = changed.get(stage, 0) + bool(different > 1)
    assert set(range(1, stages + 1)) <= {stage for stage, count in changed.items() if count}


@pytest.mark.parametrize(("period", "while_sampling"), [(-1, False), (1, True)])
def test_previews_come_as_often_as_the_host_says(
    webui: Webui, period: int, while_sampling: bool
) -> None:
    rare = {"show_progress_every_n_steps": period}
    reply, seen = watched(webui, slow(override_settings=rare), pictures=True)
    stages = len(answered(reply).report["stages"])
    shown = list(previews(seen))
    if while_sampling:
        assert len(shown) > 2 * stages
    else:
        assert len(shown) <= 1 + stages, "the picture, and what each stage ends with"
    assert webui.get("/sdapi/v1/options").json["show_progress_every_n_steps"] == 1


def test_without_previews_there_are_none(webui: Webui) -> None:
    off = {"live_previews_enable": False}
    _, seen = watched(webui, slow(override_settings=off), pictures=True)
    assert not [m for m in seen if m.picture]


@pytest.fixture
def slowed(webui: Webui) -> Iterator[Webui]:
    webui.probe("slow", seconds=WORK)
    yield webui
    webui.probe("slow", seconds=0)


FIELDS = {"preset": "paper", "candidates": 2, "resampling_steps": 0, "growth": 1.7,
          "final_strength": 0.4, "tile_size": 1.0}  # fmt: skip


@pytest.mark.parametrize("decoder", ["last layer", "fine-tune"])
def test_nothing_stands_still_without_a_word(slowed: Webui, decoder: str) -> None:
    """Before every call of a network the words or the bar change, and so they do in time."""
    fields = {**FIELDS, "decoder": decoder, "decoder_iterations": 1, "choose": "clip"}
    tiles = {"ESRGAN_tile": 64, "ESRGAN_tile_overlap": 8}
    body = scene(288, 320, 220, 70).request(fields, steps=3, override_settings=tiles)
    reply, seen = watched(slowed, body)
    assert len(answered(reply).report["plan"]["stages"][-1]["tiles"]) > 1
    changes = [b for a, b in pairwise(seen) if (a.text, a.progress) != (b.text, b.progress)]
    rests = [(b.seconds - a.seconds, a.text) for a, b in pairwise([seen[0], *changes, seen[-1]])]
    assert max(rests)[0] < STANDSTILL * busy(), sorted(rests)[-5:]
    calls = slowed.probe("slow", seconds=0)["noted"]
    assert len(calls) > 20 and not [a for a, b in pairwise(calls) if a == b]
    said = list(dict.fromkeys(re.sub(r"\d+", "#", m.text) for m in seen))
    for words in (
        "Getting ready",
        "Stage # of #: Reading the picture",
        "Stage # of #: Painting # candidates, step # of #",
        "Stage # of #: Looking at candidate # of #",
        "Stage # of #: Choosing among # candidates",
        "Stage # of #: Enlarging, tile # of #",
        "Stage # of #: Reading the picture, tile # of #",
        "Stage # of #: Adding detail, step # of #, tile # of #",
        "Stage # of #: Matching tones, # of #",
        "Stage # of #: Putting it back, tile # of #",
    ):
        assert words in said, said


@pytest.mark.parametrize(("press", "word"), [("skip", "skipped"), ("interrupt", "stopped")])
def test_what_was_pressed_is_what_is_said(webui: Webui, press: str, word: str) -> None:
    first = Once(in_stage(1), lambda: webui.post(f"/sdapi/v1/{press}"))
    reply, _ = watched(webui, slow(steps=60), first)
    answer = answered(reply)
    assert (answer.picture == wide().picture).all()
    ending = f"{word} before the first stage was finished: the picture is unchanged"
    assert answer.report["notes"][-1] == ending
    second = Once(in_stage(2), lambda: webui.post(f"/sdapi/v1/{press}"))
    reply, _ = watched(webui, slow(steps=30), second)
    answer = answered(reply)
    assert wide().is_edited(answer.picture)
    ending = f"{word} after stage 1 of 3: the picture shows that stage at full size"
    assert answer.report["notes"][-1] == ending


@pytest.mark.parametrize(
    "subject", [wide, lambda: scene(500, 2600, 220, 120)], ids=["small", "wide"]
)
def test_candidates_are_shown_in_the_picture(webui: Webui, subject: Any) -> None:
    one = subject()
    fields = {**QUICK, "candidates": 3, "choose": "clip"}
    plain = edited(webui, one, fields)
    answer = edited(webui, one, {**fields, "show_candidates": True})
    assert (answer.picture == plain.picture).all() and len(answer.pictures) == 1 + 3
    height, width = one.mask.shape
    scale = min(1.0, 2048 / width)
    size = round(width * scale), round(height * scale)
    small = Image.fromarray(one.picture)
    small.thumbnail((2048, 2048), Image.Resampling.LANCZOS)
    mask = Image.fromarray(one.mask).resize(small.size, Image.BOX)
    touched, before = np.asarray(mask) > 0, np.asarray(small)
    for number, picture in enumerate(answer.pictures[1:], 1):
        assert (picture.shape[1], picture.shape[0]) == size
        assert (picture[~touched] == before[~touched]).all()
        assert np.abs(picture.astype(int) - before)[touched].mean() > 2
        score = f"{answer.report['parts'][0]['scores'][number - 1]:.3f}"
        chosen = " (chosen)" if number == answer.report["parts"][0]["chosen"] + 1 else ""
        caption = f"MSBD picture: candidate {number} {score}{chosen}"
        assert answer.info["infotexts"][number].endswith(caption)
    texts = plain.info["infotexts"][0], answer.info["infotexts"][0]
    assert texts[0] == texts[1], "it does not change the picture, so the infotext is silent"


def test_the_box_has_its_default_from_the_settings(webui: Webui, small: Scene) -> None:
    fields = {**QUICK, "candidates": 2}
    for option, box, count in (
        ("show", None, 3),
        ("show", False, 1),
        ("no", True, 3),
        ("no", None, 1),
    ):
        body = small.request(
            {**fields, "show_candidates": box}, override_settings={"msbd_candidates": option}
        )
        assert len(asked(webui, "img2img", body).pictures) == count, (option, box)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_the_page(webui: Webui, play: Play, theme: str) -> None:
    """The words on the bar, the sentences below the result, and the candidates beside it."""
    found = play(
        "while_it_runs",
        wide(),
        prompt="a red star",
        seed=1,
        steps=20,
        preset="draft",
        fields={"upscaler": "Lanczos", "candidates": 3},
        moments=["1 of 3: Painting", "3 of 3: Adding detail"],
        theme=theme,
    )
    assert found["kept"], "a preset does not untick the box"
    said = " ".join(found["said"])
    assert "1 of 3: Painting 3 candidates, step" in said and "3 of 3: Adding detail, step" in said
    assert found["previews"] >= 2
    below = found["infotext"] + found["log"]
    assert re.search(
        r"Painted in 3 stages, \d+ s\. Nothing outside the mask changed\. "
        r"Candidate [123] of 3 was nearest to the prompt\.",
        below,
    )
    for figure in ("model calls", "peak memory", "seam", "GiB"):
        assert figure not in below
    assert [(p["width"], p["height"]) for p in found["pictures"]] == [(320, 288)] * 4
