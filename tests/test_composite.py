"""Tiles and pastes: partition of unity, and exactly nothing where nothing should change."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.composite import feathered, merged, pasted, tile_weight
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.tiling import tiles


def picture(*shape: int, key: int = 0) -> torch.Tensor:
    return Noise(0)(shape, "picture", key).mul(0.2).add(0.5).clamp(0, 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 30), st.integers(3, 30), st.sampled_from([0, 8, 16]))
def test_untouched_tiles_give_the_picture_back_exactly(height, width, overlap):
    canvas = Size(8 * height, 8 * width)
    image = picture(1, 3, canvas.height, canvas.width)
    boxes = tiles(canvas, 48, overlap, 8)
    result = merged(image, [(box, image[..., box.rows, box.columns]) for box in boxes])
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
        share = merged(base, layers)
        assert share.min() >= 0
        total += share
    assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


def test_an_overlap_is_a_linear_ramp():
    base = torch.zeros(1, 3, 16, 80)
    layers = [
        (Box(0, 0, 16, 48), torch.zeros(1, 3, 16, 48)),
        (Box(0, 32, 16, 80), torch.ones(1, 3, 16, 48)),
    ]
    row = merged(base, layers)[0, 0, 8]
    assert torch.equal(row[:32], torch.zeros(32))
    assert torch.equal(row[48:], torch.ones(32))
    assert torch.allclose(row[32:48], (torch.arange(16) + 0.5) / 16, atol=1e-6)


def test_the_order_of_tiles_does_not_matter():
    canvas = Size(96, 96)
    base = picture(1, 3, 96, 96)
    layers = [(box, picture(1, 3, 48, 48, key=i)) for i, box in enumerate(tiles(canvas, 48, 16, 8))]
    assert torch.allclose(merged(base, layers), merged(base, layers[::-1]), atol=1e-5)


def test_where_no_tile_lies_the_base_stays():
    base = picture(1, 3, 64, 64)
    result = merged(base, [(Box(0, 0, 32, 32), torch.zeros(1, 3, 32, 32))])
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
