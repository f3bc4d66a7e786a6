"""Ways a small picture comes about: what the super-resolution network learns to undo."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from .rrdb import SCALE

KERNELS = (Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
CLEAN = 0.5
"""Share of pictures that are only reduced."""
BLUR = (0.3, 2.0)
"""Deviation of the blur before the reduction, in pixels of the large picture."""
NOISE = (0.5, 5.0)
"""Deviation of the noise after the reduction, in steps of 1/255."""
QUALITY = (60, 96)
"""JPEG quality, half-open."""


def reduce(image: np.ndarray, kernel: Image.Resampling) -> np.ndarray:
    """uint8 [4H,4W,3] -> uint8 [H,W,3], antialiased."""
    height, width = (n // SCALE for n in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), kernel))


def degrade(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """uint8 [4H,4W,3] -> uint8 [H,W,3]: reduced by a random kernel, half the time also harmed.

    Harm, in the order of Real-ESRGAN's first round (Wang et al. 2021, section 3.1), each part
    half the time: blur before the reduction, noise and JPEG after it. Milder than there, since
    the pictures to enlarge come from a decoder, not from the internet.
    """
    kernel = KERNELS[rng.integers(len(KERNELS))]
    if rng.uniform() < CLEAN:
        return reduce(image, kernel)
    if rng.uniform() < 0.5:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(rng.uniform(*BLUR)))
        image = np.asarray(blurred)
    image = reduce(image, kernel)
    if rng.uniform() < 0.5:
        noise = rng.uniform(*NOISE) * rng.standard_normal(image.shape)
        image = (image + noise + 0.5).clip(0, 255).astype(np.uint8)
    if rng.uniform() < 0.5:
        image = compress(image, int(rng.integers(*QUALITY)))
    return image


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """A picture (uint8 [H,W,3]) written as JPEG of this quality (1-95) and read again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
