"""ControlNet's own pictures, as poses and depths, which are of the whole picture: a tile's part."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from PIL import Image

from ...geometry import Box
from . import which

_PICTURES = ("image", "image_fg", "mask_image", "mask_image_fg", "generated_image")


def not_served(unit: Any) -> list[str]:
    """What a unit asks for that an edit cannot give, in sentences; before anything runs."""
    notes = []
    if _value(getattr(unit, "input_mode", "simple")) != "simple":
        notes.append(
            "ControlNet: a unit takes its pictures from a folder or a gallery, and they guide "
            "every tile whole, though it shows only a part of them: give the unit one picture."
        )
    if "lama" in str(unit.module):
        notes.append(
            f"ControlNet: {unit.module} has no part in the noise that an edit starts with, only in "
            "the guidance: inpaint_only does the same without it."
        )
    return notes


def cropped_unit(unit: Any, whole: tuple[int, int], place: Box, size: tuple[int, int]) -> Any:
    """A copy of a unit whose own pictures are the part that lies at `place` of the whole picture.

    whole: the picture's height and width. size: the tile's, which the part is resized to. A unit
    without a picture is guided by the tile itself; what is no map of the picture, as a reference
    for style or a face, stays whole, as it does in the host.
    """
    unit = copy.copy(unit)
    if _is_map(unit):
        for name in _PICTURES:
            own = getattr(unit, name, None)
            if own is not None:
                fit = _value(getattr(unit, "resize_mode", ""))
                setattr(unit, name, _cropped(own, whole, place, size, fit))
    return unit


def _is_map(unit: Any) -> bool:
    """Whether the host itself would crop the unit's picture where only a part is painted."""
    preprocessor = which.preprocessors().get(unit.module)
    return bool(
        getattr(preprocessor, "corp_image_with_a1111_mask_when_in_img2img_inpaint_tab", True)
    )


def _value(choice: Any) -> str:
    """An enumeration's value, a name or a number, in one spelling."""
    return str(getattr(choice, "value", choice)).lower()


def _cropped(
    picture: Any, whole: tuple[int, int], place: Box, size: tuple[int, int], fit: str
) -> Any:
    """picture: [h,w] or [h,w,C] of bytes, or several by name. Where it does not reach, because of
    another aspect ratio or a padded canvas, its edge is repeated."""
    if isinstance(picture, dict):
        return {name: _cropped(one, whole, place, size, fit) for name, one in picture.items()}
    if not isinstance(picture, np.ndarray):
        return picture
    per_pixel = picture.shape[0] / whole[0], picture.shape[1] / whole[1]
    if "resize and fill" in fit or "outer" in fit or fit == "2":
        per_pixel = (max(per_pixel),) * 2
    elif "just" not in fit and fit not in ("0", "3"):  # crop and resize
        per_pixel = (min(per_pixel),) * 2
    spans = (place.top, place.bottom), (place.left, place.right)
    (top, bottom, above, below), (left, right, before, after) = (
        _span(span, scale, full, length, pixels)
        for span, scale, full, length, pixels in zip(
            spans, per_pixel, whole, picture.shape, size, strict=False
        )
    )
    inner = size[1] - before - after, size[0] - above - below
    part = Image.fromarray(picture).resize(
        inner, Image.Resampling.LANCZOS, (left, top, right, bottom)
    )
    around = [(above, below), (before, after)] + [(0, 0)] * (picture.ndim - 2)
    return np.pad(np.asarray(part), around, "edge")


def _span(
    span: tuple[int, int], scale: float, full: int, length: int, pixels: int
) -> tuple[float, float, int, int]:
    """From where to where a guide of `length` is read, and how many of the tile's pixels lie
    before and after it. scale: of its pixels per pixel of the picture, which has `full`."""
    offset = (length - full * scale) / 2
    begin, end = (offset + one * scale for one in span)
    low = min(max(begin, 0.0), length - 1.0)
    high = max(min(end, float(length)), low + min(1.0, end - begin))
    before = round((low - begin) / (end - begin) * pixels) if low > begin else 0
    after = round((end - high) / (end - begin) * pixels) if high < end else 0
    before = min(before, pixels - 1)
    return low, min(high, float(length)), before, min(after, pixels - 1 - before)
