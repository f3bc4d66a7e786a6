"""Put pictures together: tiles to a stage, the last stage into the photograph."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from .geometry import Box, Size, bands


def merged(base: Tensor, tiles: Iterable[tuple[Box, Tensor]]) -> Tensor:
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
