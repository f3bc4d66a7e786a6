"""How well the edge of an edit can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .spectra import OCTAVES, STEP, WINDOW, shares

LEAST = 1 / 16
"""Share of a window on either side of the edge from which on it is compared with the other."""
MOST = 2048
"""Windows along an edge that are looked at, evenly spread."""
SEEN = 2 / 255
"""A step of tone that can just be seen where nothing else is."""
MASKING = 0.5
"""How much higher it must be for each level by which colours vary there anyway."""
STEEP = 4
"""Pixels over which a step may be spread before it is harder to see."""
FAINT = 0.7 / 255
"""Deviation of a texture that can just be seen."""


@dataclass(frozen=True)
class Seam:
    """What differs between just inside and just outside an edit's edge; windows count by how much
    they see of either side.

    figure: mean along the edge of log2(1 + d), with d^2 = t^2 + mean of l^2 + s^2: t the step of
    tone in steps that can just be seen, l of texture, by octave, and s of sharpness, in doublings.
    0 where there is nothing to see. A picture's own things count as well, so that only edits with
    the same mask in the same picture can be compared; a difference of 0.1 can be seen.

    tone: root mean square of the step, in 8-bit levels. texture: mean doublings inside over
    outside by octave, finest first; less than 0 is smoother. sharpness: how much more of them the
    finest octave has than the coarsest.
    """

    figure: float
    tone: float
    texture: list[float]
    sharpness: float


def seam(image: Tensor, alpha: Tensor) -> Seam | None:
    """Look along the edge through windows of 32 pixels that see both sides of it.

    image: after the edit, [1,3,H,W] in [0,1]. alpha: opacity it was pasted with, [1,1,H,W]; it is
    compared where it is opaque with where it is not there at all. Where a soft edge is too wide
    for any window to see both, the picture is halved until one does. A step of tone counts the
    less the less steep it is. None without an edge.
    """
    scale, most = 1, float(alpha.max())
    if not 0 == alpha.min() < most:
        return None
    while True:
        both = (shares((alpha == side).float()) >= LEAST for side in (most, 0))
        places = (next(both) & next(both) & (shares(torch.ones_like(alpha)) == 1)).nonzero()
        if len(places):
            break
        if min(alpha.shape[-2:]) < 2 * WINDOW:
            return None
        image, alpha, scale = F.avg_pool2d(image, 2), F.avg_pool2d(alpha, 2), 2 * scale
    places = places[:: -(-len(places) // MOST)]
    pixels, opacity = (_windows(one, places) for one in (image, alpha))
    within, without = ((opacity == side).float() for side in (most, 0))
    step, variation = _step_of_tone(pixels, within, without)
    levels = [torch.log2(_energies(pixels, side) + FAINT**2) / 2 for side in (within, without)]
    texture = levels[0] - levels[1]
    sharpness = texture[:, 0] - texture[:, -1]
    spread = scale * WINDOW * (1 - within - without).mean((1, 2, 3)) / STEEP
    tone = step / (spread.clamp(min=1) * (SEEN + MASKING * variation)).square()
    squares = tone, texture.square().nanmean(1), sharpness.square()
    distance = torch.stack(squares, 1).nan_to_num(0).sum(1).sqrt()
    weights = torch.minimum(within.mean((1, 2, 3)), without.mean((1, 2, 3)))
    return Seam(
        round(_mean(torch.log2(1 + distance), weights), 3),
        round(255 * _mean(step, weights) ** 0.5, 2),
        [round(_mean(octave, weights), 2) for octave in texture.T],
        round(_mean(sharpness, weights), 2),
    )


def _windows(image: Tensor, places: Tensor) -> Tensor:
    """Those of [1,C,H,W] at n places [n,2], [n,C,WINDOW,WINDOW]; copies of no more than that."""
    corners = ((places - 1) * STEP).tolist()
    return torch.stack([image[0, :, y : y + WINDOW, x : x + WINDOW] for y, x in corners])


def _mean(values: Tensor, weights: Tensor) -> float:
    """Of those that are numbers; 0 of none."""
    known = weights * values.isfinite()
    return float((values.nan_to_num(0) * known).sum() / known.sum().clamp(min=1e-6))


def _step_of_tone(pixels: Tensor, within: Tensor, without: Tensor) -> tuple[Tensor, Tensor]:
    """The squared step in each window [n,3,WINDOW,WINDOW], mean of the channels, [n]; and how much
    colours vary outside besides, [n].

    Least squares for a slope and a step, on means of 2 x 2 pixels, less the step that chance would
    make of the variation.
    """
    cells, inside, outside = (F.avg_pool2d(one, 2) for one in (pixels, within, without))
    side = WINDOW // 2
    counted = ((inside == 1) | (outside == 1)).float().reshape(-1, side**2, 1)
    along = torch.linspace(-1, 1, side)
    slopes = torch.stack(torch.meshgrid(along, along, indexing="ij"), -1).reshape(-1, 2)
    known = [
        torch.ones_like(counted),
        slopes.expand(len(cells), -1, -1),
        (inside == 1).float().reshape(-1, side**2, 1) - 0.5,
    ]
    factors = torch.cat(known, 2)
    colours = cells.permute(0, 2, 3, 1).reshape(-1, side**2, 3)
    weighted = (factors * counted).transpose(1, 2)
    inverse = torch.linalg.inv(weighted @ factors + 1e-4 * torch.eye(4))
    solved = inverse @ (weighted @ colours)
    left = (colours - factors @ solved).square()
    variance = (left * counted).sum(1) / (counted.sum(1) - 4).clamp(min=1)
    chance = inverse[:, 3, 3, None] * variance
    step = (solved[:, 3].square() - chance).clamp(min=0).mean(1)
    beyond = (outside == 1).float().reshape(-1, side**2, 1)
    varied = (left * beyond).sum(1) / beyond.sum(1).clamp(min=1)
    return step, varied.sqrt().mean(1)


def _energies(pixels: Tensor, side: Tensor) -> Tensor:
    """Variance within blocks of 2, 4 and 8 pixels of the means of a quarter of each, finest first,
    [n,OCTAVES]; of blocks that lie on one side of the edge, no number where there are hardly any.
    """
    found = []
    for _ in range(OCTAVES):
        means, squares = F.avg_pool2d(pixels, 2), F.avg_pool2d(pixels.square(), 2)
        side = (F.avg_pool2d(side, 2) == 1).float()
        blocks = side.sum((1, 2, 3))
        energy = ((squares - means.square()).mean(1, keepdim=True) * side).sum((1, 2, 3))
        found.append(torch.where(blocks >= 3, energy.clamp(min=0) / blocks, torch.nan))
        pixels = means
    return torch.stack(found, 1)
