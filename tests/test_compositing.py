"""Tiles and pastes: partition of unity, and exactly nothing where nothing should change. What the
mask hides is filled from round it; what is not used is not enlarged."""

from __future__ import annotations

import pytest
import torch
from engine import within
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.compositing import (
    CONTEXT,
    composited,
    cropped,
    feathered,
    filled,
    pasted,
    resized,
    tile_weight,
    used_part,
)
from msbd.geometry import Box, Size
from msbd.geometry import all_tiles as tiles
from msbd.noise import Noise


def picture(*shape: int, key: int = 0) -> torch.Tensor:
    return Noise(0)(shape, "picture", key).mul(0.2).add(0.5).clamp(0, 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 30), st.integers(3, 30), st.sampled_from([0, 8, 16]))
def test_untouched_tiles_give_the_picture_back_exactly(height, width, overlap):
    canvas = Size(8 * height, 8 * width)
    image = picture(1, 3, canvas.height, canvas.width)
    boxes = tiles(canvas, 48, overlap, 8)
    result = composited(image, [(box, image[..., box.rows, box.columns]) for box in boxes])
    assert torch.equal(result, image)


@pytest.mark.parametrize("overlap", [0, 8, 24])
def test_weights_are_a_partition_of_unity(overlap):
    """The share of each tile, found by merging indicator pictures, sums to 1 everywhere."""
    canvas = Size(104, 200)
    base = torch.zeros(1, 3, canvas.height, canvas.width)
    boxes = tiles(canvas, 48, overlap, 8)
    total = torch.zeros_like(base)
    for lit in boxes:
        layers = [
            (box, torch.full((1, 3, *vars(box.size).values()), float(box == lit))) for box in boxes
        ]
        share = composited(base, layers)
        assert share.min() >= 0
        total += share
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_an_overlap_is_a_linear_ramp():
    base = torch.zeros(1, 3, 16, 80)
    layers = [
        (Box(0, 0, 16, 48), torch.zeros(1, 3, 16, 48)),
        (Box(0, 32, 16, 80), torch.ones(1, 3, 16, 48)),
    ]
    row = composited(base, layers)[0, 0, 8]
    assert torch.equal(row[:32], torch.zeros(32))
    assert torch.equal(row[48:], torch.ones(32))
    assert torch.allclose(row[32:48], (torch.arange(16) + 0.5) / 16, atol=1e-6)


def test_the_order_of_tiles_does_not_matter():
    canvas = Size(96, 96)
    base = picture(1, 3, 96, 96)
    layers = [(box, picture(1, 3, 48, 48, key=i)) for i, box in enumerate(tiles(canvas, 48, 16, 8))]
    assert torch.allclose(composited(base, layers), composited(base, layers[::-1]), atol=1e-5)


def test_where_no_tile_lies_the_base_stays():
    base = picture(1, 3, 64, 64)
    result = composited(base, [(Box(0, 0, 32, 32), torch.zeros(1, 3, 32, 32))])
    assert torch.equal(result[..., 32:, :], base[..., 32:, :])
    assert torch.equal(result[..., :32, 32:], base[..., :32, 32:])
    assert result[..., :32, :32].abs().max() == 0


def test_weights_are_positive_everywhere():
    assert tile_weight(Size(31, 48), torch.zeros(1)).min() > 0


@pytest.mark.parametrize("width", [0, 1, 5])
def test_the_feather_is_a_ramp_of_the_given_width(width):
    mask = torch.zeros(1, 1, 30, 30)
    mask[..., 10:20, 10:20] = 1
    alpha = feathered(mask, width)
    row = alpha[0, 0, 15]
    assert torch.equal(row[10:20], torch.ones(10))
    expected = 1 - torch.arange(1, width + 1) / (width + 1)
    assert torch.allclose(row[20 : 20 + width], expected, atol=1e-6)
    assert (row[20 + width :] == 0).all()


@pytest.mark.parametrize("height", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("width", [1, 4, 140])
def test_the_feather_falls_by_the_distance_whatever_rows_are_looked_at_together(height, width):
    mask = (
        torch.rand(1, 1, height, 17, generator=torch.Generator().manual_seed(1)) > 0.995
    ).float()
    mask[0, 0, height // 2, 3] = 0.75
    expected = mask.clone()
    for reach in range(1, width + 1):
        near = torch.nn.functional.max_pool2d(mask, 2 * reach + 1, 1, reach)
        expected = torch.maximum(expected, near - reach / (width + 1))
    assert torch.allclose(feathered(mask, width), expected, atol=1e-5)


def test_a_gentle_soft_mask_is_left_alone():
    slope = torch.linspace(0, 1, 64)[None, None, None, :].expand(1, 1, 8, 64).contiguous()
    assert torch.allclose(feathered(slope, 3), slope, atol=1e-6)


def test_pasting_changes_nothing_where_the_opacity_is_zero():
    image, box = picture(1, 3, 20, 30), Box(2, 3, 12, 23)
    patch = torch.full((1, 3, 10, 20), float("nan"))
    alpha = torch.zeros(1, 1, 10, 20)
    alpha[..., 4:6, 4:6] = 1
    patch[..., 4:6, 4:6] = 0.25
    result = pasted(image, patch, box, alpha)
    changed = (result != image).any(1)
    assert changed[:, 6:8, 7:9].all()
    assert changed.sum() == 4
    assert (result[..., 6:8, 7:9] == 0.25).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.02, 0.98))
def test_what_is_hidden_plays_no_part_and_what_is_not_stays(height, width, share):
    image = Noise(0)((1, 3, height, width), "image") * 0.1 + 0.5
    painted = (Noise(1)((1, 1, height, width), "mask").abs() < share * 2).float()
    if painted.all():
        painted[..., 0, 0] = 0
    result = filled(image, painted)
    assert torch.equal(result, filled(image + 9 * painted, painted))
    known = (painted == 0).expand_as(image)
    assert torch.equal(result[known], image[known])
    for channel in range(3):  # an average of what is known lies between its extremes
        seen = image[:, channel][painted[:, 0] == 0]
        assert result[:, channel].min() >= seen.min() - 1e-5
        assert result[:, channel].max() <= seen.max() + 1e-5


def test_a_plain_picture_stays_plain():
    painted = torch.zeros(1, 1, 50, 70)
    painted[..., 5:45, 9:] = 1
    plain = torch.full((1, 3, 50, 70), 0.3)
    assert filled(plain, painted) == pytest.approx(plain, abs=1e-6)


def test_colours_run_in_from_their_own_sides():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 32:] = 1
    painted = torch.zeros(1, 1, 64, 64)
    painted[..., 8:56, 8:56] = 1
    row = filled(image, painted)[0, 0, 32]
    assert row[10] < 0.2 and row[53] > 0.8 and (row.diff() > -0.05).all()


def test_with_nothing_known_or_nothing_hidden_the_image_stays():
    image = Noise(0)((1, 3, 9, 9), "image")
    assert torch.equal(filled(image, torch.ones(1, 1, 9, 9)), image)
    assert torch.equal(filled(image, torch.zeros(1, 1, 9, 9)), image)


@st.composite
def enlargements(draw):
    before = Size(*(8 * draw(st.integers(1, 24)) for _ in range(2)))
    after = Size(*(draw(st.integers(side, 4 * side)) for side in (before.height, before.width)))
    top, left = draw(st.integers(0, after.height - 1)), draw(st.integers(0, after.width - 1))
    bottom, right = draw(st.integers(top, after.height)), draw(st.integers(left, after.width))
    return before, after, Box(top, left, max(top + 1, bottom), max(left + 1, right))


@settings(max_examples=200, deadline=None)
@given(enlargements())
def test_what_is_used_of_an_enlargement_is_what_it_is_in_the_whole(request):
    before, after, box = request
    painted = torch.zeros(1, 1, after.height, after.width)
    cropped(painted, box).fill_(1)
    small, large = used_part(painted, before)
    assert within(small, Box.of(before)) and within(large, Box.of(after)) and within(box, large)
    for near, far, old, new in (
        (small.top, large.top, before.height, after.height),
        (small.bottom, large.bottom, before.height, after.height),
        (small.left, large.left, before.width, after.width),
        (small.right, large.right, before.width, after.width),
    ):
        assert near * new == far * old
    assert large.top == 0 or box.top - large.top >= CONTEXT
    assert large.right == after.width or large.right - box.right >= CONTEXT
    picture = Noise(0)((1, 3, before.height, before.width), "picture")
    whole, part = resized(picture, after), resized(cropped(picture, small), large.size)
    there = Box.of(box.size, box.top - large.top, box.left - large.left)
    assert torch.allclose(cropped(part, there), cropped(whole, box), atol=1e-4)


def test_a_flat_mask_is_not_enlarged_with_all_of_its_crop():
    painted = torch.zeros(1, 1, 704, 704)
    painted[..., 330:380, 80:620] = 1
    small, _ = used_part(painted, Size(512, 512))
    assert small.size.area < 0.25 * 512**2 and small.size.width < 512
