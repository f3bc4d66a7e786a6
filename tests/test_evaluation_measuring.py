"""All measures together, on edits that are perfect, or wrong in one known way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from msbd.compositing import feathered, pasted
from msbd.evaluation.cases import SCRATCH, Case, all_cases, draw
from msbd.evaluation.errands import plan_of
from msbd.evaluation.measuring import examine_painting, examine_picture
from msbd.evaluation.methods import MULTI_STAGE
from msbd.evaluation.ways import Painting
from msbd.geometry import Box
from msbd.miniature.world import draw_object
from msbd.report import PartReport, Report
from msbd.standalone.pictures import Picture, to_pixels

CASE = next(case for case in all_cases() if case.kind == "disc" and case.background == "bricks")
LINE = next(case for case in all_cases() if case.kind == "line")


def perfect(case: Case = CASE, colour: str = "") -> tuple[Tensor, Painting]:
    """The picture itself with the object drawn into the middle of the mask."""
    image, mask = draw(case)
    rows, columns = np.nonzero(mask)
    centre = (rows.mean() / case.unit, columns.mean() / case.unit)
    drawn = draw_object(image, case.shape, colour or case.colour, centre, 0.4, case.unit)
    plan = plan_of(case, MULTI_STAGE)
    crop = plan.crop
    patch = Picture(drawn).tensor()[..., crop.rows, crop.columns]
    alpha = feathered(torch.from_numpy(mask[crop.rows, crop.columns])[None, None], 4)
    report = Report(plan, MULTI_STAGE.settings, 0, [PartReport(0)])
    return Picture(image).tensor(), Painting(patch, patch, patch, alpha, plan, [], report)


def altered(painting: Painting, image: Tensor, change: Callable[[Tensor], Tensor]) -> Painting:
    """The same with a changed patch, pasted as the engine does."""
    patch = change(painting.patch)
    crop = painting.plan.crop
    before = image[..., crop.rows, crop.columns]
    result = pasted(before, patch, Box.of(crop.size), painting.alpha)
    return replace(painting, shown=patch, patch=patch, result=result)


def examine(case: Case, image: Tensor, painting: Painting) -> dict[str, Any]:
    """Both parts, as a worker does it."""
    record = examine_painting(case, image, painting)
    pixels, mask = draw(case)
    seen = examine_picture(case, pixels, mask, record, to_pixels(painting.result))
    return {**record, **seen}


def test_a_perfect_edit_is_perfect_by_every_measure() -> None:
    found = examine(CASE, *perfect())
    assert found["one_right"] and found["objects"] == 1 and found["inside"]
    assert found["laplacian"] == pytest.approx(1, abs=0.4)
    assert 1 <= found["edge"] < 2.5
    assert abs(found["seam"]) < 0.1
    assert found["tile_seam"] < 2  # joints of bricks run along some borders
    assert found["ring_psnr"] == 100 and found["tone_shift"] == 0 and found["outside"] == 0


def test_the_wrong_colour_is_not_right() -> None:
    other = "blue" if CASE.colour != "blue" else "red"
    found = examine(CASE, *perfect(colour=other))
    assert not found["one_right"] and found["right_shape"] and not found["right_colour"]


def test_another_tone_is_seen_at_edge_and_ring_only() -> None:
    image, painting = perfect()
    shifted = altered(painting, image, lambda patch: (patch + 24 / 255).clamp(0, 1))
    found, before = examine(CASE, image, shifted), examine(CASE, image, painting)
    assert found["tone_shift"] == pytest.approx(24, abs=0.5)
    assert found["seam"] > before["seam"] + 0.3
    assert found["laplacian"] == pytest.approx(before["laplacian"], rel=0.05)
    assert found["one_right"] and found["outside"] == 0


def test_a_soft_edit_is_soft_and_nothing_else() -> None:
    image, painting = perfect()

    def softened(patch: Tensor) -> Tensor:
        small = F.interpolate(patch, scale_factor=0.2, mode="bilinear", antialias=True)
        return F.interpolate(small, patch.shape[-2:], mode="bilinear")

    found, before = (
        examine(CASE, image, one) for one in (altered(painting, image, softened), painting)
    )
    assert found["laplacian"] < 0.5 * before["laplacian"]
    assert found["edge"] > 2 * before["edge"] and found["one_right"]


def test_a_change_outside_is_found() -> None:
    image, painting = perfect()
    result = painting.result.clone()
    result[..., 0, 0] = 1 - result[..., 0, 0].round()
    assert painting.alpha[0, 0, 0, 0] == 0
    assert examine(CASE, image, replace(painting, result=result))["outside"] > 100


def test_candidates_are_judged_at_their_own_size() -> None:
    image, painting = perfect()
    size, crop = painting.plan.stages[0].size, painting.plan.crop

    def reduced(picture: Tensor) -> Tensor:
        return F.interpolate(picture, (size.height, size.width), mode="bilinear", antialias=True)

    bare = image[..., crop.rows, crop.columns]
    candidates = [reduced(painting.patch), reduced(bare)]
    found = examine(CASE, image, replace(painting, candidates=candidates))
    assert found["candidates_right"] == [True, False]


@pytest.mark.parametrize("retouched", [True, False])
def test_a_scratch_must_be_gone(retouched: bool) -> None:
    image, mask = draw(LINE)
    plan = plan_of(LINE, MULTI_STAGE)
    crop = plan.crop
    pixels = image[crop.rows, crop.columns].copy()
    scratch = (pixels == SCRATCH).all(-1) & (mask[crop.rows, crop.columns] > 0)
    assert scratch.sum() > 50
    if retouched:
        pixels[scratch] = 90
    record = {"crop": [crop.top, crop.left, crop.bottom, crop.right], "tiles": []}
    assert examine_picture(LINE, image, mask, record, pixels)["one_right"] == retouched
