"""What is edited to see whether it works: a drawn picture of one megapixel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import masks
from ..geometry import Size

_MARGIN = 1.3
"""About the side of the crop, in sides of the mask."""


@dataclass(frozen=True)
class Subject:
    """A picture uint8 [H,W,3], a mask uint8 [H,W], white = repaint, and what to paint there."""

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    prompt: str

    @property
    def size(self) -> Size:
        """The picture's size."""
        return Size(*self.picture.shape[:2])

    def image(self) -> Tensor:
        """The picture as float32 [1,3,H,W] in [0,1]."""
        return torch.from_numpy(self.picture).permute(2, 0, 1)[None].float() / 255

    def painted(self) -> masks.Mask:
        """The mask as the engine takes it."""
        return masks.from_grey(self.mask)


def drawn(resolution: int) -> Subject:
    """The demo's picture, with a mask so large that a model trained at `resolution` needs several
    stages, as far as there is room."""
    from ..miniature.scene import Scene, draw_mask, draw_picture

    scene = Scene()
    side = scene.stroke[-1]
    wanted = side * resolution // 128
    if wanted > side:
        side = min(wanted, int(scene.size.shortest / _MARGIN) - 8)
        middle = scene.size.height // 2, scene.size.width // 2
        scene = replace(scene, stroke=(*middle, side), unit=int(_MARGIN * side))
    return Subject(draw_picture(scene), draw_mask(scene), scene.prompt)
