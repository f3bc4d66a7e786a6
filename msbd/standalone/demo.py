"""`demo`: draw a megapixel picture and a mask, edit it with the miniature, say what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..errors import EditError
from ..geometry import Size
from ..settings import preset
from . import models, saving
from .editing import Outputs, Request, perform, read_inputs
from .pictures import to_pixels
from .saving import Recipe

CHANGES = {"guidance": 4.0, "tile_guidance": 0.25}
"""The miniature is best guided less than Stable Diffusion, and hardly in partial views
(docs/miniature.md)."""


@dataclass(frozen=True)
class Scene:
    """What the demo draws and asks for.

    unit: pixels of the picture to one unit of the world; about the side of the edit's crop, so
    that the first stage sees the world at the scale the miniature was trained at. stroke: the
    painted blob's centre (y, x) and side in pixels. seed: of the drawing and of the edit.
    """

    size: Size = Size(896, 1152)
    unit: int = 352
    background: str = "grass"
    colour: str = "red"
    shape: str = "star"
    stroke: tuple[int, int, int] = (470, 660, 264)
    seed: int = 7

    @property
    def prompt(self) -> str:
        return f"a {self.colour} {self.shape} on {self.background}"


def run(
    folder: Path,
    device: str | None,
    quiet: bool,
    say: Callable[[str], None],
    scene: Scene = Scene(),
) -> bool:
    """Write input.png, mask.png, result.png, sheet.png and report.json; whether it was stopped."""
    settings = preset("fast").with_values(CHANGES)
    chosen = models.choose(settings, device=device)
    outputs = Outputs(folder / "result.png", folder / "sheet.png", folder / "report.json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"cannot make the folder {folder}: {error.strerror}") from None
    sources = folder / "input.png", folder / "mask.png"
    for path, image in zip(sources, (draw_picture(scene), draw_mask(scene)), strict=True):
        saving.check_output(path)
        saving.save_drawing(path, Image.fromarray(image))
        say(f"wrote {path}")
    picture, mask = read_inputs(*sources, soft=False)
    outputs.check(picture)
    recipe = Recipe(scene.prompt, "", scene.seed, settings, chosen.checkpoint.name)
    say(f"painting {scene.prompt!r} into a picture of {scene.size}")
    done, stopped = perform(Request(picture, mask, recipe, chosen, outputs, quiet), say)
    say(f"the result shows {in_words(to_pixels(done.image), scene)}")
    return stopped


def draw_picture(scene: Scene) -> NDArray[np.uint8]:
    """A stretch of the world with one object off to the side, uint8 [H,W,3]."""
    from ..miniature.world import draw_background, draw_object

    rng = np.random.default_rng(scene.seed)
    size, unit = scene.size, scene.unit
    ground = draw_background(rng, scene.background, size.height, size.width, unit)
    return draw_object(ground, "circle", "blue", (0.75, 0.7), 0.5, unit)


def draw_mask(scene: Scene) -> NDArray[np.uint8]:
    """A blob as a hand fills it in with a round brush, uint8 [H,W]."""
    mask = Image.new("L", (scene.size.width, scene.size.height), 0)
    draw = ImageDraw.Draw(mask)
    rng = np.random.default_rng(scene.seed)
    top, left, side = scene.stroke
    brush = 0.36 * side
    inner = (side - brush) / 2
    draw.ellipse((left - inner, top - inner, left + inner, top + inner), fill=255)
    for angle in np.linspace(0, 2 * np.pi, 24, endpoint=False):
        reach = inner - rng.uniform(0, 0.05) * side
        y, x = top + reach * np.sin(angle), left + reach * np.cos(angle)
        draw.ellipse((x - brush / 2, y - brush / 2, x + brush / 2, y + brush / 2), fill=255)
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(1.5)))


def in_words(pixels: NDArray[np.uint8], scene: Scene) -> str:
    """What the world's oracle sees in the picture: `a blue circle and a red star`."""
    from ..miniature.oracle import read

    seen = [f"{found.colour} {found.shape}" for found in read(pixels, scene.unit)]
    return " and ".join(f"{'an' if s[0] == 'o' else 'a'} {s}" for s in seen) or "no object"
