"""The README's pictures of everyday edits: `python tests/edit_pictures.py`.

Four edits with the miniature, a row each: the picture with what was painted on it, the mask as it
is edited, and the result. Written to docs/edits.jpg, or where the first argument says.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from msbd import masks
from msbd.geometry import Size
from msbd.miniature.world import draw_background, draw_object
from msbd.noise import Noise
from msbd.pictures.drawing import BACKGROUND, INK, MASK
from msbd.pictures.lettering import font
from msbd.pipeline import edit
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.standalone import models
from msbd.standalone.pictures import to_pixels

Pixels = NDArray[np.uint8]
HEIGHT, WIDTH, UNIT, GUIDANCE = 384, 640, 256, 6.0
GAP, TEXT = 12, 20


@dataclass(frozen=True)
class Everyday:
    """An edit. strokes: width and places of each stroke of the brush, in units of the world."""

    title: str
    ground: str
    prompt: str
    strokes: tuple[tuple[float, tuple[tuple[float, float], ...]], ...]
    preset: str = "recommended"
    values: dict[str, Any] = field(default_factory=dict)
    objects: tuple[tuple[str, str, tuple[float, float], float], ...] = ()
    seed: int = 1

    @property
    def picture(self) -> Pixels:
        rng = np.random.default_rng(7)
        picture = draw_background(rng, self.ground, HEIGHT, WIDTH, UNIT)
        for shape, colour, place, size in self.objects:
            picture = draw_object(picture, shape, colour, place, size, UNIT)
        return picture

    @property
    def painted(self) -> masks.Mask:
        mask = Image.new("L", (WIDTH, HEIGHT))
        draw = ImageDraw.Draw(mask)
        for width, places in self.strokes:
            line = [(x * UNIT, y * UNIT) for y, x in places]
            draw.line(line, fill=255, width=round(width * UNIT), joint="curve")
            reach = width * UNIT / 2
            for x, y in line:
                draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=255)
        return masks.from_grey(np.asarray(mask))


def blob(y: float, x: float, size: float) -> tuple[float, tuple[tuple[float, float], ...]]:
    return size, ((y, x), (y, x + 0.001))


ZIGZAG = tuple((0.35 + 0.75 * (step % 2), 0.9 + 0.055 * step) for step in range(15))
EVERYDAY = (
    Everyday(
        "A scribble, closed: a red star on sand",
        "sand",
        "a red star on sand",
        ((0.04, ZIGZAG),),
        values={"mask_shape": "filled"},
    ),
    Everyday(
        "From the picture, strength 0.5: a red circle on grass",
        "grass",
        "a red circle on grass",
        (blob(0.75, 1.25, 0.75),),
        values={"start": "picture", "strength": 0.5},
        objects=(("circle", "blue", (0.75, 1.25), 0.5),),
    ),
    Everyday(
        "Removed, without a prompt",
        "wood",
        "",
        (blob(0.75, 1.25, 0.8),),
        preset="remove",
        objects=(("star", "yellow", (0.75, 1.25), 0.55),),
    ),
    Everyday(
        "Two parts far apart: an orange star on sea",
        "sea",
        "an orange star on sea",
        (blob(0.75, 0.45, 0.55), blob(0.75, 2.05, 0.55)),
    ),
)


def row(one: Everyday, model: Any) -> Image.Image:
    picture, painted = one.picture, one.painted
    settings = preset(one.preset).with_values({"guidance": GUIDANCE, **one.values})
    settings = settings.decided(False, one.prompt)
    mask = masks.shaped(painted, settings.mask_shape, settings.grow)
    backend = model.bind(one.prompt, "", GUIDANCE, "euler_ancestral")
    plan = plan_edit(Size(HEIGHT, WIDTH), mask, settings, backend.spec)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    done = edit(image, mask, plan, settings, backend, Noise(one.seed))
    shown = [
        tinted(picture, painted),
        tinted(picture, mask),
        Image.fromarray(to_pixels(done.image)),
    ]
    made = Image.new("RGB", (3 * WIDTH + 2 * GAP, HEIGHT + TEXT + 2 * GAP), BACKGROUND)
    ImageDraw.Draw(made).text((0, GAP), one.title, INK, font=font(TEXT))
    for place, panel in enumerate(shown):
        made.paste(panel, (place * (WIDTH + GAP), TEXT + 2 * GAP))
    return made


def tinted(picture: Pixels, mask: masks.Mask) -> Image.Image:
    """The picture under retoucher's film."""
    levels = Image.fromarray((mask * 140).round().astype(np.uint8))
    film = Image.new("RGB", (WIDTH, HEIGHT), MASK)
    return Image.composite(film, Image.fromarray(picture), levels)


def main() -> int:
    path = Path(sys.argv[1] if sys.argv[1:] else "docs/edits.jpg")
    model = models.load(models.choose(preset("recommended"), device="cpu"))
    rows = [row(one, model) for one in EVERYDAY]
    sheet = Image.new(
        "RGB", (rows[0].width + 2 * GAP, sum(r.height for r in rows) + GAP), BACKGROUND
    )
    top = 0
    for made in rows:
        sheet.paste(made, (GAP, top))
        top += made.height
    sheet.resize((sheet.width * 2 // 3, sheet.height * 2 // 3), Image.Resampling.LANCZOS).save(
        path, quality=88
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
