"""Which parts of a mask are edited apart, and what the model sees of the picture for each."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from . import masks
from .geometry import Box, Size, ceil_to
from .plan import ModelSpec
from .settings import APART, EditSettings

Boxes = NDArray[np.int64]
"""[n,4]: top, left, bottom, right."""


def parts_of(image: Size, mask: masks.Mask, settings: EditSettings, spec: ModelSpec) -> list[Box]:
    """Boxes of the parts of a mask [H,W], from top to bottom; none overlap, all together hold it.

    Parts are together if one is nearer to the other than the crop shows round the larger (its
    margin), or if one crop of the training resolution holds both, so that neither loses detail.
    What is together is one part, which may have others near. With `together` all are one.
    """
    whole = masks.bounds(mask)
    if settings.parts != APART:
        return [whole]
    boxes = np.array([astuple(box) for box in masks.pieces(mask, whole)])
    while True:
        fewer = boxes[:0]
        for box in boxes:
            near = np.flatnonzero(_together(box, fewer, image, settings, spec))
            if near.size:
                fewer[near[0]] = _joined(box, fewer[near[:1]])
            else:
                fewer = np.vstack([fewer, box])
        if len(fewer) == len(boxes):
            return sorted(Box(*map(int, box)) for box in boxes)
        boxes = fewer


def _together(
    box: Boxes, others: Boxes, image: Size, settings: EditSettings, spec: ModelSpec
) -> NDArray[np.bool_]:
    """Which of [n,4] a box [4] belongs to."""
    between = np.maximum(box[:2], others[:, :2]) - np.minimum(box[2:], others[:, 2:])
    longest = np.maximum(_longest(box[None]), _longest(others))
    near = between.max(1) <= np.maximum((settings.margin - 1) / 2 * longest, 0)
    both = _longest(_joined(box, others))
    sides = np.array([_crop_side(int(n), settings, spec) for n in both])
    return near | (np.minimum(sides, image.longest) <= spec.resolution)


def _joined(box: Boxes, others: Boxes) -> Boxes:
    """What holds a box [4] and each of [n,4]."""
    tops, ends = np.minimum(box[:2], others[:, :2]), np.maximum(box[2:], others[:, 2:])
    return np.hstack([tops, ends])


def _longest(boxes: Boxes) -> Boxes:
    return (boxes[:, 2:] - boxes[:, :2]).max(1)


def crop_box(image: Size, painted: Box, settings: EditSettings, spec: ModelSpec) -> Box:
    """A square round a part, enlarged by the margin, moved and cut to lie in the picture."""
    side = _crop_side(painted.size.longest, settings, spec)
    size = Size(min(side, image.height), min(side, image.width))
    top = (painted.top + painted.bottom - size.height) // 2
    left = (painted.left + painted.right - size.width) // 2
    return Box.of(
        size,
        min(max(top, 0), image.height - size.height),
        min(max(left, 0), image.width - size.width),
    )


def _crop_side(longest: int, settings: EditSettings, spec: ModelSpec) -> int:
    """Of the crop round what is so long."""
    least = round(settings.ablation.minimum_crop * spec.resolution)
    faded = longest + 2 * settings.feather
    return ceil_to(max(math.ceil(settings.margin * longest), faded, least), spec.multiple)
