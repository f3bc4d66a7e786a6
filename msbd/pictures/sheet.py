"""A contact sheet of an edit: every step of every stage, in the manner of the paper's Figure 3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from ..geometry import Box
from ..plan import StagePlan
from .drawing import BACKGROUND, CROP, FAINT, INK, outline, stage_colour
from .lettering import font, shortened

if TYPE_CHECKING:
    from torch import Tensor

_TITLES = {
    "crop": "crop of the picture",
    "draft": "draft: the stage before, enlarged",
    "context": "context: low-passed picture",
    "start": "start: draft in context",
    "before": "before decoder optimisation",
    "result": "after decoder optimisation",
}
_CHOSEN = "(chosen)"
_FEWEST_COLUMNS, _MOST_COLUMNS, _CELL, _GAP = 4, 8, 256, 18
_CAPTION, _HEADING, _TITLE = 16, 20, 30
_VIEW = 620
"""Greatest height of the whole pictures at the end."""


@dataclass(frozen=True)
class _Shot:
    name: str
    caption: str
    image: Image.Image


@dataclass
class _Row:
    stage: StagePlan
    shots: list[_Shot] = field(default_factory=list)

    @property
    def cells(self) -> list[_Shot]:
        """The pictures in their order, and the result's tiles, if it has several, before it."""
        cells = list(self.shots)
        result = next((shot for shot in cells if shot.name == "result"), None)
        if result and len(self.stage.tiles) > 1:
            caption = f"{len(self.stage.tiles)} overlapping tiles"
            cells.insert(-1, _Shot("tiles", caption, _exploded(self.stage, result.image)))
        return cells

    def title(self, shot: _Shot) -> str:
        if shot.name == "result" and all(other.name != "before" for other in self.shots):
            return "result"
        return _TITLES.get(shot.name, shot.caption)


class SheetRecorder:
    """Collects small copies of an edit's intermediate pictures and lays them out.

    `picture` is a `Callbacks.picture`. At most 256 x 256 pixels are kept of each picture, so that
    memory does not grow with the picture's size.
    """

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int], _Row] = {}

    def picture(self, name: str, image: Tensor, stage: StagePlan, caption: str) -> None:
        """Remember one picture [1,3,H,W] in [0,1]; see `progress.Callbacks` for the names."""
        row = self._rows.setdefault((stage.part, stage.index), _Row(stage))
        row.stage = stage  # which may have been done again in smaller tiles
        row.shots.append(_Shot(name, caption, _reduced(image)))

    def render(
        self,
        title: str = "",
        before: Image.Image | None = None,
        after: Image.Image | None = None,
    ) -> Image.Image:
        """The sheet: one row per stage, and the whole picture before and after if given."""
        rows = [row for _, row in sorted(self._rows.items())]
        columns = min(max((len(row.cells) for row in rows), default=0), _MOST_COLUMNS)
        width = max(columns, _FEWEST_COLUMNS) * (_CELL + _GAP) + _GAP
        parts = [_title(title, width)] if title else []
        several = any(row.stage.part for row in rows)
        parts += [_stage_part(row, width, several) for row in rows]
        if before is not None and after is not None:
            crops = dict.fromkeys(row.stage.box for row in rows)
            parts += [_whole_part(before, after, crop, width) for crop in crops]
        sheet = Image.new("RGB", (width, sum(p.height for p in parts) + _GAP), BACKGROUND)
        top = 0
        for part in parts:
            sheet.paste(part, (0, top))
            top += part.height
        return sheet


def _reduced(image: Tensor) -> Image.Image:
    """A copy that fits a cell; never an enlarged one."""
    levels = (image[0].detach().float().cpu().clamp(0, 1) * 255).round().byte()
    full = Image.fromarray(levels.permute(1, 2, 0).numpy())
    return _scaled(full, min(1.0, _CELL / max(full.size)))


def _scaled(image: Image.Image, scale: float) -> Image.Image:
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _fitted(image: Image.Image) -> Image.Image:
    """As large as a cell allows, so that all steps are seen at one size."""
    return _scaled(image, _CELL / max(image.size))


def _exploded(stage: StagePlan, result: Image.Image) -> Image.Image:
    """The result cut into its tiles and these moved apart, so that overlaps are seen twice."""
    scale = result.width / stage.size.width
    size = stage.tiles[0].size.scaled(scale)
    gap = max(2, size.longest // 16)
    tops = sorted({tile.top for tile in stage.tiles})
    lefts = sorted({tile.left for tile in stage.tiles})
    shape = (len(lefts) * (size.width + gap) - gap, len(tops) * (size.height + gap) - gap)
    together = Image.new("RGB", shape, BACKGROUND)
    for tile in stage.tiles:
        left, top = round(tile.left * scale), round(tile.top * scale)
        right, bottom = min(left + size.width, result.width), min(top + size.height, result.height)
        across, down = lefts.index(tile.left), tops.index(tile.top)
        at = (across * (size.width + gap), down * (size.height + gap))
        together.paste(result.crop((left, top, right, bottom)), at)
    return _fitted(together)


def _title(text: str, width: int) -> Image.Image:
    part = Image.new("RGB", (width, _TITLE + 2 * _GAP), BACKGROUND)
    draw = ImageDraw.Draw(part)
    shown = shortened(draw, text, width - 2 * _GAP, _TITLE)
    draw.text((_GAP, _GAP), shown, INK, font=font(_TITLE))
    return part


def _stage_part(row: _Row, width: int, several: bool) -> Image.Image:
    """A heading, and the cells in as many lines as they need. several: whether the mask has parts
    edited apart."""
    stage, cells = row.stage, row.cells
    columns = (width - _GAP) // (_CELL + _GAP)
    images = [_fitted(shot.image) for shot in cells]
    tallest = max(image.height for image in images)
    pitch = tallest + _CAPTION + 2 * _GAP
    head = _HEADING + 2 * _GAP
    part = Image.new("RGB", (width, head + -(-len(cells) // columns) * pitch), BACKGROUND)
    draw = ImageDraw.Draw(part)
    colour = stage_colour(stage)
    draw.rectangle((0, _GAP // 2, 5, part.height - _GAP), fill=colour)
    title = f"Part {stage.part + 1}, {_stage_title(stage)}" if several else _stage_title(stage)
    draw.text((_GAP, _GAP), title, colour, font=font(_HEADING))
    after = _GAP + draw.textlength(title + "     ", font=font(_HEADING))
    facts = shortened(draw, ",  ".join(_stage_facts(stage)), width - after - _GAP, _CAPTION)
    draw.text((after, _GAP + 3), facts, FAINT, font=font(_CAPTION))
    for index, (shot, image) in enumerate(zip(cells, images, strict=True)):
        down, across = divmod(index, columns)
        left, top = _GAP + across * (_CELL + _GAP), head + down * pitch
        part.paste(image, (left, top))
        chosen = shot.caption.endswith(_CHOSEN)
        if chosen:
            outline(draw, (left, top, left + image.width - 1, top + image.height - 1), CROP, 4)
        text = shortened(draw, row.title(shot), _CELL, _CAPTION)
        draw.text((left, top + tallest + 6), text, CROP if chosen else FAINT, font=font(_CAPTION))
    return part


def _stage_title(stage: StagePlan) -> str:
    return f"Stage {stage.index + 1}, {stage.name}: {stage.size}"


def _stage_facts(stage: StagePlan) -> tuple[str, str]:
    """Two short lines: the tiles, and the steps."""
    tiles = "one pass" if stage.tile_grid == 1 else f"{len(stage.tiles)} of {stage.tile_grid} tiles"
    tiles += f" of {stage.tiles[0].size}"
    run = stage.schedule
    if run.candidates > 1:
        tiles += f", {run.candidates} candidates"
    return tiles, f"{run.in_words}, strength {run.strength:g}"


def _whole_part(before: Image.Image, after: Image.Image, crop: Box, width: int) -> Image.Image:
    """The picture before and after with the crop marked, and the crop of the result, one height."""
    cut = after.crop((crop.left, crop.top, crop.right, crop.bottom))
    panels = [(before, "before"), (after, "after"), (cut, f"the edit, {crop.size}")]
    room = width - (len(panels) + 1) * _GAP
    height = min(_VIEW, room / sum(image.width / image.height for image, _ in panels))
    part = Image.new("RGB", (width, round(height) + _CAPTION + 3 * _GAP), BACKGROUND)
    draw = ImageDraw.Draw(part)
    left = _GAP
    for image, caption in panels:
        scale = height / image.height
        shown = _scaled(image.convert("RGB"), scale)
        part.paste(shown, (left, _GAP))
        if image is before:
            box = [side * scale for side in (crop.left, crop.top, crop.right - 1, crop.bottom - 1)]
            shift = (left, _GAP, left, _GAP)
            outline(draw, [a + b for a, b in zip(box, shift, strict=True)], CROP, 2)
        draw.text((left, _GAP + shown.height + 6), caption, FAINT, font=font(_CAPTION))
        left += shown.width + _GAP
    return part
