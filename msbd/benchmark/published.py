"""What the published code does in an edit, by its own rules for crops, stages and tiles.

https://github.com/pfnet-research/multi-stage-blended-diffusion, commit b933b3d, `MSBDGenerator.py`.
Only what decides the cost is here. Where that code would refuse a crop that is larger than the
picture, this one cuts the crop; and width and height, which it mixes up there, are kept apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..backend import ModelSpec
from ..geometry import Box, Size, ceil_to
from ..settings import EditSettings

LATER_STEPS = 2
"""Later stages have so many times the first stage's steps."""


@dataclass(frozen=True)
class PublishedStage:
    """size: of the stage. tiles: sizes of its passes. steps: of each, every repetition counted.
    segments: sizes of what the decoder is fitted to."""

    size: Size
    tiles: tuple[Size, ...]
    steps: int
    segments: tuple[Size, ...]


@dataclass(frozen=True)
class PublishedPlan:
    """resolution: the model's. iterations: of fitting the decoder after each stage."""

    resolution: int
    stages: tuple[PublishedStage, ...]
    iterations: int

    @property
    def network_evaluations(self) -> float:
        """In units of one at the training resolution; a guided pair counts as one."""
        return sum(stage.steps * self._areas(stage.tiles) for stage in self.stages)

    @property
    def decoder_passes(self) -> float:
        """Of fitting the decoder, in the same units."""
        return sum(self.iterations * self._areas(stage.segments) for stage in self.stages)

    def _areas(self, sizes: tuple[Size, ...]) -> float:
        return sum(size.area for size in sizes) / self.resolution**2


def published(image: Size, mask: Box, settings: EditSettings, spec: ModelSpec) -> PublishedPlan:
    """The plan for a mask that fills a box. settings: margin, candidates, steps, repeats,
    strengths and overlap."""
    m, resolution = spec.multiple, spec.resolution
    largest = round(1.5 * resolution)

    def side(length: int, limit: int) -> int:
        wanted = math.ceil((length - 1) / m * settings.margin) * m
        return max(min(wanted, limit // m * m), resolution)

    high, wide = side(mask.size.height, image.height), side(mask.size.width, image.width)
    longest = max(high, wide)
    square, known = Size(resolution, resolution), settings.ablation
    first = settings.candidates * settings.steps * (1 + settings.resampling_steps)
    stages = [PublishedStage(square, (square,), first, (square,))]
    factors = np.power(2, np.arange(0.0, math.log2(longest / resolution), 0.5))
    edges = [ceil_to(math.ceil(factor * resolution), m) for factor in factors]
    in_one_pass = [edge for edge in edges if edge <= largest]
    # A mask that fits the first stage is refined once more at the size it has already.
    for edge in (*in_one_pass[1:], longest):
        other = math.ceil(edge * min(high, wide) / longest / m) * m
        size = Size(edge, other) if high > wide else Size(other, edge)
        one_pass = edge <= largest
        strength = known.intermediate_strength if one_pass else settings.final_strength
        overlap = round(known.tile_overlap * resolution)
        tiles = (size,) if one_pass else _split(size, largest, overlap, resolution)
        segments = (size,) if one_pass else _split(size, resolution, 0, resolution)
        steps = int(LATER_STEPS * settings.steps * strength)
        stages.append(PublishedStage(size, tiles, steps, segments))
    return PublishedPlan(resolution, tuple(stages), known.decoder_iterations)


def _split(size: Size, side: int, overlap: int, least: int) -> tuple[Size, ...]:
    """Sizes of the tiles that cover a stage."""
    lengths = (_lengths(length, side, overlap, least) for length in (size.height, size.width))
    return tuple(Size(*pair) for pair in product(*lengths))


def _lengths(length: int, side: int, overlap: int, least: int) -> list[int]:
    """Of one axis: the last tile is moved back where it would be too short."""
    found, start = [], 0
    while start < length:
        end = min(length, start + side)
        start = min(start, max(end - least, 0))
        found.append(end - start)
        start += side - overlap
    return found
