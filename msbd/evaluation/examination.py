"""Every measure of one edit of one case."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import Box
from ..upscaling import any_touch
from . import seams
from .cases import Case
from .painting import Painting
from .texture import grey, sharpness
from .verdict import judge, object_region

Measures = dict[str, Any]
AWAY = 3
"""Pixels left out on both sides of the mask's edge when textures are compared."""


def examine(case: Case, before: Tensor, painting: Painting) -> Measures:
    """All measures of a painting, as plain JSON values.

    before: the whole picture [1,3,H,W] in [0,1]. Measured inside the crop: the oracle's verdict
    with mask and feather as the allowed area; texture and seams on luma after the paste; the ring
    before it. See `texture`, `seams`, `verdict`.
    """
    crop = painting.plan.crop
    photograph = before[..., crop.rows, crop.columns]
    original, result, patch = (_array(t) for t in (photograph, painting.result, painting.patch))
    alpha = painting.alpha[0, 0].numpy()
    mask, opened = alpha >= 1, alpha > 0
    pixels = _pixels(result)
    verdict = judge(pixels, opened, case.colour, case.shape, case.unit)
    luma, luma_before, luma_patch = (grey(picture) for picture in (result, original, patch))
    ring = seams.ring(opened)
    ground = ~object_region(pixels, case.unit)
    deep = ~seams.ring(~mask, AWAY) & mask
    around = seams.ring(opened, 32) & ~seams.ring(opened, AWAY) & ground
    scaled = tuple(_scaled(tile, painting) for tile in painting.plan.stages[-1].tiles)
    texture = sharpness(luma, deep & ground, around)
    outside = np.abs(_pixels(result).astype(int) - _pixels(original))[~opened]
    return {
        "objects": verdict.objects,
        "right_colour": verdict.right_colour,
        "right_shape": verdict.right_shape,
        "inside": verdict.inside,
        "one_right": verdict.one_right,
        "candidates_right": [_right(case, one, painting) for one in painting.candidates],
        "scores": painting.report.scores,
        **{name: _rounded(value) for name, value in texture.items()},
        "seam": _rounded(seams.mask_seam(luma, mask, luma_before)),
        "seam_coarse": _rounded(seams.mask_seam(luma, mask, luma_before, 4)),
        "continuity": _rounded(seams.mask_seam(luma_patch, mask, luma_patch, 4)),
        "tile_seam": _rounded(seams.tile_seam(luma, mask, scaled)),
        "ring_psnr": _rounded(seams.background_psnr(patch, original, ring)),
        "tone_shift": _rounded(seams.tone_shift(patch, original, ring)),
        "outside": int(outside.max()) if outside.size else 0,
        "decoder_loss": [stage.decoder_loss for stage in painting.report.stages],
        "notes": painting.report.notes,
    }


def _right(case: Case, candidate: Tensor, painting: Painting) -> bool:
    """Whether a first-stage candidate [1,3,size] shows what was asked for."""
    crop, size = painting.plan.crop.size, painting.plan.stages[0].size
    mask = any_touch((painting.alpha >= 1).float(), size)[0, 0].numpy() > 0
    unit = case.unit * size.width / crop.width
    return judge(_pixels(_array(candidate)), mask, case.colour, case.shape, unit).one_right


def _scaled(tile: Box, painting: Painting) -> Box:
    """A tile of the last stage in the crop's pixels."""
    crop, size = painting.plan.crop.size, painting.plan.stages[-1].size
    down, across = crop.height / size.height, crop.width / size.width
    return Box(
        round(tile.top * down),
        round(tile.left * across),
        min(round(tile.bottom * down), crop.height),
        min(round(tile.right * across), crop.width),
    )


def _array(image: Tensor) -> NDArray[np.float64]:
    return np.asarray(image[0].permute(1, 2, 0).numpy(), np.float64)


def _pixels(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.asarray((image * 255).round().clip(0, 255), np.uint8)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
