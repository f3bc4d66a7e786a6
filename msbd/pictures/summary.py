"""A plan in plain words, for people who paint."""

from __future__ import annotations

from ..geometry import Box, Size
from ..masks import Mask
from ..plan import EditPlan, PartPlan, StagePlan
from ..settings import (
    LATENT_NOISE,
    LATENT_NOTHING,
    NEW,
    PAINT,
    PICTURE,
    SETTINGS,
    SURROUNDINGS,
)

FEWEST_PIXELS = 1600
"""Of the first stage that a mask needs: 25 latent cells, up to which the miniature paints what is
asked for in at most half of its edits. `pytest -m slow tests/test_few_pixels.py -s`, two cores,
2026-11-29: in 8, 25, 46, 46 and 67 % of 24 squares of 4, 9, 16, 25 and 36 cells."""
SPARSE = 0.5
"""A mask that fills less of its box is not described by the box alone."""
MOST_PARTS = 6
"""More are not told of one by one."""


_STARTS = {
    PICTURE: "what is there",
    PAINT: "your paint",
    SURROUNDINGS: "the colours around",
    LATENT_NOISE: LATENT_NOISE,
    LATENT_NOTHING: LATENT_NOTHING,
}


def headline(plan: EditPlan, mask: Mask) -> str:
    """What the model sees first, and how many pixels of that are the mask's; of several parts, one
    line for each."""
    if len(plan.parts) == 1:
        part = plan.parts[0]
        begin = "First the model works on" if len(part.stages) > 1 else "The model works on"
        return f"{begin} {_seen(plan, part, 'your mask')}; your mask {_gets(part, mask)}."
    lines = [f"Your mask has {len(plan.parts)} parts far apart, edited one after the other."]
    for part in plan.parts[:MOST_PARTS]:
        seen = _seen(plan, part, "it")
        lines.append(f"Part {part.number + 1}: {seen}; it {_gets(part, mask)}.")
    if len(plan.parts) > MOST_PARTS:
        lines.append(f"And {len(plan.parts) - MOST_PARTS} more parts.")
    return "\n".join(lines)


def few_pixels(plan: EditPlan, mask: Mask) -> list[str]:
    """What to change where a first stage has too few pixels for its part of the mask."""
    counts = [pixels_in_first_stage(part, mask) for part in plan.parts]
    few = [part for part, count in zip(plan.parts, counts, strict=True) if count < FEWEST_PIXELS]
    if not few:
        return []
    least, advice = min(counts), "paint a larger mask"
    if any(len(part.stages) > 1 for part in few):  # else the crop is as small as can be
        advice += f", or set {SETTINGS['margin'].label} lower"
    if len(counts) == 1:
        what = f"Your mask has only {least} pixels when the model first paints it"
    else:
        what = (
            f"{len(few)} of {len(counts)} parts of your mask have few pixels when the model first "
            f"paints them, the smallest only {least}"
        )
    return [f"{what}, so few that it may not be recognisable: {advice}."]


def pixels_in_first_stage(part: PartPlan, mask: Mask) -> int:
    """How many pixels a part of the mask [H,W] has there; soft ones count in part."""
    painted = float(mask[part.mask.rows, part.mask.columns].sum())
    return round(painted * part.stages[0].size.area / part.crop.size.area)


def mask_in_first_stage(part: PartPlan) -> Size:
    """How large the part's box is there, in whole pixels."""
    first, crop, mask = part.stages[0].size, part.crop.size, part.mask.size
    return Size(
        max(1, round(mask.height * first.height / crop.height)),
        max(1, round(mask.width * first.width / crop.width)),
    )


def steps(plan: EditPlan) -> list[str]:
    """A line for each stage, and one for what becomes of a part that was enlarged."""
    lines = []
    for part in plan.parts[:MOST_PARTS]:
        which = f"Part {part.number + 1}, stage" if len(plan.parts) > 1 else "Stage"
        for stage in part.stages:
            more = details(stage)
            verb = "painted" if stage.first else "refined"
            told = f"{which} {stage.index + 1}: {verb} {heading(part, stage)}"
            lines.append(f"{told} ({more})" if more else told)
        if part.stages[-1].size != part.crop.size:
            lines.append(f"Then brought back to full size, {part.crop.size}")
    return lines


def numbers(plan: EditPlan) -> str:
    """All that a plan says, for whoever knows the method."""
    lines = [f"picture {plan.image}"]
    for part in plan.parts:
        name = f"part {part.number + 1} of the mask" if len(plan.parts) > 1 else "mask"
        lines.append(
            f"{name} {part.mask.size}, "
            f"crop {part.crop.size} at left {part.crop.left}, top {part.crop.top}"
        )
        lines += [_stage_numbers(stage) for stage in part.stages]
    lines.append(
        f"in all {plan.model_calls} model calls, as many as "
        f"{plan.network_evaluations:.0f} at {plan.resolution}x{plan.resolution}"
    )
    return "\n".join(lines)


def _stage_numbers(stage: StagePlan) -> str:
    tiles = f"{len(stage.tiles)} of {stage.tile_grid} tiles of {stage.tiles[0].size}"
    run, fitted = stage.schedule, stage.decoder
    if stage.decoder_iterations:
        fitted += f" in {stage.decoder_iterations} steps"
    return (
        f"stage {stage.index + 1} ({stage.name}): {stage.size}, {tiles}, from {stage.start}, "
        f"strength {run.strength:g}, {run.in_words}, "
        f"{run.candidates} candidate{'s' * (run.candidates > 1)}, "
        f"{stage.model_calls} model calls, decoder optimisation: {fitted}"
    )


def _seen(plan: EditPlan, part: PartPlan, what: str) -> str:
    first, crop = part.stages[0].size, part.crop.size
    if part.crop == Box.of(plan.image):
        return f"the whole picture, {crop}, {_resized(crop, first)}"
    shape = "square" if crop.height == crop.width else "part"
    return f"a {crop} {shape} round {what}, {_resized(crop, first)}"


def _gets(part: PartPlan, mask: Mask) -> str:
    box, pixels = mask_in_first_stage(part), pixels_in_first_stage(part, mask)
    gets = f"gets {box}" if pixels >= SPARSE * box.area else f"spans {box} and has {pixels}"
    return f"{gets} of those pixels"


def heading(part: PartPlan, stage: StagePlan) -> str:
    """At what size a stage is painted."""
    full = len(part.stages) > 1 and stage.size == part.crop.size
    return f"at full size, {stage.size}" if full else f"at {stage.size}"


def details(stage: StagePlan) -> str:
    """How many tiles or candidates there are, if there are several."""
    if len(stage.tiles) > 1:
        return f"{len(stage.tiles)} overlapping tiles"
    many, told = stage.schedule.candidates, []
    if stage.first and stage.start != NEW:
        told.append(f"from {_STARTS[stage.start]} at strength {stage.schedule.strength:g}")
    if many > 1:
        told.append(f"{many} candidates, the best is kept")
    return ", ".join(told)


def _resized(crop: Size, size: Size) -> str:
    """What is done to the crop to have it at this size."""
    if size == crop:
        return "at its own size"
    smaller = [size.height <= crop.height, size.width <= crop.width]
    larger = [size.height >= crop.height, size.width >= crop.width]
    how = "shrunk" if all(smaller) else "enlarged" if all(larger) else "fitted"
    return f"{how} to {size}"
