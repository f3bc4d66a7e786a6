"""Decide every size, crop, tile, strength and count of an edit before any model runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from . import masks, tiling
from .errors import EditError
from .geometry import Box, Size, ceil_to, round_to
from .settings import WHOLE_CROP, EditSettings

if TYPE_CHECKING:
    from .backend import ModelFacts


LONGEST_FIRST = 4
"""Longest side of a first stage, for panoramas, in units of the training resolution."""
DECODER_STEP_WORK = 8
"""Time of a decoder step in model calls of the same area: 10 to 17 for the miniature on a CPU."""
PATCHES = 4
"""How many patches a decoder step looks at, if not at whole tiles."""


@dataclass(frozen=True)
class StagePlan:
    """One pass of the multi-stage procedure.

    box: the part of the picture it works on, in source pixels. size: the size it is worked on
    at. canvas: `size` padded at the bottom and right to what the model takes. tiles: boxes on
    the canvas, only those that touch the mask. tile_grid: how many there would be if all of
    them did. strength: share of the noise schedule. steps: steps of the whole schedule; the stage
    runs the last `run_steps` of them. repeats: how often RePaint repeats some of these; repeated:
    the first of them and the one after the last. guidance: in units of the bound guidance scale.
    choose_at: after how many steps one candidate is chosen, to go on alone; 0 for after the last.
    batch: the most samples that go through the network together, candidates or tiles.
    """

    index: int
    name: str
    box: Box
    size: Size
    canvas: Size
    tiles: tuple[Box, ...]
    tile_grid: int
    strength: float
    steps: int
    run_steps: int
    repeats: int
    repeated: tuple[int, int]
    guidance: float
    candidates: int
    choose_at: int
    batch: int
    calls_per_step: int
    decoder_iterations: int
    decoder_patch: int
    decoder_checkpointing: bool
    decoder_refit: bool

    @property
    def from_noise(self) -> bool:
        """Whether the stage starts from pure noise instead of an enlarged picture."""
        return self.index == 0

    @property
    def model_calls(self) -> int:
        """Network evaluations of single samples; a guided pair counts as one.

        A sampler of two calls per step makes only one in the last step, to noise level 0.
        """
        calls = 0
        for step in range(self.run_steps):
            samples = 1 if 0 < self.choose_at <= step else self.candidates
            times = 1 + self.repeats_at(step)
            calls += samples * times * (self.calls_per_step if step < self.run_steps - 1 else 1)
        return calls * len(self.tiles)

    def repeats_at(self, step: int) -> int:
        """How often RePaint repeats a step."""
        first, end = self.repeated
        return self.repeats if first <= step < end else 0

    @property
    def steps_in_words(self) -> str:
        """How many steps are run, and how often."""
        steps = f"{self.run_steps} step{'s' * (self.run_steps != 1)}"
        repeated = sum(self.repeats_at(step) > 0 for step in range(self.run_steps))
        if not repeated:
            return steps
        times = f"x {self.repeats + 1}"
        return f"{steps} {times}" if repeated == self.run_steps else f"{steps}, {repeated} {times}"

    @property
    def decoder_area(self) -> int:
        """Pixels that steps of fitting the decoder look at, all of them together. Solving for its
        last layer is a step on all tiles, and so is what training on patches has to know of them.
        """
        on_patches = bool(self.decoder_patch and self.decoder_iterations)
        whole = (on_patches + self.decoder_refit) * len(self.tiles) * self.tile_area
        return self.decoder_iterations * self.decoder_step + whole

    @property
    def decoder_step(self) -> int:
        """Pixels that a step of training the decoder looks at; patches are looked at twice, by the
        decoder as it was, too. With checkpointing a third of the step is made once more."""
        if self.decoder_patch:
            return 2 * PATCHES * min(self.decoder_patch**2, self.tile_area)
        area = len(self.tiles) * self.tile_area
        return area + area // 3 if self.decoder_checkpointing else area

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

    @property
    def model_calls(self) -> int:
        return sum(stage.model_calls for stage in self.stages)

    @property
    def network_evaluations(self) -> float:
        """Model calls weighted by area, in units of one call at the training resolution."""
        return sum(stage.model_calls * self.share(stage) for stage in self.stages)

    @property
    def decoder_steps(self) -> int:
        """Decoder optimisation steps, in units of a step on one tile; refitting is one."""
        return sum(math.ceil(stage.decoder_area / stage.tile_area) for stage in self.stages)

    def share(self, stage: StagePlan) -> float:
        """Area of one of the stage's tiles in units of the training resolution's."""
        return stage.tile_area / self.resolution**2

    @property
    def work(self) -> float:
        """Total of an edit's progress: model calls and decoder steps, weighted by area and cost."""
        return sum(self.stage_work(stage) for stage in self.stages)

    def stage_work(self, stage: StagePlan) -> float:
        """The stage's part of `work`."""
        return stage.model_calls * self.share(stage) + self.decoder_work(stage.decoder_area)

    def decoder_work(self, area: int) -> float:
        """The part of `work` that decoder steps on so many pixels are."""
        return DECODER_STEP_WORK * area / self.resolution**2

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        stages = [asdict(s) | {"model_calls": s.model_calls} for s in self.stages]
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
        crop = self.crop
        lines = [
            f"picture {self.image}, mask {self.mask.size}, "
            f"crop {crop.size} at left {crop.left}, top {crop.top}"
        ]
        for s in self.stages:
            tiles = f"{len(s.tiles)} of {s.tile_grid} tiles of {s.tiles[0].size}"
            lines.append(
                f"stage {s.index + 1} ({s.name}): {s.size}, {tiles}, "
                f"strength {s.strength:g}, {s.steps_in_words}, "
                f"{s.candidates} candidate{'s' * (s.candidates > 1)}, {s.model_calls} model calls, "
                f"{'decoder refitted, ' * s.decoder_refit}{s.decoder_iterations} decoder iterations"
                f"{f' on patches of {s.decoder_patch}' if s.decoder_patch else ''}"
            )
        lines.append(
            f"in all {self.model_calls} model calls, as many as "
            f"{self.network_evaluations:.0f} at {self.resolution}x{self.resolution}"
        )
        return "\n".join(lines)


def plan_edit(image: Size, mask: masks.Mask, settings: EditSettings, facts: ModelFacts) -> EditPlan:
    """Plan the edit of a picture of size `image` where `mask` [H,W] is not 0 (section 3).

    Guarantees: the crop lies inside the picture and contains the mask; every stage is larger
    than the one before and no enlargement exceeds the super-resolution model's; the last stage
    has the crop's own size, unless the crop is smaller than the training resolution, which is
    then the only stage; the tiles cover the mask. Raises `EditError` for an unusable mask, and for
    settings that contradict each other.
    """
    masks.checked(mask, image)
    begin, end = settings.first.repaint_from, settings.first.repaint_until
    if settings.first.repaint_repeats and not begin < end:
        raise EditError(
            f"repaint_until must be more than repaint_from, which is {begin:g}, not {end:g}; for "
            "no RePaint at all set repaint_repeats to 0"
        )
    painted = masks.bounds(mask)
    crop = crop_box(image, painted, settings, facts)
    sizes = stage_sizes(crop.size, settings, facts)
    stages = tuple(
        _stage(index, size, sizes, crop, mask, settings, facts) for index, size in enumerate(sizes)
    )
    return EditPlan(image, painted, crop, facts.resolution, stages)


def smaller_tiles(
    stage: StagePlan,
    plan: EditPlan,
    mask: masks.Mask,
    settings: EditSettings,
    facts: ModelFacts,
) -> StagePlan | None:
    """The stage in tiles of the next smaller area, down to the training resolution.

    mask: inside the plan's crop. None where tiles are as small already, and for the first stage,
    which must see the whole crop.
    """
    least = ceil_to(facts.resolution, facts.multiple)
    side = min(tile_side(settings, facts), stage.tiles[0].size.longest)
    while not stage.from_noise and side > least:
        side -= facts.multiple
        narrow = settings.with_values({"tile_size": side / facts.resolution})
        sizes, crop = [one.size for one in plan.stages], Box.of(plan.crop.size)
        made = _stage(stage.index, stage.size, sizes, crop, mask, narrow, facts)
        if made.tile_area < stage.tile_area:
            return replace(
                made,
                name=stage.name,
                box=stage.box,
                strength=stage.strength,
                run_steps=stage.run_steps,
            )
    return None


def crop_box(image: Size, painted: Box, settings: EditSettings, facts: ModelFacts) -> Box:
    """A square round the mask, enlarged by the margin, moved and cut to lie in the picture."""
    side = max(
        math.ceil(settings.crop.margin * painted.size.longest),
        round(settings.crop.minimum_crop * facts.resolution),
    )
    side = ceil_to(side, facts.multiple)
    size = Size(min(side, image.height), min(side, image.width))
    top = (painted.top + painted.bottom - size.height) // 2
    left = (painted.left + painted.right - size.width) // 2
    return Box.at(
        min(max(top, 0), image.height - size.height),
        min(max(left, 0), image.width - size.width),
        size,
    )


def stage_sizes(crop: Size, settings: EditSettings, facts: ModelFacts) -> list[Size]:
    """Sizes of all stages, strictly growing, from the training resolution to the crop's own.

    The first has its shorter side at the training resolution, or at least half of it where the
    longer side would not fit a pass otherwise; it is always done in one pass. While a stage fits
    one pass the next is larger by `growth`; then comes the crop's own size, after more tiled
    stages if it is out of the super-resolution model's reach.
    """
    largest = tile_side(settings, facts)
    resolution = facts.resolution
    scale = max(
        min(resolution / crop.shortest, largest / crop.longest),
        min(resolution / 2 / crop.shortest, LONGEST_FIRST * resolution / crop.longest),
    )
    sizes = [crop.scaled(scale, facts.multiple)]
    if not crop.longest > sizes[0].longest:
        return sizes
    growth = settings.later.growth
    nearest = crop.longest / math.sqrt(growth)
    while True:
        following = crop.scaled(sizes[-1].longest * growth / crop.longest, facts.multiple)
        if not sizes[-1].longest < following.longest <= min(largest, nearest):
            break
        sizes.append(following)
    while _enlargement(sizes[-1], crop) > facts.upscale_factor:
        passes = math.ceil(math.log(_enlargement(sizes[-1], crop), facts.upscale_factor))
        sizes.append(_between(sizes[-1], crop, 1 / passes, facts.latent_factor))
    return [*sizes, crop]


def tile_side(settings: EditSettings, facts: ModelFacts) -> int:
    """Largest side of a pass, in pixels."""
    return round_to(settings.later.tile_size * facts.resolution, facts.multiple)


def _enlargement(small: Size, large: Size) -> float:
    return max(large.height / small.height, large.width / small.width)


def _between(small: Size, large: Size, share: float, multiple: int) -> Size:
    """The geometric way from `small` to `large`, rounded down."""
    height = small.height * (large.height / small.height) ** share
    width = small.width * (large.width / small.width) ** share
    return Size(
        max(int(height) // multiple * multiple, multiple),
        max(int(width) // multiple * multiple, multiple),
    )


def _stage(
    index: int,
    size: Size,
    sizes: list[Size],
    crop: Box,
    mask: masks.Mask,
    settings: EditSettings,
    facts: ModelFacts,
) -> StagePlan:
    first, final = index == 0, index == len(sizes) - 1
    side = ceil_to(size.longest, facts.multiple) if first else tile_side(settings, facts)
    overlap = round(settings.later.tile_overlap * facts.resolution)
    grid = facts.latent_factor
    canvas = Size(*(_canvas_side(n, side, facts) for n in (size.height, size.width)))
    in_one_pass = size.longest <= side
    later = settings.later
    if first or later.tile_context >= WHOLE_CROP:
        tiles = tiling.tiles(canvas, side, overlap, grid)
    else:
        needed = _needed(size, crop, mask, round(later.tile_context * facts.resolution))
        least = ceil_to(facts.resolution, facts.multiple)
        tiles = tiling.fitted_tiles(canvas, needed, side, least, overlap, facts.multiple, grid)
    if first:
        name, strength = "first", 1.0
    elif in_one_pass and not final:
        name, strength = "intermediate", later.intermediate_strength
    else:
        name, strength = "final" if final else "tiled", later.final_strength
    guidance = later.later_guidance if len(tiles) == 1 else later.tile_guidance
    steps = settings.first.steps
    run_steps = max(1, round(strength * steps)) if strength > 0 else 0
    candidates = settings.first.candidates if first else 1
    chosen_at = max(1, round(settings.first.choose_after * run_steps))
    shares = settings.first.repaint_from, settings.first.repaint_until
    begin = min(round(shares[0] * run_steps), max(run_steps - 1, 0))
    end = max(round(shares[1] * run_steps), begin + 1)
    touching = tuple(tile for tile in tiles if _painted(tile, canvas, size, crop, mask))
    return StagePlan(
        index=index,
        name=name,
        box=crop,
        size=size,
        canvas=canvas,
        tiles=touching,
        tile_grid=len(tiles),
        strength=strength,
        steps=steps,
        run_steps=run_steps,
        repeats=settings.first.repaint_repeats if first else 0,
        repeated=(begin, end) if first else (0, 0),
        guidance=1.0 if first else guidance,
        candidates=candidates,
        choose_at=chosen_at if candidates > 1 and chosen_at < run_steps else 0,
        batch=candidates if first else _batch(touching, settings, facts),
        calls_per_step=facts.calls_per_step,
        decoder_iterations=settings.decoder.decoder_iterations,
        decoder_patch=settings.decoder.decoder_patch,
        decoder_checkpointing=settings.decoder.decoder_checkpointing,
        decoder_refit=settings.decoder.decoder_refit,
    )


def _batch(tiles: tuple[Box, ...], settings: EditSettings, facts: ModelFacts) -> int:
    """How many tiles take no more room than the first stage's candidates do."""
    room = settings.first.candidates * facts.resolution**2
    return max(1, min(len(tiles), room // tiles[0].size.area))


def _needed(size: Size, crop: Box, mask: masks.Mask, context: int) -> Box:
    """The mask and the context round it, in a stage's pixels."""
    painted = masks.bounds(mask).shifted(-crop.top, -crop.left)
    down, across = size.height / crop.size.height, size.width / crop.size.width
    return Box(
        max(math.floor(painted.top * down) - context, 0),
        max(math.floor(painted.left * across) - context, 0),
        min(math.ceil(painted.bottom * down) + context, size.height),
        min(math.ceil(painted.right * across) + context, size.width),
    )


def _canvas_side(length: int, tile: int, facts: ModelFacts) -> int:
    """One tile is padded to what the network takes, several to the latent grid."""
    return ceil_to(length, facts.multiple if length <= tile else facts.latent_factor)


def _painted(tile: Box, canvas: Size, size: Size, crop: Box, mask: masks.Mask) -> bool:
    """Whether the tile shows a painted pixel; half a pixel of doubt counts as painted."""
    down, across = crop.size.height / size.height, crop.size.width / size.width
    top = crop.top + math.floor(tile.top * down)
    left = crop.left + math.floor(tile.left * across)
    bottom = min(crop.top + math.ceil(tile.bottom * down), crop.bottom)
    right = min(crop.left + math.ceil(tile.right * across), crop.right)
    return bool(mask[top:bottom, left:right].any())
