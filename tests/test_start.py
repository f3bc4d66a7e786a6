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


@pytest.mark.parametrize("whole_cells", [False, True])
def test_latents_of_nothing_are_put_inside(image, mask, whole_cells: bool) -> None:
    shown = painted(image, mask, strength=0.0, start="latent nothing", whole_cells=whole_cells)
    assert distance(shown, GREY) < NEAR  # the pointwise model's latents of grey are 0


def test_latent_noise_is_noise_of_the_seed(image, mask) -> None:
    values = {"strength": 0.0, "start": "latent noise", "decoder": "off"}
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


@pytest.mark.parametrize("prompt", ["", " ", "a red star"])
@pytest.mark.parametrize("paints", [False, True])
def test_what_is_left_open_is_decided_for_an_edit(paints: bool, prompt: str) -> None:
    settings = EditSettings()
    decided = settings.decided(paints, prompt)
    assert decided.start == ("paint" if paints else "new")
    assert decided.ablation.choose == ("clip" if prompt.strip() else "fit")
    changed = {"start": decided.start, "choose": decided.ablation.choose}
    assert settings.with_values(changed) == decided
    for start in (SETTINGS["start"].choices or ())[1:]:
        chosen = settings.with_values({"start": start, "choose": "first"})
        assert chosen.decided(paints, prompt) == chosen


def test_automatic_is_new_for_whoever_does_not_decide(image, mask) -> None:
    one, other = (run(image, mask, start=start).image for start in ("automatic", "new"))
    assert torch.equal(one, other)


def test_the_candidate_that_fits_in_is_chosen_without_a_word(image, mask) -> None:
    """Of candidates in different colours the one like the surroundings."""

    class Painted(PointwiseBackend):
        def denoise(self, z, sigma, guidance=1.0, condition=None):
            predicted = super().denoise(z, sigma, guidance, condition)
            for number, candidate in enumerate(predicted):
                if len(predicted) == 3:
                    candidate[:3] = (number - 1) * 0.8  # black, grey, white
            return predicted

        def score(self, images):
            raise AssertionError("CLIP is not asked")

    values = {"candidates": 3, "choose": "fit", "start": "surroundings", "strength": 0.5}
    edit = run(image, mask, Painted(), **values)
    (part,) = edit.report.parts
    assert part.chosen == 1 and part.scores is not None and max(part.scores) == part.scores[1] <= 0


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


@pytest.mark.parametrize("start", ["surroundings", "latent noise", "latent nothing", "new"])
@pytest.mark.parametrize("feather", [0, 6])
def test_what_the_mask_hides_does_not_show_where_it_is_to_be_gone(start: str, feather: int) -> None:
    image = (Noise(4)((1, 3, 96, 128), "photo") * 50 + 128).round().clamp(0, 255) / 255
    mask = box_mask(SIZE, PAINTED)
    inside = (torch.from_numpy(mask)[None, None] > 0).expand_as(image)
    values = {"start": start, "feather": feather, "whole_cells": True, "decoder": "off"}
    seen = [
        run(one, mask, **values).image for one in (image, torch.where(inside, 1 - image, image))
    ]
    assert torch.allclose(seen[0][inside], seen[1][inside], atol=1e-6)


def test_a_soft_masks_ramp_does_not_bleed_into_the_surroundings() -> None:
    image = plain(GREY)
    image[..., 30:74, 38:90] = torch.tensor(BLUE)[:, None, None]
    ramp = torch.zeros(1, 1, 96, 128)
    for step in range(12):
        ramp[..., 20 + step : 84 - step, 28 + step : 100 - step] = (step + 1) / 12
    shown = painted(image, ramp[0, 0].numpy(), start="surroundings", strength=0.0)
    assert distance(shown, GREY) < NEAR


def test_a_grey_masks_candidates_are_compared_when_they_are_painted(image, mask) -> None:
    for level, early in ((1.0, True), (0.45, False)):
        edit = run(image, mask * level, steps=10, candidates=3, early_selection=0.5)
        assert bool(edit.report.plan.stages[0].schedule.choose_at) == early
