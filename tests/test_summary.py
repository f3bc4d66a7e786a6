"""A plan in plain words: what they say is what the plan says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.backend import ModelSpec
from msbd.geometry import Box, Size
from msbd.pictures.summary import (
    FEWEST_PIXELS,
    details,
    few_pixels,
    headline,
    pixels_in_first_stage,
    steps,
)
from msbd.plan import EditPlan
from msbd.planning import plan_edit
from msbd.presets import PRESETS, preset
from msbd.settings import SETTINGS

MARGIN = SETTINGS["margin"].label


@st.composite
def plans(draw: st.DrawFn) -> tuple[EditPlan, np.ndarray]:
    """Pictures smaller and larger than the model's, masks of any box."""
    height, width = draw(st.integers(40, 2400)), draw(st.integers(40, 2400))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    mask = np.zeros((height, width), np.float32)
    mask[top:bottom, left:right] = 1
    chosen = preset(draw(st.sampled_from(sorted(PRESETS))))
    chosen = chosen.with_values({"margin": draw(st.sampled_from([1.0, 1.3, 2.0, 4.0]))})
    spec = ModelSpec(resolution=draw(st.sampled_from([128, 512, 768])))
    return plan_edit(Size(height, width), mask, chosen, spec), mask


def said(text: str) -> list[Size]:
    return [Size(int(h), int(w)) for w, h in re.findall(r"(\d+)x(\d+)", text)]


@settings(max_examples=150, deadline=None)
@given(plans())
def test_the_headlines_numbers_are_the_plans(planned: tuple[EditPlan, np.ndarray]) -> None:
    plan, mask = planned
    text, first, crop = headline(plan, mask), plan.stages[0].size, plan.crop.size
    gets = Size(
        *(
            max(1, round(m * f / c))
            for m, f, c in zip(
                (plan.mask.size.height, plan.mask.size.width),
                (first.height, first.width),
                (crop.height, crop.width),
                strict=True,
            )
        )
    )
    assert said(text) == [crop, *([first] if first != crop else []), gets]
    assert ("whole picture" in text) == (plan.crop == Box.of(plan.image))
    assert text.startswith("First ") == (len(plan.stages) > 1)
    if "shrunk" in text:
        assert first.height <= crop.height and first.width <= crop.width
    if "enlarged" in text:
        assert first.height >= crop.height and first.width >= crop.width
    if "square" in text:
        assert crop.height == crop.width
    # A filled box is told by its sides, unless one of them is thinner than a pixel.
    assert "spans" not in text or min(gets.height, gets.width) == 1


@settings(max_examples=150, deadline=None)
@given(plans())
def test_every_stage_has_its_line(planned: tuple[EditPlan, np.ndarray]) -> None:
    plan, _ = planned
    lines = steps(plan)
    for stage, line in zip(plan.stages, lines, strict=False):
        assert said(line)[0] == stage.size
        assert (f"({details(stage)})" in line) == bool(details(stage))
        assert (f"{len(stage.tiles)} overlapping tiles" in line) == (len(stage.tiles) > 1)
    assert lines[0].startswith("Stage 1: painted at") and "painted" not in "".join(lines[1:])
    whole = plan.stages[-1].size == plan.crop.size
    assert len(lines) == len(plan.stages) + (not whole) and said(lines[-1])[0] == plan.crop.size


@pytest.mark.parametrize(("side", "few"), [(8, True), (18, True), (22, False), (200, False)])
def test_a_mask_of_few_pixels_is_told_of(side: int, few: bool) -> None:
    """The crop is half the model's resolution here, so that the first stage has it twice as big."""
    mask = np.zeros((600, 600), np.float32)
    mask[200 : 200 + side, 200 : 200 + side] = 1
    plan = plan_edit(Size(600, 600), mask, preset("recommended"), ModelSpec())
    area = side * side * plan.stages[0].size.area / plan.crop.size.area
    assert (area < FEWEST_PIXELS) == few == bool(few_pixels(plan, mask))
    for note in few_pixels(plan, mask):
        assert f"only {round(area)} pixels" in note
        assert MARGIN not in note, "a lower one would change nothing"


def test_a_shape_counts_and_not_its_box() -> None:
    """Two spots in the corners of a large picture span it, and have no pixels in it."""
    mask = np.zeros((3000, 3000), np.float32)
    mask[:60, :60] = mask[-60:, -60:] = 1
    together = preset("recommended").with_values({"parts": "together"})
    plan = plan_edit(Size(3000, 3000), mask, together, ModelSpec())
    (note,) = few_pixels(plan, mask)
    assert f"set {MARGIN} lower" in note
    pixels = pixels_in_first_stage(plan.parts[0], mask)
    assert f"spans 512x512 and has {pixels} of" in headline(plan, mask)
    assert not few_pixels(plan, np.ones_like(mask))
    apart = plan_edit(Size(3000, 3000), mask, preset("recommended"), ModelSpec())
    assert not few_pixels(apart, mask)
