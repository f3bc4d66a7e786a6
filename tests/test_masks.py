"""Masks as people paint them: with dots, on a ground, on nothing, in another size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray

from msbd import masks
from msbd.errors import EditError
from msbd.geometry import Size

PICTURE = Size(600, 800)


def disc(centre: tuple[int, int], radius: float, size: Size = PICTURE) -> NDArray[np.uint8]:
    y, x = np.ogrid[: size.height, : size.width]
    inside = np.hypot(y - centre[0], x - centre[1]) <= radius
    return np.where(inside, 255, 0).astype(np.uint8)


MAIN = disc((300, 400), 90)
CORNERS = ((3, 3), (3, 796), (596, 3), (596, 796))


@settings(deadline=None)
@given(some.lists(some.sampled_from(CORNERS), min_size=1), some.integers(0, 4), some.booleans())
def test_stray_dots_are_left_out_and_told(corners, radius, soft) -> None:
    clean, told = masks.from_picture(MAIN, None, PICTURE, soft=soft)
    assert not told
    dotted = np.maximum.reduce([MAIN, *(disc(corner, radius) for corner in corners)])
    found, (note,) = masks.from_picture(dotted, None, PICTURE, soft=soft)
    assert (found == clean).all()
    number = len(set(corners))
    pixels = int((dotted > MAIN).sum())
    assert f"{pixels} pixels" in note and (number == 1 or note.startswith(f"{number} specks"))


@pytest.mark.parametrize(
    ("radius", "beside", "kept"),
    [
        (5, 90, False),  # 81 of 480,000 pixels
        (6, 90, True),  # 113: more than 0.02 % of the picture
        (5, 30, True),  # beside a part that is less than fifty times its size
        (3, 30, False),
        (0, 3, True),
    ],
)
def test_what_is_a_speck(radius: int, beside: int, kept: bool) -> None:
    dot = disc((50, 50), radius)
    found, told = masks.from_picture(np.maximum(dot, disc((300, 400), beside)), None, PICTURE)
    assert bool(found[50, 50]) == kept and bool(told) != kept


def test_dust_is_edited_as_painted() -> None:
    dust = np.zeros((600, 800), np.uint8)
    dust[::50, ::40] = 255
    found, told = masks.from_picture(dust, None, PICTURE)
    assert (found == dust / 255).all() and not told


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_soft_masks_ground_is_black(level: int) -> None:
    grounded = np.maximum(MAIN, np.uint8(level))
    found, _ = masks.from_picture(grounded, None, PICTURE, soft=True)
    assert (found == MAIN / 255).all() == (level < 3)


def test_a_dot_that_touches_is_no_speck() -> None:
    beside = MAIN.copy()
    row, column = np.argwhere(MAIN)[0]
    beside[row - 1, column - 1] = 255
    found, told = masks.from_picture(beside, None, PICTURE)
    assert found[row - 1, column - 1] == 1 and not told


def test_inverted_specks_are_those_of_what_is_repainted() -> None:
    hole = 255 - np.maximum(MAIN, disc((5, 5), 2))
    found, (note,) = masks.from_picture(hole, None, PICTURE, invert=True)
    assert (found == MAIN / 255).all() and "speck" in note


OPAQUE = np.full((600, 800), 255, np.uint8)
NOTHING = np.zeros((600, 800), np.uint8)


@pytest.mark.parametrize(
    ("luminance", "alpha", "repainted"),
    [
        (MAIN, OPAQUE, MAIN),
        (OPAQUE, MAIN, MAIN),
        (NOTHING, MAIN, MAIN),
        (MAIN, MAIN, MAIN),
        (np.where(MAIN, MAIN, 200).astype(np.uint8), MAIN, MAIN),
        (disc((300, 360), 90), MAIN, np.minimum(MAIN, disc((300, 360), 90))),
        (MAIN // 2, OPAQUE, None),
    ],
    ids=["white on black", "white on nothing", "black on nothing", "white, and black on nothing",
         "white on transparent grey", "luminance and alpha", "too dark"],
)  # fmt: skip
def test_luminance_and_alpha(luminance, alpha, repainted) -> None:
    if repainted is None:
        with pytest.raises(EditError, match="mask is empty"):
            masks.from_picture(luminance, alpha, PICTURE)
        return
    found, _ = masks.from_picture(luminance, alpha, PICTURE)
    assert (found == repainted / 255).all()


@pytest.mark.parametrize("factor", [0.25, 0.5, 1.5, 2])
def test_another_size_is_scaled_to_the_nearest_pixels(factor: float) -> None:
    small = Size(round(600 * factor), round(800 * factor))
    centre = (small.height // 2, small.width // 2)
    mask, (note,) = masks.from_picture(disc(centre, 90 * factor, small), None, PICTURE)
    assert str(small) in note and str(PICTURE) in note
    assert set(np.unique(mask)) == {0, 1}
    assert abs(mask.sum() / (MAIN > 0).sum() - 1) < 0.03
    if factor < 1 and (1 / factor).is_integer():
        whole = int(1 / factor)
        assert (mask[::whole, ::whole] * 255 == disc(centre, 90 * factor, small)).all()


@pytest.mark.parametrize(
    ("height", "width", "fits"),
    [(298, 400, True), (300, 403, True), (296, 400, False), (400, 300, False)],
)
def test_another_shape_is_refused(height: int, width: int, fits: bool) -> None:
    grey = np.full((height, width), 255, np.uint8)
    if fits:
        masks.from_picture(grey, None, PICTURE)
    else:
        with pytest.raises(EditError, match="same aspect ratio"):
            masks.from_picture(grey, None, PICTURE)


def test_where_a_host_has_it_so_opacity_counts_alone() -> None:
    colours = disc((300, 360), 90)
    found, (note,) = masks.from_picture(colours, MAIN, PICTURE, by_alpha=True)
    assert (found == MAIN / 255).all() and "opacity" in note


@some.composite
def scribbles(draw) -> masks.Mask:
    """Strokes of some width, hard or grey, in a picture whose gaps of up to 9 pixels are closed."""
    mask = np.zeros((220, 260), np.float32)
    for _ in range(draw(some.integers(1, 5))):
        top, left = draw(some.integers(0, 200)), draw(some.integers(0, 240))
        height, width = draw(some.integers(1, 60)), draw(some.integers(1, 60))
        level = draw(some.sampled_from([1.0, 1.0, 0.4]))
        mask[top : top + height, left : left + width] = level
    return mask


@settings(deadline=None)
@given(scribbles())
def test_a_closed_mask_holds_the_painted_one_and_a_filled_one_that(mask) -> None:
    painted, closed, filled = (
        masks.shaped(mask, shape, 0) for shape in (masks.AS_PAINTED, masks.CLOSED, masks.FILLED)
    )
    assert painted is mask
    assert (closed[mask > 0] == mask[mask > 0]).all() and (filled >= closed).all()
    assert (masks.shaped(closed, masks.CLOSED, 0) == closed).all()
    assert (masks.shaped(filled, masks.FILLED, 0) == filled).all()
    for shape in (masks.CLOSED, masks.FILLED):
        turned = masks.shaped(np.ascontiguousarray(mask.T[::-1]), shape, 0)
        assert ((turned > 0) == (masks.shaped(mask, shape, 0).T[::-1] > 0)).all()
    assert set(np.unique(filled)) <= {0, *np.unique(mask)}


@settings(deadline=None)
@given(scribbles(), some.integers(1, 30), some.sampled_from([masks.AS_PAINTED, masks.CLOSED]))
def test_a_mask_grows_by_so_many_pixels_and_shrinks_back(mask, pixels: int, shape: str) -> None:
    region = masks.shaped(mask, shape, 0) > 0
    grown = masks.shaped(mask, shape, pixels)
    y, x = np.nonzero(region)
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, 220, 40), rng.integers(0, 260, 40), strict=True):
        near = (np.square(y - row) + np.square(x - column)).min() <= pixels**2
        assert (grown[row, column] > 0) == near
    assert ((masks.shaped(grown, masks.AS_PAINTED, -pixels) > 0) >= region).all()


def test_gaps_between_strokes_are_closed_and_wide_ones_stay() -> None:
    mask = np.zeros((500, 800), np.float32)
    for left in range(100, 300, 25):
        mask[100:400, left : left + 10] = 1  # gaps of 15 pixels; up to 20 are closed
    mask[100:400, 400:410] = 1
    closed = masks.shaped(mask, masks.CLOSED, 0)
    assert closed[105:395, 100:285].all() and not closed[:, 300:390].any()
    assert closed[:100].sum() == closed[400:].sum() == 0


def test_what_is_surrounded_is_filled() -> None:
    ring = disc((300, 400), 150) - disc((300, 400), 140)
    ring[290:300, 540:552] = 0  # an opening of 10 pixels
    mask = masks.from_grey(ring)
    assert masks.shaped(mask, masks.CLOSED, 0)[300, 400] == 0
    filled = masks.shaped(mask, masks.FILLED, 0)
    assert (filled == masks.from_grey(disc((300, 400), 150))).mean() > 0.999


def test_what_touches_the_pictures_edge_is_not_shrunk_from_there() -> None:
    mask = np.zeros((100, 100), np.float32)
    mask[:40, :40] = 1
    shrunk = masks.shaped(mask, masks.AS_PAINTED, -10)
    assert shrunk[:30, :30].all() and shrunk.sum() == 30 * 30
    everything = np.ones((40, 50), np.float32)
    assert (masks.shaped(everything, masks.CLOSED, -20) == 1).all()


def test_a_mask_shrunk_to_nothing_is_refused() -> None:
    with pytest.raises(EditError, match="shrunk by 60 pixels"):
        masks.shaped(masks.from_grey(disc((300, 400), 50)), masks.AS_PAINTED, -60)
