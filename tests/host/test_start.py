"""What the first stage starts from: by requests, and in Inpaint sketch on the page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from msbd.miniature.world import draw_background, draw_object

from .client import QUICK, Answer, Pixels, Scene, disc, edited
from .server import Webui
from .test_browser import Play, browser, play, quick, shown

__all__ = ["browser", "play"]
SIZE, UNIT = (208, 256), 176.0
PAINTS = {"red": (237, 28, 36), "blue": (24, 60, 255)}


def grass() -> Pixels:
    return draw_background(np.random.default_rng(5), "grass", *SIZE, UNIT)


@pytest.fixture
def circle() -> Scene:
    """A blue circle on grass, with a mask round it."""
    middle = (SIZE[0] / 2 / UNIT, SIZE[1] / 2 / UNIT)
    return Scene(draw_object(grass(), "circle", "blue", middle, 0.4, UNIT), disc(*SIZE, 56))


def colour(picture: Pixels) -> np.ndarray:
    """Mean of the middle."""
    top, left = SIZE[0] // 2 - 12, SIZE[1] // 2 - 12
    return picture[top : top + 24, left : left + 24].reshape(-1, 3).mean(0)


def nearest(picture: Pixels) -> str:
    distances = {name: np.abs(colour(picture) - paint).sum() for name, paint in PAINTS.items()}
    return min(distances, key=distances.__getitem__)


def started(webui: Webui, subject: Scene, start: str, **more: Any) -> Answer:
    values = {"steps": 20, "inpainting_fill": 1, "prompt": "a red circle on grass", **more}
    return edited(webui, subject, {**QUICK, "start": start}, **values)


def test_what_is_there_is_painted_in_another_colour(webui: Webui, circle: Scene) -> None:
    answer = started(webui, circle, "picture", denoising_strength=0.5)
    assert circle.is_edited(answer.picture) and nearest(answer.picture) == "red"
    (first, *_) = answer.report["plan"]["stages"]
    assert (first["start"], first["strength"], first["run_steps"]) == ("picture", 0.5, 10)
    text = answer.info["infotexts"][0]
    assert "MSBD start: picture" in text and "Denoising strength: 0.5" in text


def test_strength_means_what_it_always_means(webui: Webui, circle: Scene) -> None:
    away = []
    for strength in (0.0, 0.3, 0.7):
        answer = started(
            webui, circle, "picture", denoising_strength=strength, prompt="a red star on grass"
        )
        away.append(np.abs(answer.picture.astype(int) - circle.picture)[circle.mask > 0].mean())
        assert not [note for note in answer.report["notes"] if "Denoising" in note]
    assert away == sorted(away) and away[0] < 0.7 * away[2], "later stages add detail"
    new = [started(webui, circle, "new", denoising_strength=s) for s in (0.3, 0.7)]
    assert (new[0].picture == new[1].picture).all()
    assert any("Denoising strength" in note for note in new[0].report["notes"])


@pytest.mark.parametrize(
    ("fill", "begins"),
    [(0, "surroundings"), (1, "picture"), (2, "latent noise"), (3, "latent nothing")],
)
def test_masked_content_means_what_it_always_means(
    webui: Webui, circle: Scene, fill: int, begins: str
) -> None:
    values = {"inpainting_fill": fill, "denoising_strength": 0.1}
    values["prompt"] = "a blue circle on grass"
    answer = started(webui, circle, "picture", **values)
    assert answer.report["plan"]["stages"][0]["start"] == begins
    kept = np.abs(colour(answer.picture) - PAINTS["blue"]).sum() < 90
    assert kept == (fill == 1)
    said = f"Masked content: {('fill', 'original', 'latent noise', 'latent nothing')[fill]}"
    assert (said in answer.info["infotexts"][0]) == (fill != 1)


@pytest.mark.parametrize("paint", PAINTS)
def test_paint_in_a_request_is_finished_and_its_rim_covered(webui: Webui, paint: str) -> None:
    """The picture without the paint is not known, so the mask is wider."""
    plain, mask = grass(), disc(*SIZE, 40)
    painted = np.where(disc(*SIZE, 43)[..., None] > 0, np.uint8(PAINTS[paint]), plain)
    subject = Scene(painted, mask)
    values = {"prompt": "a circle on grass", "denoising_strength": 0.6}
    answer = started(webui, subject, "paint", **values)
    assert nearest(answer.picture) == paint
    assert any("6 pixels wider" in note for note in answer.report["notes"])
    untouched = disc(*SIZE, 40 + 6 + 8) == 0
    assert (answer.picture[untouched] == painted[untouched]).all()


def test_something_is_removed_without_a_prompt(webui: Webui, circle: Scene) -> None:
    answer = edited(webui, circle, {"preset": "remove", "upscaler": "Lanczos"}, prompt="", steps=20)
    plain = grass()
    inside = circle.mask > 0
    before, after = (
        np.abs(one.astype(int) - plain)[inside].mean() for one in (circle.picture, answer.picture)
    )
    assert after < 0.5 * before and circle.is_edited(answer.picture)
    assert any("no prompt" in note for note in answer.report["notes"])


def test_two_parts_far_apart_are_two_edits_in_one(webui: Webui) -> None:
    ground = draw_background(np.random.default_rng(5), "grass", 300, 600, UNIT)
    mask = np.zeros((300, 600), np.uint8)
    mask[120:190, 40:110] = mask[100:180, 480:560] = 255
    both = Scene(ground, mask)
    answer = edited(webui, both, {**QUICK, "parts": "apart"}, steps=6)
    parts = answer.report["parts"]
    assert len(answer.report["plan"]["parts"]) == 2 and [p["seed"] for p in parts] == [1, 2]
    picture = ground
    for number, columns in enumerate((slice(480, 560), slice(40, 110))):
        alone = np.zeros_like(mask)
        alone[:, columns] = mask[:, columns]
        picture = edited(webui, Scene(picture, alone), steps=6, seed=1 + number).picture
    assert np.abs(answer.picture.astype(int) - picture).max() <= 1, "but for rounding in between"
    together = edited(webui, both, {**QUICK, "parts": "together"}, steps=6)
    assert len(together.report["plan"]["parts"]) == 1


@pytest.mark.parametrize("paint", PAINTS)
def test_a_sketch_is_finished_in_its_colours(
    webui: Webui, play: Play, paint: str, tmp_path: Any
) -> None:
    """And outside the mask is the picture without the sketch."""
    ground = grass()
    found = play(
        "sketch",
        Scene(ground, disc(*SIZE, 5)),
        **quick(
            colour="#{:02x}{:02x}{:02x}".format(*PAINTS[paint]),
            prompt="a circle on grass",
            steps=20,
            strength=0.6,
        ),
    )
    assert found["alive"] == [False, False, True, True], "strength and content, before and after"
    assert "from your paint" in found["plan"]
    (picture,) = found["pictures"]
    result = shown(webui, picture)
    assert nearest(result) == paint
    changed = (result != ground).any(-1)
    y, x = np.nonzero(changed)
    assert y.min() > 20 and y.max() < 188 and x.min() > 40 and x.max() < 216, "the rest is the same"
    Image.fromarray(result).save(tmp_path / f"{paint}.png")


@pytest.mark.parametrize("shape", ["as painted", "closed"])
def test_a_scribble_is_closed_if_asked_for(webui: Webui, play: Play, shape: str) -> None:
    """What lies between its strokes is painted with it."""
    ground = draw_background(np.random.default_rng(5), "grass", 288, 320, UNIT)
    subject = Scene(ground, disc(288, 320, 5))
    found = play("scribble", subject, **quick(shape=shape))
    (picture,) = found["pictures"]
    changed = (shown(webui, picture) != ground).any(-1)
    inside = changed[90:200, 140:208]
    assert changed.any() and not changed[:30].any()
    if shape == "closed":
        assert inside.mean() > 0.97
    else:
        assert inside.mean() < 0.9
