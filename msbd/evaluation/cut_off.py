"""How much of an object the mask has cut off, seen from what is left of it.

The shape that was asked for is laid over the object so that both agree inside the mask; what of it
lies outside would have been painted, had there been room. Other than a hard edge along the mask,
this shows also where the picture is soft, and at any size.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from ..miniature.shapes import SHAPES, signed_distance
from .texture import Region

Pose = NDArray[np.float64]
"""Row and column of the middle, logarithm of the radius, angle; lengths in roots of the area."""
SIDE = 96
"""Samples along the longer side of what is looked at."""
SYMMETRY = dict(zip(SHAPES, (2 * pi, pi / 2, 2 * pi / 3, 2 * pi / 5, 2 * pi), strict=True))
SOFT = 0.06
"""Width of the outline, in roots of the area: gives the fit a slope to go down."""
FROM = 4
"""Best first guesses that are fitted."""


def share_beyond(region: Region, mask: Region, shape: str) -> float:
    """The part of the completed shape that lies outside the mask, but in the picture, 0 to 1.

    region: the object's pixels [H,W]. mask: [H,W]. shape: one of the world's.
    """
    top, left, bottom, right = _window(region)
    step = max(1, round(max(bottom - top, right - left) / SIDE))
    seen, open_ = (array[top:bottom:step, left:right:step] for array in (region, mask))
    area = seen.sum()
    height, width = seen.shape
    unit = sqrt(area)
    rows, columns = np.mgrid[0:height, 0:width] / unit
    target = (seen & open_).astype(np.float64)

    def laid(pose: Pose) -> NDArray[np.float64]:
        y, x, size, angle = pose
        down, across = rows - y, columns - x
        c, s = np.cos(angle), np.sin(angle)
        radius = float(np.exp(size))
        distance = signed_distance(shape, c * down - s * across, s * down + c * across, radius)
        return np.clip(0.5 - distance / SOFT, 0, 1)

    def misfit(pose: Pose) -> float:
        return float(np.abs(laid(pose) - target)[open_].sum() / area)

    guesses = sorted(_guesses(seen, open_, shape, unit), key=misfit)[:FROM]
    fits = [optimize.minimize(misfit, guess, method="Nelder-Mead") for guess in guesses]
    best = laid(min(fits, key=lambda fit: float(fit.fun)).x)
    return float(best[~open_].sum() / best.sum())


def _window(region: Region) -> tuple[int, int, int, int]:
    """The object's box and half its size round it: top, left, bottom, right."""
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    down, across = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    more = int(max(down, across) // 2)
    height, width = region.shape
    return (
        max(0, int(rows[0]) - more),
        max(0, int(columns[0]) - more),
        min(height, int(rows[-1]) + 1 + more),
        min(width, int(columns[-1]) + 1 + more),
    )


def _guesses(seen: Region, open_: Region, shape: str, unit: float) -> list[Pose]:
    """First poses: where the object is, and moved outwards, turned and enlarged."""
    filled = ndimage.binary_fill_holes(seen)
    centre = np.array(ndimage.center_of_mass(filled)) / unit
    away = -np.array(np.gradient(ndimage.gaussian_filter(open_.astype(float), unit / 4)))
    outwards = away[:, filled].mean(1)
    length = float(np.hypot(*outwards))
    outwards = outwards / length if length > 1e-9 else outwards * 0
    radius = _radius(shape)
    turns = np.arange(6) / 6 * SYMMETRY[shape]
    return [
        np.array([*(centre + shift * outwards), np.log(radius * size), turn])
        for shift in (0.0, 0.15, 0.3)
        for size in (1.0, 1.15, 1.3)
        for turn in turns
    ]


def _radius(shape: str) -> float:
    """Of a shape of area 1."""
    axis = (np.arange(256) - 127.5) / 64
    inside = signed_distance(shape, axis[:, None], axis[None], 1.0) < 0
    return float(1 / np.sqrt(inside.mean() * 16))
