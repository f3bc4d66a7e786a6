"""The evaluation's measures on pictures whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from msbd.evaluation import seams
from msbd.evaluation.cut_off import share_beyond
from msbd.evaluation.texture import (
    LEAST,
    edge_width,
    grey,
    laplacian_energy,
    pooled,
    sharpness,
    smoothed,
)
from msbd.evaluation.verdict import judge, object_region
from msbd.geometry import Box
from msbd.miniature.shapes import SHAPES, signed_distance
from msbd.miniature.world import draw_background, draw_object

SIDE = 128
HALVES = np.arange(SIDE)[None].repeat(SIDE, 0) < SIDE // 2
WHOLE = np.ones((SIDE, SIDE), bool)
DISC = np.hypot(*(np.indices((SIDE, SIDE)) - 63.5)) < 40


def noise(seed: int = 0, falloff: float = 0.0) -> np.ndarray:
    """Grey noise of mean 0.5 whose power falls with that power of the frequency."""
    white = np.random.default_rng(seed).standard_normal((SIDE, SIDE))
    y, x = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    shaped = np.fft.ifft2(
        np.fft.fft2(white) / np.maximum(np.hypot(y, x), 1 / SIDE) ** (falloff / 2)
    )
    return 0.5 + 0.05 * shaped.real / shaped.real.std()


def test_the_same_texture_is_as_sharp_as_itself():
    found = sharpness(noise(), HALVES, ~HALVES)
    assert found == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3.0])
def test_a_blurred_texture_is_softer(sigma: float):
    image = np.where(HALVES, ndimage.gaussian_filter(noise(), sigma), noise(1))
    inner = HALVES & (np.arange(SIDE) < 50)
    found = sharpness(image, inner, ~HALVES)
    blurred = ndimage.gaussian_filter(noise(), sigma)
    expected = laplacian_energy(blurred, inner) / laplacian_energy(noise(1), ~HALVES)
    assert found == pytest.approx(expected) and expected < 0.5


@pytest.mark.parametrize("contrast", [0.5, 2.0])
def test_contrast_changes_energy_by_its_square(contrast: float):
    image = 0.5 + np.where(HALVES, contrast, 1.0) * (noise() - 0.5)
    found = sharpness(image, HALVES, ~HALVES)
    assert found == pytest.approx(contrast**2, rel=0.15)


def test_the_laplacian_of_white_noise_has_twenty_times_its_variance():
    image = np.random.default_rng(3).standard_normal((400, 400))
    assert laplacian_energy(image, np.ones(image.shape, bool)) == pytest.approx(20, rel=0.03)


def test_what_lies_outside_a_region_is_not_seen():
    image = noise()
    other = np.where(DISC, image, 9.0)
    assert laplacian_energy(image, DISC) == pytest.approx(laplacian_energy(other, DISC))
    assert smoothed(other, DISC, 2.0)[DISC].max() < 1


def test_too_small_a_region_has_no_texture():
    for rows, columns in ((slice(0, 12), slice(0, 12)), (slice(0, 2), slice(None))):
        small = np.zeros_like(WHOLE)
        small[rows, columns] = True
        assert small.sum() > LEAST / 2
        assert sharpness(noise(), small, ~small) is None
        assert sharpness(noise(), ~small, small) is None


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_rounding_to_8_bits_is_no_texture(scale: int):
    slope = np.linspace(0.2, 0.6, 4 * SIDE)[None] + np.linspace(0, 0.1, 4 * SIDE)[:, None]
    rounded = grey(np.round(255 * np.stack([slope, 0.9 * slope, 0.8 * slope], -1)) / 255)
    image = pooled(rounded, scale)
    left = np.arange(image.shape[1]) < image.shape[1] // 2
    half = left[None].repeat(image.shape[0], 0)
    assert sharpness(image, half, ~half, scale) is None
    textured = pooled(rounded + 0.03 * np.random.default_rng(0).standard_normal(slope.shape), scale)
    assert sharpness(textured, half, ~half, scale) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("background", ["grass", "sand", "bricks", "wood"])
def test_the_worlds_grounds_are_as_sharp_as_themselves_and_sharper_than_blurred(background: str):
    unit = 320
    drawn = draw_background(np.random.default_rng(2), background, 320, 320, unit)
    blurred = np.stack([ndimage.gaussian_filter(drawn[..., c], 4.0) for c in range(3)], -1)
    halves = np.arange(160)[None].repeat(160, 0) < 80
    alike = sharpness(pooled(grey(drawn / 255), 2), halves, ~halves, 2)
    left = np.arange(320)[None, :, None] < 160
    mixed = sharpness(pooled(grey(np.where(left, blurred, drawn) / 255), 2), halves, ~halves, 2)
    assert alike == pytest.approx(1, abs=0.6)
    assert mixed < 0.5 * alike


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_the_width_of_an_outline_grows_with_its_blur(sigma: float):
    steep = edge_width(0.2 + 0.6 * DISC, DISC, 128)
    assert steep is not None and 1 <= steep <= 2
    blurred = ndimage.gaussian_filter(0.2 + 0.6 * DISC, sigma)
    # A step blurred by sigma rises by contrast / (sigma sqrt(2 pi)) per pixel at most.
    assert edge_width(blurred, DISC, 256) == pytest.approx(sigma * np.sqrt(2 * np.pi), rel=0.2)


def test_contrast_does_not_change_the_width_and_nothing_has_none():
    soft = ndimage.gaussian_filter(DISC.astype(float), 2)
    assert edge_width(0.3 * soft, DISC, 128) == pytest.approx(edge_width(soft, DISC, 128))
    assert edge_width(noise() * 0.01, DISC, 128) is None
    assert edge_width(soft, None, 128) is None


def test_steps_at_the_borders_of_tiles_are_found_there_and_nowhere_else():
    tiles = [Box(0, 0, 128, 70), Box(0, 50, 128, 128)]
    image = noise(0, 3.0)
    assert seams.tile_seam(image, DISC, tiles) == pytest.approx(1, abs=0.25)
    at_border = image + 0.2 * (np.arange(SIDE) >= 70)
    elsewhere = image + 0.2 * (np.arange(SIDE) >= 60)
    assert seams.tile_seam(at_border, DISC, tiles) > 5
    assert seams.tile_seam(elsewhere, DISC, tiles) < 1
    assert seams.tile_seam(image, DISC, [Box(0, 0, 128, 128)]) is None


def test_the_ring_lies_outside_and_is_as_wide_as_said():
    ring = seams.ring(DISC, 5)
    assert not (ring & DISC).any()
    radius = np.hypot(*(np.indices((SIDE, SIDE)) - 63.5))
    assert radius[ring].max() < 46 and (radius[~ring & ~DISC].min() > 44)
    assert not seams.ring(~WHOLE).any()


@pytest.mark.parametrize("levels", [1, 4, 20])
def test_background_error_and_tone_of_a_constant_shift(levels: int):
    before = np.stack([noise(k) for k in range(3)], -1)
    after = before + levels / 255
    ring = seams.ring(DISC)
    assert seams.tone_shift(after, before, ring) == pytest.approx(levels)
    expected = -20 * np.log10(levels / 255)
    assert seams.background_psnr(after, before, ring) == pytest.approx(expected)
    grain = before + 0.1 * np.random.default_rng(5).standard_normal(before.shape)
    assert seams.tone_shift(grain, before, ring) < 2
    assert seams.tone_shift(after, before, ~WHOLE) is None
    assert seams.background_psnr(after, before, ~WHOLE) is None


def test_grey_is_luma():
    assert grey(np.ones((2, 2, 3))) == pytest.approx(np.ones((2, 2)))
    assert grey(np.array([[[1.0, 0, 0]]])) == pytest.approx(0.299)


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return draw_background(np.random.default_rng(1), "grass", 256, 256, 256)


def with_object(ground: np.ndarray, colour: str, shape: str, *centre: float) -> np.ndarray:
    return draw_object(ground, shape, colour, centre, 0.3, 256)


def opened(*slices: slice) -> np.ndarray:
    region = np.zeros((256, 256), bool)
    region[slices] = True
    return region


ALL = opened(slice(None), slice(None))


def test_the_oracle_finds_what_was_asked_for(ground: np.ndarray):
    verdict = judge(with_object(ground, "red", "star", 0.5, 0.5), ALL, "red", "star", 256)
    assert verdict.one_right and verdict.inside and verdict.objects == 1


def test_another_colour_or_shape_or_number_is_not_right(ground: np.ndarray):
    star = with_object(ground, "red", "star", 0.3, 0.3)
    blue = judge(star, ALL, "blue", "star", 256)
    ring = judge(star, ALL, "red", "ring", 256)
    two = judge(with_object(star, "red", "star", 0.75, 0.75), ALL, "red", "star", 256)
    none = judge(ground, ALL, "red", "star", 256)
    assert not (blue.right_colour or blue.one_right) and blue.right_shape
    assert not (ring.right_shape or ring.one_right) and ring.right_colour
    assert two.objects == 2 and two.right_shape and not two.one_right
    assert none.objects == 0 and not none.one_right


def test_only_what_touches_the_mask_counts(ground: np.ndarray):
    both = with_object(with_object(ground, "blue", "circle", 0.25, 0.25), "red", "star", 0.7, 0.7)
    half = opened(slice(128, None), slice(128, None))
    assert judge(both, half, "red", "star", 256).one_right
    assert judge(both, ALL, "red", "star", 256).objects == 2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cut_shape_is_completed_by_the_share_that_was_cut_off(shape: str):
    y, x = np.indices((256, 256)) - 127.5
    for turn in (0.1, 0.4):
        c, s = np.cos(turn), np.sin(turn)
        whole = signed_distance(shape, c * y - s * x, s * y + c * x, 60) < 0
        for share, error in ((0.05, 0.02), (0.25, 0.11)):  # a corner less, a smaller triangle
            column = int(np.searchsorted(whole.sum(0).cumsum() / whole.sum(), 1 - share))
            mask = opened(slice(None), slice(0, column))
            assert share_beyond(whole & mask, mask, shape) == pytest.approx(share, abs=error)
        assert share_beyond(whole, ALL, shape) == 0
        border = opened(slice(None), slice(0, np.flatnonzero(whole.any(0))[-1] + 1))
        assert share_beyond(whole, border, shape) < 0.01


@pytest.mark.parametrize("soft", [0, 6])
@pytest.mark.parametrize("shape", ["circle", "square", "ring"])
def test_an_object_cut_off_by_the_masks_edge_is_not_inside(
    ground: np.ndarray, shape: str, soft: int
):
    painted = with_object(ground, "red", shape, 0.5, 0.5)
    for reach, inside in ((50, True), (20, False)):
        mask = opened(slice(128 - reach, 256), slice(None))
        alpha = ndimage.uniform_filter1d(mask.astype(float), 2 * soft + 1, 0)[..., None]
        pasted = np.rint(alpha * painted + (1 - alpha) * ground).astype(np.uint8)
        assert judge(pasted, mask, "red", shape, 256).inside == inside


def test_at_the_pictures_border_nothing_is_cut_by_the_mask(ground: np.ndarray):
    at_border = draw_object(ground, "square", "red", (0.08, 0.5), 0.3, 256)
    found = judge(at_border, opened(slice(0, 200), slice(None)), "red", "square", 256)
    assert found.inside


def test_an_object_that_was_there_before_and_reaches_in_is_not_inside(ground: np.ndarray):
    painted = with_object(ground, "red", "circle", 0.5, 0.5)
    assert not judge(painted, opened(slice(128, 256), slice(None)), "red", "circle", 256).inside


def test_bare_ground_is_right_if_nothing_is_there(ground: np.ndarray):
    assert judge(ground, ALL, "", "", 256).one_right
    assert not judge(with_object(ground, "red", "star", 0.5, 0.5), ALL, "", "", 256).one_right


def test_the_ground_round_an_object_is_left_out_with_it(ground: np.ndarray):
    region = object_region(with_object(ground, "red", "circle", 0.5, 0.5), 256)
    radius = np.hypot(*(np.indices((256, 256)) - 127.5))
    assert region[radius < 38].all() and not region[radius > 60].any()
    assert object_region(ground, 256).mean() < 0.01
