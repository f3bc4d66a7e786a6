"""The candidates of an edit, numbered, for a person to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .drawing import BACKGROUND, FAINT, INK
from .lettering import font, shortened

GAP, LINE, TEXT = 12, 24, 16
LEAST = 192
"""Width in pixels that a candidate is shown at, if it is smaller."""
WIDTH = 1600
"""Of the board, in pixels, unless a candidate is wider."""


@dataclass(frozen=True)
class Candidate:
    """pixels: [H,W,3]. best: whether its score is the highest."""

    number: int
    pixels: NDArray[np.uint8]
    score: float | None = None
    best: bool = False

    @property
    def caption(self) -> str:
        score = "" if self.score is None else f"  {self.score:.3f}"
        return f"{self.number}{score}{'  best score' if self.best else ''}"


def board(rows: Sequence[tuple[str, Sequence[Candidate]]]) -> Image.Image:
    """One picture of all candidates, those of each part of the mask under a title of their own."""
    panels = [(title, [_panel(one) for one in candidates]) for title, candidates in rows]
    widths = [panel.width + GAP for _, row in panels for panel in row]
    width = max(min(WIDTH, max(sum(p.width + GAP for p in row) for _, row in panels)), *widths)
    placed, top = list[tuple[Image.Image, int, int]](), 0
    titles = list[tuple[str, int]]()
    for title, row in panels:
        titles.append((title, top))
        top += LINE
        left, height = 0, 0
        for panel in row:
            if left + panel.width > width:
                left, top, height = 0, top + height + GAP, 0
            placed.append((panel, left, top))
            left, height = left + panel.width + GAP, max(height, panel.height)
        top += height + GAP
    page = Image.new("RGB", (width + GAP, top + GAP), BACKGROUND)
    pen = ImageDraw.Draw(page)
    for title, y in titles:
        pen.text((GAP, y + 4), shortened(pen, title, width, TEXT), FAINT, font=font(TEXT))
    for panel, x, y in placed:
        page.paste(panel, (GAP + x, GAP + y))
    return page


def _panel(candidate: Candidate) -> Image.Image:
    """A candidate under its caption."""
    shown = Image.fromarray(candidate.pixels)
    factor = -(-LEAST // shown.width)
    if factor > 1:
        size = shown.width * factor, shown.height * factor
        shown = shown.resize(size, Image.Resampling.NEAREST)
    panel = Image.new("RGB", (shown.width, shown.height + LINE), BACKGROUND)
    pen = ImageDraw.Draw(panel)
    caption = shortened(pen, candidate.caption, shown.width, TEXT)
    pen.text((0, 2), caption, INK, font=font(TEXT))
    panel.paste(shown, (0, LINE))
    return panel
