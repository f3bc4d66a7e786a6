"""From one stage's size to the next: the draft inside the mask, the context outside it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Size


def resized(image: Tensor, size: Size) -> Tensor:
    """Antialiased bilinear, [1,C,H,W] -> [1,C,size]; the image itself if nothing changes."""
    target = (size.height, size.width)
    if tuple(image.shape[-2:]) == target:
        return image
    return F.interpolate(image, target, mode="bilinear", align_corners=False, antialias=True)


def lowpassed(image: Tensor, through: Size, size: Size) -> Tensor:
    """The image as soft as one enlarged from `through`, at `size` (section 3.2, Figure 5 f)."""
    return resized(resized(image, through), size)


def any_touch(mask: Tensor, size: Size) -> Tensor:
    """[1,1,H,W] -> [1,1,size] of 0 and 1: 1 where any non-zero pixel falls, even partly."""
    return (F.adaptive_max_pool2d(mask, (size.height, size.width)) > 0).float()


def padded(image: Tensor, canvas: Size, repeat_edge: bool = True) -> Tensor:
    """Grown at the bottom and right to `canvas`, by the edge pixels or by zeros."""
    height, width = image.shape[-2:]
    margins = (0, canvas.width - width, 0, canvas.height - height)
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
    known_at = F.pad(known, (0, width % 2, 0, height % 2))
    weighed = F.pad(torch.where(known > 0, image, 0), (0, width % 2, 0, height % 2))
    weight = F.avg_pool2d(known_at, 2)
    coarse = F.avg_pool2d(weighed, 2) / weight.clamp(min=1e-6)
    below = filled(coarse, (weight == 0).float())
    up = F.interpolate(below, (2 * below.shape[-2], 2 * below.shape[-1]), mode="bilinear")
    return torch.where(painted > 0, up[..., :height, :width], image)


def blend(inside: Tensor, outside: Tensor, painted: Tensor) -> Tensor:
    """`inside` where painted is 1, `outside` where it is 0, exactly."""
    return outside + painted * (inside - outside)
