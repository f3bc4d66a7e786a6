"""How sharp a region's texture is, whatever the region's shape."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.float64]
Region = NDArray[np.bool_]
LEAST = 150
"""Pixels below which a region says nothing about its texture."""
LUMA_ROUNDING = 0.299**2 + 0.587**2 + 0.114**2
"""Variance of luma's rounding error, in units of a channel's."""
SCALES = (0.0, 0.7, 1.4, 2.8)
"""Standard deviations in pixels between which the octaves lie."""


def grey(image: NDArray[np.floating] | NDArray[np.uint8]) -> Picture:
    """Luma [H,W] of [H,W,3], in the same units (ITU-R BT.601)."""
    return np.asarray(image, np.float64) @ np.array([0.299, 0.587, 0.114])


def smoothed(image: Picture, region: Region, sigma: float) -> Picture:
    """Gaussian blur that sees only the region (normalised convolution); the image for sigma 0."""
    if not sigma:
        return image
    weight = ndimage.gaussian_filter(region.astype(np.float64), sigma)
    total = ndimage.gaussian_filter(np.where(region, image, 0.0), sigma)
    return np.asarray(total / np.maximum(weight, 1e-9))


def pooled(image: Picture, scale: int) -> Picture:
    """Means of blocks of `scale` x `scale`; what does not fill a block is left out."""
    height, width = (side // scale * scale for side in image.shape)
    blocks = image[:height, :width].reshape(height // scale, scale, width // scale, scale)
    return np.asarray(blocks.mean((1, 3)))


def octaves(image: Picture, region: Region) -> list[Picture]:
    """The region's differences of Gaussians between `SCALES`, finest first, each [pixels]."""
    blurred = [smoothed(image, region, sigma)[region] for sigma in SCALES]
    return [fine - coarse for fine, coarse in pairwise(blurred)]


def octave_energies(image: Picture, region: Region) -> list[float]:
    """Variance of each of the region's octaves, finest first."""
    return [float(np.mean(np.square(octave))) for octave in octaves(image, region)]


def laplacian_energy(image: Picture, region: Region) -> float:
    """Mean square of the discrete Laplacian where all four neighbours are in the region too."""
    inner = ndimage.binary_erosion(region)
    assert inner.any(), "the region is too small"
    return float(np.mean(np.square(ndimage.laplace(image))[inner]))


def sharpness(image: Picture, edited: Region, surroundings: Region, scale: int = 1) -> float | None:
    """The edited region's Laplacian energy over that of its surroundings: 1 alike, less softer.

    image: luma in [0,1] that was rounded to 8 bits, then pooled by `scale`. None where a region is
    too small to say, or the surroundings are so smooth that there is little but the rounding.
    """
    if min(ndimage.binary_erosion(region).sum() for region in (edited, surroundings)) < LEAST:
        return None
    ours, theirs = (laplacian_energy(image, region) for region in (edited, surroundings))
    rounding = 20 / 12 / 255**2 / scale**2 * LUMA_ROUNDING
    return ours / theirs if theirs >= 3 * rounding else None


def edge_width(image: Picture, region: Region | None, unit: float) -> float | None:
    """Median width in pixels of the outline of an object: its contrast over its steepest slope.

    image: luma. region: the object's pixels, None where there is none. unit: pixels to a unit of
    the world. At each pixel of the outline, contrast and slope are the greatest within a 64th of
    a unit. An ideal edge has 1 to 2 pixels; blurring by sigma makes it about 2.5 sigma wide.
    """
    if region is None or region.sum() < LEAST:
        return None
    outline = region & ~ndimage.binary_erosion(region)
    window = 2 * max(2, round(unit / 64)) + 1
    slope = np.hypot(*np.gradient(image))
    contrast = ndimage.maximum_filter(image, window) - ndimage.minimum_filter(image, window)
    steepest = ndimage.maximum_filter(slope, window)
    clear = outline & (contrast > 0.1)
    if not clear.any():
        return None
    return float(np.median(contrast[clear] / steepest[clear]))
