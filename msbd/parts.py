"""Which parts of a mask are edited apart, and what the model sees of the picture for each."""

from __future__ import annotations

import math
from dataclasses import astuple

import numpy as np
from numpy.typing import NDArray

from . import masks
from .geometry import Box, Size, ceil_to
from .plan import ModelSpec
from .settings import APART, WHOLE_CROP, EditSettings

Boxes = NDArray[np.int64]
"""[n,4]: top, left, bottom, right."""
NARROW = 0.25
"""What later stages see beside the mask however narrow it is, in units of the training
resolution; less if users say so."""


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


def reach_of(settings: EditSettings) -> int:
    """How far beyond the mask cells are repainted, in the crop's pixels."""
    return settings.feather if settings.whole_cells else 0


def seen_box(size: Size, mask: masks.Mask, settings: EditSettings, spec: ModelSpec) -> Box:
    """What a later stage of this size sees: the mask and the context round it, or all that is
    repainted. mask: [H,W], inside the crop.

    As in the published code the model sees no more beside the mask's shorter side than the margin
    shows of it; but for `NARROW`.
    """
    scale = max(size.height / mask.shape[0], size.width / mask.shape[1])
    painted = masks.bounds(mask).scaled(size.height / mask.shape[0], size.width / mask.shape[1])
    context = math.inf if settings.context >= WHOLE_CROP else settings.context * spec.resolution

    def around(side: int) -> int:
        seen = max(math.ceil((settings.margin - 1) / 2 * side), NARROW * spec.resolution)
        return max(round(min(context, seen)), math.ceil(reach_of(settings) * scale))

    tall = painted.grown(around(painted.size.height), size)
    wide = painted.grown(around(painted.size.width), size)
    return Box(tall.top, wide.left, tall.bottom, wide.right)
