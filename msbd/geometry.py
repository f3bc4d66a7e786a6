"""Sizes, boxes and tiles in pixels: height first, half-open."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

BAND = 128
"""Rows of a picture that are looked at together."""


@dataclass(frozen=True, order=True)
class Size:
    """Height and width in pixels, both at least 1."""

    height: int
    width: int

    def __post_init__(self) -> None:
        assert self.height >= 1 and self.width >= 1, f"{self.height}x{self.width}"

    def __str__(self) -> str:
        """Width x height, the order in which people read picture sizes."""
        return f"{self.width}x{self.height}"

    @property
    def area(self) -> int:
        return self.height * self.width

    @property
    def longest(self) -> int:
        return max(self.height, self.width)

    @property
    def shortest(self) -> int:
        return min(self.height, self.width)

    def divided(self, factor: int) -> Size:
        """This size on a grid `factor` times coarser; its sides must lie on that grid."""
        assert self.height % factor == 0 and self.width % factor == 0, (self, factor)
        return Size(self.height // factor, self.width // factor)

    def scaled(self, factor: float, multiple: int = 1) -> Size:
        """Both sides times `factor`, rounded to the nearest positive multiple."""
        return Size(
            round_to(self.height * factor, multiple), round_to(self.width * factor, multiple)
        )

    def padded(self, multiple: int) -> Size:
        """The smallest size at least this large whose sides are multiples of `multiple`."""
        return Size(ceil_to(self.height, multiple), ceil_to(self.width, multiple))


@dataclass(frozen=True, order=True)
class Box:
    """Rows `top..bottom`, columns `left..right`, the far ends excluded; never empty."""

    top: int
    left: int
    bottom: int
    right: int

    def __post_init__(self) -> None:
        assert self.top < self.bottom and self.left < self.right, f"an empty box: {self}"

    @classmethod
    def of(cls, size: Size, top: int = 0, left: int = 0) -> Box:
        """The box of that size whose first pixel is at `top`, `left`."""
        return cls(top, left, top + size.height, left + size.width)

    @property
    def size(self) -> Size:
        return Size(self.bottom - self.top, self.right - self.left)

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    def grown(self, reach: int, within: Size) -> Box:
        """This box with `reach` pixels more on every side, as far as a picture of that size has
        them."""
        return Box(
            max(self.top - reach, 0),
            max(self.left - reach, 0),
            min(self.bottom + reach, within.height),
            min(self.right + reach, within.width),
        )

    def overlaps(self, other: Box) -> bool:
        """Whether they have a pixel in common."""
        return max(self.top, other.top) < min(self.bottom, other.bottom) and max(
            self.left, other.left
        ) < min(self.right, other.right)

    def joined(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def scaled(self, down: float, across: float) -> Box:
        """The smallest box of whole pixels that holds this one, enlarged by two factors."""
        return Box(
            math.floor(self.top * down),
            math.floor(self.left * across),
            math.ceil(self.bottom * down),
            math.ceil(self.right * across),
        )

    def divided(self, factor: int) -> Box:
        """This box on a grid `factor` times coarser; its sides must lie on that grid."""
        sides = (self.top, self.left, self.bottom, self.right)
        assert all(side % factor == 0 for side in sides), (self, factor)
        return Box(*(side // factor for side in sides))


def bands(height: int) -> Iterator[slice]:
    """All rows of a picture, some at a time.

    What is computed of a large picture waits for memory more than for the processor; what is
    computed of a few rows of it is small enough not to.
    """
    for top in range(0, height, BAND):
        yield slice(top, min(top + BAND, height))


def ceil_to(value: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `value`."""
    return -(-value // multiple) * multiple


def round_to(value: float, multiple: int) -> int:
    """The positive multiple of `multiple` nearest to `value`; halves round up."""
    return max(1, int(value / multiple + 0.5)) * multiple


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


def all_tiles(canvas: Size, tile: int, overlap: int, grid: int = 1) -> list[Box]:
    """The product of two axes, row by row; see `split`."""
    size = Size(min(tile, canvas.height), min(tile, canvas.width))
    return [
        Box.of(size, top, left)
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
    return [Box.of(Size(height, width), top, left) for top in tops for left in lefts]
