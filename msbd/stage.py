"""One stage: denoise its tiles, optimise the decoder, decode and merge."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor

from .composite import merged
from .denoising import denoised
from .fitting import Decode, fitted
from .geometry import Box
from .job import Job, View, cut
from .memory import is_out_of_memory, release, with_room
from .plan import StagePlan, smaller_tiles
from .precision import finite
from .report import StageReport, Stopwatch, psnr
from .upscaling import padded


def refine(stage: StagePlan, start: Tensor, view: View, job: Job) -> Tensor:
    """Carry out one stage on `start` [1,3,size]; return the picture [1,3,size] in [0,1].

    The first stage repaints the mask from pure noise and uses only the surroundings of `start`;
    a later one noises `start` to its strength and denoises it again (SDEdit). If memory runs out
    it is done again without lodged networks; then, in a later stage, in smaller tiles, and the
    user is told.
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
            return with_room(partial(_refined, stage, start, view, metered))
        except (MemoryError, RuntimeError) as error:
            mask, facts = job.mask[0, 0].cpu().numpy(), job.backend.facts
            smaller = smaller_tiles(stage, job.plan, mask, job.settings, facts)
            if smaller is None or not is_out_of_memory(error):
                raise
        stages = job.report.plan.stages
        sparing = stages[stage.index].decoder_checkpointing
        smaller = replace(smaller, decoder_checkpointing=sparing)
        release()
        budget = max(0.0, budget - spent)
        job.report.notes.append(
            f"stage {stage.index + 1}: out of memory in tiles of {stage.tiles[0].size}, done again "
            f"in tiles of {smaller.tiles[0].size}; lower tile_size to have it so at once"
        )
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
    decode = _as_it_is(latents, job)
    if stage.decoder_area:
        if job.watch.looks("before"):
            before = _decoded(stage, view, decode)
            job.watch.show("before", before, stage, "before decoder optimisation")
        fitting = Stopwatch(job.backend.device)
        decode = fitted(stage, latents, decode, view, job, record)
        record.fitting_seconds = fitting.seconds()
    result = _decoded(stage, view, _timed(decode, record, job))
    record.background_psnr = psnr(result, view.target, 1 - view.painted)
    record.seconds = clock.seconds()
    job.report.stages.append(record)
    job.watch.show("result", result, stage, f"stage {stage.index + 1}: {stage.size}")
    return result


def _as_it_is(latents: list[Tensor], job: Job) -> Decode:
    return lambda index: job.backend.decode(latents[index])


def _timed(decode: Decode, record: StageReport, job: Job) -> Decode:
    def decoded(index: int) -> Tensor:
        clock = Stopwatch(job.backend.device)
        image = decode(index)
        record.decoding_seconds += clock.seconds()
        return image

    return decoded


def _decoded(stage: StagePlan, view: View, decode: Decode) -> Tensor:
    """All tiles decoded and composited over the true picture, [1,3,size]."""
    tiles = (
        (box, finite(decode(index), "the autoencoder").to(view.canvas_target))
        for index, box in enumerate(stage.tiles)
    )
    return cut(merged(view.canvas_target, tiles), Box.of(stage.size))
