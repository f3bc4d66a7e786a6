"""Sizes and boxes in source pixels: height first, half-open."""

from __future__ import annotations

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
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a size is at least 1x1, not {self.height}x{self.width}")

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

    @property
    def transposed(self) -> Size:
        return Size(self.width, self.height)

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
        if self.bottom <= self.top or self.right <= self.left:
            raise ValueError(f"an empty box: {self}")

    @classmethod
    def of(cls, size: Size) -> Box:
        """The box that covers all of `size`."""
        return cls(0, 0, size.height, size.width)

    @classmethod
    def at(cls, top: int, left: int, size: Size) -> Box:
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

    @property
    def transposed(self) -> Box:
        return Box(self.left, self.top, self.right, self.bottom)

    def __contains__(self, other: object) -> bool:
        return (
            isinstance(other, Box)
            and self.top <= other.top
            and self.left <= other.left
            and other.bottom <= self.bottom
            and other.right <= self.right
        )

    def shifted(self, rows: int, columns: int) -> Box:
        return Box(self.top + rows, self.left + columns, self.bottom + rows, self.right + columns)

    def times(self, factor: int) -> Box:
        """This box on a grid `factor` times finer."""
        return Box(*(factor * side for side in (self.top, self.left, self.bottom, self.right)))

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
