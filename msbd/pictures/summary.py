"""A plan in plain words, for people who paint."""

from __future__ import annotations

from ..geometry import Box, Size
from ..masks import Mask
from ..plan import EditPlan, StagePlan
from ..settings import LATENT_NOISE, LATENT_NOTHING, NEW, PAINT, PICTURE, SURROUNDINGS

SPARSE = 0.5
"""A mask that fills less of its box is not described by the box alone."""


_STARTS = {
    PICTURE: "what is there",
    PAINT: "your paint",
    SURROUNDINGS: "the colours around",
    LATENT_NOISE: LATENT_NOISE,
    LATENT_NOTHING: LATENT_NOTHING,
}


def headline(plan: EditPlan, mask: Mask) -> str:
    """What the model sees first, and how many pixels of that are the mask's."""
    first, crop = plan.stages[0].size, plan.crop.size
    if plan.crop == Box.of(plan.image):
        seen = f"the whole picture, {crop}"
    else:
        shape = "square" if crop.height == crop.width else "part"
        seen = f"a {crop} {shape} round your mask"
    begin = "First the model works on" if len(plan.stages) > 1 else "The model works on"
    box, pixels = plan.mask_in_first_stage, plan.pixels_in_first_stage(mask)
    gets = f"gets {box}" if pixels >= SPARSE * box.area else f"spans {box} and has {pixels}"
    return f"{begin} {seen}, {_resized(crop, first)}; your mask {gets} of those pixels."


def steps(plan: EditPlan) -> list[str]:
    """A line for each stage, and one for what becomes of a part that was enlarged."""
    lines = []
    for stage in plan.stages:
        more = details(stage)
        verb = "painted" if stage.first else "refined"
        lines.append(
            f"Stage {stage.index + 1}: {verb} {heading(plan, stage)}{f' ({more})' if more else ''}"
        )
    if plan.stages[-1].size != plan.crop.size:
        lines.append(f"Then brought back to full size, {plan.crop.size}")
    return lines


def heading(plan: EditPlan, stage: StagePlan) -> str:
    """At what size a stage is painted."""
    full = len(plan.stages) > 1 and stage.size == plan.crop.size
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
