"""Contact sheets: one row a case, one column a method, so that people can look for themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ..pictures.drawing import BACKGROUND, FAINT, INK
from ..pictures.lettering import font, shortened
from .cases import Case, draw
from .errands import cases_of, plan_of, quickened
from .methods import METHODS, MULTI_STAGE, Experiment
from .records import Records

CELL, GAP, ROWS = 168, 8, 8
_TEXT, _LINE = 13, 18
DETAIL = ("decoder", "overlap", "recommended")
"""Experiments whose cells show a part of the edit only, at its own size."""


def sheet(
    experiment: Experiment, names: Sequence[str], records: Records, quick: bool = False
) -> Image.Image | None:
    """The picture with its mask, then what the methods of these names made of it.

    Of cases that all of them have recorded; None if there is none.
    """
    methods = [quickened(METHODS[name]) if quick else METHODS[name] for name in names]
    cases = [
        case
        for case in cases_of(experiment, quick)
        if all(records.read(case, method) is not None for method in methods)
    ][:ROWS]
    if not cases:
        return None
    width = (len(methods) + 1) * (CELL + GAP) + GAP
    height = len(cases) * (CELL + GAP + _LINE) + _LINE + GAP
    page = Image.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(page)
    for column, title in enumerate(["picture and mask", *(m.name for m in methods)]):
        at = (GAP + column * (CELL + GAP), 2)
        pen.text(at, shortened(pen, title, CELL, _TEXT), INK, font=font(_TEXT))
    for row, case in enumerate(cases):
        top = _LINE + GAP + row * (CELL + GAP + _LINE)
        cells = [_masked(case), *(Image.fromarray(records.picture(case, m)) for m in methods)]
        for column, cell in enumerate(cells):
            left = GAP + column * (CELL + GAP)
            page.paste(_fitted(cell, experiment.name in DETAIL), (left, top))
        caption = shortened(pen, f"{case.name}: {case.prompt}", 3 * CELL, _TEXT)
        pen.text((GAP, top + CELL + 1), caption, FAINT, font=font(_TEXT))
    return page


def save(page: Image.Image, path: Path) -> None:
    page.save(path, quality=84, optimize=True)


def _fitted(image: Image.Image, detail: bool) -> Image.Image:
    """The whole picture in a cell; or its middle, pixel by pixel, where details are looked for."""
    if detail:
        # The upper left part of the mask: its edge, and what was painted.
        side = min(CELL, *image.size)
        left, top = (round(0.1 * length) for length in image.size)
        left, top = min(left, image.width - side), min(top, image.height - side)
        return image.convert("RGB").crop((left, top, left + side, top + side)).resize((CELL, CELL))
    shown = image.convert("RGB")
    shown.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
    return shown


def _masked(case: Case) -> Image.Image:
    """The crop of the picture before the edit, what will be repainted in grey stripes."""
    image, mask = draw(case)
    crop = plan_of(case, MULTI_STAGE).crop
    pixels, painted = image[crop.rows, crop.columns].copy(), mask[crop.rows, crop.columns] > 0
    rows, columns = np.indices(painted.shape)
    stripes = painted & ((rows + columns) // 8 % 2 == 0)
    pixels[painted] = pixels[painted] // 2 + 64
    pixels[stripes] = 150
    return Image.fromarray(pixels)
