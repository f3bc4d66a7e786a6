"""The decoder fitted in several ways to the very same tiles: seconds, and section 3.3's loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backend import Backend, Decoder
from ..compositing import any_touch, cropped, resized
from ..decoder import Segment, nearness
from ..decoder.fine_tune import fine_tune, squared_error
from ..decoder.last_layer import LastLayer
from ..miniature.world import draw_object
from ..planning import plan_edit
from ..report import stopwatch
from ..setting import Ablation
from ..settings import EditSettings
from ..standalone.pictures import Picture
from .setups import Setup

ADAM = Ablation()
"""The published optimisation: 100 steps of Adam on the whole decoder."""


def tiles(
    what: Setup, settings: EditSettings, backend: Backend, last: bool = False, star: bool = True
) -> list[Segment]:
    """The second stage's tiles, or the last's, of a picture into whose mask a star has been drawn,
    or of the picture as it is."""
    pixels = what.picture()
    centre = (what.image.height / 2, what.image.width / 2)
    edited = draw_object(pixels, "star", "red", centre, 0.7 * what.side, 1) if star else pixels
    mask = what.mask()
    plan = plan_edit(what.image, mask, settings, backend.spec)
    stage = plan.stages[-1 if last else min(1, len(plan.stages) - 1)]
    size = stage.size
    before, after = (
        resized(cropped(Picture(image).tensor(), plan.crop), size).to(backend.device)
        for image in (pixels, edited)
    )
    painted = any_touch(cropped(torch.from_numpy(mask), plan.crop)[None, None], size).to(before)
    maps = before, painted, nearness(painted, backend.spec.latent_factor)
    return [
        Segment(backend.encode(cropped(after, box)), *(cropped(one, box) for one in maps))
        for box in stage.tiles
    ]


@dataclass(frozen=True)
class Fits:
    """Tiles as the decoder makes them as it is, and in each way; and the seconds it took."""

    segments: list[Segment]
    images: dict[str, list[Tensor]]
    seconds: dict[str, float]


def fits(segments: list[Segment], backend: Backend, iterations: int) -> Fits:
    """All ways on the same tiles. iterations: of Adam."""
    images, seconds = {"before": _decoded(backend.decoder(), segments)}, {}
    clock, trained = stopwatch(backend.device), backend.decoder()
    steps = replace(ADAM, decoder_iterations=iterations)
    fine_tune(trained, segments, steps, False, lambda: None)
    seconds["published"] = clock()
    images["published"] = _decoded(trained, segments)
    clock, weight = stopwatch(backend.device), ADAM.decoder_background_weight
    layer = LastLayer(backend.decoder(), segments, weight, lambda: None)
    seconds["ours"] = clock()
    images["ours"] = [
        layer.decoded(index) if layer.reaches(index) else as_is
        for index, as_is in enumerate(images["before"])
    ]
    return Fits(segments, images, seconds)


@torch.no_grad()
def _decoded(decoder: Decoder, segments: Sequence[Segment]) -> list[Tensor]:
    return [decoder(segment.z) for segment in segments]


def compared(
    what: Setup, settings: EditSettings, backend: Backend, iterations: int, last: bool = False
) -> dict[str, Any]:
    """All ways on the same tiles. settings: for the plan. iterations: of Adam. last: the last
    stage's, whose tone is left out, since it takes another fit of many tiles."""
    made, unseen = fits(tiles(what, settings, backend, last), backend, iterations), None
    if not last:
        unseen = fits(tiles(what, settings, backend, star=False), backend, iterations)
    segments, kept = made.segments, made.images["before"]
    return {
        "ground": what.ground,
        "image": str(what.image),
        "side": what.side,
        "tiles": f"{len(segments)} of {segments[0].painted.shape[-1]}x"
        f"{segments[0].painted.shape[-2]}",
        "iterations": iterations,
        "seconds": made.seconds,
        "loss": {way: loss(images, segments, kept) for way, images in made.images.items()},
        "tone": {way: unseen and tone(unseen.images[way], unseen.segments) for way in made.images},
    }


def tone(images: Sequence[Tensor], segments: Sequence[Segment]) -> float | None:
    """Mean difference in tone from the true picture inside the mask near its edge, in levels of
    255; None if no tile shows any of that.

    For tiles of a picture that nothing has been painted into, so that the truth is known where the
    decoder was not fitted to it: whether what it learned outside the edge holds within.
    """
    total, count = 0.0, 0.0
    for image, segment in zip(images, segments, strict=True):
        near = segment.painted * (segment.edge > 0)
        difference = F.avg_pool2d(image - segment.background, 9, 1, 4, count_include_pad=False)
        total += 255 * float((near * difference.abs()).sum()) / image.shape[1]
        count += float(near.sum())
    return round(total / count, 3) if count else None


def loss(images: Sequence[Tensor], segments: Sequence[Segment], kept: Sequence[Tensor]) -> float:
    """|M (D(z) - D*(z))|^2 + lambda |(1 - M) (D(z) - x)|^2, the mean over all pixels.

    images: the segments as they are decoded now, kept: as they were.
    """
    total, count = 0.0, 0
    for decoded, segment, keep in zip(images, segments, kept, strict=True):
        total += float(squared_error(decoded, keep, segment, ADAM.decoder_background_weight))
        count += decoded.numel()
    return round(total / count, 7)
