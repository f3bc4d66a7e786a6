"""What the oracle says of an edit: is there, inside the mask, just what was asked for?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..miniature.oracle import MIN_IOU, Found, label_colours, read
from .texture import Region

INSIDE = 0.98
"""Share of an object's pixels that must lie in the mask and its feather."""


@dataclass(frozen=True)
class Verdict:
    """objects: how many touch the mask. right_*: of the largest. one_right: exactly one object,
    of the colour and shape asked for, inside the mask; or none, where none was asked for."""

    objects: int
    right_colour: bool
    right_shape: bool
    inside: bool
    one_right: bool


def judge(
    pixels: NDArray[np.uint8], opened: Region, colour: str, shape: str, unit: float
) -> Verdict:
    """Look at an edit.

    pixels: [H,W,3]. opened: where the edit may have changed something, mask and feather. colour,
    shape: asked for; both empty if the prompt asks for bare ground. unit: pixels per world unit.
    """
    touching = [found for found in read(pixels, unit) if _shares(pixels, found, opened)[1]]
    if not shape:
        return Verdict(len(touching), True, True, True, not touching)
    if not touching:
        return Verdict(0, False, False, False, False)
    found = touching[0]
    right_colour = found.colour == colour
    right_shape = found.shape == shape and found.iou >= MIN_IOU
    inside = _shares(pixels, found, opened)[0] >= INSIDE
    one_right = len(touching) == 1 and right_colour and right_shape and inside
    return Verdict(len(touching), right_colour, right_shape, inside, one_right)


def object_region(pixels: NDArray[np.uint8], unit: float, margin: int = 4) -> Region:
    """Every pixel of an object colour, and those up to `margin` away from one."""
    speckless = ndimage.binary_opening(label_colours(pixels) >= 0)
    return np.asarray(ndimage.binary_dilation(speckless, iterations=margin + round(unit / 64)))


def _shares(pixels: NDArray[np.uint8], found: Found, opened: Region) -> tuple[float, bool]:
    """The share of an object's pixels in the region, and whether it has any there at all."""
    top, left, bottom, right = found.box
    coloured = label_colours(pixels[top:bottom, left:right]) >= 0
    there = coloured & opened[top:bottom, left:right]
    return float(there.sum() / max(1, coloured.sum())), bool(there.sum() > 8)
