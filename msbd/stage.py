"""One stage: denoise its tiles, optimise the decoder, decode and merge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from .composite import merged
from .decoder import Segment, nearness, optimise
from .denoising import denoised
from .geometry import Box
from .job import Job, View, cut
from .memory import is_out_of_memory, release
from .plan import DECODER_STEP_WORK, StagePlan, smaller_tiles
from .refit import Refit
from .report import StageReport, Stopwatch, psnr
from .upscaling import padded

Decode = Callable[[int], Tensor]
"""From a tile's index to its picture [1,3,h,w] in [0,1]."""


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
    decode = _as_it_is(latents, job)
    if stage.decoder_passes:
        if job.watch.looks("before"):
            before = _decoded(stage, view, decode)
            job.watch.show("before", before, stage, "before decoder optimisation")
        fitting = Stopwatch(job.backend.device)
        decode = _optimised_decoder(stage, latents, view, job, record)
        record.fitting_seconds = fitting.seconds()
    decoding = Stopwatch(job.backend.device)
    result = _decoded(stage, view, decode)
    record.decoding_seconds = decoding.seconds()
    record.background_psnr = psnr(result, view.target, 1 - view.painted)
    record.seconds = clock.seconds()
    job.report.stages.append(record)
    job.watch.show("result", result, stage, f"stage {stage.index + 1}: {stage.size}")
    return result


def _optimised_decoder(
    stage: StagePlan, latents: list[Tensor], view: View, job: Job, record: StageReport
) -> Decode:
    """Section 3.3, on a copy of the decoder that belongs to this stage; last, its refit.

    If memory does not suffice, or training ends above the loss it started with, as with too high
    a learning rate, what was reached before is used, and the user is told.
    """
    work = DECODER_STEP_WORK * job.plan.share(stage)
    text = f"stage {stage.index + 1}: decoder optimisation"
    settings, decode = job.settings.decoder, _as_it_is(latents, job)
    segments = _segments(stage, latents, view, job)
    trained: nn.Module | None = None
    taken = 0

    def advance() -> None:
        nonlocal taken
        taken += 1
        job.watch.advance(work, text)

    if stage.decoder_iterations:
        with _as_memory_allows(text, job):
            decoder = job.backend.decoder()
            losses = optimise(decoder, segments, settings, advance)
            record.decoder_iterations = len(losses)
            record.decoder_loss = losses[0], losses[-1]
            if losses[-1] <= losses[0]:
                trained, decode = decoder, _trained(decoder, latents)
            else:
                advice = "lower decoder_rate, or raise decoder_iterations"
                job.report.notes.append(f"{text} made it worse and was undone: {advice}")
    if stage.decoder_refit:
        with _as_memory_allows(text, job):
            weight = settings.decoder_background_weight
            solved = Refit(trained or job.backend.decoder(), segments, weight, advance)
            before = record.decoder_loss or solved.loss
            record.decoder_loss = before[0], solved.loss[1]
            decode = _refitted(solved, decode)
    job.watch.advance((stage.decoder_passes * len(segments) - taken) * work, text)
    return decode


@contextmanager
def _as_memory_allows(text: str, job: Job) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        job.report.notes.append(
            f"{text} left out for lack of memory: lower tile_size, or let it run on the CPU"
        )


def _segments(stage: StagePlan, latents: list[Tensor], view: View, job: Job) -> list[Segment]:
    """What the decoder is fitted to."""
    edge = nearness(view.canvas_painted, job.backend.facts.latent_factor)
    maps = view.canvas_target, view.canvas_painted, edge
    return [
        Segment(z, *(cut(one, box).to(z) for one in maps))
        for box, z in zip(stage.tiles, latents, strict=True)
    ]


def _as_it_is(latents: list[Tensor], job: Job) -> Decode:
    return lambda index: job.backend.decode(latents[index])


def _refitted(solved: Refit, otherwise: Decode) -> Decode:
    def decode(index: int) -> Tensor:
        return solved.decoded(index).clamp(0, 1) if solved.reaches(index) else otherwise(index)

    return decode


def _trained(decoder: nn.Module, latents: list[Tensor]) -> Decode:
    def decode(index: int) -> Tensor:
        with torch.no_grad():
            image: Tensor = decoder(latents[index])
        return image.clamp(0, 1)

    return decode


def _decoded(stage: StagePlan, view: View, decode: Decode) -> Tensor:
    """All tiles decoded and composited over the true picture, [1,3,size]."""
    tiles = ((box, decode(index).cpu()) for index, box in enumerate(stage.tiles))
    return cut(merged(view.canvas_target, tiles), Box.of(stage.size))
