"""The tone of an edit is that of its first stage; later ones add detail."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .compositing import filled, padded
from .geometry import Size

CELL = 8
"""Pixels of the blocks whose mean colours are the tone."""
NEIGHBOURS = 5
"""Blocks in each direction among which a block's change of tone is usual or not."""
MOVED = 20 / 255
"""Further from the usual, a block's change is something that moved, and no change of tone."""


def with_tone_of(draft: Tensor, image: Tensor, painted: Tensor) -> Tensor:
    """`image` with the tone of `draft` wherever it is painted; all [1,3,H,W] in [0,1].

    Tone is the mean of blocks of `CELL` pixels, so what is finer stays (as in StableSR's wavelet
    colour correction, Wang et al. 2023). Blocks whose change differs from that of their
    neighbours' median show an outline that moved; those next to them may; for all these the
    change runs in from around. painted: [1,1,H,W] of 0 and 1.
    """
    height, width = image.shape[-2:]
    grid = Size(height, width).padded(CELL)
    share = F.avg_pool2d(padded(painted, grid, repeat_edge=False), CELL)
    change = F.avg_pool2d(padded(painted * (draft - image), grid, repeat_edge=False), CELL)
    change = change / share.clamp(min=1e-6)
    usual = local_median(torch.where(share > 0, change, torch.inf), NEIGHBOURS)
    moved = ((change - usual).abs().amax(1, keepdim=True) > MOVED) & (share > 0)
    unknown = F.max_pool2d(moved.float(), 3, 1, 1).maximum((share == 0).float())
    if unknown.all():
        return image
    smooth = filled(change, unknown)
    for _ in range(2):
        smooth = F.avg_pool2d(F.pad(smooth, (1,) * 4, mode="replicate"), 3, 1)
    tone = F.interpolate(smooth, scale_factor=CELL, mode="bilinear")[..., :height, :width]
    return torch.where(painted > 0, (image + tone).clamp(0, 1), image)


def local_median(values: Tensor, reach: int) -> Tensor:
    """Lower median of each number's neighbours in [1,C,h,w] that are finite, up to `reach` away;
    infinite where there are none."""
    framed = F.pad(values, (reach,) * 4, value=torch.inf)
    side = 2 * reach + 1
    rows = []
    for top in range(values.shape[2]):
        around = framed[:, :, top : top + side].unfold(3, side, 1).transpose(2, 3).flatten(3)
        middle = (around < torch.inf).sum(3, keepdim=True).sub(1).clamp(min=0) // 2
        # Every device can sort; not every one knows medians.
        rows.append(around.sort(3).values.gather(3, middle)[..., 0])
    return torch.stack(rows, 2)
