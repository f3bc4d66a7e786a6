"""The decoder fitted both ways to the very same tiles: seconds, and the loss of section 3.3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..backend import Backend
from ..decoder import Segment, nearness, optimise
from ..job import cut
from ..miniature.world import draw_object
from ..plan import plan_edit
from ..refit import Refit
from ..report import Stopwatch
from ..settings import DecoderOptimisation, EditSettings
from ..standalone.pictures import Picture
from ..upscaling import any_touch, resized
from .setups import Setup

ADAM = DecoderOptimisation()
"""The published optimisation: 100 steps of Adam on the whole decoder."""


def tiles(what: Setup, settings: EditSettings, backend: Backend) -> list[Segment]:
    """The second stage's tiles, or the only one's, of a picture into whose mask a star has been
    drawn."""
    pixels = what.picture()
    centre = (what.image.height / 2, what.image.width / 2)
    edited = draw_object(pixels, "star", "red", centre, 0.7 * what.side, 1)
    mask = what.mask()
    plan = plan_edit(what.image, mask, settings, backend.facts)
    stage = plan.stages[min(1, len(plan.stages) - 1)]
    size = stage.size
    before, after = (
        resized(cut(Picture(image).tensor(), plan.crop), size).to(backend.device)
        for image in (pixels, edited)
    )
    painted = any_touch(cut(torch.from_numpy(mask), plan.crop)[None, None], size).to(before)
    maps = before, painted, nearness(painted, backend.facts.latent_factor)
    return [
        Segment(backend.encode(cut(after, box)), *(cut(one, box) for one in maps))
        for box in stage.tiles
    ]


def compared(
    what: Setup, settings: EditSettings, backend: Backend, iterations: int
) -> dict[str, Any]:
    """Both ways on the same tiles. settings: for the plan. iterations: of Adam."""
    segments = tiles(what, settings, backend)
    as_is = backend.decoder()
    with torch.no_grad():
        kept = [as_is(segment.z) for segment in segments]
    trained, fresh = backend.decoder(), backend.decoder()
    steps = DecoderOptimisation(decoder_iterations=iterations)
    clock = Stopwatch(backend.device)
    optimise(trained, segments, steps, lambda: None)
    published = clock.seconds()
    clock = Stopwatch(backend.device)
    solved = Refit(fresh, segments, steps.decoder_background_weight, lambda: None)
    ours = clock.seconds()
    with torch.no_grad():
        by_training = [trained(segment.z) for segment in segments]
    by_solving = [
        solved.decoded(index) if solved.reaches(index) else image
        for index, image in enumerate(kept)
    ]
    return {
        "image": str(what.image),
        "side": what.side,
        "tiles": f"{len(segments)} of {segments[0].painted.shape[-1]}x"
        f"{segments[0].painted.shape[-2]}",
        "iterations": iterations,
        "seconds": {"published": published, "ours": ours},
        "loss": {
            "before": loss(kept, segments, kept),
            "published": loss(by_training, segments, kept),
            "ours": loss(by_solving, segments, kept),
        },
    }


def loss(images: Sequence[Tensor], segments: Sequence[Segment], kept: Sequence[Tensor]) -> float:
    """|M (D(z) - D*(z))|^2 + lambda |(1 - M) (D(z) - x)|^2, the mean over all pixels.

    images: the segments as they are decoded now, kept: as they were.
    """
    total, count = 0.0, 0
    for decoded, segment, keep in zip(images, segments, kept, strict=True):
        inside = segment.painted
        error = inside * (decoded - keep).square()
        outside = (1 - inside) * (decoded - segment.background).square()
        total += float((error + ADAM.decoder_background_weight * outside).sum())
        count += decoded.numel()
    return round(total / count, 7)
