"""Cut and resize pictures, and put them together: tiles to a stage, a stage into the photograph."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Box, Size, bands

CONTEXT = 16
"""Pixels that super-resolution is shown round what will be used of its result."""


def cropped(image: Tensor, box: Box) -> Tensor:
    """The part of [...,H,W] inside the box; a view."""
    return image[..., box.rows, box.columns]


def composited(base: Tensor, tiles: Iterable[tuple[Box, Tensor]]) -> Tensor:
    """Composite tiles over `base` one after the other (Porter-Duff "over", section 3.2).

    base: [1,3,H,W]. tiles: boxes on it and their pixels [1,3,h,w]. A tile's weight falls
    linearly from its middle to its edges, and its alpha is its share of the weight laid down so
    far: the shares of all tiles at a pixel sum to 1, and overlaps become linear ramps. Where no
    tile lies, `base` stays; tiles equal to `base` give back exactly `base`.
    """
    result = base.clone()
    laid = torch.zeros_like(base[:, :1])
    for box, pixels in tiles:
        weight = tile_weight(box.size, base)
        below = laid[..., box.rows, box.columns]
        region = result[..., box.rows, box.columns]
        region.lerp_(pixels, weight / (below + weight))
        below += weight
    return result


def tile_weight(size: Size, like: Tensor) -> Tensor:
    """[1,1,h,w], 1 in the middle, falling linearly to almost 0 at the edges."""

    def ramp(length: int) -> Tensor:
        middles = torch.arange(length, dtype=like.dtype, device=like.device) + 0.5
        return torch.minimum(middles, length - middles) / (length / 2)

    return (ramp(size.height)[:, None] * ramp(size.width)[None, :])[None, None]


def feathered(mask: Tensor, width: int) -> Tensor:
    """The mask with a soft edge: [1,1,H,W] in [0,1], at least the mask everywhere.

    Falls by 1 / (width + 1) per pixel (chessboard distance) outside; 0 from `width` + 1 pixels
    on. A soft mask keeps its own slope where that is gentler.
    """
    result = torch.empty_like(mask)
    height = mask.shape[-2]
    for rows in bands(height):
        # A pixel is reached from so many rows above and below.
        top, bottom = max(rows.start - width, 0), min(rows.stop + width, height)
        part = mask[..., top:bottom, :]
        for _ in range(width):
            part = torch.maximum(part, _grown(part) - 1 / (width + 1))
        result[..., rows, :] = part[..., rows.start - top : rows.stop - top, :]
    return result


def _grown(mask: Tensor) -> Tensor:
    """The largest of every pixel and its eight neighbours; of one channel quicker than pooling."""
    for axis in (-1, -2):
        pairs, given = mask.shape[axis] - 1, mask
        mask = given.clone()
        mask.narrow(axis, 0, pairs).clamp_(min=given.narrow(axis, 1, pairs))
        mask.narrow(axis, 1, pairs).clamp_(min=given.narrow(axis, 0, pairs))
    return mask


def pasted(image: Tensor, patch: Tensor, box: Box, alpha: Tensor) -> Tensor:
    """`patch` over `image` inside `box`, with opacity `alpha`; elsewhere the very same numbers.

    image: [1,3,H,W]. patch: [1,3,box]. alpha: [1,1,box] in [0,1]; where it is 0 the result is
    the input bit by bit, whatever the patch holds.
    """
    result = image.clone()
    below = result[..., box.rows, box.columns]
    for rows in bands(box.size.height):
        under, over, opacity = (one[..., rows, :] for one in (below, patch, alpha))
        under.copy_(torch.where(opacity > 0, torch.lerp(under, over, opacity), under))
    return result


def resized(image: Tensor, size: Size) -> Tensor:
    """Antialiased bilinear, [1,C,H,W] -> [1,C,size]; the image itself if nothing changes."""
    if Size(*image.shape[-2:]) == size:
        return image
    target = (size.height, size.width)
    return F.interpolate(image, target, mode="bilinear", align_corners=False, antialias=True)


def used_part(painted: Tensor, before: Size) -> tuple[Box, Box]:
    """What of a picture of size `before` makes the painted part of its enlargement, and what of
    the enlargement that makes.

    painted: [1,1,H,W] of 0 and 1, not all 0, at the enlargement's size. The boxes lie exactly over
    each other, and leave `CONTEXT` pixels round the painted part where there are so many.
    """
    small_rows, large_rows = _used_span(painted[0, 0].amax(1), before.height)
    small_columns, large_columns = _used_span(painted[0, 0].amax(0), before.width)
    return (
        Box(small_rows[0], small_columns[0], small_rows[1], small_columns[1]),
        Box(large_rows[0], large_columns[0], large_rows[1], large_columns[1]),
    )


def _used_span(painted: Tensor, before: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of one side, cut where a pixel ends in both pictures."""
    after = len(painted)
    parts = math.gcd(before, after)
    seen = painted.nonzero()
    margin = -(-CONTEXT * parts // before)
    first = max(0, int(seen[0]) * parts // after - margin)
    end = min(parts, int(seen[-1]) * parts // after + 1 + margin)
    return (
        (first * before // parts, end * before // parts),
        (first * after // parts, end * after // parts),
    )


def largest(mask: Tensor, size: Size) -> Tensor:
    """[1,1,H,W] -> [1,1,size]: the largest of all pixels that fall into each, even partly."""
    if Size(*mask.shape[-2:]) == size:
        return mask
    return F.adaptive_max_pool2d(mask, (size.height, size.width))


def any_touch(mask: Tensor, size: Size) -> Tensor:
    """[1,1,H,W] -> [1,1,size] of 0 and 1: 1 where any non-zero pixel falls, even partly."""
    return (largest(mask, size) > 0).float()


def latent_mask(levels: Tensor, factor: int) -> Tensor:
    """The largest level in each cell: [1,1,H,W] in [0,1] -> [1,1,H/factor,W/factor], rounded up.

    A cell that is only partly painted belongs to the edit; the paste at the end is exact.
    """
    return F.max_pool2d(_on_grid(levels, factor), factor)


def inner_mask(levels: Tensor, factor: int) -> Tensor:
    """The smallest level in each cell, so that what is painted lies wholly inside the mask.

    Shaped as `latent_mask`, and the same where a mask is too thin to hold a whole cell, as a
    scratch's is.
    """
    inner = 1 - F.max_pool2d(1 - _on_grid(levels, factor), factor)
    near = F.max_pool2d((inner > 0).float(), 3, stride=1, padding=1)
    return torch.where(near > 0, inner, latent_mask(levels, factor))


def mean_mask(levels: Tensor, factor: int) -> Tensor:
    """The mean level of each cell, which for a hard mask is its painted share; see `inner_mask`."""
    inner = inner_mask(levels, factor)
    return torch.maximum(F.avg_pool2d(_on_grid(levels, factor), factor), inner)


def _on_grid(levels: Tensor, factor: int) -> Tensor:
    """Continued to whole cells: those at the picture's far edges have no other levels there."""
    size = Size(*levels.shape[-2:])
    return padded(levels, size.padded(factor))


def padded(image: Tensor, canvas: Size, repeat_edge: bool = True) -> Tensor:
    """Grown at the bottom and right to `canvas`, by the edge pixels or by zeros; the image itself
    if nothing changes."""
    height, width = image.shape[-2:]
    margins = (0, canvas.width - width, 0, canvas.height - height)
    if not any(margins):
        return image
    return F.pad(image, margins, mode="replicate" if repeat_edge else "constant")


def filled(image: Tensor, painted: Tensor) -> Tensor:
    """The image with its surroundings' colours run into the painted part, [1,C,H,W].

    Push and pull (Gortler et al. 1996): averages of what is known, halved until all is. painted:
    [1,1,H,W] of 0 and 1; where it is 0 the image stays, and all of it if nothing is 0.
    """
    known = 1 - painted
    if not known.any() or known.all():
        return image
    height, width = image.shape[-2:]
    even = Size(height + height % 2, width + width % 2)
    known_at = padded(known, even, repeat_edge=False)
    weighed = padded(torch.where(known > 0, image, 0), even, repeat_edge=False)
    weight = F.avg_pool2d(known_at, 2)
    coarse = F.avg_pool2d(weighed, 2) / weight.clamp(min=1e-6)
    below = filled(coarse, (weight == 0).float())
    up = F.interpolate(below, (2 * below.shape[-2], 2 * below.shape[-1]), mode="bilinear")
    return torch.where(painted > 0, up[..., :height, :width], image)
