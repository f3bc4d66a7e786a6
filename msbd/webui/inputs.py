"""The pictures and the mask of a request, checked, at their own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from modules import images, shared
from PIL import Image
from torch import Tensor

from .. import masks
from ..errors import EditError
from ..geometry import Size
from ..settings import EditSettings
from ..standalone.beside import beside, upright
from ..standalone.colour import conversion
from ..standalone.pictures import DEEP_GREY, eight_bit, has_alpha, layers, to_pixels, unfit

_USUAL_DPI = ((72, 72), (96, 96))
"""What programs write that mean nothing by it."""


@dataclass(frozen=True)
class Inputs:
    """RGB pictures, all of one size, and their mask [H,W] in [0,1], 1 = repaint.

    The pictures are in sRGB. originals: the same in their own colours. icc: the profile of these,
    if they are others; all have the same. paint: the only picture with the user's colours on it.
    """

    pictures: list[Image.Image]
    mask: masks.Mask
    notes: list[str]
    originals: list[Image.Image]
    icc: bytes | None = None
    paint: Image.Image | None = None

    @property
    def size(self) -> Size:
        """The pictures' size."""
        return _size(self.pictures[0])

    def tensor(self, index: int) -> Tensor:
        """Picture `index` as [1,3,H,W] float32 in [0,1]."""
        return tensor_of(self.pictures[index])

    @property
    def paint_tensor(self) -> Tensor | None:
        """The paint like `tensor`."""
        return None if self.paint is None else tensor_of(self.paint)

    def with_paint(self, painted: Image.Image) -> Inputs:
        """The same, with the only picture as it is with the user's colours on it."""
        flat = images.flatten(_with_alpha(upright(painted)), shared.opts.img2img_background_color)
        if flat.size != self.pictures[0].size:
            raise EditError("the sketch and its picture differ in size: load the picture anew")
        converted = conversion(self.icc)
        if converted is not None:
            flat = Image.fromarray(converted.to_srgb(np.asarray(flat)))
        return replace(self, paint=flat)

    def given_back(self, index: int, image: Tensor, feather: int) -> Tensor:
        """Picture `index` after an edit, [1,3,H,W] in [0,1] in sRGB, in its own colours."""
        converted = conversion(self.icc)
        if converted is None:
            return image
        original = np.asarray(self.originals[index])
        restored = converted.restored(to_pixels(image), original, self.mask, feather)
        return tensor_of(Image.fromarray(restored))


def prepared(
    pictures: Sequence[Image.Image | None],
    mask: Image.Image | None,
    *,
    invert: bool,
    round_mask: bool = True,
    settings: EditSettings = EditSettings(),
    rim: int = 0,
) -> Inputs:
    """What the host hands over, made fit for an edit.

    mask: see `masks.from_picture`, as for `invert` and what settings say of its shape. Unless
    `round_mask`, grey parts are repainted in part. rim: how much wider it is made where colours
    were painted on a picture that is not known without them. Raises `EditError` if something is
    missing, empty or of another shape.
    """
    given = [picture for picture in pictures if picture is not None]
    if not given:
        raise EditError("there is no picture: put one into the Inpaint tab (init_images)")
    if mask is None:
        raise EditError(
            "there is no mask: paint one in the Inpaint tab, or use Inpaint upload (mask)"
        )
    for picture in given:
        if reason := unfit(picture):
            raise EditError(f"the picture {reason}")
    if reason := unfit(mask, DEEP_GREY) or unfit(mask := eight_bit(upright(mask))):
        raise EditError(f"the mask {reason}")
    notes = []
    # Before 1.9 the host leaves a camera's pictures lying on their side in API requests.
    shown = [_with_alpha(upright(picture)) for picture in given]
    if any(_is_transparent(layer) for layer in shown):
        notes.append(
            "the picture's transparent parts are filled with the background colour, as in img2img"
        )
    originals = [images.flatten(one, shared.opts.img2img_background_color) for one in shown]
    if len({one.size for one in originals}) > 1:
        raise EditError("all pictures of a batch must have the same size")
    flat, icc = _in_srgb(originals, [beside(picture) for picture in given], notes)
    painted, told = masks.from_picture(
        *layers(mask),
        _size(flat[0]),
        soft=not round_mask,
        invert=invert,
        by_alpha=True,
    )
    shape = masks.AS_PAINTED if invert else settings.mask_shape
    if shape != settings.mask_shape:
        told.append("the mask's shape is as painted, as what is not masked is repainted")
    painted = masks.shaped(painted, shape, settings.grow + rim)
    if rim:
        told.append(
            f"what lies under your paint is not known here, so the mask is {rim} pixels wider and "
            "covers the paint's rim; in Inpaint sketch on the page it is known"
        )
    return Inputs(flat, painted, [*notes, *told], originals, icc)


def _in_srgb(
    originals: list[Image.Image], facts: list[dict[str, Any]], notes: list[str]
) -> tuple[list[Image.Image], bytes | None]:
    """The pictures in sRGB, and the profile they shall be given back in, if that is possible.

    Adds to the notes what becomes of profiles and resolutions.
    """
    if any(_says_something(one["dpi"]) for one in facts):
        notes.append("the WebUI does not keep the picture's resolution in dots per inch")
    profiles = {one["icc"] for one in facts}
    converted = [conversion(one["icc"]) for one in facts]
    if not any(converted):
        return originals, None
    flat = [
        Image.fromarray(one.to_srgb(np.asarray(picture))) if one else picture
        for one, picture in zip(converted, originals, strict=True)
    ]
    if len(profiles) == 1 and shared.opts.samples_format.lower() == "png":
        notes.append("painted in sRGB and given back in the picture's own colour profile")
        return flat, profiles.pop()
    notes.append(
        "the result is in sRGB, as the WebUI keeps colour profiles in png files alone, and one for "
        "all pictures of a batch"
    )
    return flat, None


def _says_something(dpi: Any) -> bool:
    try:
        dots = tuple(round(value) for value in dpi)
    except (TypeError, ValueError, OverflowError):  # none, or none that can be
        return False
    return min(dots) > 1 and dots not in _USUAL_DPI


def _with_alpha(picture: Image.Image) -> Image.Image:
    """Transparency of any kind as an alpha channel."""
    return picture.convert("RGBA") if has_alpha(picture) else picture


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode == "RGBA" and bool((np.asarray(picture.getchannel("A")) < 255).any())


def tensor_of(picture: Image.Image) -> Tensor:
    """An 8-bit RGB picture as [1,3,H,W] float32 in [0,1]."""
    pixels = np.asarray(picture, np.float32) / 255.0
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def _size(picture: Image.Image) -> Size:
    return Size(picture.height, picture.width)
