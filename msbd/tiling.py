"""Cover a rectangle with overlapping tiles: one axis first, then the product of two."""

from __future__ import annotations

from .geometry import Box, Size, ceil_to


def split(length: int, tile: int, overlap: int, grid: int = 1) -> list[int]:
    """Starts of the fewest tiles that cover `length`, evenly spread.

    length: pixels to cover, a multiple of `grid`. tile: a tile's side, ditto. overlap: the least
    number of pixels neighbours share, less than `tile`. Every start is a multiple of `grid`; the
    first is 0 and the last tile ends exactly at `length`. A length up to `tile` is one tile of
    that very length.
    """
    assert length % grid == 0 and tile % grid == 0, (length, tile, grid)
    assert 0 <= overlap < tile, (overlap, tile)
    if length <= tile:
        return [0]
    stride = tile - ceil_to(overlap, grid)
    assert stride > 0, (tile, overlap, grid)
    count = 1 + -(-(length - tile) // stride)
    slack = (length - tile) // grid
    return [slack * index // (count - 1) * grid for index in range(count)]


def tiles(canvas: Size, tile: int, overlap: int, grid: int = 1) -> list[Box]:
    """The product of two axes, row by row; see `split`."""
    size = Size(min(tile, canvas.height), min(tile, canvas.width))
    return [
        Box.at(top, left, size)
        for top in split(canvas.height, tile, overlap, grid)
        for left in split(canvas.width, tile, overlap, grid)
    ]


def fitted_tiles(
    canvas: Size, needed: Box, tile: int, least: int, overlap: int, multiple: int, grid: int
) -> list[Box]:
    """The fewest tiles that cover a part of the canvas, and of those the smallest.

    needed: the part. tile, least: the largest and the smallest side, where the canvas has the
    room; multiples of `multiple`, as are a tile's sides. overlap, grid: see `split`.
    """

    def axis(length: int, low: int, high: int) -> tuple[int, list[int]]:
        low, high = low // grid * grid, min(ceil_to(high, grid), length)
        room, most = high - low, min(tile, length)
        count = 1 if room <= most else len(split(room, most, overlap, grid))
        shared = ceil_to(overlap, grid) * (count - 1)
        side = min(most, max(least, ceil_to(-(-(room + shared) // count), multiple)))
        span = max(room, side)
        middle = (low - (span - room) // 2) // grid * grid
        begin = min(max(0, middle), length - span)
        starts = [0] if count == 1 else split(span, side, overlap, grid)
        return side, [begin + start for start in starts]

    height, tops = axis(canvas.height, needed.top, needed.bottom)
    width, lefts = axis(canvas.width, needed.left, needed.right)
    return [Box.at(top, left, Size(height, width)) for top in tops for left in lefts]
