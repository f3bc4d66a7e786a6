"""The cases: pictures four to six times the training size, masks, prompts and seeds, all fixed.

Everything follows from a case's number. Seeds begin with 910, as no training's and no other
measurement's do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..geometry import Box, Size
from ..masks import Mask, from_grey
from ..miniature.world import BACKGROUNDS, COLOURS, SHAPES, draw_background, draw_object
from . import masks

COUNT = 30
SEED = 910
FORMATS = {
    "landscape": Size(512, 768),
    "portrait": Size(704, 512),
    "panorama": Size(320, 768),
}
"""Height and width of the pictures; the miniature was trained at 128."""
CROPS = (448, 320, 256, 512, 384)
"""Sides of the part that is edited, and pixels to one unit of the world: where the crop is square,
the first stage sees the world at the scale of training."""
SCRATCH = 235
"""Grey level of the scratch in pictures that are to be retouched."""
FILL = 1 / 1.32
"""The mask's longer side in units of the crop's, for the default margin of 1.3."""


@dataclass(frozen=True)
class Case:
    """One edit to be made.

    kind: of the mask. unit: pixels of the picture to one unit of the world. box: of the mask.
    other: whether an object stands elsewhere in the picture. An empty shape asks for bare ground:
    the mask is a scratch to be retouched.
    """

    number: int
    kind: str
    format: str
    unit: int
    box: Box
    background: str
    colour: str
    shape: str
    other: bool

    @property
    def name(self) -> str:
        return f"{self.number:02d}-{self.kind}-{self.format}"

    @property
    def size(self) -> Size:
        return FORMATS[self.format]

    @property
    def seed(self) -> int:
        """Of the edit's noise."""
        return SEED * 1000 + self.number

    @property
    def asks_for_object(self) -> bool:
        return bool(self.shape)

    @property
    def prompt(self) -> str:
        if not self.asks_for_object:
            return self.background
        return f"a {self.colour} {self.shape} on {self.background}"


@cache
def all_cases() -> tuple[Case, ...]:
    """All cases in their order. The first k of them hold every kind and format for k >= 18."""
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    order = np.random.default_rng([SEED, 0]).permutation(len(pairs))
    return tuple(_case(number, pairs[order[number % len(pairs)]]) for number in range(COUNT))


def _case(number: int, pair: tuple[str, str]) -> Case:
    kinds = tuple(masks.KINDS)
    kind = kinds[number % len(kinds)]
    if kind == "line" and number // len(kinds) % 2:
        kind = kinds[number // len(kinds) // 2 % 5]  # every other of their turns goes round
    format = tuple(FORMATS)[(number + number // 6) % len(FORMATS)]
    unit = CROPS[(number + number // 5) % len(CROPS)]
    rng = np.random.default_rng([SEED, 1, number])
    box = _mask_box(kind, FORMATS[format], unit, rng)
    background = BACKGROUNDS[(number + number // 4) % len(BACKGROUNDS)]
    colour, shape = ("", "") if kind == "line" else pair
    return Case(number, kind, format, unit, box, background, colour, shape, number % 3 == 0)


def _mask_box(kind: str, size: Size, unit: int, rng: np.random.Generator) -> Box:
    side = int(unit * FILL)
    height = min(side, int(size.height * FILL))
    across = round(side * rng.uniform(0.35, 0.7)) if kind == "line" else side
    free = size.height - height, size.width - across
    top, left = (int(rng.integers(0, room + 1)) for room in free)
    if kind == "border":
        edge = int(rng.integers(4))
        top = (0, free[0], top, top)[edge]
        left = (left, left, 0, free[1])[edge]
    return Box.of(Size(height, across), top, left)


@lru_cache(maxsize=16)
def draw(case: Case) -> tuple[NDArray[np.uint8], Mask]:
    """The picture, uint8 [H,W,3], and the mask [H,W] of 0 and 1; not to be written to."""
    rng = np.random.default_rng([SEED, 2, case.number])
    size, unit = case.size, case.unit
    image = draw_background(rng, case.background, size.height, size.width, unit)
    mask = masks.drawn(case.kind, size, case.box, np.random.default_rng([SEED, 3, case.number]))
    if case.other:
        image = _with_other_object(image, case, rng)
    if not case.asks_for_object:
        image = _scratched(image, mask)
    return image, from_grey(mask)


def _with_other_object(
    image: NDArray[np.uint8], case: Case, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """An object of another colour, at the far side of the picture from the mask if it fits."""
    colours = [name for name in COLOURS if name != case.colour]
    colour = colours[rng.integers(len(colours))]
    shape = SHAPES[rng.integers(len(SHAPES))]
    diameter = 0.4 * case.unit
    middle = (case.box.left + case.box.right) / 2
    x = case.size.width - 0.7 * diameter if middle < case.size.width / 2 else 0.7 * diameter
    y = rng.uniform(0.7 * diameter, case.size.height - 0.7 * diameter)
    room = abs(x - middle) - diameter / 2
    if room < case.unit / 2 + (case.box.size.width * 0.15):
        return image
    return draw_object(
        image, shape, colour, (y / case.unit, x / case.unit), diameter / case.unit, case.unit
    )


def _scratched(image: NDArray[np.uint8], mask: masks.Grey) -> NDArray[np.uint8]:
    """The picture with a pale scratch down the middle of the mask."""
    depth = ndimage.distance_transform_edt(mask)
    return np.where((depth > 0.35 * depth.max())[..., None], np.uint8(SCRATCH), image)
