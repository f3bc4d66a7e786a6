"""High-resolution image editing via multi-stage blended diffusion (Ackermann & Li 2022)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from .backend import Backend
from .composite import feathered, pasted
from .errors import EditError, Interrupted
from .geometry import Size
from .job import Job, View, cut
from .masks import Mask
from .memory import is_out_of_memory, release, suits, with_room
from .noise import Noise
from .plan import EditPlan
from .precision import finite, single_precision
from .report import Report, Stopwatch, Watch, outside_difference, peak_memory, seam_ratio
from .settings import EditSettings
from .stage import refine
from .upscaling import blend, filled, resized, used_part

CANVASES = 8
"""Pictures as large as the crop that are there at one time, at the most."""


@dataclass(frozen=True)
class Edit:
    """The edited picture [1,3,H,W] in [0,1], on the CPU, and the report of how it came about."""

    image: Tensor
    report: Report


@single_precision()
def edit(
    image: Tensor,
    mask: Mask,
    plan: EditPlan,
    settings: EditSettings,
    backend: Backend,
    noise: Noise,
    watch: Watch = Watch(),
) -> Edit:
    """Repaint the masked part of a picture after the prompt that is bound into `backend`.

    image: float32 [1,3,H,W] in [0,1]. mask: [H,W] in [0,1], 1 = repaint. plan: from `plan_edit`
    for this mask, these settings and this backend. noise: all randomness.

    Guarantees: the same arguments give the same picture; where the feathered mask is 0 the result
    is the input bit by bit; no global random generator is touched. If the user interrupts, or
    memory runs out or the backend fails, the last finished stage is pasted at full resolution and
    the report says so, as it does where a network gives what is not a number. Raises
    `Interrupted`, or `EditError`, when no stage was finished.
    """
    clock = Stopwatch(backend.device)
    report = Report(plan, settings, noise.seed)
    crop = cut(image, plan.crop)
    mask_there = cut(torch.from_numpy(mask), plan.crop)[None, None]
    place = backend.device if pictures(plan.crop.size, backend.device) else torch.device("cpu")
    known, crop_mask = crop.to(place), mask_there.to(place)
    if settings.first.keep_inside or settings.later.soft_edge:
        # Cells that stay, or stay in part, would show what the mask hides.
        known = filled(known, (crop_mask > 0).float())
    job = Job(known, crop_mask, plan, settings, backend, noise, watch, report)
    watch.begin(plan, plan.work)

    patch: Tensor | None = None
    with _keeping_the_best(report, lambda: patch is not None):
        for finished in _stages(job):
            patch = finished
    assert patch is not None
    if report.interrupted:
        release()  # what the unfinished stage held

    alpha = feathered(mask_there, settings.crop.feather)
    result = pasted(image, resized(patch.cpu(), plan.crop.size), plan.crop, alpha)
    _judge(cut(result, plan.crop), crop, alpha, report)
    report.peak_memory_bytes = peak_memory(backend.device)
    report.seconds = clock.seconds()
    return Edit(result, report)


def _stages(job: Job) -> Iterator[Tensor]:
    """The crop [1,3,size] in [0,1] after each of the plan's stages, at their sizes."""
    first, *rest = job.plan.stages
    view = View(first, job)
    job.watch.show("crop", view.target, first, f"crop {job.plan.crop.size}")
    patch = refine(first, view.target, view, job)
    yield patch
    for stage in rest:
        before, view = view, View(stage, job)
        draft = _enlarged(patch, view, job.backend)
        context = view.target
        if job.settings.later.lowpass_background:
            # As soft as the draft: what the stage before saw (section 3.2, Figure 5 f).
            assert before.target.shape == patch.shape
            context = resized(before.target, stage.size)
        start = blend(draft, context, view.painted)
        for name, shown in (("draft", draft), ("context", context), ("start", start)):
            job.watch.show(name, shown, stage, name)
        patch = refine(stage, start, view, job)
        yield patch


def pictures(crop: Size, device: torch.device) -> int:
    """Bytes that the stages' pictures take on a device; 0 if they lie in main memory.

    Decided by what the device has in all, so that the same edit has the same bytes there.
    """
    size = CANVASES * 3 * 4 * crop.area
    return size if suits(size, device) else 0


def _enlarged(patch: Tensor, view: View, backend: Backend) -> Tensor:
    """The stage before at this one's size, by super-resolution where that will be used."""
    small, large = used_part(view.painted, Size(*patch.shape[-2:]))
    draft = resized(patch, Size(*view.painted.shape[-2:]))
    seen = cut(patch, small).to(backend.device)
    part = with_room(lambda: backend.upscale(seen, large.size))
    cut(draft, large).copy_(finite(part, "the upscaler", "upscaler"))
    return draft


def _judge(result: Tensor, before: Tensor, alpha: Tensor, report: Report) -> None:
    """Measure the pasted crop against the photograph."""
    report.seam = seam_ratio(result, alpha)
    report.outside_max_difference = outside_difference(result, before, alpha)


@contextmanager
def _keeping_the_best(report: Report, has_result: Callable[[], bool]) -> Iterator[None]:
    """Turn an interruption or a failure into an early end if there is something to keep."""
    try:
        yield
        return
    except (Interrupted, KeyboardInterrupt):
        if not has_result():
            raise Interrupted("interrupted before the first stage was finished") from None
        reason = "interrupted"
    except EditError as error:
        if not has_result():
            raise
        reason = str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        advice = "lower tile_size or candidates, or close other programs"
        if not has_result():
            raise EditError(f"not enough memory for the first stage: {advice}") from error
        reason = f"out of memory ({advice})"
    report.interrupted = True
    done, planned = len(report.stages), len(report.plan.stages)
    report.notes.append(f"{reason}: the result is that of stage {done} of {planned}")
