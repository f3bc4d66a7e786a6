"""The procedural world of the miniature: six textured backgrounds, five shapes, eight colours.

Resolution-free: all positions and sizes are in units, height first; one unit is
the side of the base frame (``BASE`` = 128 px).  Numpy only.

What the module offers
----------------------
``COLOURS``, ``SHAPES``, ``BACKGROUNDS``
    The vocabulary.  ``HELD_OUT`` are five (colour, shape) pairs that no training
    picture shows, ``TRAINING_PAIRS`` are the other thirty-five.
``TEMPLATES``, ``EMPTY_TEMPLATES``
    Caption templates with {colour}, {shape}, {background}, with and without an object.
``draw_scene(rng, height, width, pixels_per_unit, ...) -> (uint8 [H, W, 3], Scene)``
    A background with one whole object, or none.
``draw_window(rng, height, width, ...) -> (uint8 [H, W, 3], Scene)``
    A partial view of a scene at 1-4x zoom, the object often cut by the border.
``draw_background(rng, name, height, width, pixels_per_unit, ...) -> uint8 [H, W, 3]``
``draw_object(image, shape, colour, centre, size, ...) -> uint8 [H, W, 3]``
``caption(rng, background, colour, shape) -> str``
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, exp, log, sin

import numpy as np

from .captions import EMPTY_TEMPLATES, TEMPLATES, caption
from .drawing import BASE, COLOURS, draw_background, draw_object
from .shapes import SHAPES
from .textures import TEXTURES

__all__ = [
    "BACKGROUNDS",
    "BASE",
    "COLOURS",
    "EMPTY_TEMPLATES",
    "HELD_OUT",
    "SHAPES",
    "TEMPLATES",
    "TRAINING_PAIRS",
    "Scene",
    "caption",
    "draw_background",
    "draw_object",
    "draw_scene",
    "draw_window",
]
BACKGROUNDS = tuple(TEXTURES)
HELD_OUT = (
    ("purple", "circle"),
    ("orange", "square"),
    ("pink", "triangle"),
    ("green", "star"),
    ("yellow", "ring"),
)
TRAINING_PAIRS = tuple((c, s) for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT)

OBJECT_SIZES = (0.38, 0.66)
WINDOW_SIZES = (0.15, 0.75)
ZOOMS = (1.0, 4.0)
TILT = 0.3


@dataclass(frozen=True)
class Scene:
    """What a picture shows; colour, shape, centre and size are None where there is no object.

    centre (y, x) and size (diameter of the circumscribed circle) are in units of
    the scene; top, left say where the picture starts in it.
    """

    background: str
    caption: str
    colour: str | None = None
    shape: str | None = None
    centre: tuple[float, float] | None = None
    size: float | None = None
    pixels_per_unit: float = BASE
    top: float = 0.0
    left: float = 0.0


def _draw_pair(rng: np.random.Generator, colour: str | None, shape: str | None) -> tuple[str, str]:
    """A (colour, shape) pair that agrees with what is given; a training pair unless both are."""
    if colour is not None and shape is not None:
        return colour, shape
    pairs = [p for p in TRAINING_PAIRS if colour in (None, p[0]) and shape in (None, p[1])]
    return pairs[rng.integers(len(pairs))]


def draw_scene(  # noqa: PLR0913, PLR0917 - what a scene is made of
    rng: np.random.Generator,
    height: int = BASE,
    width: int = BASE,
    pixels_per_unit: float = BASE,
    background: str | None = None,
    colour: str | None = None,
    shape: str | None = None,
    size: float | None = None,
    empty: float = 0.0,
) -> tuple[np.ndarray, Scene]:
    """A background with one whole object somewhere on it -> (uint8 [height, width, 3], Scene).

    What is not given is drawn (never a held-out pair); with probability ``empty``
    there is no object.  An object too large for the picture stands in its middle.
    """
    background = background or BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    if rng.uniform() < empty:
        image = draw_background(rng, background, height, width, pixels_per_unit)
        return image, Scene(background, caption(rng, background), pixels_per_unit=pixels_per_unit)
    colour, shape = _draw_pair(rng, colour, shape)
    size = rng.uniform(*OBJECT_SIZES) if size is None else size
    margin = 0.53 * size + 0.02
    middle = (height / pixels_per_unit / 2, width / pixels_per_unit / 2)
    y, x = (m + rng.uniform(-1, 1) * max(0.0, m - margin) for m in middle)
    centre = (y, x)
    angle = rng.uniform(-TILT, TILT)
    words = caption(rng, background, colour, shape)
    image = draw_background(rng, background, height, width, pixels_per_unit)
    image = draw_object(image, shape, colour, centre, size, pixels_per_unit, angle)
    return image, Scene(background, words, colour, shape, centre, size, pixels_per_unit)


def draw_window(
    rng: np.random.Generator,
    height: int = BASE,
    width: int = BASE,
    zoom: float | None = None,
) -> tuple[np.ndarray, Scene]:
    """A partial view of a scene of 1 x 1 unit -> (uint8 [height, width, 3], Scene).

    zoom: pixels per unit over ``BASE``, drawn from ``ZOOMS`` by default.  Half of the
    windows are centred on the object, the others anywhere; the object spans 15 to 300 %
    of the picture.
    """
    zoom = exp(rng.uniform(log(ZOOMS[0]), log(ZOOMS[1]))) if zoom is None else zoom
    scale = BASE * zoom
    background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
    colour, shape = _draw_pair(rng, None, None)
    size = rng.uniform(*WINDOW_SIZES)
    margin = 0.53 * size + 0.02
    centre = tuple(rng.uniform(margin, 1 - margin, 2))
    angle = rng.uniform(-TILT, TILT)
    direction, radius = rng.uniform(-np.pi, np.pi), size / 2 * rng.uniform(0, 1.05)
    focus = (centre[0] + radius * sin(direction), centre[1] + radius * cos(direction))
    if rng.uniform() < 0.5:
        focus = tuple(rng.uniform(0, 1, 2))
    corner = tuple(
        min(max(f - n / scale / 2, 0.0), max(0.0, 1 - n / scale))
        for f, n in zip(focus, (height, width), strict=True)
    )
    words = caption(rng, background, colour, shape)
    image = draw_background(rng, background, height, width, scale, corner, (1.0, 1.0))
    offset = (centre[0] - corner[0], centre[1] - corner[1])
    image = draw_object(image, shape, colour, offset, size, scale, angle)
    return image, Scene(background, words, colour, shape, centre, size, scale, *corner)
