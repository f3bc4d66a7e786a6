"""The decoder fitted in several ways to the very same tiles: seconds, and section 3.3's loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backend import Backend, Decoder
from ..decoder import Segment, nearness, optimise, squared_error
from ..fitting import Decode
from ..job import cut
from ..miniature.world import draw_object
from ..patches import PatchTraining
from ..plan import plan_edit
from ..precision import computes_in_bfloat16
from ..refit import Refit
from ..report import Stopwatch
from ..settings import DecoderOptimisation, EditSettings
from ..standalone.pictures import Picture
from ..upscaling import any_touch, resized
from .ring import matched
from .setups import Setup

ADAM = DecoderOptimisation()
"""The published optimisation: 100 steps of Adam on the whole decoder."""
PATCHED = DecoderOptimisation(decoder_iterations=300, decoder_patch=32, decoder_rate=3e-4)
"""Ours with training before it: on patches, whose number does not grow with the tiles; in mixed
precision where the machine has it."""


def tiles(
    what: Setup, settings: EditSettings, backend: Backend, last: bool = False, star: bool = True
) -> list[Segment]:
    """The second stage's tiles, or the last's, of a picture into whose mask a star has been drawn,
    or of the picture as it is."""
    pixels = what.picture()
    centre = (what.image.height / 2, what.image.width / 2)
    edited = draw_object(pixels, "star", "red", centre, 0.7 * what.side, 1) if star else pixels
    mask = what.mask()
    plan = plan_edit(what.image, mask, settings, backend.facts)
    stage = plan.stages[-1 if last else min(1, len(plan.stages) - 1)]
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


Fit = Callable[[Sequence[Segment], Backend], Decode]


@dataclass(frozen=True)
class Fits:
    """Tiles as the decoder makes them as it is, and in each way; and the seconds it took."""

    segments: list[Segment]
    images: dict[str, list[Tensor]]
    seconds: dict[str, float]


def fits(
    segments: list[Segment], backend: Backend, iterations: int, also_mixed: bool = False
) -> Fits:
    """All ways on the same tiles.

    iterations: of Adam on the whole decoder; on patches there are more, by as much as `PATCHED` has
    more. also_mixed: the published way in mixed precision as well, if the machine has it.
    """
    mixed = computes_in_bfloat16(backend.device)
    steps = replace(ADAM, decoder_iterations=iterations)
    fewer = PATCHED.decoder_iterations * iterations // ADAM.decoder_iterations
    patches = replace(PATCHED, decoder_iterations=fewer, decoder_mixed_precision=mixed)
    ways: dict[str, Fit] = {"published": partial(_trained, settings=steps)}
    if also_mixed and mixed:
        ways["mixed"] = partial(_trained, settings=replace(steps, decoder_mixed_precision=True))
    ways |= {"ours": _solved, "patches": partial(_patched, settings=patches)}
    seconds: dict[str, float] = {}
    pictures = {"before": _pictures(backend.decoder(), segments)}
    for way, work in ways.items():
        clock = Stopwatch(backend.device)
        pictures[way] = work(segments, backend)
        seconds[way] = clock.seconds()
    with torch.no_grad():
        images = {way: [one(n) for n in range(len(segments))] for way, one in pictures.items()}
    return Fits(segments, images | matched(images, segments), seconds)


def _pictures(decoder: Decoder, segments: Sequence[Segment]) -> Decode:
    return lambda index: cast(Tensor, decoder(segments[index].z))


def _trained(
    segments: Sequence[Segment], backend: Backend, settings: DecoderOptimisation
) -> Decode:
    decoder = backend.decoder()
    optimise(decoder, segments, settings, lambda: None)
    return _pictures(decoder, segments)


def _solved(segments: Sequence[Segment], backend: Backend) -> Decode:
    decoder = backend.decoder()
    return _refitted(decoder, _pictures(decoder, segments), segments)


def _patched(
    segments: Sequence[Segment], backend: Backend, settings: DecoderOptimisation
) -> Decode:
    decoder = backend.decoder()
    training = PatchTraining(decoder, segments)
    training.train(settings, lambda: None)
    return _refitted(decoder, training.picture, segments)


def _refitted(decoder: Decoder, picture: Decode, segments: Sequence[Segment]) -> Decode:
    weight = ADAM.decoder_background_weight
    solved = Refit(decoder, picture, segments, weight, lambda: None)
    return lambda index: (solved.decoded if solved.reaches(index) else picture)(index)


def compared(
    what: Setup, settings: EditSettings, backend: Backend, iterations: int, last: bool = False
) -> dict[str, Any]:
    """All ways on the same tiles. settings: for the plan. iterations: of Adam. last: the last
    stage's, whose tone is left out, since it takes another fit of many tiles, and so is, on a CPU,
    the published way in mixed precision."""
    few = not last
    also_mixed = few or backend.device.type == "cuda"
    made = fits(tiles(what, settings, backend, last), backend, iterations, also_mixed)
    unseen = None
    if few:
        unseen = fits(tiles(what, settings, backend, star=False), backend, iterations, also_mixed)
    segments, kept = made.segments, made.images["before"]
    return {
        "ground": what.ground,
        "image": str(what.image),
        "side": what.side,
        "tiles": f"{len(segments)} of {segments[0].painted.shape[-1]}x"
        f"{segments[0].painted.shape[-2]}",
        "iterations": iterations,
        "mixed_patches": computes_in_bfloat16(backend.device),
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
        weight = ADAM.decoder_background_weight
        background, painted = segment.background, segment.painted
        total += float(squared_error(decoded, keep, background, painted, weight))
        count += decoded.numel()
    return round(total / count, 7)
