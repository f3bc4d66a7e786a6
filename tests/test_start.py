"""What the first stage starts from: noise, the picture, the user's paint, the surroundings."""

from __future__ import annotations

import itertools

import pytest
import torch
from engine import box_mask, run
from fakes import PointwiseBackend
from torch import Tensor

from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.progress import Callbacks
from msbd.settings import SETTINGS, EditSettings

pytestmark = pytest.mark.edits

SIZE = Size(96, 128)
PAINTED = Box(32, 40, 72, 88)
INSIDE = (..., slice(44, 60), slice(56, 72))
GREY, BLUE, GREEN = (0.5, 0.5, 0.5), (0.1, 0.2, 0.9), (0.1, 0.8, 0.2)
NEAR = 0.1
"""How far a colour may be from another that is the same but for cells of 8 pixels."""


def plain(colour: tuple[float, float, float], size: Size = SIZE) -> Tensor:
    return torch.tensor(colour)[None, :, None, None].expand(1, 3, size.height, size.width).clone()


@pytest.fixture
def image() -> Tensor:
    """Grey, with a blue thing under the mask."""
    image = plain(GREY)
    image[..., PAINTED.rows, PAINTED.columns] = torch.tensor(BLUE)[:, None, None]
    return image


@pytest.fixture
def mask():
    return box_mask(SIZE, PAINTED)


def painted(image: Tensor, mask, paint: Tensor | None = None, **values) -> Tensor:
    """The mean colour deep inside the mask after an edit that asks for red."""
    values = {"decoder": "off", "steps": 10, "candidates": 1, "final_strength": 0.0, **values}
    values.setdefault("intermediate_strength", 0.0)
    result = run(image, mask, PointwiseBackend(spread=0.5), paint=paint, **values).image
    return result[INSIDE].mean(dim=(0, 2, 3))


def distance(one: Tensor, colour: tuple[float, float, float]) -> float:
    return float((one - torch.tensor(colour)).norm())


@pytest.mark.parametrize("whole_cells", [False, True])
def test_at_no_strength_what_it_starts_from_stays(image, mask, whole_cells) -> None:
    paint = torch.where(torch.from_numpy(mask)[None, None] > 0, plain(GREEN), image)
    values = {"strength": 0.0, "whole_cells": whole_cells}
    for start, colour in (("picture", BLUE), ("paint", GREEN), ("surroundings", GREY)):
        shown = painted(image, mask, paint, start=start, **values)
        assert distance(shown, colour) < NEAR, start
    assert distance(painted(image, mask, paint, start="new", **values), BLUE) > 0.2


@pytest.mark.parametrize("start", ["picture", "paint", "surroundings"])
def test_more_strength_changes_more(image, mask, start: str) -> None:
    paint, begin = plain(GREEN), {"picture": BLUE, "paint": GREEN, "surroundings": GREY}[start]
    away = [
        distance(painted(image, mask, paint, start=start, strength=strength), begin)
        for strength in (0.0, 0.3, 0.6, 1.0)
    ]
    assert all(less < more for less, more in itertools.pairwise(away)), away


def test_without_a_paint_of_the_users_the_picture_is_the_paint(image, mask) -> None:
    one, other = (painted(image, mask, start=s, strength=0.5) for s in ("picture", "paint"))
    assert torch.equal(one, other)


def test_what_a_paint_says_outside_the_mask_does_not_count(image, mask) -> None:
    inside = torch.from_numpy(mask)[None, None] > 0
    within = torch.where(inside, plain(GREEN), image)
    results = [
        run(image, mask, paint=paint, start="paint", strength=0.5).image
        for paint in (plain(GREEN), within)
    ]
    assert torch.equal(*results)


@pytest.mark.parametrize("start", ["picture", "paint"])
@pytest.mark.parametrize("whole_cells", [False, True])
def test_masked_content_is_put_in_its_place(image, mask, start: str, whole_cells: bool) -> None:
    values = {"strength": 0.0, "start": start, "whole_cells": whole_cells}
    paint = plain(GREEN)
    around = painted(image, mask, paint, content="fill", **values)
    assert distance(around, GREY) < NEAR
    nothing = painted(image, mask, paint, content="latent nothing", **values)
    assert distance(nothing, GREY) < NEAR  # the pointwise model's latents of grey are 0
    kept = painted(image, mask, paint, content="original", **values)
    assert distance(kept, BLUE if start == "picture" else GREEN) < NEAR


def test_latent_noise_is_noise_of_the_seed(image, mask) -> None:
    values = {"strength": 0.0, "start": "picture", "content": "latent noise", "decoder": "off"}
    seen: list[Tensor] = []

    class Seen(PointwiseBackend):
        def decode(self, z: Tensor) -> Tensor:
            seen.append(z)
            return super().decode(z)

    for seed in (1, 1, 2):
        run(image, mask, Seen(), seed, candidates=1, final_strength=0.0, **values)
    first, again, other = seen[0], seen[len(seen) // 3], seen[2 * len(seen) // 3]
    inside = first[..., 3:5, 3:5]
    assert inside.std() > 0.4
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_automatic_is_new_unless_the_user_painted() -> None:
    settings = EditSettings()
    assert settings.beginning == "new"
    assert settings.started(False).start == "new" and settings.started(True).start == "paint"
    for start in ("new", "picture", "paint", "surroundings"):
        chosen = settings.with_values({"start": start})
        assert chosen.started(True) == chosen.started(False) == chosen


@pytest.mark.parametrize("start", ["automatic", "new", "surroundings"])
@pytest.mark.parametrize("content", SETTINGS["content"].choices or ())
def test_masked_content_counts_for_picture_and_paint_only(start: str, content: str) -> None:
    settings = EditSettings().with_values({"start": start, "content": content})
    assert settings.beginning == ("new" if start == "automatic" else start)


def test_repaint_is_for_what_starts_anew(image, mask) -> None:
    for start, repeated in (("new", True), ("picture", False), ("surroundings", False)):
        edit = run(image, mask, start=start, resampling_steps=2)
        assert any(edit.report.plan.stages[0].schedule.resamplings) == repeated


def test_candidates_start_from_the_same_and_differ(image, mask) -> None:
    shown: list[Tensor] = []

    def keep(name: str, picture: Tensor, *_) -> None:
        if name == "candidate":
            shown.append(picture)

    values = {"start": "picture", "strength": 0.4, "candidates": 3}
    run(image, mask, watch=Callbacks(picture=keep), **values)
    assert len(shown) == 3 and not torch.equal(shown[0], shown[1])


@pytest.mark.parametrize("start", ["picture", "paint", "surroundings"])
def test_outside_the_mask_nothing_changes_whatever_it_starts_from(start: str) -> None:
    image = (Noise(4)((1, 3, 96, 128), "photo") * 50 + 128).round().clamp(0, 255) / 255
    mask = box_mask(SIZE, PAINTED)
    edit = run(image, mask, start=start, paint=plain(GREEN), feather=0)
    kept = (torch.from_numpy(mask)[None, None] == 0).expand_as(image)
    assert torch.equal(edit.image[kept], image[kept])
