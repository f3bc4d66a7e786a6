"""One edit of one case, in whichever way: the engine's stages, or a part or a variation of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backend import Backend
from ..compositing import any_touch, cropped, feathered, padded, pasted, resized
from ..geometry import Box, Size, all_tiles
from ..masks import Mask
from ..noise import Noise
from ..pipeline import edit
from ..plan import EditPlan, StagePlan
from ..planning import plan_edit
from ..progress import Callbacks, Recorder
from ..report import Report
from ..settings import OFF, TOGETHER, EditSettings
from ..stage import StageInputs, refined


@dataclass(frozen=True)
class Task:
    """image: [1,3,H,W] in [0,1]. mask: [H,W], 1 = repaint. backend: bound to the case's prompt."""

    image: Tensor
    mask: Mask
    settings: EditSettings
    backend: Backend
    noise: Noise

    @property
    def plan(self) -> EditPlan:
        size = Size(*self.image.shape[-2:])
        together = self.settings.with_values({"parts": TOGETHER})
        return plan_edit(size, self.mask, together, self.backend.spec)


@dataclass(frozen=True)
class Painting:
    """What came out, inside the plan's crop.

    shown: as the last decoder left it, at its stage's size. patch: the same enlarged to the crop.
    result, alpha: after the paste, and its opacity [1,1,crop]. candidates: the first stage's
    pictures before one was chosen.
    """

    shown: Tensor
    patch: Tensor
    result: Tensor
    alpha: Tensor
    plan: EditPlan
    candidates: list[Tensor]
    report: Report


Paint = Callable[[Task], Painting]
Replan = Callable[[EditPlan, Task], EditPlan]
Enlarge = Callable[[Tensor, Size, Task], Tensor]


def as_planned(plan: EditPlan, task: Task) -> EditPlan:
    """The engine's own plan."""
    return plan


def _bilinear(image: Tensor, size: Size, task: Task) -> Tensor:
    return resized(image, size)


def staged(task: Task, replan: Replan = as_planned, enlarge: Enlarge = _bilinear) -> Painting:
    """The engine, on its own plan or on another made of that.

    enlarge: how the last stage's picture is brought to the crop's size, if that is larger.
    """
    plan = replan(task.plan, task)
    shown: dict[str, list[Tensor]] = {"candidate": [], "result": []}
    callbacks = Callbacks(
        picture=lambda name, image, stage, caption: shown[name].append(image.clone()),
        wanted=frozenset(shown if len(plan.stages[0].tiles) == 1 else ["result"]),
    )
    done = edit(task.image, task.mask, plan, task.settings, task.backend, task.noise, callbacks)
    found = _pasted(shown["result"][-1], enlarge, task, plan, done.report, shown["candidate"])
    if enlarge is not _bilinear:
        return found
    return replace(found, result=cropped(done.image, plan.crop))  # with its texture


def _with_stages(plan: EditPlan, stages: Sequence[StagePlan]) -> EditPlan:
    """Others for the mask's only part."""
    (part,) = plan.parts
    return plan.with_part(replace(part, stages=tuple(stages)))


def only_first(plan: EditPlan, task: Task) -> EditPlan:
    """Leave out the later stages."""
    return _with_stages(plan, plan.stages[:1])


def in_one_pass(plan: EditPlan, task: Task, times: float = 3.0) -> EditPlan:
    """One stage from noise at up to `times` the training resolution."""
    facts, crop = task.backend.spec, plan.crop.size
    scale = min(1.0, times * facts.resolution / crop.longest)
    size = crop.scaled(scale, facts.multiple)
    stage = replace(plan.stages[0], size=size, canvas=size, tiles=(Box.of(size),), tile_grid=1)
    return _with_stages(plan, (stage,))


def in_two_passes(plan: EditPlan, task: Task, strength: float = 0.4) -> EditPlan:
    """The first stage, one enlargement, and one pass at the crop's own size."""
    first, last = plan.stages[0], plan.stages[-1]
    canvas = last.size.padded(task.backend.spec.multiple)
    steps = max(1, round(strength * last.schedule.steps))
    schedule = replace(
        last.schedule, strength=strength, run_steps=steps, resamplings=(0,) * steps, guidance=1.0
    )
    whole = replace(
        last,
        index=1,
        canvas=canvas,
        tiles=(Box.of(canvas),),
        tile_grid=1,
        batch=1,
        schedule=schedule,
    )
    return _with_stages(plan, (first, whole) if len(plan.stages) > 1 else (first,))


def fitted_once(plan: EditPlan, task: Task) -> EditPlan:
    """Leave the decoder as it is after the first stage."""
    first, *later = plan.stages
    return _with_stages(plan, (first, *(replace(stage, decoder=OFF) for stage in later)))


def in_segments(plan: EditPlan, task: Task) -> EditPlan:
    """From noise at the crop's own size, in overlapping segments of the training resolution."""
    facts, size = task.backend.spec, plan.crop.size
    canvas = size.padded(facts.latent_factor)
    overlap = round(task.settings.ablation.tile_overlap * facts.resolution)
    grid = all_tiles(canvas, facts.resolution, overlap, facts.latent_factor)
    painted = padded(any_touch(_crop_mask(task, plan), size), canvas, repeat_edge=False)
    touched = _touched(grid, painted)
    stage = replace(plan.stages[0], size=size, canvas=canvas, tiles=touched, tile_grid=len(grid))
    return _with_stages(plan, (stage,))


def overlapping(plan: EditPlan, task: Task, pixels: int) -> EditPlan:
    """Later stages in tiles of the training resolution that overlap by just so much.

    The engine spreads its tiles evenly, so that they often overlap by more than was asked for;
    here only the last of a row or column do.
    """
    facts = task.backend.spec
    side, mask = facts.resolution, _crop_mask(task, plan)
    stages = [plan.stages[0]]
    for stage in plan.stages[1:]:
        canvas = stage.size.padded(facts.latent_factor)
        tops, lefts = (_starts(n, side, side - pixels) for n in (canvas.height, canvas.width))
        size = Size(min(side, canvas.height), min(side, canvas.width))
        grid = [Box.of(size, top, left) for top in tops for left in lefts]
        painted = padded(any_touch(mask, stage.size), canvas, repeat_edge=False)
        tiles = _touched(grid, painted)
        stages.append(replace(stage, canvas=canvas, tiles=tiles, tile_grid=len(grid)))
    return _with_stages(plan, stages)


def _starts(length: int, side: int, stride: int) -> list[int]:
    last = max(0, length - side)
    return [*range(0, last, stride), last]


def _touched(grid: list[Box], painted: Tensor) -> tuple[Box, ...]:
    """The tiles that show a painted pixel."""
    return tuple(box for box in grid if cropped(painted, box).any())


def by_network(image: Tensor, size: Size, task: Task) -> Tensor:
    """Enlarge by super-resolution, as often as it takes."""
    largest = task.backend.spec.upscale_factor
    while max(size.height / image.shape[-2], size.width / image.shape[-1]) > largest:
        reached = Size(int(image.shape[-2] * largest), int(image.shape[-1] * largest))
        image = task.backend.upscale(image, reached)
    return task.backend.upscale(image, size)


def unblended(task: Task) -> Painting:
    """Figure 5 c, d: the stages, each refined as a whole, with no blending in the later ones."""
    plan, crop = task.plan, task.plan.crop
    settings, backend, factor = task.settings, task.backend, task.backend.spec.latent_factor
    recorder = Recorder(plan, settings, task.noise.seed, Callbacks())
    photograph, mask = cropped(task.image, crop), _crop_mask(task, plan)
    patch = photograph
    recorder.begin_part(task.noise.seed)
    for stage in plan.stages:
        seen = StageInputs.of(stage, photograph, mask, None, factor)
        start = seen.target if stage.first else backend.upscale(patch, stage.size)
        patch = refined(stage, start, seen, settings, backend, task.noise, recorder)
        mask = torch.ones_like(mask)
    return _pasted(patch, _bilinear, task, plan, recorder.report, [])


def _pasted(
    shown: Tensor,
    enlarge: Enlarge,
    task: Task,
    plan: EditPlan,
    report: Report,
    candidates: list[Tensor],
) -> Painting:
    """Paste as the engine does."""
    before = cropped(task.image, plan.crop)
    alpha = feathered(_crop_mask(task, plan), task.settings.feather)
    patch = enlarge(shown, plan.crop.size, task)
    result = pasted(before, patch, Box.of(plan.crop.size), alpha)
    return Painting(shown, patch, result, alpha, plan, candidates, report)


def _crop_mask(task: Task, plan: EditPlan) -> Tensor:
    return cropped(torch.from_numpy(task.mask), plan.crop)[None, None]
