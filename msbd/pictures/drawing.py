"""A plan as a picture: what is repainted, what the model sees, and in which tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageEnhance

from ..geometry import Box, Size
from ..plan import EditPlan, StagePlan
from .lettering import font, shortened

BACKGROUND, INK, FAINT = "#17191e", "#f2f2f0", "#a3a8b3"
MASK, CROP = "#ffffff", "#ffd23f"
STAGES = ("#56b4e9", "#ff9f1c", "#2ec4a0", "#ef6fb0", "#b8e04a", "#a78bfa")
"""Told apart with any colour vision by their brightness and hue; repeated beyond the sixth."""
_SHORTEST_VIEW, _LONGEST_VIEW = 960, 1600
_PANEL, _GAP, _TEXT = 260, 24, 16
_LABELLED = 16
"""More tiles than these are drawn without numbers."""


def stage_colour(stage: StagePlan) -> str:
    return STAGES[stage.index % len(STAGES)]


def stage_title(stage: StagePlan) -> str:
    return f"Stage {stage.index + 1}, {stage.name}: {stage.size}"


@dataclass(frozen=True)
class _View:
    """How a box of the picture is shown: its corner goes to (left, top), times scale."""

    source: Box
    scale: float
    left: float
    top: float

    def place(self, box: Box) -> tuple[float, float, float, float]:
        """left, top, right, bottom on the drawing, the last pixel included."""
        return (
            self.left + (box.left - self.source.left) * self.scale,
            self.top + (box.top - self.source.top) * self.scale,
            self.left + (box.right - self.source.left) * self.scale - 1,
            self.top + (box.bottom - self.source.top) * self.scale - 1,
        )


def draw_plan(picture: Image.Image, plan: EditPlan) -> Image.Image:
    """The picture with mask and crop marked, and below it every stage's tiles on the crop.

    picture: of the plan's size. The drawing is about 1000 to 1600 pixels wide whatever the
    picture's size, so that lines and letters can be read.
    """
    size = plan.image
    scale = min(max(1.0, _SHORTEST_VIEW / size.longest), _LONGEST_VIEW / size.longest)
    view = Size(*(max(1, round(side * scale)) for side in (size.height, size.width)))
    width = max(view.width, _SHORTEST_VIEW)
    columns = min(max(len(plan.stages), 3), width // _PANEL)
    panel = plan.crop.size.scaled(
        ((width + _GAP) / columns - _GAP) / max(plan.crop.size.width, plan.crop.size.height / 1.5)
    )
    pitch = panel.height + 4 * _TEXT + 2 * _GAP
    rows = -(-len(plan.stages) // columns)
    sheet = Image.new("RGB", (width + 2 * _GAP, view.height + 4 * _GAP + rows * pitch), BACKGROUND)
    left = _GAP + (width - view.width) // 2
    _draw_overview(sheet, picture, plan, _View(Box.of(size), scale, left, _GAP), view)
    cut = (plan.crop.left, plan.crop.top, plan.crop.right, plan.crop.bottom)
    crop = _resized(picture.convert("RGB").crop(cut), panel)
    for stage in plan.stages:
        row, column = divmod(stage.index, columns)
        x = _GAP + column * (width + _GAP) // columns
        _draw_stage(sheet, crop, plan, stage, (x, view.height + 4 * _GAP + row * pitch))
    return sheet


def _draw_overview(
    sheet: Image.Image, picture: Image.Image, plan: EditPlan, view: _View, size: Size
) -> None:
    shown = _resized(picture.convert("RGB"), size)
    dark = ImageEnhance.Brightness(shown).enhance(0.45)
    inside = _View(view.source, view.scale, 0, 0).place(plan.crop)
    lit = Image.new("L", shown.size, 0)
    ImageDraw.Draw(lit).rectangle(inside, fill=255)
    sheet.paste(Image.composite(shown, dark, lit), (round(view.left), round(view.top)))
    draw = ImageDraw.Draw(sheet)
    outline(draw, view.place(plan.crop), CROP, 3)
    outline(draw, view.place(plan.mask), MASK, 2, dash=9)
    _draw_legend(draw, plan, size.height + int(1.7 * _GAP), sheet.width)


def _draw_legend(draw: ImageDraw.ImageDraw, plan: EditPlan, y: int, width: int) -> None:
    """One line; what crop and mask are is left out where it would not fit."""
    sample = 32
    crop, mask = f"crop {plan.crop.size}", f"mask {plan.mask.size}"
    calls = f"{plan.model_calls} model calls"
    long = (f"{crop}: what the model sees", f"{mask}: what is repainted")
    for marked in (long, (crop, mask)):
        texts = (f"picture {plan.image}", *marked, calls)
        taken = 2 * sample + sum(draw.textlength(text, font=font(_TEXT)) for text in texts)
        space = (width - 2 * _GAP - taken) / (len(texts) - 1)
        if space >= _GAP:
            break
    x: float = _GAP
    for text, colour in zip(texts, (None, CROP, MASK, None), strict=True):
        if colour:
            outline(draw, (x, y + 2, x + 22, y + _TEXT), colour, 3, dash=5 if colour == MASK else 0)
            x += sample
        draw.text((x, y), text, INK if colour else FAINT, font=font(_TEXT))
        x += draw.textlength(text, font=font(_TEXT)) + min(space, 2 * _GAP)


def _draw_stage(
    sheet: Image.Image, crop: Image.Image, plan: EditPlan, stage: StagePlan, place: tuple[int, int]
) -> None:
    """One panel: the crop with the stage's tiles, and what is done with them."""
    shown = ImageEnhance.Brightness(crop).enhance(0.6)
    draw = ImageDraw.Draw(shown, "RGBA")
    view = _View(plan.crop, crop.width / plan.crop.size.width, 0, 0)
    spots = [view.place(_on_picture(tile, stage)) for tile in stage.tiles]
    colour = stage_colour(stage)
    if len(spots) > 1:
        for spot in spots:
            draw.rectangle(spot, fill=colour + "1c")
    outline(draw, view.place(plan.mask), MASK, 1, dash=5)
    for spot in spots:
        outline(draw, spot, colour, 2 if len(spots) <= _LABELLED else 1)
    for number, (left, top, right, bottom) in enumerate(spots, 1):
        if 1 < len(spots) <= _LABELLED and bottom - top > 60:
            _label(draw, ((left + right) / 2, (top + bottom) / 2), str(number), colour)
    sheet.paste(shown, place)
    lines = [(stage_title(stage), colour), *((line, FAINT) for line in stage_facts(stage))]
    letters = ImageDraw.Draw(sheet)
    for index, (line, ink) in enumerate(lines):
        at = (place[0], place[1] + crop.height + 8 + index * (_TEXT + 4))
        text = shortened(letters, line, max(crop.width, _PANEL), _TEXT)
        letters.text(at, text, ink, font=font(_TEXT))


def stage_facts(stage: StagePlan) -> tuple[str, str]:
    """Two short lines: the tiles, and the steps."""
    tiles = "one pass" if stage.tile_grid == 1 else f"{len(stage.tiles)} of {stage.tile_grid} tiles"
    tiles += f" of {stage.tiles[0].size}"
    run = stage.schedule
    if run.candidates > 1:
        tiles += f", {run.candidates} candidates"
    return tiles, f"{run.in_words}, strength {run.strength:g}"


def _on_picture(tile: Box, stage: StagePlan) -> Box:
    """The part of the picture under a tile, to the nearest pixel."""
    box, size = stage.box, stage.box.size
    down, across = size.height / stage.size.height, size.width / stage.size.width
    top, left = round(tile.top * down), round(tile.left * across)
    bottom = max(top + 1, min(round(tile.bottom * down), size.height))
    right = max(left + 1, min(round(tile.right * across), size.width))
    return Box(box.top + top, box.left + left, box.top + bottom, box.left + right)


def _resized(image: Image.Image, size: Size) -> Image.Image:
    return image.resize((size.width, size.height), Image.Resampling.LANCZOS)


def _label(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str) -> None:
    """Text on a dark disc, centred."""
    x, y = at
    draw.ellipse((x - 13, y - 13, x + 13, y + 13), fill="#17191ec0", outline=colour)
    draw.text((x, y), text, colour, font=font(15), anchor="mm")


def outline(
    draw: ImageDraw.ImageDraw, box: Sequence[float], colour: str, width: int, dash: int = 0
) -> None:
    """A rectangle with a dark rim that shows on any ground; dashed if `dash` is not 0."""
    left, top, right, bottom = box
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="#000000", width=width + 2)
    if not dash:
        draw.rectangle((left, top, right, bottom), outline=colour, width=width)
        return
    inset = width - 1
    for x in range(int(left), int(right) + 1, 2 * dash):
        end = min(x + dash, right)
        draw.rectangle((x, top, end, top + inset), fill=colour)
        draw.rectangle((x, bottom - inset, end, bottom), fill=colour)
    for y in range(int(top), int(bottom) + 1, 2 * dash):
        end = min(y + dash, bottom)
        draw.rectangle((left, y, left + inset, end), fill=colour)
        draw.rectangle((right - inset, y, right, end), fill=colour)
