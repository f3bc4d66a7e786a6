"""One stage: denoise its tiles, optimise the decoder, decode and merge."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from .composite import merged
from .decoder import Segment, optimise
from .denoising import denoised
from .geometry import Box
from .job import Job, View, cut
from .memory import is_out_of_memory, release
from .plan import DECODER_STEP_WORK, StagePlan, smaller_tiles
from .refit import refit
from .report import StageReport, Stopwatch, psnr
from .upscaling import padded

Decode = Callable[[Tensor], Tensor]


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
    latents = denoised(stage, canvas, view, job)
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
            solved = job.backend.decoder()
            losses = refit(solved, segments, settings.decoder_background_weight, advance)
            record.decoder_loss, refitted = losses, solved
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
