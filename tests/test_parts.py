"""Parts of a mask that lie far from each other are edited apart."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from engine import QUICK, box_mask, photograph, run
from fakes import PointwiseBackend, small_spec
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from msbd import masks
from msbd.backend import ModelSpec
from msbd.errors import EditError, Interrupted
from msbd.geometry import Box, Size
from msbd.planning import plan_edit
from msbd.progress import Callbacks, work
from msbd.settings import EditSettings
from msbd.standalone.pictures import to_pixels

pytestmark = pytest.mark.edits

SIZE = Size(120, 300)
LEFT, MIDDLE, RIGHT = Box(40, 20, 70, 50), Box(44, 110, 70, 150), Box(30, 240, 70, 280)
SPEC = ModelSpec()
APART = EditSettings(parts="apart")


def overlap(one: Box, other: Box) -> bool:
    return (
        one.top < other.bottom
        and other.top < one.bottom
        and one.left < other.right
        and other.left < one.right
    )


@st.composite
def spotted(draw) -> tuple[masks.Mask, dict[str, Any]]:
    height, width = draw(st.integers(300, 2000)), draw(st.integers(300, 2000))
    mask = np.zeros((height, width), np.float32)
    for _ in range(draw(st.integers(1, 8))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        side = draw(st.integers(1, 400))
        mask[top : top + side, left : left + draw(st.integers(1, 400))] = 1
    return mask, {"margin": draw(st.sampled_from([1.0, 1.3, 2.0]))}


@hypothesis_settings(max_examples=80, deadline=None)
@given(spotted())
def test_parts_hold_the_mask_and_do_not_overlap(spots) -> None:
    mask, values = spots
    size = Size(*mask.shape)
    plan = plan_edit(size, mask, APART.with_values(values), SPEC)
    assert [part.number for part in plan.parts] == list(range(len(plan.parts)))
    assert [part.mask for part in plan.parts] == sorted(part.mask for part in plan.parts)
    rest = mask.copy()
    for part in plan.parts:
        assert part.mask_in_crop(mask).any()
        rest[part.mask.rows, part.mask.columns] = 0
    assert not rest.any()
    for one, other in itertools.combinations(plan.parts, 2):
        assert not overlap(one.mask, other.mask)
        both = one.mask.joined(other.mask)
        assert values["margin"] * both.size.longest > SPEC.resolution - SPEC.multiple
    assert {(stage.part, stage.index) for stage in plan.stages} == {
        (part.number, index) for part in plan.parts for index in range(len(part.stages))
    }
    together = APART.with_values({**values, "parts": "together"})
    (only,) = plan_edit(size, mask, together, SPEC).parts
    assert only.mask == masks.bounds(mask) == plan.mask
    if len(plan.parts) == 1:
        assert plan == plan_edit(size, mask, together, SPEC)


@pytest.mark.parametrize(
    ("boxes", "parts"),
    [
        ([Box(100, 100, 140, 140), Box(100, 400, 140, 440)], 1),  # one crop of 512 holds both
        ([Box(100, 100, 140, 140), Box(100, 1000, 140, 1040)], 2),
        ([Box(100, 100, 700, 700), Box(100, 780, 700, 1380)], 1),  # 80 pixels: less than 15 %
        ([Box(100, 100, 700, 700), Box(100, 800, 700, 1400)], 2),
        ([Box(100, 100, 700, 700), Box(100, 780, 110, 790)], 1),  # a small one beside a large one
        ([Box(0, 0, 900, 20), Box(0, 1200, 900, 1220), Box(880, 0, 900, 1220)], 1),  # they touch
        ([Box(y, x, y + 9, x + 9) for y in range(0, 1400, 700) for x in range(0, 1400, 700)], 4),
    ],
)
def test_what_is_far(boxes: list[Box], parts: int) -> None:
    mask = box_mask(Size(1500, 1500), *boxes)
    assert len(plan_edit(Size(1500, 1500), mask, APART, SPEC).parts) == parts


def test_what_one_crop_of_the_whole_picture_holds_is_together() -> None:
    """The crop would be larger than the model's size, but the picture is not."""
    mask = box_mask(Size(512, 512), Box(200, 10, 260, 70), Box(200, 440, 260, 500))
    assert len(plan_edit(Size(512, 512), mask, APART, SPEC).parts) == 1


def test_thousands_of_spots_are_planned_at_once() -> None:
    mask = np.zeros((4000, 6000), np.float32)
    mask[::60, ::80] = 1
    plan = plan_edit(Size(4000, 6000), mask, APART, SPEC)
    assert 80 < len(plan.parts) < 400
    assert sum(int(part.mask_in_crop(mask).sum()) for part in plan.parts) == int(mask.sum())


def alone(mask: masks.Mask, box: Box) -> masks.Mask:
    result = np.zeros_like(mask)
    result[box.rows, box.columns] = mask[box.rows, box.columns]
    return result


@pytest.mark.parametrize("values", [{}, {"whole_cells": True, "context": 0.25}])
def test_the_result_is_that_of_one_edit_after_the_other(values) -> None:
    image = photograph(SIZE.height, SIZE.width)
    mask = box_mask(SIZE, LEFT, MIDDLE, RIGHT)
    values = {**values, "parts": "apart"}
    edit = run(image, mask, seed=5, **values)
    assert [part.mask for part in edit.report.plan.parts] == sorted([LEFT, MIDDLE, RIGHT])
    expected = image
    for number, part in enumerate(edit.report.plan.parts):
        single = run(expected, alone(mask, part.mask), seed=5 + number, **values)
        assert single.report.parts[0] == edit.report.parts[number]
        pixels = to_pixels(single.image)
        expected = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    assert (to_pixels(edit.image) == pixels).all()
    assert len(edit.report.stages) == len(edit.report.plan.stages)
    assert edit.report.model_calls == edit.report.plan.model_calls


def test_parts_whose_crops_do_not_overlap_are_independent() -> None:
    image = photograph(SIZE.height, SIZE.width)
    mask = box_mask(SIZE, LEFT, RIGHT)
    edit = run(image, mask, seed=5, parts="apart")
    for number, part in enumerate(edit.report.plan.parts):
        crop = part.crop
        single = run(image, alone(mask, part.mask), seed=5 + number)
        ours, theirs = (one[..., crop.rows, crop.columns] for one in (edit.image, single.image))
        assert (to_pixels(ours) == to_pixels(theirs)).all()


def test_twins_are_not_alike() -> None:
    image = torch.full((1, 3, 120, 300), 0.5)
    mask = box_mask(SIZE, LEFT, Box(40, 220, 70, 250))
    edit = run(image, mask, PointwiseBackend(spread=1.0), decoder="off", parts="apart")
    left, right = edit.image[..., 40:70, 20:50], edit.image[..., 40:70, 220:250]
    assert (left - right).abs().mean() > 0.05


def test_progress_tells_of_all_parts_and_ends_at_its_total() -> None:
    told: dict[str, Any] = {"done": 0.0, "stages": []}
    watch = Callbacks(
        begin=lambda plan, total: told.update(total=total, expected=work(plan)),
        stage=lambda stage: told["stages"].append((stage.part, stage.index)),
        advance=lambda done, text: told.update(done=told["done"] + done),
    )
    mask = box_mask(SIZE, LEFT, RIGHT)
    edit = run(photograph(SIZE.height, SIZE.width), mask, watch=watch, parts="apart")
    assert told["done"] == pytest.approx(told["total"]) and told["total"] == told["expected"]
    assert told["stages"] == [(s.part, s.index) for s in edit.report.plan.stages]


@pytest.mark.parametrize("stop_at", [0, 1, 2, 3, 4])
def test_what_was_finished_before_an_interruption_is_kept(stop_at: int) -> None:
    image, mask = photograph(SIZE.height, SIZE.width), box_mask(SIZE, LEFT, RIGHT)
    spec = small_spec()
    plan = plan_edit(SIZE, mask, APART.with_values(QUICK), spec)
    counts = [len(part.stages) for part in plan.parts]
    begun = itertools.count()

    def stage(_) -> None:
        if next(begun) == stop_at:
            raise Interrupted("stopped")

    if stop_at == 0:
        with pytest.raises(Interrupted):
            run(image, mask, watch=Callbacks(stage=stage), parts="apart")
        return
    edit = run(image, mask, watch=Callbacks(stage=stage), parts="apart")
    first, second = (part.mask for part in plan.parts)
    changed = (edit.image != image).any(1)[0]
    assert edit.report.interrupted and len(edit.report.stages) == stop_at
    assert changed[first.rows, first.columns].any()
    assert bool(changed[second.rows, second.columns].any()) == (stop_at > counts[0])
    (note,) = edit.report.notes
    part, done = (1, stop_at) if stop_at < counts[0] else (2, stop_at - counts[0])
    assert f"stage {done} of {counts[part - 1]} of part {part} of 2" in note
    assert ("that part is unchanged" in note) == (done == 0)


def test_memory_that_runs_out_in_a_later_part_keeps_the_parts_before() -> None:
    image, mask = photograph(SIZE.height, SIZE.width), box_mask(SIZE, LEFT, RIGHT)
    calls = plan_edit(SIZE, mask, APART.with_values(QUICK), small_spec()).parts[0]
    enough = sum(stage.model_calls for stage in calls.stages)

    def before(samples: int) -> None:
        if samples >= enough:
            raise torch.OutOfMemoryError

    edit = run(image, mask, PointwiseBackend(before=before), parts="apart")
    assert edit.report.interrupted and any("memory" in note for note in edit.report.notes)
    first = edit.report.plan.parts[0].mask
    assert (edit.image != image).any(1)[0, first.rows, first.columns].any()
    with pytest.raises(EditError):
        run(image, mask, PointwiseBackend(before=lambda samples: before(enough)))


def test_the_plan_says_part_by_part_what_it_does() -> None:
    from msbd.pictures.summary import few_pixels, headline, numbers, steps

    mask = box_mask(Size(1500, 3000), Box(100, 100, 800, 800), Box(700, 2500, 716, 2516))
    plan = plan_edit(Size(1500, 3000), mask, APART, SPEC)
    lines = headline(plan, mask).splitlines()
    assert len(lines) == 3 and "2 parts" in lines[0]
    assert lines[1].startswith("Part 1: a ") and lines[2].startswith("Part 2: a ")
    assert any(line.startswith("Part 2, stage 1") for line in steps(plan))
    (note,) = few_pixels(plan, mask)
    assert note.startswith("1 of 2 parts") and numbers(plan).count("part ") == 2
    facts = plan.to_dict()
    assert len(facts["parts"]) == 2 and {stage["part"] for stage in facts["stages"]} == {0, 1}


def test_a_drawing_shows_every_part() -> None:
    from PIL import Image

    from msbd.pictures.drawing import draw_plan

    mask = box_mask(Size(600, 900), Box(20, 20, 60, 60), Box(500, 800, 560, 860))
    picture = Image.new("RGB", (900, 600), "#808080")
    heights = [
        draw_plan(picture, plan_edit(Size(600, 900), one, APART, SPEC), one).height
        for one in (mask, alone(mask, Box(20, 20, 60, 60)))
    ]
    assert heights[0] > heights[1]
