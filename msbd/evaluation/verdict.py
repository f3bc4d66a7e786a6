"""What the oracle says of an edit: is there, inside the mask, just what was asked for?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..miniature.oracle import MIN_IOU, Found, label_colours, read
from .cut_off import share_beyond
from .texture import Region

CUT = 0.05
"""The share of an object that the mask may have cut off."""
FEW = 8
"""Coloured pixels in the mask that are no object yet."""


@dataclass(frozen=True)
class Verdict:
    """objects: how many touch the mask. right_*: of the largest. inside: it is not cut off by
    the mask's edge. one_right: exactly one object, of the colour and shape asked for, inside the
    mask; or none, where none was asked for. region: the largest one's pixels."""

    objects: int
    right_colour: bool
    right_shape: bool
    inside: bool
    one_right: bool
    region: Region | None = None


def judge(pixels: NDArray[np.uint8], mask: Region, colour: str, shape: str, unit: float) -> Verdict:
    """Look at an edit.

    pixels: [H,W,3]. mask: [H,W], what was to be repainted. colour, shape: asked for; both empty
    if the prompt asks for bare ground. unit: pixels per world unit.
    """
    coloured = label_colours(pixels) >= 0
    regions = [(found, _region(found, coloured)) for found in read(pixels, unit)]
    touching = [(found, region) for found, region in regions if (region & mask).sum() > FEW]
    if not shape:
        return Verdict(len(touching), True, True, True, not touching)
    if not touching:
        return Verdict(0, False, False, False, False)
    found, region = touching[0]
    right_colour = found.colour == colour
    right_shape = found.shape == shape and found.iou >= MIN_IOU
    beyond = region & ~ndimage.binary_dilation(mask, iterations=8)
    inside = beyond.sum() <= FEW and share_beyond(region, mask, found.shape) <= CUT
    one_right = len(touching) == 1 and right_colour and right_shape and bool(inside)
    return Verdict(len(touching), right_colour, right_shape, bool(inside), one_right, region)


def object_region(pixels: NDArray[np.uint8], unit: float, margin: int = 4) -> Region:
    """Every pixel of an object colour, and those up to `margin` away from one."""
    speckless = ndimage.binary_opening(label_colours(pixels) >= 0)
    return np.asarray(ndimage.binary_dilation(speckless, iterations=margin + round(unit / 64)))


def _region(found: Found, coloured: Region) -> Region:
    """The pixels of one object [H,W]: the largest piece of object colour in its box."""
    top, left, bottom, right = found.box
    pieces, _ = ndimage.label(coloured[top:bottom, left:right], np.ones((3, 3)))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    region = np.zeros_like(coloured)
    region[top:bottom, left:right] = pieces == sizes.argmax()
    return region
