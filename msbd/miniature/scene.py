"""A picture of the world and a hand-painted mask in it, for the demo and for checks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ..geometry import Size
from .oracle import read
from .world import draw_background, draw_object


@dataclass(frozen=True)
class Scene:
    """What is drawn, and what is asked for.

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


def draw_picture(scene: Scene) -> NDArray[np.uint8]:
    """A stretch of the world with one object off to the side, uint8 [H,W,3]."""
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
    seen = [f"{found.colour} {found.shape}" for found in read(pixels, scene.unit)]
    return " and ".join(f"{'an' if s[0] == 'o' else 'a'} {s}" for s in seen) or "no object"
