"""Backgrounds and objects of the procedural world as pixels (numpy only)."""

from __future__ import annotations

from math import cos, sin

import numpy as np

from .shapes import signed_distance
from .textures import TEXTURES, Grid

BASE = 128
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 28, 34),
    "orange": (250, 128, 12),
    "yellow": (252, 222, 20),
    "green": (16, 198, 62),
    "blue": (24, 66, 232),
    "purple": (142, 36, 204),
    "pink": (255, 104, 196),
    "black": (18, 18, 22),
}
OUTLINE = 0.013


def draw_background(
    rng: np.random.Generator,
    name: str,
    height: int,
    width: int,
    pixels_per_unit: float = BASE,
    corner: tuple[float, float] = (0.0, 0.0),
    extent: tuple[float, float] | None = None,
) -> np.ndarray:
    """Texture ``name`` as uint8 [height, width, 3].

    corner: where the picture starts inside the scene (y, x, units); extent: size
    of that scene (units), by default the picture itself.
    """
    if extent is None:
        extent = (height / pixels_per_unit, width / pixels_per_unit)
    y = ((np.arange(height, dtype=np.float32) + 0.5) / pixels_per_unit + corner[0])[:, None]
    x = ((np.arange(width, dtype=np.float32) + 0.5) / pixels_per_unit + corner[1])[None]
    light = 1 + 0.05 * np.clip(rng.standard_normal(), -2, 2)
    colour = TEXTURES[name](rng, Grid(y, x, extent, pixels_per_unit)) * light
    return np.clip(colour + 0.5, 0, 255).astype(np.uint8)


def draw_object(
    image: np.ndarray,
    shape: str,
    colour: str,
    centre: tuple[float, float],
    size: float,
    pixels_per_unit: float = BASE,
    angle: float = 0.0,
) -> np.ndarray:
    """A copy of ``image`` (uint8 [H, W, 3]) with one shaded, outlined, antialiased object.

    centre (y, x) is in units from the picture's corner and may lie outside; size
    is the diameter of the circumscribed circle in units; angle is in radians.
    """
    image = image.copy()
    reach = 0.55 * size + 2 / pixels_per_unit
    spans = [
        (
            max(0, int((c - reach) * pixels_per_unit)),
            min(n, max(0, int((c + reach) * pixels_per_unit) + 1)),
        )
        for c, n in zip(centre, image.shape[:2], strict=True)
    ]
    (top, bottom), (left, right) = spans
    if top >= bottom or left >= right:
        return image
    y = ((np.arange(top, bottom, dtype=np.float32) + 0.5) / pixels_per_unit - centre[0])[:, None]
    x = ((np.arange(left, right, dtype=np.float32) + 0.5) / pixels_per_unit - centre[1])[None]
    distance = signed_distance(
        shape, cos(angle) * y - sin(angle) * x, cos(angle) * x + sin(angle) * y, size / 2
    )
    inside = np.clip(0.5 - distance * pixels_per_unit, 0, 1)[..., None]
    rim = np.clip((distance + OUTLINE) * pixels_per_unit + 0.5, 0, 1)[..., None]
    body = np.asarray(COLOURS[colour], np.float32)
    shaded = np.clip(body * np.clip(1 - 0.2 * (x + y) / size, 0.84, 1.06)[..., None], 0, 255)
    painted = shaded + (0.4 * body - shaded) * rim
    region = image[top:bottom, left:right]
    region[:] = (region + (painted - region) * inside + 0.5).clip(0, 255)
    return image
