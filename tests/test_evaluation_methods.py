"""The evaluation's cases, ways to paint and books, on the pointwise model."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine import box_mask, photograph, within
from fakes import PointwiseBackend

from msbd.compositing import cropped
from msbd.evaluation import ways
from msbd.evaluation.cases import COUNT, FORMATS, SEED, all_cases, draw
from msbd.evaluation.errands import cases_of, errands, plan_of, quickened
from msbd.evaluation.masks import KINDS
from msbd.evaluation.methods import EXPERIMENTS, METHODS, MULTI_STAGE
from msbd.evaluation.names import EXPERIMENTS as NAMES
from msbd.evaluation.prediction_cache import RecallingBackend, Spent
from msbd.evaluation.records import recipe
from msbd.evaluation.ways import Painting, Task
from msbd.geometry import Box, Size
from msbd.miniature import bank, clip_measures, clip_pictures, train_upscaler
from msbd.miniature.oracle import read
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.plan import ModelSpec
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.settings import EditSettings

QUICK = {"steps": 4, "resampling_steps": 1, "candidates": 3, "decoder": "off"}
SIZE = Size(160, 200)


class TextOnly(PointwiseBackend):
    """Tells the network nothing but latents and prompt, as most checkpoints."""

    def sampling(self, *of_tile: object) -> AbstractContextManager[None]:
        return nullcontext()


def task(backend: PointwiseBackend | RecallingBackend | None = None, **changes) -> Task:
    settings = EditSettings().with_values({**QUICK, **changes})
    mask = box_mask(SIZE, Box(30, 40, 120, 130))
    image = photograph(SIZE.height, SIZE.width)
    return Task(image, mask, settings, backend or PointwiseBackend(), Noise(5))


def test_there_are_at_least_thirty_cases_of_every_kind_and_format() -> None:
    cases = all_cases()
    assert len(cases) == COUNT >= 30 and sum(case.asks_for_object for case in cases) >= 25
    assert set(Counter(c.kind for c in cases)) == set(KINDS)
    assert min(Counter(c.format for c in cases).values()) >= 10
    assert len({case.name for case in cases}) == len({case.seed for case in cases}) == COUNT
    assert any(case.other for case in cases) and any(not case.other for case in cases)


def test_pictures_are_four_to_six_times_the_training_size() -> None:
    assert all(4 <= size.longest / 128 <= 6 for size in FORMATS.values())
    assert {s.height > s.width for s in FORMATS.values()} == {True, False}
    assert max(s.longest / s.shortest for s in FORMATS.values()) > 2


def test_seeds_are_those_of_no_training() -> None:
    trained = {bank.SEED, clip_pictures.SEED, clip_measures.HELD_OUT_SEED}
    assert SEED not in trained | {train_upscaler.HELD_OUT_SEED, 900, 901, 902}


@pytest.mark.parametrize("case", all_cases()[::5], ids=lambda case: case.name)
def test_a_case_is_drawn_alike_every_time_and_can_be_edited(case) -> None:
    image, mask = draw(case)
    again, _ = draw.__wrapped__(case)
    assert (image == again).all() and image.shape[:2] == mask.shape
    assert set(np.unique(mask)) == {0.0, 1.0}
    plan = plan_of(case, MULTI_STAGE)
    assert plan.crop.size.longest >= 256 and len(plan.stages) >= 2


@pytest.mark.parametrize("case", all_cases()[::4], ids=lambda case: case.name)
def test_a_mask_is_of_its_kind_and_what_it_covers_holds_no_object(case) -> None:
    image, mask = draw(case)
    at_border = any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    assert at_border or case.kind != "border"
    assert (mask.mean() < 0.02) == (case.kind == "line")
    covered = np.where(mask[..., None] > 0, image, image[:1, :1])
    if case.asks_for_object:
        assert read(covered, case.unit) == []


def test_experiments_have_the_names_the_command_line_knows() -> None:
    assert tuple(experiment.name for experiment in EXPERIMENTS) == NAMES
    assert len(METHODS) == sum(len(experiment.methods) for experiment in EXPERIMENTS)


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_the_papers_but_for_what_a_method_is_about(name: str) -> None:
    changed = set(METHODS[name].settings.changed())
    assert changed <= {"guidance", "decoder", *METHODS[name].changes}


@pytest.mark.edits
def test_a_staged_painting_is_the_engines_edit() -> None:
    given = task()
    found = ways.staged(given)
    done = edit(given.image, given.mask, given.plan, given.settings, given.backend, given.noise)
    assert torch.equal(found.result, cropped(done.image, found.plan.crop))
    assert len(found.candidates) == 3


WAYS = {
    "staged": ways.staged,
    "first": lambda given: ways.staged(given, ways.only_first),
    "one pass": lambda given: ways.staged(given, ways.in_one_pass),
    "segments": lambda given: ways.staged(given, ways.in_segments),
    "network": lambda given: ways.staged(given, ways.only_first, ways.by_network),
    "unblended": ways.unblended,
}


@pytest.mark.edits
@pytest.mark.parametrize("way", WAYS)
def test_every_way_paints_inside_the_mask_only(way: str) -> None:
    candidates = 1 if way in ("one pass", "segments") else 3
    given = task(candidates=candidates)
    found: Painting = WAYS[way](given)
    before = cropped(given.image, found.plan.crop)
    assert found.patch.shape == found.result.shape == before.shape
    kept = (found.alpha == 0).expand_as(before)
    assert torch.equal(found.result[kept], before[kept])
    inside = (found.alpha == 1).expand_as(before)
    assert torch.allclose(found.result[inside], found.patch[inside], atol=1e-6)
    red = found.result[0, :, 60, 60] if found.plan.crop.top == 0 else found.result[0, :, 40, 40]
    assert red[0] > 0.7 and red[1] < 0.3


def test_one_pass_has_one_tile_of_at_most_three_times_the_training_size() -> None:
    given = task(candidates=1)
    (stage,) = ways.in_one_pass(given.plan, given).stages
    assert stage.first and stage.tiles == (Box.of(stage.canvas),)
    assert stage.size.longest == 3 * given.backend.spec.resolution


def test_segments_are_of_the_training_size_and_touch_the_mask() -> None:
    given = task(candidates=1)
    (stage,) = ways.in_segments(given.plan, given).stages
    side = given.backend.spec.resolution
    assert stage.first and {tile.size for tile in stage.tiles} == {Size(side, side)}
    mask = cropped(torch.from_numpy(given.mask), given.plan.crop)
    assert all(cropped(mask, tile).any() for tile in stage.tiles)
    covered = torch.zeros_like(mask)
    for tile in stage.tiles:
        cropped(covered, tile).fill_(1)
    assert bool((covered >= mask).all())


@pytest.mark.edits
@pytest.mark.parametrize("pixels", [0, 8, 16])
def test_tiles_overlap_by_just_what_was_asked_but_for_the_last(pixels: int) -> None:
    given = task(tile_size=1.0)
    plan = ways.overlapping(given.plan, given, pixels)
    side = given.backend.spec.resolution
    for stage in plan.stages[1:]:
        lefts = sorted({tile.left for tile in stage.tiles})
        last = stage.canvas.width - side
        gaps = [b - a for a, b in pairwise(lefts) if b < last]
        assert all(gap % (side - pixels) == 0 for gap in gaps)
        assert all(within(tile, Box.of(stage.canvas)) for tile in stage.tiles)
    assert plan.stages[0] == given.plan.stages[0]
    found = ways.staged(given, partial(ways.overlapping, pixels=pixels))
    assert found.result.shape[-2:] == (plan.crop.size.height, plan.crop.size.width)


def test_figure_5_c_has_no_prompt_after_the_first_stage() -> None:
    plan = plan_of(all_cases()[0], METHODS["unconditional"])
    first, *later = (stage.schedule.guidance for stage in plan.stages)
    assert first == 1 and set(later) == {0.0}
    assert all(s.schedule.guidance == 1 for s in plan_of(all_cases()[0], METHODS["text"]).stages)


def test_no_two_edits_share_their_noise_by_chance() -> None:
    seeds = {method.seed for method in METHODS.values()}
    assert len({case.seed + seed for case in all_cases() for seed in seeds}) == COUNT * len(seeds)


def test_a_recipe_tells_apart_whatever_paints_otherwise() -> None:
    case, other = all_cases()[:2]
    recipes = [recipe(case, method) for method in METHODS.values()]
    alike = [(a, b) for a, b in combinations(METHODS, 2)
             if recipe(case, METHODS[a]) == recipe(case, METHODS[b])]  # fmt: skip
    assert alike == [] and recipe(other, MULTI_STAGE) not in recipes
    assert json.loads(json.dumps(recipes)) == recipes


@pytest.mark.edits
def test_without_blending_the_background_is_painted_over() -> None:
    """Before the paste: blended diffusion keeps it, plain diffusion makes it red too."""
    corners = [way(task()).patch[0, 0, :8, :8].mean() for way in (ways.unblended, ways.staged)]
    assert corners[0] > corners[1] + 0.1


@pytest.mark.edits
def test_what_is_recalled_is_what_was_computed() -> None:
    plain = ways.staged(task())
    recalling = RecallingBackend(TextOnly())
    for _ in range(2):
        assert torch.equal(ways.staged(task(recalling)).result, plain.result)


@pytest.mark.edits
def test_nothing_is_computed_twice_and_everything_is_counted() -> None:
    inner = TextOnly()
    recalling = RecallingBackend(inner)
    given = task(recalling)
    ways.staged(given)
    once, spent = inner.samples, recalling.spent
    assert spent.evaluations == pytest.approx(given.plan.network_evaluations)
    recalling.spent = Spent()
    ways.staged(given)
    assert inner.samples == once
    assert recalling.spent.evaluations == pytest.approx(given.plan.network_evaluations)
    assert recalling.spent.recalled_seconds > 0


@pytest.mark.edits
def test_fewer_candidates_need_nothing_new() -> None:
    inner = TextOnly()
    recalling = RecallingBackend(inner)
    ways.staged(task(recalling), ways.only_first)
    before = inner.samples
    few = ways.staged(task(recalling, candidates=1), ways.only_first)
    assert inner.samples == before
    alone = ways.staged(task(candidates=1), ways.only_first)
    assert torch.equal(few.result, alone.result)


def test_other_guidance_is_another_prediction() -> None:
    recalling = RecallingBackend(TextOnly())
    z, sigma = torch.ones(1, 4, 4, 4), torch.ones(1)
    assert not torch.equal(recalling.denoise(z, sigma, 1.0), recalling.denoise(z, sigma, 0.0))


def test_a_full_run_does_a_case_in_one_go_and_the_longest_first() -> None:
    todo = errands(EXPERIMENTS)
    assert sorted(errand.case.number for errand in todo) == list(range(COUNT))
    counts = [len(errand.methods) for errand in todo]
    assert counts == sorted(counts, reverse=True)
    for experiment in EXPERIMENTS:
        names = {method.name for method in experiment.methods}
        having = [e for e in todo if names <= {method.name for method in e.methods}]
        assert {e.case for e in having} >= set(cases_of(experiment))
    assert all(MULTI_STAGE in errand.methods for errand in todo)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda e: e.name)
def test_cases_suit_their_experiment(experiment) -> None:
    cases = cases_of(experiment)
    assert len(cases) == experiment.cases
    assert all(case.asks_for_object for case in cases) or not experiment.objects
    low, high = experiment.crops
    assert all(low <= case.unit <= high for case in cases)


def test_a_quick_run_is_the_same_with_fewer_steps() -> None:
    for method in METHODS.values():
        quick = quickened(method)
        assert (quick.name, quick.paint, quick.seed) == (method.name, method.paint, method.seed)
        settings = quick.settings.flat()
        assert settings["steps"] <= 6 and settings["candidates"] <= 2
        assert settings["decoder_iterations"] <= 2
    work = sum(len(errand.methods) for errand in errands(EXPERIMENTS, quick=True))
    assert work < 120


def test_the_plan_is_for_the_miniature() -> None:
    case = all_cases()[0]
    plan = plan_of(case, replace(MULTI_STAGE, changes={"candidates": 2}))
    assert plan.resolution == 128 and plan.stages[0].schedule.candidates == 2
    _, mask = draw(case)
    own = plan_edit(
        case.size, mask, MULTI_STAGE.settings, replace(PointwiseBackend().spec, resolution=128)
    )
    assert plan.mask == own.mask


@pytest.mark.parametrize("name", ["recommended", "fast"])
@pytest.mark.parametrize(
    ("size", "side", "most"), [(Size(2000, 3000), 800, 1.3), (Size(4000, 6000), 3200, 1.0)]
)
def test_ours_costs_no_more_than_two_passes(name: str, size: Size, side: int, most: float) -> None:
    """One pass at the crop's own size takes memory with its area, ours with a tile's."""
    spec = ModelSpec()
    mask = box_mask(size, Box(200, 200, 200 + side, 200 + side))
    settings = preset(name)
    ours = plan_edit(size, mask, settings, spec)
    task = SimpleNamespace(backend=SimpleNamespace(spec=spec))
    theirs = ways.in_two_passes(ours, task)
    assert theirs.stages[0] == ours.stages[0] and len(theirs.stages) == 2
    assert ours.network_evaluations <= most * theirs.network_evaluations
    areas = [max(stage.tile_area for stage in plan.stages) for plan in (ours, theirs)]
    assert areas[0] < 0.5 * areas[1]
