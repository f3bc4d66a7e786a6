"""The tone of an edit is that of its first stage; later ones add detail."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .compositing import filled, padded
from .geometry import Size

BLOCK = 8
"""Pixels of the blocks whose mean colours are the tone."""
CELL = 4
"""Pixels of the cells in which is sought what tiles leave where they meet."""
NEIGHBOURS = 5
"""Blocks in each direction among which a block's change of tone is usual or not."""
MOVED = 20 / 255
"""Further from the usual, a block's change is something that moved, and no change of tone."""
DETAIL = 10 / 255
"""Above this, what a cell's mean still differs by is detail, and no line between tiles."""


def with_tone_of(draft: Tensor, image: Tensor, painted: Tensor) -> Tensor:
    """`image` with the tone of `draft` wherever it is painted; all [1,3,H,W] in [0,1].

    Tone is the mean of blocks of `BLOCK` pixels, so what is finer stays (as in StableSR's wavelet
    colour correction, Wang et al. 2023). Blocks whose change differs from that of their
    neighbours' median show an outline that moved; those next to them may; for all these the
    change runs in from around. Where tiles meet, their tone may change within a few pixels, which
    leaves faint lines: cells of `CELL` pixels that still differ a little follow the draft, too.
    painted: [1,1,H,W] of 0 and 1.
    """
    change, share = _changes(draft, image, painted, BLOCK)
    usual = local_median(torch.where(share > 0, change, torch.inf), NEIGHBOURS)
    toned = _shifted(image, painted, change, _unlike(change - usual, share, MOVED, 1), BLOCK)
    change, share = _changes(draft, toned, painted, CELL)
    return _shifted(toned, painted, change, _unlike(change, share, DETAIL, BLOCK // CELL), CELL)


def _changes(draft: Tensor, image: Tensor, painted: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """By how much blocks of the draft differ in the mean over what is painted of each, [1,3,h,w];
    and which share of each that is, [1,1,h,w]."""
    grid = Size(*image.shape[-2:]).padded(side)
    share = F.avg_pool2d(padded(painted, grid, repeat_edge=False), side)
    change = F.avg_pool2d(padded(painted * (draft - image), grid, repeat_edge=False), side)
    return change / share.clamp(min=1e-6), share


def _unlike(change: Tensor, share: Tensor, most: float, reach: int) -> Tensor:
    """1 in blocks that change by more than `most` and up to `reach` beside them, and in blocks of
    which nothing is painted; [1,1,h,w]."""
    large = (change.abs().amax(1, keepdim=True) > most) & (share > 0)
    near = F.max_pool2d(large.float(), 2 * reach + 1, 1, reach)
    return near.maximum((share == 0).float())


def _shifted(image: Tensor, painted: Tensor, change: Tensor, unknown: Tensor, side: int) -> Tensor:
    """The image, changed smoothly by what is known of the blocks' changes, where it is painted."""
    if unknown.all():
        return image
    smooth = filled(change, unknown)
    for _ in range(side // CELL):
        smooth = F.avg_pool2d(F.pad(smooth, (1,) * 4, mode="replicate"), 3, 1)
    height, width = image.shape[-2:]
    tone = F.interpolate(smooth, scale_factor=side, mode="bilinear")[..., :height, :width]
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
