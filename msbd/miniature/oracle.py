"""Reads a picture of the procedural world: which objects it shows, by plain image analysis.

What the module offers
----------------------
``read(image, pixels_per_unit) -> list[Found]``
    Every object of at least ``MIN_AREA`` square units, largest first.
``is_right(image, colour, shape, pixels_per_unit) -> bool``
    Exactly one object, whole, of the given colour and shape.

An object is a connected component of pixels of any object colour; its colour is
that of the majority, since the antialiased or decoded rim of one colour may show
another.  Touching objects merge, so counts are lower bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import cos, pi, sin, sqrt

import numpy as np
from scipy import ndimage

from .shapes import SHAPES, signed_distance
from .world import BASE

HUES = {
    "red": 358.0,
    "orange": 29.0,
    "yellow": 52.0,
    "green": 135.0,
    "blue": 229.0,
    "purple": 278.0,
    "pink": 323.0,
}
NAMES = (*HUES, "black")
MIN_AREA = 0.008
MIN_IOU = 0.72
PURITY = 0.7
MIN_CHROMA = 0.43
MAX_HUE_ERROR = 28.0
BLACK = 0.21
SIDE = 48


@dataclass(frozen=True)
class Found:
    """One object.

    iou: with the best template of its shape; area in square units; box (top, left, bottom, right)
    in px.
    """

    colour: str
    shape: str
    iou: float
    area: float
    box: tuple[int, int, int, int]


def label_colours(image: np.ndarray) -> np.ndarray:
    """Index into ``NAMES`` of every pixel's object colour, -1 for background, int8 [H, W]."""
    rgb = image.astype(np.float32) / 255
    high, low = rgb.max(-1), rgb.min(-1)
    chroma = high - low
    safe = np.maximum(chroma, 1e-6)
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    sector = np.where(
        high == r, ((g - b) / safe) % 6, np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4)
    )
    error = np.abs(
        (sector[..., None] * 60 - np.fromiter(HUES.values(), np.float32) + 180) % 360 - 180
    )
    vivid = (chroma > MIN_CHROMA) & (error.min(-1) < MAX_HUE_ERROR) & (high > 0.4)
    label = np.where(vivid, error.argmin(-1), -1)
    return np.where(high < BLACK, len(HUES), label).astype(np.int8)


def _normalise(mask: np.ndarray) -> np.ndarray:
    """Mask [h, w] resampled to [SIDE, SIDE], centred and scaled by its outline filled."""
    filled = ndimage.binary_fill_holes(mask)
    y, x = np.nonzero(filled)
    reach = (np.arange(SIDE) - (SIDE - 1) / 2) * (2.4 / SIDE) * sqrt(y.size)
    where = np.meshgrid(y.mean() + reach, x.mean() + reach, indexing="ij")
    return ndimage.map_coordinates(mask.astype(np.float32), where, order=1) > 0.5


@lru_cache(maxsize=1)
def _templates() -> tuple[tuple[str, np.ndarray], ...]:
    """Every shape in 24 attitudes."""
    axis = (np.arange(256, dtype=np.float32) - 127.5) / 256
    y, x = axis[:, None], axis[None]
    found = []
    for shape in SHAPES:
        for k in range(1 if shape in ("circle", "ring") else 24):
            c, s = cos(k * pi / 12), sin(k * pi / 12)
            found.append(
                (shape, _normalise(signed_distance(shape, c * y - s * x, c * x + s * y, 0.3) < 0))
            )
    return tuple(found)


def recognise(mask: np.ndarray) -> tuple[str, float]:
    """The shape most like a mask [h, w] and its intersection over union."""
    normal = _normalise(np.pad(mask, 2))
    scores = [((normal & t).sum() / max(1, (normal | t).sum()), shape) for shape, t in _templates()]
    iou, shape = max(scores)
    return shape, float(iou)


def _components(
    mask: np.ndarray, label: np.ndarray, smallest: float, radius: int
) -> list[tuple[int, np.ndarray, tuple[slice, slice]]]:
    """(colour index, mask, where) of large components, split by colour where none prevails."""
    parts = []
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    for index, where in enumerate(ndimage.find_objects(labels), 1):
        part = labels[where] == index
        if part.sum() < smallest:
            continue
        counts = np.bincount(label[where][part], minlength=len(NAMES))
        if counts.max() >= PURITY * counts.sum():
            parts.append((int(counts.argmax()), part, where))
            continue
        for colour in np.flatnonzero(counts >= smallest):
            alone = np.zeros(mask.shape, bool)
            alone[where] = ndimage.binary_opening(
                part & (label[where] == colour), iterations=2 * radius
            )
            pieces, _ = ndimage.label(alone, np.ones((3, 3)))
            for k, at in enumerate(ndimage.find_objects(pieces), 1):
                if (pieces[at] == k).sum() >= smallest:
                    parts.append((int(colour), pieces[at] == k, at))
    return parts


def read(image: np.ndarray, pixels_per_unit: float = BASE) -> list[Found]:
    """The objects in a picture (uint8 [H, W, 3]), largest first."""
    label = label_colours(image)
    radius = max(1, round(pixels_per_unit / BASE))
    mask = ndimage.binary_opening(np.pad(label >= 0, radius, mode="edge"), iterations=radius)
    mask = mask[radius:-radius, radius:-radius] & (label >= 0)
    found = []
    for colour, part, where in _components(mask, label, MIN_AREA * pixels_per_unit**2, radius):
        shape, iou = recognise(part)
        box = (where[0].start, where[1].start, where[0].stop, where[1].stop)
        found.append(Found(NAMES[colour], shape, iou, float(part.sum()) / pixels_per_unit**2, box))
    return sorted(found, key=lambda f: -f.area)


def is_whole(found: Found, height: int, width: int) -> bool:
    """Whether an object's box stays off the border of its picture."""
    top, left, bottom, right = found.box
    return top > 0 and left > 0 and bottom < height and right < width


def is_right(image: np.ndarray, colour: str, shape: str, pixels_per_unit: float = BASE) -> bool:
    """Whether a picture shows exactly one object, whole, of this colour and shape."""
    found = read(image, pixels_per_unit)
    if len(found) != 1 or not is_whole(found[0], *image.shape[:2]):
        return False
    return found[0].colour == colour and found[0].shape == shape and found[0].iou >= MIN_IOU
