"""What is being painted, shown in its place in the user's picture."""

from __future__ import annotations

import logging
import math
import time

import numpy as np
import torch
from modules import sd_samplers_common, shared
from PIL import Image
from torch import Tensor

from ..geometry import Box
from ..masks import Mask
from ..plan import StagePlan
from ..standalone.pictures import to_pixels
from .hosts.sampling import own_randomness

logger = logging.getLogger(__name__)
_SIDE = 768
"""The longest side of a live preview."""


class Placed:
    """A picture of at most `side` pixels a side, with what is painted shown in its place.

    Outside the mask it is `plain`, the user's picture reduced, byte by byte.
    """

    def __init__(self, picture: Image.Image, mask: Mask, side: int) -> None:
        self.plain = picture.convert("RGB")
        self.plain.thumbnail((side, side), Image.Resampling.LANCZOS)
        levels = Image.fromarray((mask * 255).round().astype(np.uint8))
        self._mask = levels.resize(self.plain.size, Image.Resampling.BOX)
        self._painted = self.plain.copy()
        across, down = (
            small / full for small, full in zip(self.plain.size, picture.size, strict=True)
        )
        self._scale = across, down

    def paste(self, part: Image.Image, box: Box, stage: StagePlan) -> None:
        """part: of any size, what has become of `box` of a stage."""
        crop, size = stage.box, stage.size
        left, right = self._span(0, crop.left, box.columns, crop.size.width, size.width)
        top, bottom = self._span(1, crop.top, box.rows, crop.size.height, size.height)
        small = part.resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        self._painted.paste(small, (left, top))

    def picture(self) -> Image.Image:
        """All that was pasted, inside the mask; what came later lies on top."""
        return Image.composite(self._painted, self.plain, self._mask)

    def _span(self, axis: int, start: int, part: slice, whole: int, size: int) -> tuple[int, int]:
        """Of one side, where a part of the crop lies in the reduced picture."""
        first, end = (
            round((start + n * whole / size) * self._scale[axis]) for n in (part.start, part.stop)
        )
        return first, max(end, first + 1)


class Previews:
    """An edit's live previews: the whole picture, in which the painted place is filled in.

    Drawn by the host's method of its previews and no more often than it asks for them: after so
    many steps of its bar, and once between two looks of the page. every: of these steps; below 0
    only what a stage ends with is shown.
    """

    def __init__(self, picture: Image.Image, mask: Mask, every: int) -> None:
        self._placed = Placed(picture, mask, _SIDE)
        self._every = every if every >= 0 else math.inf
        self._pause = getattr(shared.opts, "live_preview_refresh_period", 1000) / 1000
        self._shown_at, self._shown_when = shared.state.sampling_step, -math.inf
        shared.state.assign_current_image(self._placed.plain)

    def predicted(self, stage: StagePlan, first: int, z: Tensor) -> None:
        """A `Callbacks.predicted`; of several candidates the first is shown."""
        tiles = stage.tiles[first : first + len(z)]
        if not tiles or not self._is_due():
            return
        try:
            for tile, latents in zip(tiles, z.split(1), strict=False):
                self._placed.paste(picture_of(_approximated(latents)), tile, stage)
        except Exception:  # a preview may fail; the edit goes on
            logger.warning("the live preview does not work", exc_info=True)
            self._every = math.inf
            return
        self._show()

    def finished(self, image: Tensor, stage: StagePlan) -> None:
        """image: the stage's result [1,3,H,W] in [0,1]."""
        self._placed.paste(picture_of(image), Box.of(stage.size), stage)
        self._show()

    def _is_due(self) -> bool:
        steps = shared.state.sampling_step - self._shown_at
        return steps >= self._every and time.monotonic() - self._shown_when >= self._pause

    def _show(self) -> None:
        shared.state.assign_current_image(self._placed.picture())
        self._shown_at, self._shown_when = shared.state.sampling_step, time.monotonic()


@torch.no_grad()
def _approximated(z: Tensor) -> Tensor:
    """Latents as the host's previews show them, [1,3,H,W] in [0,1], at whatever size."""
    with own_randomness():  # the host builds its networks with random weights first
        image: Tensor = sd_samplers_common.samples_to_images_tensor(z)
    return (image.float() / 2 + 0.5).clamp(0, 1)


def picture_of(image: Tensor) -> Image.Image:
    """[1,3,H,W] in [0,1] -> 8-bit RGB."""
    return Image.fromarray(to_pixels(image))
