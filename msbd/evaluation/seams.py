"""What can be seen along tiles' borders, and what an edit does to the pixels round it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..geometry import Box
from .texture import Picture, Region, smoothed

Colours = NDArray[np.floating]
"""[H,W,3] in [0,1]."""
FLOOR = 1.2e-3
"""The least jump a reference counts with: that of a slope rounded to 8 bits."""
BESIDE = (2, 10)
"""Pixels to either side of a tile's border between which the picture is the reference."""


def jumps(image: Picture) -> tuple[Picture, Picture]:
    """How far each pair of neighbours departs from the gradients on both sides of it.

    image [H,W] -> for vertical pairs [H-1,W] and horizontal ones [H,W-1]: |g - (before + after)/2|
    with g the pair's gradient and before, after those of the next pairs. A straight slope has
    none, a step of height s has s; 0 at the picture's border.
    """

    def along(axis: int) -> Picture:
        g = np.diff(image, axis=axis)
        around = ndimage.convolve1d(g, [0.5, 0.0, 0.5], axis=axis, mode="nearest")
        departure = np.abs(g - around)
        edge = [slice(None)] * 2
        for end in (0, -1):
            edge[axis] = end  # type: ignore[call-overload]
            departure[tuple(edge)] = 0.0
        return departure

    return along(0), along(1)


def tile_seam(image: Picture, mask: Region, tiles: Sequence[Box]) -> float | None:
    """Mean jump across the borders of tiles, inside the mask, over that a few pixels beside them.

    tiles: in the picture's pixels. None if no border passes through the mask.
    """
    height, width = image.shape
    lines = [np.zeros((height - 1, width), bool), np.zeros((height, width - 1), bool)]
    for tile in tiles:
        for at in {tile.top, tile.bottom} - {0, height}:
            lines[0][at - 1, tile.columns] = True
        for at in {tile.left, tile.right} - {0, width}:
            lines[1][tile.rows, at - 1] = True
    across, beside = [], []
    for axis, ours in enumerate(jumps(image)):
        inside = _pairs(mask, axis) == 2
        near, far = (_thickened(lines[axis], axis, reach) for reach in BESIDE)
        across.append(ours[inside & lines[axis]])
        beside.append(ours[inside & far & ~near])
    return _ratio(np.concatenate(across), np.concatenate(beside))


def ring(mask: Region, width: int = 16) -> Region:
    """The pixels outside the mask that are at most `width` away from it."""
    if not mask.any():
        return np.zeros_like(mask)
    distance = ndimage.distance_transform_edt(~mask)
    return np.asarray((distance > 0) & (distance <= width))


def background_psnr(patch: Colours, before: Colours, where: Region) -> float | None:
    """Peak signal-to-noise ratio in dB in the region; None where nothing is."""
    if not where.any():
        return None
    error = float(np.mean(np.square(patch[where] - before[where])))
    return -10 * math.log10(max(error, 1e-10))


def tone_shift(patch: Colours, before: Colours, where: Region, sigma: float = 6.0) -> float | None:
    """Mean low-frequency difference in the region, in 8-bit levels, over the three channels."""
    if not where.any():
        return None
    channels = [smoothed(patch[..., c] - before[..., c], where, sigma) for c in range(3)]
    return float(255 * np.mean([np.abs(channel[where]).mean() for channel in channels]))


def _thickened(lines: Region, axis: int, reach: int) -> Region:
    """Lines grown by `reach` pixels along the axis that they cut."""
    shape = (2 * reach + 1, 1) if axis == 0 else (1, 2 * reach + 1)
    return np.asarray(ndimage.binary_dilation(lines, np.ones(shape)))


def _pairs(region: Region, axis: int) -> NDArray[np.int_]:
    """For each pair of neighbours along the axis how many of them are in the region."""
    whole = region.astype(int)
    length = region.shape[axis]
    return np.asarray(
        whole.take(range(length - 1), axis) + whole.take(range(1, length), axis), dtype=int
    )


def _ratio(across: Picture, beside: Picture) -> float | None:
    if not len(across) or not len(beside):
        return None
    return float(across.mean() / max(beside.mean(), FLOOR))
