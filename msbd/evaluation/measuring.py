"""Every measure of one edit of one case."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from ..compositing import any_touch, feathered
from ..geometry import Box
from ..seam import seam
from ..settings import SETTINGS
from ..standalone.pictures import Picture, to_pixels
from . import seams
from .cases import SCRATCH, Case
from .texture import edge_width, grey, pooled, sharpness
from .verdict import judge, object_region
from .ways import Painting

Measures = dict[str, Any]
Pixels = NDArray[np.uint8]
AWAY = 3
"""Pixels left out on both sides of the mask's edge when textures are compared."""
FEATHER = int(SETTINGS["feather"].default)
"""So far outside the mask a picture may change."""


def examine_painting(case: Case, before: Tensor, painting: Painting) -> Measures:
    """What only the painting itself can tell: how it was before the paste, and how it came about.

    before: the whole picture [1,3,H,W] in [0,1].
    """
    crop = painting.plan.crop
    photograph = before[..., crop.rows, crop.columns]
    original, patch = _array(photograph), _array(painting.patch)
    ring = seams.ring(painting.alpha[0, 0].numpy() > 0)
    return {
        "candidates_right": [_right(case, one, painting) for one in painting.candidates],
        "scores": painting.report.parts[0].scores,
        "ring_psnr": _rounded(seams.background_psnr(patch, original, ring)),
        "tone_shift": _rounded(seams.tone_shift(patch, original, ring)),
        "decoder_loss": [stage.decoder_loss for stage in painting.report.stages],
        "notes": painting.report.notes,
        "crop": [crop.top, crop.left, crop.bottom, crop.right],
        "tiles": [_scaled(tile, painting) for tile in painting.plan.stages[-1].tiles],
    }


def examine_picture(
    case: Case, image: Pixels, mask: NDArray[np.float32], record: Measures, result: Pixels
) -> Measures:
    """What the finished picture tells, from its 8-bit pixels.

    image: before the edit, [H,W,3]. record: of `examine_painting`. result: inside the crop. The
    oracle looks at mask and feather; texture and the tiles' seams are those of luma.
    """
    crop = Box(*record["crop"])
    original, inside = image[crop.rows, crop.columns], mask[crop.rows, crop.columns] > 0
    opened = ndimage.maximum_filter(inside, 2 * FEATHER + 1)
    verdict = judge(result, inside, case.colour, case.shape, case.unit)
    scratch = inside & (original == SCRATCH).all(-1)
    gone = np.abs(result.astype(int) - original).max(-1)[scratch] > 12
    luma = grey(result / 255)
    objects = object_region(result, case.unit)
    deep = inside & ~seams.ring(~inside, AWAY) & ~objects
    around = seams.ring(opened, 40) & ~seams.ring(opened, AWAY) & ~objects
    # Grounds have no detail finer than this; below it there is only the rounding to 8 bits.
    scale = max(1, round(case.unit / 160))
    edited, beside = (pooled(region.astype(float), scale) == 1 for region in (deep, around))
    tiles = [Box(*tile) for tile in record["tiles"]]
    outside = np.abs(result.astype(int) - original)[~opened]
    return {
        "objects": verdict.objects,
        "right_colour": verdict.right_colour,
        "right_shape": verdict.right_shape,
        "inside": verdict.inside,
        "one_right": verdict.one_right and bool(not scratch.any() or gone.mean() > 0.9),
        "laplacian": _rounded(sharpness(pooled(luma, scale), edited, beside, scale)),
        "edge": _rounded(edge_width(luma, verdict.region, case.unit)),
        **_seam(result, None if scratch.any() else original, inside),
        "tile_seam": _rounded(seams.tile_seam(luma, inside, tiles)),
        "outside": int(outside.max()) if outside.size else 0,
    }


def _seam(result: Pixels, original: Pixels | None, inside: NDArray[np.bool_]) -> Measures:
    """How well the edit's edge can be seen, less what there was to see before; what was to be
    retouched is no measure of that."""
    alpha = feathered(torch.from_numpy(inside)[None, None].float(), FEATHER)
    names = ("seam", "seam_tone", "seam_texture", "seam_sharpness")
    after = seam(Picture(result).tensor(), alpha)
    before = None if original is None else seam(Picture(original).tensor(), alpha)
    if after is None or before is None:
        return dict.fromkeys(names)
    octaves = np.subtract(after.texture, before.texture)
    values = (
        after.figure - before.figure,
        after.tone,
        float(np.abs(octaves).mean()),
        after.sharpness - before.sharpness,
    )
    return {name: _rounded(value) for name, value in zip(names, values, strict=True)}


def _right(case: Case, candidate: Tensor, painting: Painting) -> bool:
    """Whether a first-stage candidate [1,3,size] shows what was asked for."""
    crop, size = painting.plan.crop.size, painting.plan.stages[0].size
    mask = any_touch((painting.alpha >= 1).float(), size)[0, 0].numpy() > 0
    unit = case.unit * size.width / crop.width
    return judge(to_pixels(candidate), mask, case.colour, case.shape, unit).one_right


def _scaled(tile: Box, painting: Painting) -> list[int]:
    """A tile of the last stage in the crop's pixels: top, left, bottom, right."""
    crop, size = painting.plan.crop.size, painting.plan.stages[-1].size
    down, across = crop.height / size.height, crop.width / size.width
    return [
        round(tile.top * down),
        round(tile.left * across),
        min(round(tile.bottom * down), crop.height),
        min(round(tile.right * across), crop.width),
    ]


def _array(image: Tensor) -> NDArray[np.float64]:
    return np.asarray(image[0].permute(1, 2, 0).numpy(), np.float64)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
