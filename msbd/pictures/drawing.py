"""A plan as a picture: what is repainted, what the model sees, and in which tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from ..geometry import Box, Size
from ..masks import Mask
from ..plan import EditPlan, PartPlan, StagePlan
from .lettering import font, shortened
from .summary import MOST_PARTS, details, heading

BACKGROUND, INK, FAINT = "#17191e", "#f2f2f0", "#a3a8b3"
MASK, CROP = "#ff2a3c", "#ffd23f"
STAGES = ("#56b4e9", "#ff9f1c", "#2ec4a0", "#ef6fb0", "#b8e04a", "#a78bfa")
"""Told apart with any colour vision by their brightness and hue; repeated beyond the sixth."""
TINT = 0.55
"""Of the mask's red, as much as a retoucher's masking film has: the picture shows through."""
_VIEW = Size(780, 1152)
"""Room for the picture. A column of the WebUI shows the drawing at half its size, so its letters
are twice as large as a page's."""
_GAP, _TEXT, _PANEL_HEIGHT = 24, 24, 552
_LABELLED = 16
"""More tiles than these are drawn without numbers."""


def stage_colour(stage: StagePlan) -> str:
    return STAGES[stage.index % len(STAGES)]


@dataclass(frozen=True)
class _View:
    """How a box of the picture is shown, with this size in pixels."""

    source: Box
    size: Size

    @classmethod
    def fitted(cls, source: Box, room: Size) -> _View:
        """As large as there is room."""
        scale = min(room.height / source.size.height, room.width / source.size.width)
        return cls(source, source.size.scaled(scale))

    def place(self, box: Box) -> tuple[float, float, float, float]:
        """left, top, right, bottom in the view, the last pixel included."""
        across = self.size.width / self.source.size.width
        down = self.size.height / self.source.size.height
        return (
            (box.left - self.source.left) * across,
            (box.top - self.source.top) * down,
            (box.right - self.source.left) * across - 1,
            (box.bottom - self.source.top) * down - 1,
        )

    def shown(self, picture: Image.Image, filter: Image.Resampling) -> Image.Image:
        """The picture's part inside the box."""
        box = self.source
        sides = (self.size.width, self.size.height)
        return picture.resize(sides, filter, (box.left, box.top, box.right, box.bottom))


def draw_plan(picture: Image.Image, plan: EditPlan, mask: Mask) -> Image.Image:
    """The picture with mask and crops marked, and below it every stage's tiles on its crop.

    picture, mask: of the plan's size. The drawing is 1200 pixels wide whatever the picture's size,
    so that lines and letters can be read.
    """
    picture = picture.convert("RGB")
    width = _VIEW.width
    overview = _overview(picture, plan, mask)
    panels = [_part_panels(picture, plan, part, mask) for part in plan.parts[:MOST_PARTS]]
    below = overview.height + 4 * _GAP + _TEXT
    height = below + sum(panel.height for panel in panels)
    sheet = Image.new("RGB", (width + 2 * _GAP, height), BACKGROUND)
    sheet.paste(overview, (_GAP + (width - overview.width) // 2, _GAP))
    _draw_legend(ImageDraw.Draw(sheet), plan, overview.height + 2 * _GAP)
    for panel in panels:
        sheet.paste(panel, (_GAP, below))
        below += panel.height
    return sheet


def _part_panels(picture: Image.Image, plan: EditPlan, part: PartPlan, mask: Mask) -> Image.Image:
    """The crop of a part once for each stage."""
    width, shape = _VIEW.width, part.crop.size
    columns = min(3, -(-4 * shape.height // shape.width))  # wider panels for wide crops
    room = Size(_PANEL_HEIGHT, (width + _GAP) // columns - _GAP)
    view = _View.fitted(part.crop, room)
    pitch = view.size.height + 3 * _TEXT + 2 * _GAP
    panels = Image.new("RGB", (width, -(-len(part.stages) // columns) * pitch), BACKGROUND)
    crop = ImageEnhance.Brightness(view.shown(picture, Image.Resampling.LANCZOS)).enhance(0.6)
    for stage in part.stages:
        row, column = divmod(stage.index, columns)
        x, y = column * (room.width + _GAP), row * pitch
        panels.paste(_stage_panel(crop.copy(), mask, view, stage), (x, y))
        number = f"{stage.index + 1}."
        if len(plan.parts) > 1:
            number = f"{part.number + 1}.{number}"
        title = f"{number} {heading(part, stage)}"
        at = (x, y + view.size.height + 8)
        _draw_caption(ImageDraw.Draw(panels), title, stage, at, room.width)
    return panels


def _overview(picture: Image.Image, plan: EditPlan, mask: Mask) -> Image.Image:
    """The whole picture, darker outside the crops."""
    view = _View.fitted(Box.of(plan.image), _VIEW)
    shown = view.shown(picture, Image.Resampling.LANCZOS)
    lit = Image.new("L", shown.size, 0)
    for part in plan.parts:
        ImageDraw.Draw(lit).rectangle(view.place(part.crop), fill=255)
    shown = Image.composite(shown, ImageEnhance.Brightness(shown).enhance(0.5), lit)
    _masked(shown, mask, view)
    draw = ImageDraw.Draw(shown)
    for part in plan.parts:
        outline(draw, view.place(part.crop), CROP, 4)
    if 1 < len(plan.parts) <= _LABELLED:
        for part in plan.parts:
            left, top, _, _ = view.place(part.crop)
            _label(draw, (left + 20, top + 20), str(part.number + 1), CROP)
    return shown


def _masked(shown: Image.Image, mask: Mask, view: _View) -> None:
    """Tint the view as strongly as it is repainted, and outline what is repainted at all.

    The outline is white with a dark rim, which shows on any ground, and lies outside, where it
    hides nothing; even a speck has one.
    """
    levels = Image.fromarray((mask * (255 * TINT)).round().astype(np.uint8))
    shares = view.shown(Image.fromarray((mask > 0).astype(np.float32)), Image.Resampling.BOX)
    touched = Image.fromarray(np.where(np.asarray(shares) > 0, np.uint8(255), np.uint8(0)))
    for reach, colour in ((3, "#000000"), (2, "#ffffff")):
        grown = touched.filter(ImageFilter.MaxFilter(2 * reach + 1))
        shown.paste(colour, mask=ImageChops.subtract(grown, touched))
    shown.paste(MASK, mask=view.shown(levels, Image.Resampling.BOX))


def _draw_legend(draw: ImageDraw.ImageDraw, plan: EditPlan, y: int) -> None:
    """One line below the picture; `crop` is what the model sees."""
    seen, masked = f"the model sees {plan.crop.size}", f"your mask {plan.mask.size}"
    if len(plan.parts) > 1:
        seen, masked = "the model sees", f"{len(plan.parts)} parts of your mask"
    texts = {f"picture {plan.image}": None, seen: CROP, masked: MASK}
    x: float = _GAP
    for text, colour in texts.items():
        if colour:
            outline(draw, (x, y + 3, x + 26, y + _TEXT + 3), colour, 4 if colour == CROP else 13)
            x += 38
        draw.text((x, y), text, INK if colour else FAINT, font=font(_TEXT))
        x += draw.textlength(text, font=font(_TEXT)) + 2 * _GAP


def _stage_panel(shown: Image.Image, mask: Mask, view: _View, stage: StagePlan) -> Image.Image:
    """The crop with the mask and the stage's tiles."""
    spots = [view.place(_on_picture(tile, stage)) for tile in stage.tiles]
    colour, several = stage_colour(stage), len(spots) > 1
    draw = ImageDraw.Draw(shown, "RGBA")
    for spot in spots:
        if several:
            draw.rectangle(spot, fill=colour + "1c")
    _masked(shown, mask, view)
    for spot in spots:
        outline(draw, spot, colour, 3 if len(spots) <= _LABELLED else 1)
    for number, (left, top, right, bottom) in enumerate(spots, 1):
        if several and len(spots) <= _LABELLED and bottom - top > 60:
            _label(draw, ((left + right) / 2, (top + bottom) / 2), str(number), colour)
    return shown


def _draw_caption(
    draw: ImageDraw.ImageDraw, title: str, stage: StagePlan, at: tuple[int, int], width: int
) -> None:
    """Two lines: at what size a stage is painted, and in how many pieces."""
    x, y = at
    for line, ink in ((title, stage_colour(stage)), (details(stage), FAINT)):
        draw.text((x, y), shortened(draw, line, width, _TEXT), ink, font=font(_TEXT))
        y += _TEXT + 6


def _on_picture(tile: Box, stage: StagePlan) -> Box:
    """The part of the picture under a tile, to the nearest pixel."""
    box, size = stage.box, stage.box.size
    down, across = size.height / stage.size.height, size.width / stage.size.width
    top, left = round(tile.top * down), round(tile.left * across)
    bottom = max(top + 1, min(round(tile.bottom * down), size.height))
    right = max(left + 1, min(round(tile.right * across), size.width))
    return Box(box.top + top, box.left + left, box.top + bottom, box.left + right)


def _label(draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: str) -> None:
    """Text on a dark disc, centred."""
    x, y = at
    draw.ellipse((x - 18, y - 18, x + 18, y + 18), fill="#17191ec0", outline=colour)
    draw.text((x, y), text, colour, font=font(_TEXT), anchor="mm")


def outline(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: str, width: int) -> None:
    """A rectangle with a dark rim that shows on any ground."""
    left, top, right, bottom = box
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline="#000000", width=width + 2)
    draw.rectangle((left, top, right, bottom), outline=colour, width=width)
