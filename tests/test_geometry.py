"""One axis, exhaustively; then the product of two."""

from __future__ import annotations

import itertools

import pytest
from engine import transposed, within

from msbd.geometry import Box, Size, fitted_tiles, split
from msbd.geometry import all_tiles as tiles


def cases():
    for tile in (32, 48, 96):
        for overlap in (0, 8, 12, tile // 3):
            for length in range(8, 6 * tile, 8):
                yield length, tile, overlap


def test_tiles_cover_the_axis_and_overlap_enough():
    for length, tile, overlap in cases():
        starts = split(length, tile, overlap, 8)
        assert starts[0] == 0
        assert all(start % 8 == 0 for start in starts)
        if length > tile:
            assert starts[-1] + tile == length
        for left, right in itertools.pairwise(starts):
            assert left < right <= left + tile - overlap


def test_no_fewer_tiles_would_do():
    for length, tile, overlap in cases():
        count = len(split(length, tile, overlap, 8))
        stride = tile - -(-overlap // 8) * 8
        assert count == 1 or tile + (count - 2) * stride < length


@pytest.mark.parametrize(("length", "count"), [(768, 1), (1408, 2), (2048, 3)])
def test_counts_for_the_papers_tiles(length, count):
    assert len(split(length, 768, 128, 8)) == count


def test_transposing_the_canvas_transposes_the_tiles():
    wide = tiles(Size(96, 400), 96, 24, 8)
    tall = tiles(Size(400, 96), 96, 24, 8)
    assert sorted(transposed(box) for box in wide) == sorted(tall)


def test_bad_arguments_are_our_own_fault():
    with pytest.raises(AssertionError):
        split(100, 48, 48)
    with pytest.raises(AssertionError):
        split(100, 48, 8, grid=8)


@pytest.mark.parametrize("overlap", [0, 12, 32])
@pytest.mark.parametrize("length", [64, 96, 136, 400])
def test_fitted_tiles_cover_what_is_needed_with_the_fewest_and_smallest(length, overlap):
    canvas = Size(length, 96)
    for low, high in itertools.combinations(range(0, length + 1, 7), 2):
        needed = Box(low, 0, high, 96)
        boxes = fitted_tiles(canvas, needed, 96, 32, overlap, 16, 8)
        starts, side = [box.top for box in boxes], boxes[0].size.height
        assert all(within(box, Box.of(canvas)) and box.size == boxes[0].size for box in boxes)
        assert all(start % 8 == 0 for start in starts) and 32 <= side <= 96 and side % 16 == 0
        assert starts[0] <= low and starts[-1] + side >= high
        assert all(b <= a + side - overlap for a, b in itertools.pairwise(starts))
        room = min(-(-high // 8) * 8, length) - low // 8 * 8
        assert len(boxes) == len(split(room, min(96, length), overlap, 8))
        if side > 32:  # one step smaller, as many tiles would not reach
            smaller = side - 16
            assert smaller + (len(boxes) - 1) * (smaller - -(-overlap // 8) * 8) < room


def test_tiles_fitted_to_all_of_a_canvas_are_its_tiles():
    canvas = Size(264, 136)
    assert fitted_tiles(canvas, Box.of(canvas), 96, 96, 24, 32, 8) == tiles(canvas, 96, 24, 8)
