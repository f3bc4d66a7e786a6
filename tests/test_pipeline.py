"""The whole edit, on a model whose answers can be computed by hand."""

from __future__ import annotations

import itertools
import json
import math
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from engine import box_mask, errors_outside, photograph, run
from fakes import PointwiseBackend, euler, euler_ancestral, small_spec
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import msbd
from msbd.compositing import any_touch, cropped, inner_mask, resized
from msbd.errors import EditError, Interrupted
from msbd.geometry import Box, Size
from msbd.progress import Callbacks, work
from msbd.standalone import samplers

pytestmark = pytest.mark.edits

PACKAGE = Path(msbd.__file__).parent
SIZE = Size(150, 203)
PAINTED = Box(40, 60, 90, 130)


@pytest.fixture
def image():
    return photograph(SIZE.height, SIZE.width)


@pytest.fixture
def mask():
    return box_mask(SIZE, PAINTED)


def near(mask: np.ndarray, feather: int) -> torch.Tensor:
    """Every pixel within the feather of the mask, [1,1,H,W]."""
    tensor = torch.from_numpy(mask)[None, None]
    return torch.nn.functional.max_pool2d(tensor, 2 * feather + 1, 1, feather) > 0


def test_the_edit_is_what_the_prompt_says_and_the_rest_is_untouched(image, mask):
    result = run(image, mask, decoder="off", lowpass_background=False).image
    inside = result[..., 48:82, 68:122]
    red = torch.tensor([0.9, 0.1, 0.1]).reshape(1, 3, 1, 1)
    assert (inside - red).abs().mean() < 0.1
    outside = ~near(mask, 4).expand_as(image)
    assert torch.equal(result[outside], image[outside])


@pytest.mark.edits(alike=False)
@hypothesis_settings(max_examples=25, deadline=None)
@given(st.data())
def test_outside_the_feathered_mask_the_numbers_are_the_same_at_any_size(data):
    height, width = data.draw(st.integers(1, 130)), data.draw(st.integers(1, 130))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    feather = data.draw(st.integers(0, 6))
    image = photograph(height, width)
    mask = box_mask(Size(height, width), Box(top, left, bottom, right))
    edit = run(image, mask, feather=feather, candidates=1, resampling_steps=0, decoder_iterations=1)
    outside = ~near(mask, feather).expand_as(image)
    assert edit.image.shape == image.shape
    assert torch.isfinite(edit.image).all()
    assert edit.image.min() >= 0
    assert edit.image.max() <= 1
    assert torch.equal(edit.image[outside], image[outside])
    assert edit.report.outside_max_difference == 0


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(image, mask):
    first, second = run(image, mask), run(image, mask)
    assert torch.equal(first.image, second.image)
    assert not torch.equal(first.image, run(image, mask, seed=4).image)


def test_global_generators_are_untouched_and_do_not_matter(image, mask):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = run(image, mask)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(1)
    assert torch.equal(first.image, run(image, mask).image)


def test_the_first_candidate_does_not_depend_on_how_many_there_are(image, mask):
    one = run(image, mask, candidates=1, choose="first")
    three = run(image, mask, candidates=3, choose="first")
    assert torch.equal(one.image, three.image)


def test_onlookers_do_not_change_the_result(image, mask):
    seen = []
    watch = Callbacks(picture=lambda name, *_: seen.append(name))
    assert torch.equal(run(image, mask).image, run(image, mask, watch=watch).image)
    assert {"crop", "candidate", "draft", "context", "start", "before", "result"} == set(seen)


def test_one_tile_equals_many_for_a_pointwise_model(image, mask):
    """With one noise field per stage, cutting it into tiles changes nothing."""
    values = {"growth": 4.0, "decoder": "off"}
    one = run(image, mask, tile_size=4.0, **values)
    backend = PointwiseBackend()
    many = run(image, mask, backend, tile_size=1.0, **values)
    final_one, final_many = (e.report.plan.stages[-1] for e in (one, many))
    assert len(final_one.tiles) == 1 < len(final_many.tiles)
    assert final_one.size == final_many.size
    assert torch.allclose(one.image, many.image, atol=1e-5)
    assert backend.samples == many.report.plan.model_calls


def test_the_brightest_candidate_wins_and_scores_are_reported(image, mask):
    report = run(image, mask, candidates=4).report
    assert report.parts[0].scores is not None
    assert len(report.parts[0].scores) == 4
    assert report.parts[0].chosen == int(np.argmax(report.parts[0].scores))


class ThirdIsBest(PointwiseBackend):
    """Whatever the pictures."""

    def score(self, images: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.1, 0.2, 0.4, 0.3])[: len(images)]


@pytest.mark.parametrize("sampler", [euler, euler_ancestral])
def test_choosing_earlier_changes_only_the_cost_if_the_choice_is_the_same(image, mask, sampler):
    backends = [ThirdIsBest(sampler=sampler, spread=0.2) for _ in range(2)]
    values = {"candidates": 4, "steps": 8}
    late = run(image, mask, backends[0], **values)
    early = run(image, mask, backends[1], early_selection=0.5, **values)
    assert early.report.parts[0].chosen == late.report.parts[0].chosen == 2
    assert torch.allclose(early.image, late.image, atol=1e-5)
    assert backends[1].samples == early.report.plan.model_calls
    assert backends[0].samples - backends[1].samples == 3 * 4 * 2


def test_without_a_judge_the_first_candidate_goes_on_and_the_user_is_told(image, mask):
    edit = run(image, mask, PointwiseBackend(blind=True), candidates=3)
    assert edit.report.parts[0].chosen == 0
    assert edit.report.parts[0].scores is None
    assert any("CLIP" in note for note in edit.report.notes)
    first = run(image, mask, candidates=3, choose="first")
    assert torch.equal(edit.image, first.image)


def test_the_first_stage_can_stay_inside_the_mask(image, mask):
    """In cells the mask only touches it shows the surroundings, not what the mask hides."""
    shown: dict[str, torch.Tensor] = {}
    watch = Callbacks(
        picture=lambda name, picture, stage, caption: shown.setdefault(name, picture.clone()),
        wanted=frozenset(["result"]),
    )
    values = {"decoder": "off", "whole_cells": True, "feather": 0}
    edit = run(image, mask, watch=watch, **values)
    hidden = torch.from_numpy(mask)[None, None]
    plan, first = edit.report.plan, edit.report.plan.stages[0]
    painted = any_touch(cropped(hidden, plan.crop), first.size)
    inside = inner_mask(painted, 8).repeat_interleave(8, -1).repeat_interleave(8, -2) > 0
    red = shown["result"][:, :1] - shown["result"][:, 1:2] > 0.4
    assert red[inside].float().mean() > 0.95 and red[~inside].float().mean() < 0.05
    assert inside.any() and (painted[~inside] > 0).any()


def test_cells_that_stay_in_part_show_nothing_of_what_the_mask_hides(image, mask):
    values = {"decoder": "off", "feather": 0, "whole_cells": True}
    hidden = (torch.from_numpy(mask)[None, None] > 0).expand_as(image)
    edit = run(image, mask, **values)
    other = run(torch.where(hidden, 1 - image, image), mask, **values)
    assert torch.allclose(other.image[hidden], edit.image[hidden], atol=1e-6)


def test_decoder_optimisation_lifts_the_surroundings_before_the_paste(image, mask):
    tinted = {"backend": PointwiseBackend(tint=0.1), "decoder_rate": 1e-2}
    off = errors_outside(image, mask, **tinted, decoder="off")
    on = errors_outside(image, mask, **tinted, decoder_iterations=60)
    assert all(with_it < without for with_it, without in zip(on, off, strict=True))


def test_the_context_is_as_soft_as_the_stage_before_saw_it(image, mask):
    shown = {}
    watch = Callbacks(
        picture=lambda name, picture, stage, _: shown.update({(name, stage.index): picture.clone()})
    )
    values = {"growth": 1.5, "whole_cells": False}
    stages = run(image, mask, watch=watch, **values).report.plan.stages
    assert len(stages) > 2
    for before, stage in itertools.pairwise(stages):
        small = resized(cropped(image, stage.box), before.size)
        assert torch.equal(shown["context", stage.index], resized(small, stage.size))
        draft, start = (shown[name, stage.index] for name in ("draft", "start"))
        painted = any_touch(cropped(torch.from_numpy(mask)[None, None], stage.box), stage.size) > 0
        expected = torch.where(painted, draft, shown["context", stage.index])
        assert torch.equal(start, expected)


def test_a_decoder_that_got_worse_is_not_used(mask):
    """On a plain picture whose tone is all but right, large steps only do harm."""
    plain = torch.full((1, 3, SIZE.height, SIZE.width), 0.5)
    backend = PointwiseBackend(tint=0.001, colour=(0.5, 0.5, 0.5), spread=1e-4)
    nearly = {"backend": backend, "decoder_rate": 1e-2}
    wild = run(plain, mask, **nearly, decoder_iterations=3)
    off = run(plain, mask, **nearly, decoder="off")
    assert len([note for note in wild.report.notes if "undone" in note]) == 3
    assert torch.equal(wild.image, off.image)


@pytest.mark.parametrize("candidates", [1, 3])
@pytest.mark.parametrize("name", ["euler", "heun"])
@pytest.mark.parametrize(
    ("decoder", "sparing"),
    [("off", False), ("last layer", False), ("fine-tune", False), ("fine-tune", True)],
)
def test_work_and_calls_are_exactly_what_the_plan_says(
    image, mask, decoder, sparing, name, candidates
):
    sampler, each = samplers.SAMPLERS[name]
    backend, told = PointwiseBackend(small_spec(calls_per_step=each), sampler=sampler), []
    watch = Callbacks(
        begin=lambda plan, total: told.append(-total), advance=lambda work, text: told.append(work)
    )
    values = {"decoder": decoder, "decoder_checkpointing": sparing, "early_selection": 0.5}
    values |= {"candidates": candidates, "decoder_iterations": 20, "repaint_until": 0.5}
    edit = run(image, mask, backend, watch=watch, **values)
    assert min(told[1:]) >= -1e-9
    assert backend.samples == edit.report.plan.model_calls == edit.report.model_calls
    assert told[0] == -work(edit.report.plan)
    assert math.isclose(sum(told), 0, abs_tol=1e-6)
    for planned, done in zip(edit.report.plan.stages, edit.report.stages, strict=True):
        assert done.model_calls == planned.schedule.model_calls * len(planned.tiles)


def interrupt_at(samples: int, error: BaseException):
    def before(done: int) -> None:
        if done >= samples:
            raise error

    return before


@pytest.mark.parametrize(
    "error",
    [Interrupted(), KeyboardInterrupt(), torch.cuda.OutOfMemoryError("x"), MemoryError()],
    ids=lambda e: type(e).__name__,
)
@pytest.mark.parametrize("finished", [1, 2])
def test_interrupted_after_a_stage_that_stage_is_pasted(image, mask, error, finished):
    whole = run(image, mask).report
    calls = sum(stage.model_calls for stage in whole.stages[:finished])
    backend = PointwiseBackend(before=interrupt_at(calls, error))
    edit = run(image, mask, backend)
    assert edit.report.interrupted
    assert f"stopped after stage {finished} of 3" in edit.report.notes[-1]
    assert len(edit.report.stages) == finished
    outside = ~near(mask, 4).expand_as(image)
    assert torch.equal(edit.image[outside], image[outside])
    assert (edit.image - image)[..., PAINTED.rows, PAINTED.columns].abs().mean() > 0.1


def test_interrupted_before_anything_is_finished(image, mask):
    with pytest.raises(Interrupted):
        run(image, mask, PointwiseBackend(before=interrupt_at(3, Interrupted())))
    with pytest.raises(EditError, match="memory"):
        run(image, mask, PointwiseBackend(before=interrupt_at(3, MemoryError())))


def test_other_errors_are_not_swallowed(image, mask):
    with pytest.raises(RuntimeError, match="boom"):
        run(image, mask, PointwiseBackend(before=interrupt_at(26, RuntimeError("boom"))))


def test_no_diffusion_in_later_stages_leaves_the_enlarged_first_stage(image, mask):
    backend = PointwiseBackend()
    edit = run(image, mask, backend, intermediate_strength=0.0, final_strength=0.0)
    assert backend.samples == edit.report.stages[0].model_calls


def test_sizes_that_are_no_multiples_are_padded_for_the_model_only(mask, image):
    """The crop is the whole picture, 150x203, in one pass and in tiles."""
    everything = np.ones((SIZE.height, SIZE.width), np.float32)
    for tile_size in (1.0, 4.0):
        spec = small_spec(64)
        edit = run(image, everything, PointwiseBackend(spec), tile_size=tile_size)
        assert edit.report.plan.crop == Box.of(SIZE)
        assert edit.report.plan.stages[-1].size == SIZE
        assert edit.image.shape == image.shape


def test_the_report_is_json_with_what_was_promised(image, mask):
    report = json.loads(json.dumps(run(image, mask).report.to_dict()))
    assert {
        *("plan", "settings", "seed", "stages", "seconds", "model_calls"),
        *("peak_memory_bytes", "parts", "outside_max_difference"),
    } <= set(report)
    assert {"name", "seconds", "model_calls", "decoder_loss"} <= set(report["stages"][0])
    assert report["peak_memory_bytes"] > 1_000_000
    assert report["model_calls"] == report["plan"]["model_calls"]


@pytest.mark.parametrize("whole_cells", [False, True])
def test_less_of_a_grey_mask_is_repainted_and_that_shines_through(image, whole_cells):
    values = {"feather": 0, "decoder": "off", "whole_cells": whole_cells, "steps": 10}
    mask = box_mask(SIZE, PAINTED)
    inside = torch.from_numpy(mask > 0).expand_as(image)
    changes = []
    for level in (0.05, 0.3, 0.6, 1.0):
        edit = run(image, mask * level, **values)
        assert torch.equal(edit.image[~inside], image[~inside])
        changes.append(float((edit.image - image).abs()[inside].mean()))
    assert changes == sorted(changes)
    assert changes[0] < 0.1 * changes[3]  # none of ten steps reaches so low a level
    assert changes[2] < 0.6 * changes[3]  # less than blending alone would leave


def test_each_tile_is_denoised_under_its_own_condition(image, mask):
    backend = PointwiseBackend()
    done = run(image, mask, backend)
    tiles = [tile for stage in done.report.plan.stages for tile in stage.tiles]
    assert [shape[2:] for shape in backend.conditions] == [
        (tile.size.height, tile.size.width) for tile in tiles
    ]


def test_tiles_in_one_batch_are_denoised_as_if_each_were_alone(image, mask):
    class Moody(PointwiseBackend):
        """Each tile's condition shows in it; so many samples at a time."""

        most = 10**9

        def denoise(self, z, sigma, guidance=1.0, condition=None):
            if len(z) > self.most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super().denoise(z, sigma, guidance, condition) + 0.1 * condition

    values = {"growth": 4.0, "candidates": 5, "tile_size": 1.0}
    together, alone = Moody(), Moody()
    alone.most = 1
    many, single = (run(image, mask, backend, **values) for backend in (together, alone))
    assert torch.allclose(many.image, single.image, atol=1e-6)
    last = many.report.plan.stages[-1]
    assert len(last.tiles) > last.batch > 1
    assert max(shape[0] for shape in together.shapes[-last.schedule.run_steps :]) == last.batch
    assert together.samples == alone.samples == many.report.plan.model_calls


def test_a_backend_that_fails_later_on_does_not_cost_what_is_finished(image, mask):
    class Failing(PointwiseBackend):
        def upscale(self, image, size):
            raise EditError("the upscaler broke: choose another")

    done = run(image, mask, Failing())
    assert done.report.interrupted and len(done.report.stages) == 1
    assert any("the upscaler broke: choose another" in note for note in done.report.notes)


class Small(PointwiseBackend):
    """Memory for so many latent cells of a batch and no more."""

    cells: int = 10**9

    def denoise(self, z, sigma, guidance=1.0, condition=None):
        if len(z) * z.shape[-1] * z.shape[-2] > self.cells:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return super().denoise(z, sigma, guidance, condition)


def test_candidates_that_do_not_fit_together_are_made_in_portions(image, mask):
    small = Small()
    small.cells = 2 * 16
    whole = run(image, mask, candidates=5, tile_size=1.0)
    split = run(image, mask, small, candidates=5, tile_size=1.0)
    assert torch.equal(split.image, whole.image)
    assert not split.report.notes and not split.report.interrupted
    assert small.samples == split.report.plan.model_calls


def test_tiles_that_do_not_fit_are_made_smaller_and_the_stage_done_again(image, mask):
    small, told = Small(), []
    small.cells = 40
    watch = Callbacks(
        begin=lambda plan, total: told.append(-total), advance=lambda work, text: told.append(work)
    )
    values = {"candidates": 1, "tile_size": 3.0, "growth": 4.0}
    large = run(image, mask, **values)
    assert any(s.tiles[0].size.area > 40 * 64 for s in large.report.plan.stages)
    edit = run(image, mask, small, watch=watch, **values)
    stages = edit.report.plan.stages
    assert not edit.report.interrupted and len(edit.report.stages) == len(stages)
    assert all(stage.tiles[0].size.area <= 40 * 64 for stage in stages)
    assert any("it was done again in tiles of" in note for note in edit.report.notes)
    assert edit.report.model_calls == edit.report.plan.model_calls
    assert math.isclose(sum(told), 0, abs_tol=1e-6) and min(told[1:]) >= 0
    outside = ~near(mask, 4).expand_as(image)
    assert torch.equal(edit.image[outside], image[outside])


def test_where_no_tile_is_small_enough_the_best_so_far_is_kept(image, mask):
    class Smallest(Small):
        def encode(self, picture):
            if len(self.encoded) > 1:
                raise RuntimeError("not enough memory: you tried to allocate")
            return super().encode(picture)

    edit = run(image, mask, Smallest())
    assert edit.report.interrupted and len(edit.report.stages) in (1, 2)
    assert any("memory ran out" in note for note in edit.report.notes)


def test_without_memory_for_the_decoder_the_edit_goes_on(image, mask):
    class Crowded(PointwiseBackend):
        def decoder(self):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        def decode(self, z):
            with torch.no_grad():
                return super().decoder()(z).clamp(0, 1)

    totals, done = [], []
    watch = Callbacks(
        begin=lambda plan, total: totals.append(total), advance=lambda work, _: done.append(work)
    )
    edited = run(image, mask, Crowded(), watch=watch)
    assert not edited.report.interrupted
    assert len(edited.report.stages) == len(edited.report.plan.stages)
    assert any("was left out in stage" in note for note in edited.report.notes)
    assert sum(done) == pytest.approx(totals[0])


@pytest.mark.parametrize("values", [{}, {"tile_size": 1.0}, {"early_selection": 0.5}], ids=str)
def test_a_networks_error_is_a_few_frames_below_the_edit(image, mask, values):
    """So that a traceback can be read: from `edit` down to what calls the network."""
    calls = [stage.model_calls for stage in run(image, mask, **values).report.stages]
    assert len(calls) > 1
    for stage in range(len(calls)):
        broken = interrupt_at(sum(calls[:stage]), RuntimeError("boom"))
        backend = PointwiseBackend(before=broken, sampler=samplers.euler_ancestral)
        with pytest.raises(RuntimeError, match="boom") as caught:
            run(image, mask, backend, **values)
        frames = [
            f"{Path(frame.filename).relative_to(PACKAGE).as_posix()}:{frame.name}"
            for frame in traceback.extract_tb(caught.value.__traceback__)
            if PACKAGE in Path(frame.filename).parents
        ]
        assert frames[0] == "pipeline.py:edit"
        assert len(frames) <= 8, "\n".join(frames)


@pytest.mark.edits
def test_later_stages_follow_the_prompt_for_details():
    """The first stage is as without it, and its own prompt paints nothing after that."""
    image, mask = photograph(150, 210), box_mask(Size(150, 210), Box(30, 40, 110, 150))
    stages: list[torch.Tensor] = []

    def keep(name: str, picture: torch.Tensor, *_: object) -> None:
        if name == "result":
            stages.append(picture)

    watch = Callbacks(picture=keep, wanted=frozenset({"result"}))
    red, blue = PointwiseBackend(), PointwiseBackend(colour=(0.1, 0.1, 0.9))
    run(image, mask, red, watch=watch)
    plain, stages = stages, []
    first = PointwiseBackend()
    first.details = blue
    run(image, mask, first, watch=Callbacks(picture=keep, wanted=frozenset({"result"})))
    assert torch.equal(stages[0], plain[0]) and not torch.equal(stages[-1], plain[-1])
    assert first.samples + blue.samples == red.samples and blue.samples > 0
