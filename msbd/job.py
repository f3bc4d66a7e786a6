"""One edit's inputs, and how a stage sees them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .backend import Backend
from .geometry import Box
from .noise import Noise
from .plan import EditPlan, StagePlan
from .report import Report, Watch
from .settings import EditSettings
from .upscaling import any_touch, padded, resized


@dataclass(frozen=True)
class Job:
    """One edit's inputs, as every stage needs them.

    crop: the photograph inside the plan's crop, or what the mask leaves of it, [1,3,H,W]. mask:
    there, [1,1,H,W] in [0,1].
    """

    crop: Tensor
    mask: Tensor
    plan: EditPlan
    settings: EditSettings
    backend: Backend
    noise: Noise
    watch: Watch
    report: Report


class View:
    """The photograph and the mask as one stage sees them.

    target: the true picture [1,3,size]. painted: [1,1,size], 1 wherever the mask touches.
    canvas_target, canvas_painted: the same, padded to the stage's canvas.
    """

    def __init__(self, stage: StagePlan, job: Job) -> None:
        self.target = resized(job.crop, stage.size)
        self.painted = any_touch(job.mask, stage.size)
        self.canvas_target = padded(self.target, stage.canvas)
        self.canvas_painted = padded(self.painted, stage.canvas, repeat_edge=False)


def cut(image: Tensor, box: Box) -> Tensor:
    """The part of [...,H,W] inside the box; a view."""
    return image[..., box.rows, box.columns]
