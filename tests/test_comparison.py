"""Two results beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Desk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from msbd.errors import EditError
from msbd.geometry import Box, Size
from msbd.pictures.comparison import GAP, LEAST, LINE, comparison, difference

PLAIN = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 239), st.integers(0, 319), st.integers(1, 90), st.integers(1, 90), st.data())
def test_the_place_is_found_to_the_pixel(top, left, high, wide, data) -> None:
    box = Box(top, left, min(top + high, 240), min(left + wide, 320))
    levels = data.draw(st.integers(1, 100))
    other = PLAIN.copy()
    part = other[box.rows, box.columns]
    other[box.rows, box.columns] = np.where(part > 127, part - levels, part + levels)
    assert difference(PLAIN, other) == difference(other, PLAIN) == (box, levels)


def test_what_is_the_same_is_said_to_be() -> None:
    assert difference(PLAIN, PLAIN.copy()) is None
    with pytest.raises(EditError, match="320x240 and 240x320"):
        difference(PLAIN, PLAIN.transpose(1, 0, 2))


@pytest.mark.parametrize("box", [Box(0, 0, 1, 1), Box(239, 319, 240, 320), Box(10, 20, 200, 300)])
def test_both_are_shown_at_their_own_size(box: Box) -> None:
    other = PLAIN.copy()
    other[box.rows, box.columns] = 255 - other[box.rows, box.columns]
    page = np.asarray(comparison([PLAIN, other], ["a", "b"], box))
    width = (page.shape[1] - GAP) // 3 - GAP
    height = page.shape[0] - 2 * LINE - GAP
    assert min(width, height) >= min(LEAST // 2, *box.size.padded(1).__dict__.values())
    shown = [
        page[LINE : LINE + height, left : left + width]
        for left in (GAP + index * (width + GAP) for index in range(3))
    ]
    places = [
        (y, x)
        for y in range(240 - height + 1)
        for x in range(320 - width + 1)
        if (PLAIN[y : y + height, x : x + width] == shown[0]).all()
    ]
    assert len(places) == 1
    y, x = places[0]
    assert Box(y, x, y + height, x + width).joined(box) == Box(y, x, y + height, x + width)
    assert (other[y : y + height, x : x + width] == shown[1]).all()
    same = (shown[0] == shown[1]).all(-1)
    assert not shown[2][same].any() and shown[2][~same].any()


def test_from_the_command_line(desk: Desk, tmp_path: Path) -> None:
    other = PLAIN.copy()
    other[50:60, 70:90] ^= 16
    one, two, out = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    Image.fromarray(PLAIN).save(one)
    Image.fromarray(other).save(two)
    assert desk.msbd("compare", one, two, "-o", out) == 0
    assert "up to 16 levels" in desk.stdout and "20x10 pixels from 70, 50" in desk.stdout
    assert Size(*Image.open(out).size[::-1]).height > LEAST // 2
    assert desk.msbd("compare", one, one, "-o", tmp_path / "d.png") == 0
    assert "the same" in desk.stdout and not (tmp_path / "d.png").exists()
    assert desk.msbd("compare", one, two, "-o", two) != 0 and desk.refused("another file")
    assert desk.msbd("compare", one, tmp_path / "none.png", "-o", out) != 0
