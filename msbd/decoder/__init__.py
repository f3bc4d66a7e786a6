"""Decoder optimisation: match a copy of the autoencoder's decoder to this very picture (3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..backend import Backend
from ..memory import attempts, evict
from ..plan import StagePlan
from ..progress import Recorder
from ..setting import Ablation
from ..settings import FINE_TUNE, LAST_LAYER, OFF, SETTINGS
from .fine_tune import Segment, fine_tune
from .last_layer import LastLayer, nearness

__all__ = ["Decode", "Segment", "nearness", "optimised"]

Decode = Callable[[int], Tensor]
"""From a tile's index to its picture [1,3,h,w], on any device."""
CHECKPOINTED = "fine-tune with gradient checkpointing"


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
    loss ends above what it began with; the user is told. If memory runs out in fine-tuning it is
    done again with gradient checkpointing, and so in the stages after this one.
    """
    number, label = f"stage {stage.index + 1}", SETTINGS["decoder"].label

    def by(way: str) -> tuple[Decode, tuple[float, float]]:
        """How tiles are decoded then, and the loss before and after."""
        decoder = backend.decoder()
        if way == LAST_LAYER:
            solved = LastLayer(
                decoder, segments, ablation.decoder_background_weight, recorder.fitted
            )
            return lambda i: solved.decoded(i) if solved.reaches(i) else as_it_is(i), solved.loss
        losses = fine_tune(decoder, segments, ablation, way == CHECKPOINTED, recorder.fitted)
        return lambda i: decoder(segments[i].z), (losses[0], losses[-1])

    def lesser(way: str) -> str:
        if way == FINE_TUNE:
            recorder.sparing = True
            recorder.deviate(
                f"memory ran out in {label}: it was done again more sparingly, which takes longer, "
                "and so in later stages"
            )
            return CHECKPOINTED
        elsewhere = "" if backend.device.type == "cpu" else ", or let it run on the CPU"
        recorder.deviate(
            f"memory ran out, so {label} was left out in {number}: lower Tile size{elsewhere}"
        )
        return OFF

    first = stage.decoder
    if first == FINE_TUNE:
        evict()  # training takes all the room that there is
        first = CHECKPOINTED if recorder.sparing or stage.decoder_checkpointing else FINE_TUNE
    for way, attempt in attempts(first, lesser):
        if way == OFF:
            return as_it_is
        with attempt:
            decode, loss = by(way)
    recorder.done.decoder_loss = loss
    if not loss[1] <= loss[0]:
        advice = f"set it to “{OFF if way == LAST_LAYER else LAST_LAYER}”"
        recorder.note(f"{label} made {number} worse and was undone: {advice}")
        return as_it_is
    return lambda index: decode(index).clamp(0, 1)
