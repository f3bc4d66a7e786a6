"""One test for each known fault of the published code, so that none can come back."""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine import box_mask, photograph, run, within
from fakes import PointwiseBackend

from msbd.backend import ModelSpec
from msbd.errors import EditError, Interrupted
from msbd.geometry import Box, Size
from msbd.planning import plan_edit
from msbd.progress import Callbacks
from msbd.setting import ABLATIONS
from msbd.settings import SETTINGS, EditSettings

pytestmark = pytest.mark.edits

SD1 = ModelSpec()


def sd1_plan(size: Size, *painted: Box, **values):
    return plan_edit(size, box_mask(size, *painted), EditSettings().with_values(values), SD1)


@pytest.mark.parametrize("size", [Size(3000, 900), Size(900, 3000), Size(700, 700)])
def test_axes_are_not_swapped_when_the_crop_is_clamped(size):
    corner = Box(size.height - 400, size.width - 500, size.height, size.width)
    plan = sd1_plan(size, corner)
    assert within(plan.crop, Box.of(size))
    assert within(corner, plan.crop)


def test_pixels_of_one_range_are_pasted_into_a_picture_of_the_same():
    """A grey edit of a grey picture is grey, not black."""
    image = torch.full((1, 3, 100, 100), 0.5)
    backend = PointwiseBackend(colour=(0.5, 0.5, 0.5), spread=0.001)
    mask = box_mask(Size(100, 100), Box(30, 30, 70, 70))
    result = run(image, mask, backend).image
    assert (result - 0.5).abs().max() < 0.02


def test_no_stage_is_repeated_at_the_same_size():
    for side in (512, 700, 768, 800, 1024):
        plan = sd1_plan(Size(side, side), Box(0, 0, side, side))
        sizes = [stage.size for stage in plan.stages]
        assert len(set(sizes)) == len(sizes)


@pytest.mark.parametrize(("side", "tiles"), [(768, 1), (1408, 4), (2048, 9)])
def test_there_are_no_more_tiles_than_needed(side, tiles):
    plan = sd1_plan(Size(side, side), Box(0, 0, side, side))
    assert len(plan.stages[-1].tiles) == tiles


def test_tiles_without_a_masked_pixel_are_not_computed():
    boxes = Box(0, 0, 60, 60), Box(1900, 1900, 2048, 2048)
    plan = sd1_plan(Size(2048, 2048), *boxes)
    assert len(plan.stages[-1].tiles) == 2
    image = photograph(160, 160)
    mask = box_mask(Size(160, 160), Box(0, 0, 10, 10), Box(150, 150, 160, 160))
    backend = PointwiseBackend()
    edit = run(image, mask, backend, tile_size=1.0)
    final = edit.report.plan.stages[-1]
    assert len(final.tiles) < final.tile_grid
    assert backend.samples == edit.report.plan.model_calls


def test_overlapping_tiles_share_their_noise():
    """Two tiles that overlap get the very same noise there."""
    starts = []

    class Spy(PointwiseBackend):
        def denoise(self, z, sigma, guidance=1.0, condition=None):
            starts.append(z.clone())
            return super().denoise(z, sigma, guidance, condition)

    image = torch.full((1, 3, 64, 80), 0.5)
    mask = np.ones((64, 80), np.float32)
    backend = Spy(colour=(0.5, 0.5, 0.5), spread=0.001)
    edit = run(image, mask, backend, growth=4.0, steps=4, final_strength=1.0, candidates=1)
    final = edit.report.plan.stages[-1]
    first, second = final.tiles[0].divided(8), final.tiles[1].divided(8)
    one, other, *_ = torch.cat([z for z in starts if z.shape[-2:] == (6, 6)])
    a = one[..., second.left - first.left :]
    b = other[..., : first.right - second.left]
    assert a.numel() > 0
    assert torch.allclose(a, b, atol=0.05)
    assert a.std() > 5


def test_every_seed_is_reproducible_also_minus_one():
    image, mask = photograph(64, 64), box_mask(Size(64, 64), Box(20, 20, 40, 40))
    first, second = (run(image, mask, seed=-1) for _ in range(2))
    assert torch.equal(first.image, second.image)
    assert first.report.seed == -1


def test_repaint_never_leaves_the_schedule():
    """No call sees a noise level outside the schedule, and the levels never wrap around."""
    levels = []

    class Spy(PointwiseBackend):
        def denoise(self, z, sigma, guidance=1.0, condition=None):
            levels.append(float(sigma[0]))
            return super().denoise(z, sigma, guidance, condition)

    backend = Spy()
    size = Size(32, 32)
    run(photograph(32, 32), box_mask(size, Box(0, 0, 32, 32)), backend, resampling_steps=3)
    schedule = [float(level) for level in backend.sigmas(6)[:-1]]
    assert set(levels) == set(schedule)
    assert levels == sorted(levels, reverse=True)


def test_the_background_is_at_the_samples_own_noise_level():
    """In every call, the part outside the mask has the very noise level the model is told."""
    measured = []

    class Spy(PointwiseBackend):
        def denoise(self, z, sigma, guidance=1.0, condition=None):
            outside = z[..., 12:] - self.mean
            measured.append((float(sigma[0]), float(outside.std())))
            return super().denoise(z, sigma, guidance, condition)

    size = Size(128, 128)
    image = torch.tensor([0.9, 0.1, 0.1]).reshape(1, 3, 1, 1).expand(1, 3, 128, 128).contiguous()
    run(
        image,
        box_mask(size, Box(0, 0, 128, 90)),
        Spy(ModelSpec(resolution=128, multiple=16)),
        candidates=8,
    )
    for level, spread in measured:
        assert spread == pytest.approx(level, rel=0.15)


def test_nothing_is_rounded_to_bytes_between_the_stages():
    seen = []
    watch = Callbacks(picture=lambda name, image, *_: seen.append(image))
    image, mask = photograph(100, 100), box_mask(Size(100, 100), Box(20, 20, 80, 80))
    run(image, mask, watch=watch)
    assert all(picture.dtype == torch.float32 for picture in seen)
    results = seen[-1]
    assert not torch.equal(results * 255, (results * 255).round())


def test_no_value_wraps_around():
    """An edit brighter than white stays white."""
    image, mask = photograph(100, 100), box_mask(Size(100, 100), Box(30, 30, 70, 70))
    backend = PointwiseBackend(colour=(1.0, 1.0, 1.0), tint=0.2, spread=0.001)
    result = run(image, mask, backend, decoder="off").image
    assert result.max() <= 1
    assert result[..., 40:60, 40:60].min() > 0.9


@pytest.mark.parametrize("error", [RuntimeError("boom"), Interrupted(), KeyboardInterrupt()])
def test_the_decoder_is_intact_after_any_error(error):
    decoder = PointwiseBackend(tint=0.1)
    copies = []

    class Spy(PointwiseBackend):
        def decoder(self):
            copies.append(super().decoder())
            return copies[-1]

    def advance(work, text):
        if "decoder" in text:
            raise error

    image, mask = photograph(64, 64), box_mask(Size(64, 64), Box(20, 20, 40, 40))
    with pytest.raises((RuntimeError, Interrupted)):
        run(image, mask, Spy(tint=0.1), watch=Callbacks(advance=advance))
    before = {k: v.clone() for k, v in decoder.decoder().state_dict().items()}
    assert copies
    assert all(torch.equal(v, decoder.decoder().state_dict()[k]) for k, v in before.items())


def test_the_judge_is_asked_once_and_the_upscaler_once_per_stage():
    asked = []

    class Spy(PointwiseBackend):
        def score(self, images):
            asked.append(len(images))
            return super().score(images)

    backend = Spy()
    image, mask = photograph(150, 150), box_mask(Size(150, 150), Box(30, 30, 120, 120))
    edit = run(image, mask, backend, candidates=4, tile_size=1.0)
    assert asked == [4]
    sizes = itertools.pairwise(stage.size for stage in edit.report.plan.stages)
    for (old, new), (before, after) in zip(backend.upscaled, sizes, strict=True):
        assert new.height * before.height == old.height * after.height
        assert new.width * before.width == old.width * after.width


def test_an_empty_mask_is_an_error_in_words():
    with pytest.raises(EditError, match="empty"):
        run(photograph(40, 40), np.zeros((40, 40), np.float32))


def test_defaults_are_written_once():
    """No module but settings.py states a default of a setting again."""
    known = SETTINGS | ABLATIONS
    names = "|".join(known)
    pattern = re.compile(rf"\b({names})\s*(?::\s*\w+\s*)?=\s*([\d.]+)\b")
    for path in (Path(__file__).parent.parent / "msbd").rglob("*.py"):
        if path.name in ("settings.py", "setting.py") or {"miniature", "evaluation"} & set(
            path.parts
        ):
            continue
        for name, value in pattern.findall(path.read_text(encoding="utf-8")):
            assert float(value) != known[name].default, (path, name)


CHANGES: list[dict[str, Any]] = [
    {"margin": 2.0},
    {"minimum_crop": 2.0},
    {"feather": 9},
    {"candidates": 1},
    {"steps": 4},
    {"resampling_steps": 0},
    {"choose": "first"},
    {"growth": 4.0},
    {"intermediate_strength": 0.9},
    {"final_strength": 0.9},
    {"guidance_later": 0.0},
    {"tile_guidance": 0.0},
    {"tile_size": 1.0},
    {"tile_overlap": 0.5},
    {"lowpass_background": False},
    {"decoder": "off"},
    {"decoder": "last layer"},
    {"decoder_iterations": 5},
    {"decoder_rate": 1e-2},
    {"decoder_background_weight": 0.0},
    {"whole_cells": True},
    {"early_selection": 0.5},
    {"context": 0.0625},
    {"repaint_from": 0.5},
    {"repaint_until": 0.5},
    {"start": "picture"},
    {"strength": 0.4},
    {"parts": "apart"},
    {"texture": 1.0},
    {"hold_tone": True},
    {"square_crop": True},
    {"candidate": "2"},
]
ELSEWHERE = {"upscaler", "guidance", "details", "sampler", "mask_shape", "grow"}
"""Belong to the backend, or to the mask before it is an edit's, and are tested there."""


def test_no_setting_is_left_out():
    """Checkpointing must change nothing; see test_fine_tune.py."""
    changed = {name for values in CHANGES for name in values}
    assert changed == {*SETTINGS, *ABLATIONS} - ELSEWHERE - {"decoder_checkpointing"}


@pytest.mark.parametrize("values", CHANGES, ids=str)
def test_every_setting_does_something(values):
    side = 60 if "minimum_crop" in values else 100
    image, mask = photograph(150, 150), box_mask(Size(150, 150), Box(40, 40, side, side))
    base = {"candidates": 5, "decoder_iterations": 30}
    base |= {"tile_size": 1.0} if "tile_overlap" in values else {}
    base |= {"start": "picture"} if "strength" in values else {}
    if "texture" in values:  # of which nothing is measured in black and white
        image, base["margin"] = 0.25 + image / 2, 4.0
    if "parts" in values:
        mask[140:148, 140:148] = 1
    if "square_crop" in values:
        mask[50:, :] = 0

    def backend():
        return PointwiseBackend(tint=0.1, mode="bilinear", colour=(0.2, 0.2, 0.2))

    usual = run(image, mask, backend(), seed=5, **base)
    assert usual.report.parts[0].chosen != 0
    changed = run(image, mask, backend(), seed=5, **{**base, **values})
    assert not torch.equal(usual.image, changed.image)


def test_logging_and_generators_of_the_process_are_left_alone():
    level, handlers = logging.root.level, list(logging.root.handlers)
    before = torch.get_rng_state()
    run(photograph(64, 64), box_mask(Size(64, 64), Box(20, 20, 40, 40)))
    assert (level, handlers) == (logging.root.level, logging.root.handlers)
    assert torch.equal(before, torch.get_rng_state())
