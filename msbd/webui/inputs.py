"""The pictures and the mask of a request, checked, at their own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from modules import images, processing, shared
from PIL import Image, ImageOps
from torch import Tensor

from .. import masks
from ..errors import EditError
from ..geometry import Size


@dataclass(frozen=True)
class Inputs:
    """RGB pictures, all of one size, and their mask [H,W] in [0,1], 1 = repaint."""

    pictures: list[Image.Image]
    mask: masks.Mask
    notes: list[str]

    @property
    def size(self) -> Size:
        """The pictures' size."""
        return _size(self.pictures[0])

    def tensor(self, index: int) -> Tensor:
        """Picture `index` as [1,3,H,W] float32 in [0,1]."""
        return tensor_of(self.pictures[index])


def prepared(
    pictures: Sequence[Image.Image | None],
    mask: Image.Image | None,
    *,
    invert: bool,
    round_mask: bool = True,
) -> Inputs:
    """What the host hands over, made fit for an edit.

    mask: as the host takes it, white (or opaque) = repaint, exchanged by `invert`. Unless
    `round_mask`, grey parts are repainted in part. Raises `EditError` if something is missing,
    empty or of another size.
    """
    # Before 1.9 the host leaves a camera's pictures lying on their side in API requests.
    given = [ImageOps.exif_transpose(picture) for picture in pictures if picture is not None]
    if not given:
        raise EditError("there is no picture: put one into the Inpaint tab (init_images)")
    if mask is None:
        raise EditError(
            "there is no mask: paint one in the Inpaint tab, or use Inpaint upload (mask)"
        )
    notes = []
    if any(_is_transparent(picture) for picture in given):
        notes.append(
            "the picture's transparent parts are filled with the background colour, as in img2img"
        )
    flat = [images.flatten(one, shared.opts.img2img_background_color) for one in given]
    if len({one.size for one in flat}) > 1:
        raise EditError("all pictures of a batch must have the same size")
    upright = ImageOps.exif_transpose(mask)
    grey = np.asarray(_binary(upright, round_mask).convert("L"))
    painted = masks.from_grey(255 - grey if invert else grey, soft=not round_mask)
    return Inputs(flat, masks.checked(painted, _size(flat[0])), notes)


def _binary(mask: Image.Image, round_mask: bool) -> Image.Image:
    """The host's reading of a mask; before 1.8 it had no soft masks."""
    if round_mask:
        return processing.create_binary_mask(mask)
    return processing.create_binary_mask(mask, round=False)


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode == "RGBA" and bool((np.asarray(picture.getchannel("A")) < 255).any())


def tensor_of(picture: Image.Image) -> Tensor:
    """An 8-bit RGB picture as [1,3,H,W] float32 in [0,1]."""
    pixels = np.asarray(picture, np.float32) / 255.0
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def _size(picture: Image.Image) -> Size:
    return Size(picture.height, picture.width)
