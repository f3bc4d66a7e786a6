"""Short ways to run an edit on the pointwise model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fakes import PointwiseBackend
from torch import Tensor

from msbd.compositing import any_touch, cropped, resized
from msbd.geometry import Box, Size
from msbd.masks import Mask
from msbd.noise import Noise
from msbd.pipeline import Edit, edit
from msbd.plan import StagePlan
from msbd.planning import plan_edit
from msbd.progress import Callbacks
from msbd.settings import EditSettings

QUICK = {"steps": 6, "resampling_steps": 1, "candidates": 2, "decoder_iterations": 3}


def photograph(height: int, width: int) -> Tensor:
    """Random 8-bit levels, [1,3,H,W] in [0,1]: nothing is as hard to leave untouched."""
    return (Noise(0)((1, 3, height, width), "photo") * 60 + 128).round().clamp(0, 255) / 255


def within(inner: Box, outer: Box) -> bool:
    return (
        outer.top <= inner.top
        and outer.left <= inner.left
        and inner.bottom <= outer.bottom
        and inner.right <= outer.right
    )


def box_mask(size: Size, *boxes: Box) -> Mask:
    mask = np.zeros((size.height, size.width), np.float32)
    for box in boxes:
        mask[box.rows, box.columns] = 1
    return mask


def run(
    image: Tensor,
    mask: Mask,
    backend: PointwiseBackend | None = None,
    seed: int = 3,
    watch: Callbacks = Callbacks(),
    paint: Tensor | None = None,
    **values,
) -> Edit:
    """Edit with quick settings."""
    backend = backend or PointwiseBackend()
    settings = EditSettings().with_values({**QUICK, **values})
    plan = plan_edit(Size(*image.shape[-2:]), mask, settings, backend.spec)
    return edit(image, mask, plan, settings, backend, Noise(seed), watch, paint)


def errors_outside(image: Tensor, mask: Mask, **values: Any) -> list[float]:
    """Mean square outside the mask of what each stage made before the paste, less the picture."""
    errors = []

    def measure(name: str, picture: Tensor, stage: StagePlan, _: str) -> None:
        if name == "result":
            crop, painted = (
                cropped(one, stage.box) for one in (image, torch.from_numpy(mask)[None, None])
            )
            kept = 1 - any_touch(painted, stage.size)
            errors.append(float((kept * (picture - resized(crop, stage.size))).square().mean()))

    run(image, mask, watch=Callbacks(picture=measure), **values)
    return errors


def transposed(what: Any) -> Any:
    """A size or a box with its axes exchanged."""
    if isinstance(what, Size):
        return Size(what.width, what.height)
    return Box(what.left, what.top, what.right, what.bottom)
