"""Masks of every kind a user paints, as 8-bit pictures; sides and positions in pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..geometry import Box, Size

Grey = NDArray[np.uint8]
Draw = ImageDraw.ImageDraw


def drawn(kind: str, size: Size, box: Box, rng: np.random.Generator) -> Grey:
    """A mask of a kind in `KINDS` that fills `box` of a picture: uint8 [H,W], 0 or 255."""
    mask = Image.new("L", (size.width, size.height), 0)
    KINDS[kind](ImageDraw.Draw(mask), box, rng)
    return np.asarray(mask)


def _disc(draw: Draw, box: Box, rng: np.random.Generator) -> None:
    draw.ellipse((box.left, box.top, box.right - 1, box.bottom - 1), fill=255)


def _box(draw: Draw, box: Box, rng: np.random.Generator) -> None:
    draw.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill=255)


def _brush(draw: Draw, box: Box, rng: np.random.Generator) -> None:
    """Strokes of a round brush to and fro, as a hand fills an area."""
    height, width = box.size.height, box.size.width
    brush = 0.34 * min(height, width)
    inset = brush / 2
    lanes = np.linspace(box.top + inset, box.bottom - 1 - inset, 4)
    ends = (box.left + inset, box.right - 1 - inset)
    points = []
    for lane, y in enumerate(lanes):
        for x in ends if lane % 2 == 0 else ends[::-1]:
            points.append((x + rng.uniform(-1, 1) * 0.06 * width, y))
    points = [(min(max(x, ends[0]), ends[1]), y) for x, y in points]
    draw.line(points, fill=255, width=round(brush))
    for x, y in points:
        draw.ellipse((x - inset, y - inset, x + inset, y + inset), fill=255)


def _line(draw: Draw, box: Box, rng: np.random.Generator) -> None:
    """A thin stroke from corner to corner, a sixteenth as wide as long."""
    corners = [(box.left, box.top), (box.right - 1, box.bottom - 1)]
    if rng.uniform() < 0.5:
        corners = [(box.left, box.bottom - 1), (box.right - 1, box.top)]
    draw.line(corners, fill=255, width=max(3, round(box.size.longest / 16)))


def _parts(draw: Draw, box: Box, rng: np.random.Generator) -> None:
    """A large part in one corner of the box and two spots in the others."""
    side = 0.8 * min(box.size.height, box.size.width)
    draw.ellipse((box.left, box.top, box.left + side, box.top + side), fill=255)
    spot = 0.16 * side
    for corner_x, corner_y in (
        (box.right - 1 - spot, box.top + rng.uniform(0.3, 0.6) * side),
        (box.left + rng.uniform(0.5, 0.8) * side, box.bottom - 1 - spot),
    ):
        draw.ellipse((corner_x, corner_y, corner_x + spot, corner_y + spot), fill=255)


KINDS: dict[str, Callable[[Draw, Box, np.random.Generator], None]] = {
    "disc": _disc,
    "box": _box,
    "brush": _brush,
    "border": _box,
    "parts": _parts,
    "line": _line,
}
"""By name; `border` is a box at the picture's border, `line` too thin for an object."""
