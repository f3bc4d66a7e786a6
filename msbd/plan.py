"""What an edit will do: every size, crop, tile, strength and count."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from .geometry import Box, Size
from .masks import Mask
from .settings import LAST_LAYER, SETTINGS

DRAFT = "draft"
"""What a later stage starts from: the stage before, enlarged."""

FEWEST_PIXELS = 1600
"""Of the first stage that a mask needs: 25 latent cells, up to which the miniature paints what is
asked for in at most half of its edits. `pytest -m slow tests/test_few_pixels.py -s`, two cores,
2026-11-29: in 8, 25, 46, 46 and 67 % of 24 squares of 4, 9, 16, 25 and 36 cells."""


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
    network evaluations of the sampler.
    """

    strength: float
    steps: int
    run_steps: int
    resamplings: tuple[int, ...]
    candidates: int
    choose_at: int
    guidance: float
    calls_per_step: int

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

    start: what it starts from, see `EditSettings.beginning`; later stages from a `DRAFT`.
    box: the part of the picture it works on, in source pixels. size: the size it is worked on
    at. canvas: `size` padded at the bottom and right to what the model takes. tiles: boxes on
    the canvas, only those that touch the mask. tile_grid: how many there would be if all of
    them did. batch: the most samples that go through the network together, candidates or tiles.
    decoder: how it is optimised; decoder_iterations: steps of fine-tuning it, 0 without.
    decoder_checkpointing: whether these keep less and compute it again.
    """

    index: int
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
class EditPlan:
    """Everything an edit will do: the crop and its stages, first to last."""

    image: Size
    mask: Box
    crop: Box
    resolution: int
    stages: tuple[StagePlan, ...]

    def with_stage(self, stage: StagePlan) -> EditPlan:
        """The plan with another stage in the place of the one of the same number."""
        stages = (stage if one.index == stage.index else one for one in self.stages)
        return replace(self, stages=tuple(stages))

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

    @property
    def mask_in_first_stage(self) -> Size:
        """How large the mask's box is there, in whole pixels."""
        first, crop, mask = self.stages[0].size, self.crop.size, self.mask.size
        return Size(
            max(1, round(mask.height * first.height / crop.height)),
            max(1, round(mask.width * first.width / crop.width)),
        )

    def pixels_in_first_stage(self, mask: Mask) -> int:
        """How many pixels the mask [H,W], the plan's own, has there; soft ones count in part."""
        return round(float(mask.sum()) * self.stages[0].size.area / self.crop.size.area)

    def notes(self, mask: Mask) -> list[str]:
        """What to change if the first stage has too few pixels for the mask."""
        pixels = self.pixels_in_first_stage(mask)
        if pixels >= FEWEST_PIXELS:
            return []
        advice = "paint a larger mask"
        if len(self.stages) > 1:  # else the crop is as small as can be
            advice += f", set {SETTINGS['margin'].label} lower, or edit parts far apart one by one"
        return [
            f"Your mask has only {pixels} pixels when the model first paints it, so few "
            f"that it may not be recognisable: {advice}."
        ]

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        stages = [_flat(asdict(s)) | {"model_calls": s.model_calls} for s in self.stages]
        return {
            "image": asdict(self.image),
            "mask": asdict(self.mask),
            "crop": asdict(self.crop),
            "resolution": self.resolution,
            "stages": stages,
            "model_calls": self.model_calls,
            "network_evaluations": round(self.network_evaluations, 3),
            "decoder_steps": self.decoder_steps,
        }

    def __str__(self) -> str:
        lines = [
            f"picture {self.image}, mask {self.mask.size}, "
            f"crop {self.crop.size} at left {self.crop.left}, top {self.crop.top}"
        ]
        for s in self.stages:
            tiles = f"{len(s.tiles)} of {s.tile_grid} tiles of {s.tiles[0].size}"
            run, fitted = s.schedule, s.decoder
            if s.decoder_iterations:
                fitted += f" in {s.decoder_iterations} steps"
            lines.append(
                f"stage {s.index + 1} ({s.name}): {s.size}, {tiles}, "
                f"strength {run.strength:g}, {run.in_words}, "
                f"{run.candidates} candidate{'s' * (run.candidates > 1)}, "
                f"{s.model_calls} model calls, decoder optimisation: {fitted}"
            )
        lines.append(
            f"in all {self.model_calls} model calls, as many as "
            f"{self.network_evaluations:.0f} at {self.resolution}x{self.resolution}"
        )
        return "\n".join(lines)


def _flat(stage: dict[str, Any]) -> dict[str, Any]:
    return stage.pop("schedule") | stage
