"""What an edit will do: every size, crop, tile, strength and count."""

from __future__ import annotations

from dataclasses import asdict, astuple, dataclass, replace
from functools import reduce
from typing import Any

import numpy as np

from .geometry import Box, Size
from .masks import Mask
from .settings import LAST_LAYER

DRAFT = "draft"
"""What a later stage starts from: the stage before, enlarged."""


@dataclass(frozen=True)
class ModelSpec:
    """The sizes a plan needs to know of a model.

    resolution: side in pixels the model was trained at (512 for SD1.x, 128 for the miniature).
    multiple: sides handed to the network are multiples of this (64 for SD1.x's four levels).
    latent_factor: pixels per latent cell.
    upscale_factor: the largest enlargement the super-resolution model makes in one go.
    calls_per_step: network evaluations the sampler makes per step (2 for Heun, 1 for Euler).
    """

    resolution: int = 512
    multiple: int = 64
    latent_factor: int = 8
    upscale_factor: float = 4.0
    calls_per_step: int = 1


@dataclass(frozen=True)
class Schedule:
    """The noise levels that a stage runs through, and with how many samples.

    strength: share of the noise schedule; 1 is from pure noise. steps: of the whole schedule; the
    last `run_steps` of them are run. resamplings: how often RePaint repeats each of these (U).
    candidates: samples of each tile. choose_at: after how many steps one of them is chosen, to go
    on alone; 0 for after the last. guidance: in units of the bound guidance scale. calls_per_step:
    network evaluations of the sampler. first_candidate: the number of the first one, from 0.
    """

    strength: float
    steps: int
    run_steps: int
    resamplings: tuple[int, ...]
    candidates: int
    choose_at: int
    guidance: float
    calls_per_step: int
    first_candidate: int = 0

    @property
    def calls(self) -> tuple[int, ...]:
        """Network evaluations of single samples of one tile in each step; a guided pair counts as
        one.

        A sampler of two calls per step makes only one in the last step, to noise level 0.
        """

        def in_step(step: int, resamplings: int) -> int:
            samples = 1 if 0 < self.choose_at <= step else self.candidates
            each = self.calls_per_step if step < self.run_steps - 1 else 1
            return samples * (1 + resamplings) * each

        return tuple(in_step(*one) for one in enumerate(self.resamplings))

    @property
    def model_calls(self) -> int:
        """The same of all steps."""
        return sum(self.calls)

    @property
    def in_words(self) -> str:
        """How many steps are run, and how often."""
        steps = f"{self.run_steps} step{'s' * (self.run_steps != 1)}"
        repeated = sum(count > 0 for count in self.resamplings)
        if not repeated:
            return steps
        times = f"x {max(self.resamplings) + 1}"
        return f"{steps} {times}" if repeated == self.run_steps else f"{steps}, {repeated} {times}"


@dataclass(frozen=True)
class StagePlan:
    """One pass of the multi-stage procedure.

    index: among the stages of its part, whose number is `part`. start: what it starts from;
    later stages from a `DRAFT`.
    box: the part of the picture it works on, in source pixels. size: the size it is worked on
    at. canvas: `size` padded at the bottom and right to what the model takes. tiles: boxes on
    the canvas, only those that touch the mask. tile_grid: how many there would be if all of
    them did. batch: the most samples that go through the network together, candidates or tiles.
    decoder: how it is optimised; decoder_iterations: steps of fine-tuning it, 0 without.
    decoder_checkpointing: whether these keep less and compute it again.
    """

    index: int
    part: int
    name: str
    start: str
    box: Box
    size: Size
    canvas: Size
    tiles: tuple[Box, ...]
    tile_grid: int
    schedule: Schedule
    batch: int
    decoder: str
    decoder_iterations: int
    decoder_checkpointing: bool

    @property
    def first(self) -> bool:
        """Whether it is the one in which candidates are painted, in one pass."""
        return self.index == 0

    def in_picture(self, tile: Box) -> Box:
        """Where a tile lies in the picture, in whole source pixels; it may reach beyond the
        picture's far edges, as the canvas does."""
        down = self.box.size.height / self.size.height
        across = self.box.size.width / self.size.width
        part = tile.scaled(down, across)
        return Box.of(part.size, self.box.top + part.top, self.box.left + part.left)

    @property
    def model_calls(self) -> int:
        """Network evaluations of all tiles; see `Schedule.model_calls`."""
        return self.schedule.model_calls * len(self.tiles)

    @property
    def decoder_steps(self) -> int:
        """Steps of decoder optimisation on one tile; solving for the last layer takes one each."""
        return len(self.tiles) * (self.decoder_iterations or self.decoder == LAST_LAYER)

    @property
    def tile_area(self) -> int:
        """Pixels of one tile; all tiles of a stage have the same size."""
        return self.tiles[0].size.area


@dataclass(frozen=True)
class PartPlan:
    """The edit of a part of the mask. number: counted from 0. mask: its box, which no other part's
    overlaps. crop: what the model sees of the picture. stages: first to last."""

    number: int
    mask: Box
    crop: Box
    stages: tuple[StagePlan, ...]

    def sees(self, other: PartPlan, feather: int) -> bool:
        """Whether the edit of another part changes what this one's crop shows."""
        top, left, bottom, right = astuple(other.mask)
        changed = top - feather, left - feather, bottom + feather, right + feather
        return self.crop.overlaps(Box(*changed))

    def mask_in_crop(self, mask: Mask) -> Mask:
        """The part of the picture's mask [H,W] alone, inside its crop."""
        top, left, box = self.crop.top, self.crop.left, self.mask
        alone = np.zeros((self.crop.size.height, self.crop.size.width), np.float32)
        inside = slice(box.top - top, box.bottom - top), slice(box.left - left, box.right - left)
        alone[inside] = mask[box.rows, box.columns]
        return alone


@dataclass(frozen=True)
class EditPlan:
    """Everything an edit will do, one part of the mask after the other."""

    image: Size
    resolution: int
    parts: tuple[PartPlan, ...]

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """Of all parts, in their order."""
        return tuple(stage for part in self.parts for stage in part.stages)

    @property
    def crop(self) -> Box:
        """What holds all parts' crops."""
        return reduce(Box.joined, (part.crop for part in self.parts))

    @property
    def mask(self) -> Box:
        """What holds all parts."""
        return reduce(Box.joined, (part.mask for part in self.parts))

    def with_stage(self, stage: StagePlan) -> EditPlan:
        """The plan with another stage in the place of the one of the same number and part."""
        part = self.parts[stage.part]
        stages = (stage if one.index == stage.index else one for one in part.stages)
        return self.with_part(replace(part, stages=tuple(stages)))

    def with_part(self, part: PartPlan) -> EditPlan:
        """The plan with another part in the place of the one of the same number."""
        parts = (part if one.number == part.number else one for one in self.parts)
        return replace(self, parts=tuple(parts))

    @property
    def model_calls(self) -> int:
        return sum(stage.model_calls for stage in self.stages)

    @property
    def network_evaluations(self) -> float:
        """Model calls weighted by area, in units of one call at the training resolution."""
        return sum(stage.model_calls * self.share(stage) for stage in self.stages)

    @property
    def decoder_steps(self) -> int:
        return sum(stage.decoder_steps for stage in self.stages)

    def share(self, stage: StagePlan) -> float:
        """Area of one of the stage's tiles in units of the training resolution's."""
        return stage.tile_area / self.resolution**2

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        parts = [{"mask": asdict(part.mask), "crop": asdict(part.crop)} for part in self.parts]
        stages = [_flat(asdict(s)) | {"model_calls": s.model_calls} for s in self.stages]
        return {
            "image": asdict(self.image),
            "mask": asdict(self.mask),
            "crop": asdict(self.crop),
            "resolution": self.resolution,
            "parts": parts,
            "stages": stages,
            "model_calls": self.model_calls,
            "network_evaluations": round(self.network_evaluations, 3),
            "decoder_steps": self.decoder_steps,
        }


def _flat(stage: dict[str, Any]) -> dict[str, Any]:
    return stage.pop("schedule") | stage
