"""The laws of a plan, over sizes, masks and settings."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from engine import transposed, within
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from msbd.backend import ModelSpec
from msbd.errors import EditError
from msbd.geometry import Box, Size
from msbd.pictures.summary import numbers
from msbd.planning import plan_edit, smaller_tiles
from msbd.settings import EditSettings

FACTS = [ModelSpec(), ModelSpec(resolution=128, multiple=32)]


def planned(size: Size, painted: Box, spec: ModelSpec, **values):
    mask = np.zeros((size.height, size.width), np.float32)
    mask[painted.rows, painted.columns] = 1
    return plan_edit(size, mask, EditSettings().with_values(values), spec), mask


@st.composite
def requests(draw):
    height, width = draw(st.integers(1, 1500)), draw(st.integers(1, 1500))
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    values = {
        "margin": draw(st.sampled_from([1.0, 1.3, 2.0])),
        "minimum_crop": draw(st.sampled_from([0.1, 0.5, 1.0])),
        "growth": draw(st.sampled_from([1.1, 1.414, 4.0])),
        "tile_size": draw(st.sampled_from([1.0, 1.5, 3.0])),
        "tile_overlap": draw(st.sampled_from([0.0, 0.25, 0.5])),
        "context": draw(st.sampled_from([0.0625, 0.25, 4.0])),
        "whole_cells": draw(st.booleans()),
        "feather": draw(st.sampled_from([0, 4, 40])),
    }
    return Size(height, width), Box(top, left, bottom, right), draw(st.sampled_from(FACTS)), values


@hypothesis_settings(max_examples=300, deadline=None)
@given(requests())
def test_laws(request):
    size, painted, spec, values = request
    plan, mask = planned(size, painted, spec, **values)
    assert within(plan.crop, Box.of(size))
    assert within(painted.grown(values["feather"], size), plan.crop)
    sizes = [stage.size for stage in plan.stages]
    for small, large in itertools.pairwise(sizes):
        assert small.longest < large.longest
        assert large.height <= spec.upscale_factor * small.height
        assert large.width <= spec.upscale_factor * small.width
    if plan.crop.size.longest > sizes[0].longest:
        assert sizes[-1] == plan.crop.size
    else:
        assert len(sizes) == 1
    for stage in plan.stages:
        check_tiles(stage, plan, repainted(mask, painted, values), spec)
    assert plan.model_calls == sum(stage.model_calls for stage in plan.stages)


def repainted(mask, painted, values):
    """The mask and, where cells have levels, what its soft edge covers."""
    if not values["whole_cells"]:
        return mask
    result, reach = np.zeros_like(mask), painted.grown(values["feather"], Size(*mask.shape))
    result[reach.rows, reach.columns] = 1
    return result


def check_tiles(stage, plan, mask, spec):
    assert stage.tiles
    assert stage.canvas.height >= stage.size.height
    assert stage.canvas.width >= stage.size.width
    covered = np.zeros((stage.canvas.height, stage.canvas.width), bool)
    for tile in stage.tiles:
        assert within(tile, Box.of(stage.canvas))
        assert tile.size.height % spec.multiple == 0
        assert tile.size.width % spec.multiple == 0
        assert tile.top % spec.latent_factor == 0
        assert tile.left % spec.latent_factor == 0
        covered[tile.rows, tile.columns] = True
    rows, columns = np.nonzero(mask[plan.crop.rows, plan.crop.columns])
    scale = np.array([stage.size.height, stage.size.width]) / [*plan.crop.size.__dict__.values()]
    for offset in (0.01, 0.99):
        y = ((rows + offset) * scale[0]).astype(int)
        x = ((columns + offset) * scale[1]).astype(int)
        assert covered[y, x].all()


@hypothesis_settings(max_examples=100, deadline=None)
@given(requests())
def test_smaller_tiles_are_the_same_stage_down_to_the_training_resolution(request):
    size, painted, spec, values = request
    plan, mask = planned(size, painted, spec, **values)
    settings = EditSettings().with_values(values)
    (part,) = plan.parts
    crop = part.mask_in_crop(mask)
    for given_stage in plan.stages:
        stage = given_stage
        less = smaller_tiles(stage, part, crop, settings, spec)
        while less is not None:
            assert not less.first and less.tile_area < stage.tile_area
            assert (less.index, less.name, less.box, less.size, less.schedule, less.decoder) == (
                *(stage.index, stage.name, stage.box),
                *(stage.size, stage.schedule, stage.decoder),
            )
            check_tiles(less, plan, repainted(mask, painted, values), spec)
            assert plan.with_stage(less).stages[stage.index] == less
            stage, less = less, smaller_tiles(less, part, crop, settings, spec)
        sides = stage.tiles[0].size
        assert stage.first or sides.longest <= spec.resolution


@hypothesis_settings(max_examples=100, deadline=None)
@given(requests())
def test_transposing_the_request_transposes_the_plan(request):
    size, painted, spec, values = request
    plan, _ = planned(size, painted, spec, **values)
    other, _ = planned(transposed(size), transposed(painted), spec, **values)
    assert other.crop == transposed(plan.crop)
    for a, b in zip(plan.stages, other.stages, strict=True):
        assert b.size == transposed(a.size)
        assert sorted(b.tiles) == sorted(transposed(tile) for tile in a.tiles)


def test_the_papers_plan_for_a_square_mask():
    plan, _ = planned(Size(2000, 3000), Box(400, 800, 1400, 1800), FACTS[0], margin=1.3)
    assert plan.crop.size == Size(1344, 1344)
    first, middle, final = plan.stages
    assert (first.size, middle.size, final.size) == (
        Size(512, 512),
        Size(704, 704),
        Size(1344, 1344),
    )
    assert (first.schedule.run_steps, middle.schedule.run_steps, final.schedule.run_steps) == (
        50,
        20,
        12,
    )
    assert first.model_calls == 50 * 6 * 5
    assert len(final.tiles) == 4


def test_cost_does_not_depend_on_the_pictures_size():
    box = Box(300, 300, 700, 800)
    small, _ = planned(Size(1200, 1600), box, FACTS[0])
    large, _ = planned(Size(4000, 6000), box, FACTS[0])
    assert small.network_evaluations == large.network_evaluations


def test_less_context_costs_no_more_and_the_first_stage_does_not_change():
    box = Box(300, 300, 900, 1400)
    evaluations = []
    for context in (0.0625, 0.25, 1.0, 4.0):
        plan, _ = planned(Size(2000, 3000), box, FACTS[0], context=context)
        evaluations.append(plan.network_evaluations)
        assert plan.stages[0].tiles == (Box(0, 0, 512, 512),)
    assert evaluations == sorted(evaluations) and evaluations[0] < evaluations[-1]


@pytest.mark.parametrize("long", [600, 900, 1500, 2400, 3200])
@pytest.mark.parametrize("spec", FACTS)
def test_later_stages_follow_the_masks_shape(long: int, spec: ModelSpec):
    """Of a mask three times as long as wide; a square one's stay as they are."""
    size, later = Size(4000, 6000), {}
    for across in (long, long // 3):
        box = Box(600, 500, 600 + across, 500 + long)
        for square in (False, True):
            plan, _ = planned(size, box, spec, square_crop=square)
            areas = [stage.model_calls * stage.tile_area for stage in plan.stages]
            later[across, square] = sum(areas[1:])
        assert later[across, False] <= later[across, True]
    if long <= 8 * spec.resolution:  # of tiles much smaller than a mask few lie beside it anyway
        assert later[long // 3, False] <= 0.6 * later[long // 3, True]


def test_only_tiles_that_touch_the_mask_are_planned():
    size = Size(2048, 2048)
    mask = np.zeros((2048, 2048), np.float32)
    mask[:60, :60] = mask[-60:, -60:] = 1
    plan = plan_edit(size, mask, EditSettings(), FACTS[0])
    final = plan.stages[-1]
    assert (len(final.tiles), final.tile_grid) == (2, 9)


def test_a_small_mask_is_enlarged_and_the_result_reduced():
    plan, _ = planned(Size(1000, 1000), Box(500, 500, 520, 530), FACTS[0])
    assert plan.crop.size == Size(256, 256)
    assert [stage.size for stage in plan.stages] == [Size(512, 512)]


def test_the_first_stage_of_a_panorama_is_one_pass_and_not_too_thin():
    plan, _ = planned(Size(600, 4000), Box(10, 100, 590, 3900), FACTS[0])
    first = plan.stages[0]
    assert first.size == Size(256, 1728)
    assert (len(first.tiles), first.tile_grid) == (1, 1)


def test_calls_of_a_second_order_sampler_are_counted():
    spec = ModelSpec(calls_per_step=2)
    plan, _ = planned(
        Size(512, 512), Box(0, 0, 512, 512), spec, steps=10, candidates=1, resampling_steps=0
    )
    assert plan.model_calls == 19


def test_strength_zero_runs_no_steps():
    plan, _ = planned(
        Size(2000, 2000),
        Box(0, 0, 2000, 2000),
        FACTS[0],
        intermediate_strength=0.0,
        final_strength=0.0,
    )
    assert [stage.schedule.run_steps for stage in plan.stages[1:]] == [0, 0]


def test_a_plan_prints_and_is_json():
    plan, _ = planned(Size(1930, 2431), Box(500, 700, 1200, 1500), FACTS[0])
    assert "stage 3 (final): 1088x1088" in numbers(plan)
    assert json.loads(json.dumps(plan.to_dict()))["model_calls"] == plan.model_calls


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((20, 30), np.float32), "empty"),
        (np.ones((30, 20), np.float32), "20x30"),
        (np.full((20, 30), np.nan, np.float32), "between 0 and 1"),
        (np.full((20, 30), 255, np.float32), "between 0 and 1"),
    ],
)
def test_unusable_masks_are_refused(mask, message):
    with pytest.raises(EditError, match=message):
        plan_edit(Size(20, 30), mask, EditSettings(), FACTS[0])


@pytest.mark.parametrize("early_selection", [0.3, 0.5, 1.0])
def test_repainting_parts_of_the_schedule_adds_up_to_repainting_all_of_it(early_selection):
    def calls(**values):
        plan, _ = planned(
            Size(900, 900), Box(0, 0, 800, 800), FACTS[0], early_selection=early_selection, **values
        )
        return plan.stages[0].model_calls

    none, everywhere = calls(resampling_steps=0), calls()
    early, late = calls(repaint_until=0.3), calls(repaint_from=0.3)
    assert none < min(early, late) and max(early, late) < everywhere
    assert (early - none) + (late - none) == everywhere - none


def test_an_empty_interval_for_repaint_is_refused():
    values = {"repaint_from": 0.5, "repaint_until": 0.5}
    with pytest.raises(EditError, match="repaint_until must be more"):
        planned(Size(600, 600), Box(0, 0, 300, 300), FACTS[0], **values)
    plan, _ = planned(Size(600, 600), Box(0, 0, 300, 300), FACTS[0], resampling_steps=0, **values)
    assert plan.stages[0].schedule.in_words == "50 steps"


@pytest.mark.parametrize("steps", [1, 2, 4, 10])
@pytest.mark.parametrize(("begin", "end"), [(0.5, 0.55), (0.55, 0.6), (0.95, 1.0), (0.0, 0.05)])
def test_an_interval_for_resampling_steps_at_least_one_step(steps, begin, end):
    values = {"steps": steps, "repaint_from": begin, "repaint_until": end}
    plan, _ = planned(Size(600, 600), Box(0, 0, 300, 300), FACTS[0], **values)
    first = plan.stages[0]
    assert sum(count > 0 for count in first.schedule.resamplings) == 1


def test_steps_in_words():
    def words(**values):
        plan, _ = planned(Size(600, 600), Box(0, 0, 300, 300), FACTS[0], **values)
        return plan.stages[0].schedule.in_words

    assert words() == "50 steps x 6"
    assert words(repaint_from=0.5) == "50 steps, 25 x 6"
    assert words(steps=1, resampling_steps=0) == "1 step"
