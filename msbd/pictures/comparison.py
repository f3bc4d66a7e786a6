"""Two results of an edit beside each other, where they differ, at 100 %."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..errors import EditError
from ..geometry import Box, Size
from .drawing import BACKGROUND, FAINT, INK
from .lettering import font, shortened

Pixels = NDArray[np.uint8]
GAP, LINE, TEXT = 12, 26, 16
AROUND = 0.15
"""What is shown round the place, in units of its longer side."""
LEAST = 192
"""Side in pixels that is shown at least, if the picture has as many."""
CONTRAST = 8
"""How many times differences are enlarged where they are shown."""


def difference(one: Pixels, other: Pixels) -> tuple[Box, int] | None:
    """Where two pictures [H,W,3] differ, and by how many levels at most; None if they are the same.

    Raises `EditError` if their sizes do.
    """
    sizes = [Size(*pixels.shape[:2]) for pixels in (one, other)]
    if sizes[0] != sizes[1]:
        raise EditError(
            f"the pictures are of {sizes[0]} and {sizes[1]} pixels: compare two of one size"
        )
    levels = np.abs(one.astype(np.int16) - other).max(-1)
    rows, columns = (np.flatnonzero(levels.any(axis)) for axis in (1, 0))
    if not rows.size:
        return None
    box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    return box, int(levels.max())


def comparison(pictures: Sequence[Pixels], names: Sequence[str], box: Box) -> Image.Image:
    """Both pictures [H,W,3] and their difference, pixel by pixel, with something round the box."""
    place = _surroundings(box, Size(*pictures[0].shape[:2]))
    one, other = (picture[place.rows, place.columns] for picture in pictures)
    apart = CONTRAST * np.abs(one.astype(np.int16) - other)
    panels = [one, other, apart.clip(0, 255).astype(np.uint8)]
    titles = [*names, f"difference, {CONTRAST} times"]
    width, height = place.size.width, place.size.height
    page = Image.new("RGB", (3 * (width + GAP) + GAP, height + 2 * LINE + GAP), BACKGROUND)
    pen = ImageDraw.Draw(page)
    for index, (panel, title) in enumerate(zip(panels, titles, strict=True)):
        left = GAP + index * (width + GAP)
        pen.text((left, 4), shortened(pen, title, width, TEXT), INK, font=font(TEXT))
        page.paste(Image.fromarray(panel), (left, LINE))
    part = place.size != Size(*pictures[0].shape[:2])
    where = f" from {place.left}, {place.top}" if part else ""
    said = shortened(pen, f"{place.size} pixels{where}; at 100 %", page.width - 2 * GAP, TEXT)
    pen.text((GAP, LINE + height + 4), said, FAINT, font=font(TEXT))
    return page


def _surroundings(box: Box, picture: Size) -> Box:
    margin = round(AROUND * box.size.longest)
    margin = max(margin, (LEAST - box.size.shortest) // 2)
    return box.grown(margin, picture)
