"""High-resolution image editing via multi-stage blended diffusion (Ackermann & Li 2022)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .backend import Backend
from .compositing import cropped, feathered, filled, pasted, resized, used_part
from .errors import Paused
from .geometry import Size
from .masks import Mask
from .memory import attempts, is_out_of_memory, picture_bytes, release
from .noise import Noise
from .plan import EditPlan, PartPlan, StagePlan
from .planning import smaller_tiles
from .precision import finite, single_precision
from .progress import Callbacks, Recorder
from .report import Report, outside_difference, peak_memory, stopwatch
from .seam import seam
from .settings import LATENT_NOISE, LATENT_NOTHING, NEW, PAINT, SURROUNDINGS, EditSettings
from .stage import StageInputs, refined
from .texture import texture


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
    callbacks: Callbacks = Callbacks(),
    paint: Tensor | None = None,
) -> Edit:
    """Repaint the masked part of a picture after the prompt that is bound into `backend`.

    image: float32 [1,3,H,W] in [0,1]. mask: [H,W] in [0,1], 1 = repaint. plan: from `plan_edit`
    for this mask, these settings and this backend. noise: all randomness; of the mask's k-th part,
    counted from 0, that of k seeds further. paint: the picture with what the first stage starts
    from inside the mask, if that is the user's paint; like image.

    Guarantees: the same arguments give the same picture, which is that of one edit after the other
    if the mask has several parts; where the feathered mask is 0 the result is the input bit by
    bit; no global random generator is touched. Where memory runs out a stage is done again, in
    smaller tiles at the last. If the user interrupts, or memory runs out for good, or a network
    fails or gives what is not a number, the last finished stage is pasted at full resolution and
    the report says so. Raises `Interrupted`, or `EditError`, when no stage was finished.
    """
    clock = stopwatch(backend.device)
    recorder = Recorder(plan, settings, noise.seed, callbacks, backend.device)
    paused = list[PartPlan]()
    for part in plan.parts:
        own, before = noise.of_part(part.number), image
        recorder.begin_part(own.seed)
        if any(part.sees(other, settings.feather) for other in paused):
            continue  # what it sees is not decided yet
        try:
            image = _edited(image, mask, part, settings, backend, own, recorder, paint)
        except Paused:
            paused.append(part)
            continue
        if recorder.stopped:
            release()  # what the unfinished stage held
            break
        if part is not plan.parts[-1]:
            image = _in_bytes(image, before)
    recorder.report.peak_memory_bytes = peak_memory(backend.device)
    recorder.report.seconds = clock()
    return Edit(image, recorder.report)


def _edited(
    image: Tensor,
    mask: Mask,
    part: PartPlan,
    settings: EditSettings,
    backend: Backend,
    noise: Noise,
    recorder: Recorder,
    paint: Tensor | None,
) -> Tensor:
    """The picture after the edit of a part of the mask, or of those of its stages that were
    finished. For arguments and errors see `edit`."""
    crop, crop_mask = cropped(image, part.crop), torch.from_numpy(part.mask_in_crop(mask))
    alpha = feathered(crop_mask[None, None], settings.feather)
    place = backend.device if picture_bytes(part.crop.size, backend.device) else "cpu"

    def smaller(stage: StagePlan) -> StagePlan | None:
        less = smaller_tiles(stage, part, crop_mask.numpy(), settings, backend.spec)
        if less:
            recorder.deviate(
                f"memory ran out in stage {stage.index + 1}: it was done again in tiles of "
                f"{less.tiles[0].size} in place of {stage.tiles[0].size}; lower Tile size to have "
                "it so at once"
            )
        return less

    patch: Tensor | None = None
    context: Tensor | None = None
    with recorder.keeping_the_best(lambda: patch is not None or part.number > 0):
        painted = crop_mask[None, None].to(place)
        faded = alpha.to(place) if settings.whole_cells else None
        known = _known(crop.to(place), painted, part, settings, paint)
        factor = backend.spec.latent_factor
        inputs = partial(StageInputs.of, crop=known, mask=painted, alpha=faded, factor=factor)
        there = len(recorder.keeper.stages(part.number))
        if there:
            patch = recorder.keeper.result(part.number).to(place)
            context = inputs(part.stages[there - 1]).target
            recorder.go_on(part)
        for planned in part.stages[there:]:
            seen = inputs(planned)
            if patch is None:
                start = seen.target
                recorder.callbacks.image("crop", start, planned, f"crop {part.crop.size}")
            else:
                softer = context if settings.ablation.lowpass_background else None
                start = blended_draft(patch, softer, planned, seen, backend, recorder.callbacks)
            for stage, attempt in attempts(planned, smaller):
                with attempt:
                    seen = seen if stage is planned else inputs(stage)
                    used = backend if stage.first else backend.details or backend
                    patch = refined(stage, start, seen, settings, used, noise, recorder)
            if patch is not None:
                recorder.keeper.keep(stage, patch, recorder.done)
            context = seen.target
    if patch is None:
        return image

    return _belonging(image, patch, part, alpha, settings, noise, recorder)


def _belonging(
    image: Tensor,
    patch: Tensor,
    part: PartPlan,
    alpha: Tensor,
    settings: EditSettings,
    noise: Noise,
    recorder: Recorder,
) -> Tensor:
    """The picture with a part's last stage in it, pasted at opacity `alpha` [1,1,crop]."""
    patch, before = resized(patch.cpu(), part.crop.size), cropped(image, part.crop)
    if settings.texture:
        with recorder.keeping_the_best(lambda: True):
            patch = _textured(patch, before, alpha, settings.texture, noise, recorder)
    result = pasted(image, patch, part.crop, alpha)
    report, after = recorder.report, cropped(result, part.crop)
    recorder.part.seam = seam(after, alpha)
    outside = outside_difference(after, before, alpha)
    report.outside_max_difference = max(report.outside_max_difference, outside)
    return result


def _textured(
    patch: Tensor,
    before: Tensor,
    alpha: Tensor,
    strength: float,
    noise: Noise,
    recorder: Recorder,
) -> Tensor:
    """An edit with the texture of what was there; without, where memory runs out for it."""
    try:
        made = texture(patch, before, alpha, noise, strength)
        if made is None:
            return patch
        textured = (patch + made.image).clamp(0, 1)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        recorder.deviate("memory ran out for texture, which was left out: close other programs")
        return patch
    recorder.part.texture = made.added
    return textured


def _in_bytes(image: Tensor, before: Tensor) -> Tensor:
    """What an edit changed, as a file of 8 bits would keep it for the next."""
    return torch.where(image == before, image, (image * 255).round() / 255)


def _known(
    crop: Tensor, painted: Tensor, part: PartPlan, settings: EditSettings, paint: Tensor | None
) -> Tensor:
    """The crop [1,3,H,W] with what the first stage starts from inside the mask, if that is not
    what is there. painted: the mask [1,1,H,W]."""
    start = part.stages[0].start
    if start == SURROUNDINGS:
        return torch.lerp(crop, filled(crop, (painted > 0).float()), painted)
    if start in (NEW, LATENT_NOISE, LATENT_NOTHING) and settings.whole_cells:
        # Cells that stay, or stay in part, would show what the mask hides.
        return torch.where(painted < 1, crop, filled(crop, (painted > 0).float()))
    if start == PAINT and paint is not None:
        return torch.where(painted > 0, cropped(paint, part.crop).to(crop), crop)
    return crop


def blended_draft(
    patch: Tensor,
    context: Tensor | None,
    stage: StagePlan,
    seen: StageInputs,
    backend: Backend,
    callbacks: Callbacks,
) -> Tensor:
    """What a later stage starts from, [1,3,size]: the stage before at this one's size, by
    super-resolution where that will be used, over what surrounds it.

    patch: the stage before. context: what that stage saw, which is as soft as the draft (section
    3.2, Figure 5 f); None for the photograph as this one sees it.
    """
    small, large = used_part(seen.painted, Size(*patch.shape[-2:]))
    draft, part = resized(patch, stage.size), cropped(patch, small).to(backend.device)
    for _, attempt in attempts(None):
        with attempt:
            enlarged = backend.upscale(part, large.size)
    cropped(draft, large).copy_(finite(enlarged, "the upscaler", "upscaler"))
    surroundings = seen.target if context is None else resized(context, stage.size)
    start = torch.lerp(surroundings, draft, seen.painted)
    for name, shown in (("draft", draft), ("context", surroundings), ("start", start)):
        callbacks.image(name, shown, stage, name)
    return start
