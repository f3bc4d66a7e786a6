"""What is measured: pictures, masks and the two ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..backend import ModelSpec
from ..geometry import Box, Size
from ..masks import Mask
from ..miniature.world import draw_background
from ..presets import preset

SIZES = (Size(1024, 1024), Size(2000, 3000), Size(4000, 6000))
MASKS = {"small": 0.15, "medium": 0.4, "large": 0.8}
"""Side of the square mask in units of the picture's shorter side."""
WAYS = {"paper": preset("paper"), "ours": preset("recommended")}
"""The paper's procedure, with Adam on the whole decoder for 100 steps; and ours."""
MODELS = {
    "Stable Diffusion 1": ModelSpec(),
    "miniature": ModelSpec(resolution=128, multiple=32),
}
PROMPT = "a red star on grass"


@dataclass(frozen=True)
class Setup:
    """An edit: a square mask of `side` pixels in the middle of a picture of size `image`, which
    shows a `ground` of the miniature's world."""

    image: Size
    side: int
    ground: str = "grass"

    @property
    def box(self) -> Box:
        top, left = (self.image.height - self.side) // 2, (self.image.width - self.side) // 2
        return Box.of(Size(self.side, self.side), top, left)

    def mask(self) -> Mask:
        mask = np.zeros((self.image.height, self.image.width), np.float32)
        mask[self.box.rows, self.box.columns] = 1
        return mask

    def picture(self) -> NDArray[np.uint8]:
        """A ground [H,W,3] that looks alike round masks of one size in pictures of all sizes."""
        unit = max(64, round(1.3 * self.side))
        tile = draw_background(np.random.default_rng(0), self.ground, 1024, 1024, unit)
        down, across = (-(-length // 1024) for length in (self.image.height, self.image.width))
        ground = np.tile(tile, (down, across, 1))
        corner = [(length - self.side) // 2 for length in (self.image.height, self.image.width)]
        ground = np.roll(ground, corner, (0, 1))
        return np.ascontiguousarray(ground[: self.image.height, : self.image.width])


def setup(image: Size, mask: str) -> Setup:
    return Setup(image, round(MASKS[mask] * image.shortest))
