"""One axis, exhaustively; then the product of two."""

from __future__ import annotations

import itertools

import pytest

from msbd.geometry import Size
from msbd.tiling import split, tiles


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
    assert sorted(box.transposed for box in wide) == sorted(tall)


def test_bad_arguments_are_our_own_fault():
    with pytest.raises(AssertionError):
        split(100, 48, 48)
    with pytest.raises(AssertionError):
        split(100, 48, 8, grid=8)
