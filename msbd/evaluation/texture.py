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
SCALES = (0.0, 0.7, 1.4, 2.8)
"""Standard deviations in pixels between which the octaves lie."""


def grey(image: NDArray[np.floating]) -> Picture:
    """Luma [H,W] of [H,W,3], both in [0,1] (ITU-R BT.601)."""
    return np.asarray(image, np.float64) @ np.array([0.299, 0.587, 0.114])


def smoothed(image: Picture, region: Region, sigma: float) -> Picture:
    """Gaussian blur that sees only the region (normalised convolution); the image for sigma 0."""
    if not sigma:
        return image
    weight = ndimage.gaussian_filter(region.astype(np.float64), sigma)
    total = ndimage.gaussian_filter(np.where(region, image, 0.0), sigma)
    return np.asarray(total / np.maximum(weight, 1e-9))


def octave_energies(image: Picture, region: Region) -> list[float]:
    """Variance of the region's differences of Gaussians between `SCALES`, finest first."""
    blurred = [smoothed(image, region, sigma) for sigma in SCALES]
    return [float(np.mean(np.square(fine - coarse)[region])) for fine, coarse in pairwise(blurred)]


def laplacian_energy(image: Picture, region: Region) -> float:
    """Mean square of the discrete Laplacian where all four neighbours are in the region too."""
    inner = ndimage.binary_erosion(region)
    return float(np.mean(np.square(ndimage.laplace(image))[inner])) if inner.any() else 0.0


def spectral_slope(image: Picture, region: Region) -> float:
    """Doublings of energy per octave towards finer detail: falls when texture is softened."""
    energies = np.log2(np.maximum(octave_energies(image, region), 1e-12))
    return float(np.polyfit(np.arange(len(energies)), energies, 1)[0] * -1)


def sharpness(image: Picture, edited: Region, surroundings: Region) -> dict[str, float | None]:
    """The edited region's texture against that of its surroundings.

    laplacian: ratio of Laplacian energies, 1 = alike, less = softer. slope: difference of the
    spectral slopes, 0 = alike, negative = softer. None where a region is too small to say.
    """
    if min(edited.sum(), surroundings.sum()) < LEAST:
        return {"laplacian": None, "slope": None}
    ours, theirs = (laplacian_energy(image, region) for region in (edited, surroundings))
    slopes = [spectral_slope(image, region) for region in (edited, surroundings)]
    return {
        "laplacian": ours / max(theirs, 1e-12),
        "slope": slopes[0] - slopes[1],
    }
