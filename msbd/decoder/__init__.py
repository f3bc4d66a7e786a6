"""Decoder optimisation: match a copy of the autoencoder's decoder to this very picture (3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..backend import Backend, Decoder
from ..memory import attempts, evict, is_out_of_memory, release, with_room
from ..plan import StagePlan
from ..progress import Recorder
from ..settings import LAST_LAYER, OFF, SETTINGS, Ablation
from .fine_tune import Segment, fine_tune
from .last_layer import LastLayer, nearness

__all__ = ["Decode", "Segment", "nearness", "optimised"]

Decode = Callable[[int], Tensor]
"""From a tile's index to its picture [1,3,h,w], on any device."""


def optimised(
    stage: StagePlan,
    segments: Sequence[Segment],
    as_it_is: Decode,
    ablation: Ablation,
    backend: Backend,
    recorder: Recorder,
) -> Decode:
    """How the stage's tiles are decoded after its decoder optimisation.

    as_it_is: how they are without it, which is what stays if memory does not suffice, or if the
    loss ends above what it began with; the user is told.
    """
    step, label = f"step {stage.index + 1}", SETTINGS["decoder"].label
    last, common = stage.decoder == LAST_LAYER, (stage, segments, ablation, backend, recorder)
    try:
        decode, loss = _with_last_layer(as_it_is, *common) if last else _tuned(*common)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        elsewhere = "" if backend.device.type == "cpu" else ", or let it run on the CPU"
        recorder.deviate(
            f"memory ran out, so {label} was left out in {step}: lower Tile size{elsewhere}"
        )
        decode = None
    if decode is None:
        release()
        return as_it_is
    recorder.done.decoder_loss = loss
    if not loss[1] <= loss[0]:
        advice = f"set it to “{OFF if last else LAST_LAYER}”"
        recorder.note(f"{label} made {step} worse and was undone: {advice}")
        return as_it_is
    return lambda index: decode(index).clamp(0, 1)


def _with_last_layer(
    as_it_is: Decode,
    stage: StagePlan,
    segments: Sequence[Segment],
    ablation: Ablation,
    backend: Backend,
    recorder: Recorder,
) -> tuple[Decode, tuple[float, float]]:
    def advance() -> None:
        recorder.fitted(stage.tile_area)

    def solve() -> LastLayer:
        return LastLayer(backend.decoder(), segments, ablation.decoder_background_weight, advance)

    solved = with_room(solve)
    decode: Decode = lambda i: solved.decoded(i) if solved.reaches(i) else as_it_is(i)  # noqa: E731
    return decode, solved.loss


def _tuned(
    stage: StagePlan,
    segments: Sequence[Segment],
    ablation: Ablation,
    backend: Backend,
    recorder: Recorder,
) -> tuple[Decode, tuple[float, float]]:
    """If memory runs out, with gradient checkpointing, and so in the stages after this one."""

    def advance() -> None:
        recorder.fitted(stage.decoder_step // len(segments))

    def train(sparing: bool) -> tuple[Decoder, list[float]]:
        decoder = backend.decoder()
        return decoder, fine_tune(decoder, segments, ablation, sparing, advance)

    def spare(sparing: bool) -> bool | None:
        if sparing:
            return None
        recorder.sparing = True
        recorder.deviate(
            f"memory ran out in {SETTINGS['decoder'].label}: it was done again more sparingly, "
            "which takes longer, and so in later steps"
        )
        return True

    evict()  # training takes all the room that there is
    for sparing, attempt in attempts(recorder.sparing or stage.decoder_checkpointing, spare):
        with attempt:
            decoder, losses = train(sparing)
    recorder.done.decoder_iterations = len(losses)

    @torch.no_grad()
    def picture(index: int) -> Tensor:
        image: Tensor = decoder(segments[index].z)
        return image

    return picture, (losses[0], losses[-1])
