"""One stage: denoise its tiles, choose a candidate, optimise the decoder, decode and merge."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .backend import Backend
from .blended import blended_diffusion, inner_mask, latent_mask, onwards
from .composite import merged
from .decoder import Segment, optimise
from .geometry import Box
from .memory import Portions, is_out_of_memory, release
from .noise import Noise
from .plan import DECODER_STEP_WORK, EditPlan, StagePlan, smaller_tiles
from .ranking import best_of
from .refit import refit
from .report import Report, StageReport, Stopwatch, Watch, psnr
from .schedule import last_steps
from .settings import EditSettings
from .upscaling import any_touch, blend, padded, resized

Decode = Callable[[Tensor], Tensor]


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


@torch.no_grad()
def refine(stage: StagePlan, start: Tensor, view: View, job: Job) -> Tensor:
    """Carry out one stage on `start` [1,3,size]; return the picture [1,3,size] in [0,1].

    The first stage repaints the mask from pure noise and uses only the surroundings of `start`;
    a later one noises `start` to its strength and denoises it again (SDEdit). If memory runs out
    in a later stage it is done again in smaller tiles, and the user is told.
    """
    budget = job.plan.stage_work(stage)
    while True:
        spent = 0.0
        # What was spent in vain counts: the progress of what is left fills what remains.
        scale = budget / max(job.plan.stage_work(stage), 1e-9)

        def advance(work: float, text: str, scale: float = scale) -> None:
            nonlocal spent
            spent += scale * work
            job.watch.advance(scale * work, text)

        metered = replace(job, watch=replace(job.watch, advance=advance))
        try:
            return _refined(stage, start, view, metered)
        except (MemoryError, RuntimeError) as error:
            mask, facts = job.mask[0, 0].numpy(), job.backend.facts
            smaller = smaller_tiles(stage, job.plan, mask, job.settings, facts)
            if smaller is None or not is_out_of_memory(error):
                raise
        release()
        budget = max(0.0, budget - spent)
        job.report.notes.append(
            f"stage {stage.index + 1}: out of memory in tiles of {stage.tiles[0].size}, done again "
            f"in tiles of {smaller.tiles[0].size}; lower tile_size to have it so at once"
        )
        stages = job.report.plan.stages
        changed = (*stages[: stage.index], smaller, *stages[stage.index + 1 :])
        job.report.plan = replace(job.report.plan, stages=changed)
        stage, view = smaller, View(smaller, job)


def _refined(stage: StagePlan, start: Tensor, view: View, job: Job) -> Tensor:
    """The stage as it is planned."""
    job.watch.stage(stage)
    clock = Stopwatch(job.backend.device)
    record = StageReport(stage.name, str(stage.size), model_calls=stage.model_calls)
    canvas = padded(start, stage.canvas)
    latents = [_denoised(stage, tile, canvas, view, job) for tile in stage.tiles]
    decode: Decode = job.backend.decode
    if stage.decoder_passes:
        if job.watch.looks("before"):
            before = _decoded(stage, latents, view, decode)
            job.watch.show("before", before, stage, "before decoder optimisation")
        fitting = Stopwatch(job.backend.device)
        decode = _optimised_decoder(stage, latents, view, job, record)
        record.fitting_seconds = fitting.seconds()
    decoding = Stopwatch(job.backend.device)
    result = _decoded(stage, latents, view, decode)
    record.decoding_seconds = decoding.seconds()
    record.background_psnr = psnr(result, view.target, 1 - view.painted)
    record.seconds = clock.seconds()
    job.report.stages.append(record)
    job.watch.show("result", result, stage, f"stage {stage.index + 1}: {stage.size}")
    return result


def cut(image: Tensor, box: Box) -> Tensor:
    """The part of [...,H,W] inside the box; a view."""
    return image[..., box.rows, box.columns]


def _denoised(stage: StagePlan, tile: Box, canvas: Tensor, view: View, job: Job) -> Tensor:
    """Latents of one tile, [1,4,h,w], blended with the canvas outside the mask.

    The first stage makes all candidates together, until one of them is chosen.
    """
    backend = job.backend
    factor = backend.facts.latent_factor
    picture = cut(canvas, tile).to(backend.device)
    painted = cut(view.canvas_painted, tile).to(backend.device)
    source = backend.encode(picture)
    if not stage.run_steps:
        return source
    condition = backend.condition(picture, painted, source)
    text = f"stage {stage.index + 1}: denoising"
    predicted = source

    def denoise_some(z: Tensor, sigma: Tensor) -> Tensor:
        some = backend.denoise(z, sigma, stage.guidance, condition)
        job.watch.advance(len(z) * job.plan.share(stage), text)
        return some

    portions = Portions(denoise_some)

    def denoise(z: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        nonlocal predicted
        predicted = portions(z, sigma)
        return predicted

    sigmas = last_steps(backend.sigmas(stage.steps), stage.run_steps)
    mean = torch.zeros_like(source) if stage.from_noise else source
    inside = stage.from_noise and job.settings.first.keep_inside
    mask = (inner_mask if inside else latent_mask)(painted, factor).to(source)
    everyone = range(stage.candidates)
    noise = _tile_noise(stage, tile.divided(factor), source, job, everyone)
    z = mean + float(sigmas[0]) * noise("start")
    sampler, now = backend.sampler, stage.choose_at
    if now:
        z = blended_diffusion(
            denoise, sampler, z, sigmas[: now + 1], source, mask, noise, stage.repeats
        )
        chosen = _choose(stage, mask * predicted + (1 - mask) * source, view, job)
        z = z[chosen : chosen + 1]
        noise = _tile_noise(stage, tile.divided(factor), source, job, everyone[chosen : chosen + 1])
        noise = onwards(noise, now)
    z = blended_diffusion(denoise, sampler, z, sigmas[now:], source, mask, noise, stage.repeats)
    if stage.from_noise and not now:
        chosen = _choose(stage, z, view, job)
        z = z[chosen : chosen + 1]
    return z


def _tile_noise(
    stage: StagePlan, cells: Box, like: Tensor, job: Job, candidates: range
) -> Callable[..., Tensor]:
    """The tile's part of the stage's one noise field, for some candidates: [n,4,h,w]."""
    canvas = stage.canvas.divided(job.backend.facts.latent_factor)
    shape = (like.shape[1], canvas.height, canvas.width)
    named = job.noise.at("stage", stage.index)

    def noise(*key: int | str) -> Tensor:
        fields = (named(shape, *key, candidate) for candidate in candidates)
        return torch.stack([cut(field, cells) for field in fields]).to(like)

    return noise


def _choose(stage: StagePlan, z: Tensor, view: View, job: Job) -> int:
    """Which candidate of z [n,4,h,w] goes on, judged on the decoded crop."""
    by_clip = job.settings.first.choose == "clip" and len(z) > 1
    if not (by_clip or job.watch.looks("candidate")):
        return 0
    decoded = torch.cat([job.backend.decode(one[None]).cpu() for one in z])
    shown = blend(cut(decoded, Box.of(stage.size)), view.target, view.painted)
    scores = job.backend.score(shown.to(job.backend.device)) if by_clip else None
    if by_clip and scores is None:
        job.report.notes.append("CLIP is not available: the first candidate was taken")
    chosen, job.report.scores = best_of(scores)
    job.report.chosen = chosen
    for index, one in enumerate(shown):
        score = f" {job.report.scores[index]:.3f}" if job.report.scores else ""
        mark = " (chosen)" if index == chosen else ""
        caption = f"candidate {index + 1}{score}{mark}"
        job.watch.show("candidate", one[None], stage, caption)
    return chosen


def _optimised_decoder(
    stage: StagePlan, latents: list[Tensor], view: View, job: Job, record: StageReport
) -> Decode:
    """Section 3.3, on a copy of the decoder that belongs to this stage.

    If memory does not suffice, or training ends above the loss it started with, as with too high
    a learning rate, what was reached before is used, and the user is told.
    """
    work = DECODER_STEP_WORK * job.plan.share(stage)
    text = f"stage {stage.index + 1}: decoder optimisation"
    segments = [
        Segment(z, cut(view.canvas_target, box).to(z), cut(view.canvas_painted, box).to(z))
        for box, z in zip(stage.tiles, latents, strict=True)
    ]
    settings, decoder, refitted = job.settings.decoder, None, None
    taken = 0

    def advance() -> None:
        nonlocal taken
        taken += 1
        job.watch.advance(work, text)

    try:
        if stage.decoder_refit:
            refitted = job.backend.decoder()
            losses = refit(refitted, segments, settings.decoder_background_weight, advance)
            record.decoder_loss = losses
        if stage.decoder_iterations:
            decoder = job.backend.decoder() if refitted is None else copy.deepcopy(refitted)
            trained = optimise(decoder, segments, settings, advance)
            record.decoder_iterations = len(trained)
            record.decoder_loss = (trained[0], trained[-1])
            if not trained[-1] <= trained[0]:
                advice = "lower decoder_rate, or raise decoder_iterations"
                job.report.notes.append(f"{text} made it worse and was undone: {advice}")
                decoder = None
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        decoder = None
        job.report.notes.append(
            f"{text} left out for lack of memory: lower tile_size, or let it run on the CPU"
        )
    job.watch.advance((stage.decoder_passes * len(segments) - taken) * work, text)
    best = refitted if decoder is None else decoder
    if best is None:
        return job.backend.decode
    fitted: nn.Module = best
    return lambda z: fitted(z).clamp(0, 1)


def _decoded(stage: StagePlan, latents: list[Tensor], view: View, decode: Decode) -> Tensor:
    """All tiles decoded and composited over the true picture, [1,3,size]."""
    tiles = ((box, decode(z).cpu()) for box, z in zip(stage.tiles, latents, strict=True))
    return cut(merged(view.canvas_target, tiles), Box.of(stage.size))
