"""Decide every size, crop, tile, strength and count of an edit before any model runs."""

from __future__ import annotations

import math
from dataclasses import astuple, replace

from . import masks
from .errors import EditError
from .geometry import Box, Size, all_tiles, ceil_to, fitted_tiles, round_to
from .parts import crop_box, parts_of, reach_of, seen_box
from .plan import DRAFT, EditPlan, ModelSpec, PartPlan, Schedule, StagePlan
from .setting import number_for
from .settings import AUTOMATIC, FINE_TUNE, NEW, WHOLE_CROP, EditSettings

LONGEST_FIRST = 4
"""Longest side of a first stage, for panoramas, in units of the training resolution."""


def plan_edit(image: Size, mask: masks.Mask, settings: EditSettings, spec: ModelSpec) -> EditPlan:
    """Plan the edit of a picture of size `image` where `mask` [H,W] is not 0 (section 3).

    Guarantees, for each part of the mask: its crop lies inside the picture and contains it; every
    stage is larger
    than the one before and no enlargement exceeds the super-resolution model's; the last stage
    has the crop's own size, unless the crop is smaller than the training resolution, which is
    then the only stage; the tiles cover the mask. Raises `EditError` for an unusable mask, and for
    settings that contradict each other.
    """
    masks.checked(mask, image)
    begin, end = settings.ablation.repaint_from, settings.ablation.repaint_until
    if settings.resampling_steps and not begin < end:
        raise EditError(
            f"repaint_until must be more than repaint_from, which is {begin:g}, not {end:g}; for "
            "no RePaint at all set resampling_steps to 0"
        )
    boxes = enumerate(parts_of(image, mask, settings, spec))
    parts = (_part(number, image, mask, box, settings, spec) for number, box in boxes)
    return EditPlan(image, spec.resolution, tuple(parts))


def _part(
    number: int,
    image: Size,
    mask: masks.Mask,
    painted: Box,
    settings: EditSettings,
    spec: ModelSpec,
) -> PartPlan:
    crop = crop_box(image, painted, settings, spec)
    part = PartPlan(number, painted, crop, ())
    inside, sizes = part.mask_in_crop(mask), stage_sizes(crop.size, settings, spec)
    stages = (_stage(index, sizes, part, inside, settings, spec) for index in range(len(sizes)))
    return replace(part, stages=tuple(stages))


def smaller_tiles(
    stage: StagePlan,
    part: PartPlan,
    mask: masks.Mask,
    settings: EditSettings,
    spec: ModelSpec,
) -> StagePlan | None:
    """The stage in tiles of the next smaller area, down to the training resolution.

    part: of the stage. mask: its own, inside its crop. None where tiles are as small already, and
    for the first stage, which must see the whole crop.
    """
    least = ceil_to(spec.resolution, spec.multiple)
    side = min(tile_side(settings, spec), stage.tiles[0].size.longest)
    while not stage.first and side > least:
        side -= spec.multiple
        narrow = settings.with_values({"tile_size": side / spec.resolution})
        sizes = [one.size for one in part.stages]
        made = _stage(stage.index, sizes, part, mask, narrow, spec)
        if made.tile_area < stage.tile_area:
            return replace(made, name=stage.name, schedule=stage.schedule)
    return None


def stage_sizes(crop: Size, settings: EditSettings, spec: ModelSpec) -> list[Size]:
    """Sizes of all stages, strictly growing, from the training resolution to the crop's own.

    The first has its shorter side at the training resolution, or at least half of it where the
    longer side would not fit a pass otherwise; it is always done in one pass. While a stage fits
    one pass the next is larger by `growth`; then comes the crop's own size, after more tiled
    stages if it is out of the super-resolution model's reach.
    """
    largest, resolution = tile_side(settings, spec), spec.resolution
    scale = max(
        min(resolution / crop.shortest, largest / crop.longest),
        min(resolution / 2 / crop.shortest, LONGEST_FIRST * resolution / crop.longest),
    )
    sizes = [crop.scaled(scale, spec.multiple)]
    if not crop.longest > sizes[0].longest:
        return sizes
    growth = settings.ablation.growth
    nearest = crop.longest / math.sqrt(growth)
    while True:
        following = crop.scaled(sizes[-1].longest * growth / crop.longest, spec.multiple)
        if not sizes[-1].longest < following.longest <= min(largest, nearest):
            break
        sizes.append(following)
    while _enlargement(sizes[-1], crop) > spec.upscale_factor:
        passes = math.ceil(math.log(_enlargement(sizes[-1], crop), spec.upscale_factor))
        sizes.append(_between(sizes[-1], crop, 1 / passes, spec.latent_factor))
    return [*sizes, crop]


def tile_side(settings: EditSettings, spec: ModelSpec) -> int:
    """Largest side of a pass, in pixels."""
    return round_to(settings.tile_size * spec.resolution, spec.multiple)


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
    sizes: list[Size],
    part: PartPlan,
    mask: masks.Mask,
    settings: EditSettings,
    spec: ModelSpec,
) -> StagePlan:
    """mask: inside the crop."""
    size, first, final = sizes[index], index == 0, index == len(sizes) - 1
    side = ceil_to(size.longest, spec.multiple) if first else tile_side(settings, spec)
    # One tile is padded to what the network takes, several to the latent grid.
    high, wide = (spec.multiple if n <= side else spec.latent_factor for n in astuple(size))
    canvas = Size(ceil_to(size.height, high), ceil_to(size.width, wide))
    tiles, touching = _tiles(canvas, side, size, mask, settings, spec, first)
    start = DRAFT if not first else NEW if settings.start == AUTOMATIC else settings.start
    if first:
        name, strength = "first", 1.0 if start == NEW else settings.strength
    elif size.longest <= side and not final:
        name, strength = "intermediate", settings.ablation.intermediate_strength
    else:
        name, strength = "final" if final else "tiled", settings.final_strength
    guidance = settings.guidance_later if len(tiles) == 1 else settings.tile_guidance
    # Where no cell is repainted from the first step on, there is nothing to choose from so soon.
    early = settings.early_selection if mask.max() >= 1 else 1.0
    tuned = settings.decoder == FINE_TUNE
    # As many tiles as take no more room than the first stage's candidates do.
    room = settings.candidates * spec.resolution**2 // touching[0].size.area
    return StagePlan(
        index=index,
        part=part.number,
        name=name,
        start=start,
        box=part.crop,
        size=size,
        canvas=canvas,
        tiles=touching,
        tile_grid=len(tiles),
        schedule=_schedule(
            first, strength, 1.0 if first else guidance, settings, spec, early, part.number
        ),
        batch=settings.candidates if first else max(1, min(len(touching), room)),
        decoder=settings.decoder,
        decoder_iterations=settings.ablation.decoder_iterations if tuned else 0,
        decoder_checkpointing=settings.ablation.decoder_checkpointing,
    )


def _tiles(
    canvas: Size,
    side: int,
    size: Size,
    mask: masks.Mask,
    settings: EditSettings,
    spec: ModelSpec,
    first: bool,
) -> tuple[list[Box], tuple[Box, ...]]:
    """All tiles of a stage, and those that show a painted pixel: over what it needs to see, or
    over the crop where that may be seen and is less work."""
    overlap, grid = round(settings.ablation.tile_overlap * spec.resolution), spec.latent_factor
    whole, layouts = first or settings.context >= WHOLE_CROP, []
    if not first and not (whole and settings.ablation.square_crop):
        needed = seen_box(size, mask, settings, spec)
        least = ceil_to(spec.resolution, spec.multiple)
        layouts.append(fitted_tiles(canvas, needed, side, least, overlap, spec.multiple, grid))
    if whole:
        layouts.append(all_tiles(canvas, side, overlap, grid))
    reach = reach_of(settings)
    found = [
        (tiles, tuple(tile for tile in tiles if _painted(tile, size, mask, reach)))
        for tiles in layouts
    ]
    return min(found, key=lambda layout: sum(tile.size.area for tile in layout[1]))


def _schedule(
    first: bool,
    strength: float,
    guidance: float,
    settings: EditSettings,
    spec: ModelSpec,
    early: float,
    part: int,
) -> Schedule:
    run_steps = max(1, round(strength * settings.steps)) if strength > 0 else 0
    number = number_for(part, settings.candidate) if first else None
    candidates = settings.candidates if first and number is None else 1
    chosen_at = max(1, round(early * run_steps))
    begin = min(round(settings.ablation.repaint_from * run_steps), max(run_steps - 1, 0))
    end = max(round(settings.ablation.repaint_until * run_steps), begin + 1)
    # RePaint reconciles what comes out of noise; a picture that is there it would lead astray.
    repeated = range(begin, end) if first and strength == 1.0 else range(0)
    return Schedule(
        strength=strength,
        steps=settings.steps,
        run_steps=run_steps,
        resamplings=tuple(
            settings.resampling_steps * (step in repeated) for step in range(run_steps)
        ),
        candidates=candidates,
        choose_at=chosen_at if first and chosen_at < run_steps else 0,
        guidance=guidance,
        calls_per_step=spec.calls_per_step,
        first_candidate=0 if number is None else number - 1,
    )


def _painted(tile: Box, size: Size, mask: masks.Mask, reach: int) -> bool:
    """Whether the tile shows what is repainted; half a pixel of doubt counts as that."""
    height, width = mask.shape
    there = tile.scaled(height / size.height, width / size.width).grown(reach, Size(height, width))
    return bool(mask[there.rows, there.columns].any())
