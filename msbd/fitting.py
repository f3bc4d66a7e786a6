"""A stage's decoder optimisation: on whole tiles or patches, at a stroke, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from .backend import Decoder
from .decoder import Segment, nearness, optimise
from .job import Job, View, cut
from .memory import evict, is_out_of_memory, release, with_room
from .patches import PatchTraining
from .plan import StagePlan
from .precision import computes_in_bfloat16
from .refit import Refit
from .report import StageReport
from .settings import DecoderOptimisation

Decode = Callable[[int], Tensor]
"""From a tile's index to its picture [1,3,h,w], on any device."""


@dataclass(frozen=True)
class Trained:
    """A copy of the decoder, what it makes of the tiles, how many steps it took, and the loss
    before and after them."""

    decoder: Decoder
    picture: Decode
    steps: int = 0
    loss: tuple[float, float] = (0.0, 0.0)


def fitted(
    stage: StagePlan,
    latents: list[Tensor],
    otherwise: Decode,
    view: View,
    job: Job,
    record: StageReport,
) -> Decode:
    """Section 3.3, on a copy of the decoder that belongs to this stage; last, its refit.

    otherwise: the decoder as it is. If memory does not suffice, or training ends above the loss it
    started with, as with too high a learning rate, what was reached before is used, and the user
    is told.
    """
    text = f"stage {stage.index + 1}: decoder optimisation"
    segments = _segments(stage, latents, view, job)
    decode, trained = otherwise, None
    taken = 0

    def advance(area: int = stage.tile_area) -> None:
        nonlocal taken
        taken += area
        job.watch.advance(job.plan.decoder_work(area), text)

    if stage.decoder_iterations:
        evict()  # training takes all the room that there is
        with _as_memory_allows(text, job):
            train = _on_patches if stage.decoder_patch else _on_tiles
            trained = train(stage, segments, job, advance)
            record.decoder_iterations, record.decoder_loss = trained.steps, trained.loss
            before, after = trained.loss
            if after <= before:
                decode = trained.picture
            else:
                trained = None
                advice = "lower decoder_rate, or raise decoder_iterations"
                job.report.notes.append(f"{text} made it worse and was undone: {advice}")
    if stage.decoder_refit:
        with _as_memory_allows(text, job):
            start = trained or _untrained(segments, job)
            weight = job.settings.decoder.decoder_background_weight
            solve = partial(Refit, start.decoder, start.picture, segments, weight, advance)
            solved = with_room(solve)
            before = (record.decoder_loss or solved.loss)[0]
            record.decoder_loss = before, solved.loss[1]
            decode = _refitted(solved, decode)
    job.watch.advance(job.plan.decoder_work(stage.decoder_area - taken), text)
    return lambda index: decode(index).clamp(0, 1)


def _untrained(segments: list[Segment], job: Job) -> Trained:
    decoder = job.backend.decoder()

    @torch.no_grad()
    def picture(index: int) -> Tensor:
        image: Tensor = decoder(segments[index].z)
        return image

    return Trained(decoder, picture)


def _on_tiles(
    stage: StagePlan, segments: list[Segment], job: Job, advance: Callable[..., None]
) -> Trained:
    """If memory runs out, with gradient checkpointing from then on, in later stages too."""
    spent = 0
    while True:
        sparing = job.report.plan.stages[stage.index].decoder_checkpointing
        # What was spent in vain counts: the progress of what is left fills what remains.
        left = stage.decoder_iterations * stage.decoder_step - spent

        def step(area: int = left // (stage.decoder_iterations * len(segments))) -> None:
            nonlocal spent
            spent += area
            advance(area)

        copied = _untrained(segments, job)
        settings = replace(_settings(copied.decoder, job), decoder_checkpointing=sparing)
        try:
            losses = optimise(copied.decoder, segments, settings, step)
            return replace(copied, steps=len(losses), loss=(losses[0], losses[-1]))
        except (MemoryError, RuntimeError) as error:
            if sparing or not is_out_of_memory(error):
                raise
        del copied
        release()
        _use_checkpointing(stage, job)


def _settings(decoder: Decoder, job: Job) -> DecoderOptimisation:
    """In mixed precision only where the device has it; if not, the user is told."""
    settings, device = job.settings.decoder, next(decoder.parameters()).device
    if settings.decoder_mixed_precision and not computes_in_bfloat16(device):
        settings = replace(settings, decoder_mixed_precision=False)
        note = "this device does not compute in bfloat16: decoder optimisation in single precision"
        if note not in job.report.notes:
            job.report.notes.append(note)
    return settings


def _use_checkpointing(first: StagePlan, job: Job) -> None:
    """From a stage on."""
    stages = tuple(
        replace(stage, decoder_checkpointing=True) if stage.index >= first.index else stage
        for stage in job.report.plan.stages
    )
    job.report.plan = replace(job.report.plan, stages=stages)
    job.report.notes.append(
        f"stage {first.index + 1}: out of memory in decoder optimisation, which goes on with "
        "gradient checkpointing; set decoder_checkpointing to have it so at once"
    )


def _on_patches(
    stage: StagePlan, segments: list[Segment], job: Job, advance: Callable[..., None]
) -> Trained:
    decoder = job.backend.decoder()
    settings = _settings(decoder, job)
    training = PatchTraining(decoder, segments)
    advance(len(segments) * stage.tile_area)
    steps = training.train(settings, lambda: advance(stage.decoder_step))
    before, after = training.loss(settings.decoder_background_weight)
    # The same by other arithmetic is no change.
    return Trained(decoder, training.picture, steps, (before, after if steps else before))


def _refitted(solved: Refit, otherwise: Decode) -> Decode:
    return lambda index: solved.decoded(index) if solved.reaches(index) else otherwise(index)


def _segments(stage: StagePlan, latents: list[Tensor], view: View, job: Job) -> list[Segment]:
    """What the decoder is fitted to."""
    edge = nearness(view.canvas_painted, job.backend.facts.latent_factor)
    maps = view.canvas_target, view.canvas_painted, edge
    return [
        Segment(z, *(cut(one, box).to(z) for one in maps))
        for box, z in zip(stage.tiles, latents, strict=True)
    ]


@contextmanager
def _as_memory_allows(text: str, job: Job) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        elsewhere = "" if job.backend.device.type == "cpu" else ", or let it run on the CPU"
        job.report.notes.append(f"{text} left out for lack of memory: lower tile_size{elsewhere}")
