"""Masks before any tensor: checked, binarised, bounded. 1 = repaint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import EditError
from .geometry import Box, Size

Mask = NDArray[np.float32]
"""[H, W] in [0, 1]; 1 = repaint, 0 = keep; values between are blended."""


def from_grey(grey: NDArray[np.uint8], soft: bool = False) -> Mask:
    """A mask from an 8-bit picture [H, W]: white = repaint.

    Unless `soft`, everything from 128 up is 1 and the rest 0, so that the compression noise of
    a JPEG mask does not count as painted.
    """
    if soft:
        return grey.astype(np.float32) / 255.0
    return (grey >= 128).astype(np.float32)


def checked(mask: Mask, image: Size) -> Mask:
    """`mask` itself, if it can be used on a picture of size `image`; else `EditError`."""
    height, width = mask.shape
    if Size(height, width) != image:
        raise EditError(
            f"the mask is {width}x{height} but the picture is {image}: "
            "save the mask at the picture's own size"
        )
    if not np.isfinite(mask).all() or mask.min() < 0.0 or mask.max() > 1.0:
        raise EditError("the mask's values must lie between 0 and 1")
    if not mask.any():
        raise EditError("the mask is empty: paint the part to be replaced in white")
    return mask


def bounds(mask: Mask) -> Box:
    """The smallest box that holds every painted (non-zero) pixel of a mask that is not empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
