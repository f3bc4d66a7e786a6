"""What an onlooker is told while an edit runs, and what its report will say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import EditError, Interrupted
from .memory import is_out_of_memory
from .plan import EditPlan, PartPlan, StagePlan
from .report import Candidates, Keeper, PartReport, Report, StageReport, stopwatch
from .settings import EditSettings

STEP_WORK = 8
"""Time of a decoder step in model calls of the same area: 3 to 13."""


def work(plan: EditPlan) -> float:
    """Total of an edit's progress: model calls and decoder steps, weighted by area and cost."""
    return sum(stage_work(stage, plan) for stage in plan.stages)


def stage_work(stage: StagePlan, plan: EditPlan) -> float:
    """The stage's part of `work`."""
    return plan.share(stage) * (stage.model_calls + STEP_WORK * stage.decoder_steps)


def _ignore(*_: Any) -> None:
    """The onlooker who does not care."""


@dataclass(frozen=True)
class Callbacks:
    """Callables through which an edit tells its progress; all optional.

    begin(plan, total): before anything runs; `total` work units will be advanced in all.
    stage(stage): a stage starts. advance(work, text): work units done, and what is being done.
    predicted(stage, first, z): what the network made of some of the stage's samples, which are all
    tiles of one candidate after the other; z: their latents [n,4,h,w], on the device; first: the
    number of the first. decoding(stage, index): a tile of the stage's result is decoded next.
    keeper: where the edit finds and keeps its work.
    picture(name, image, stage, caption): an intermediate picture, image [1,3,H,W] in [0,1] on the
    CPU (names: crop, candidate, draft, context, start, before, result); only those in `wanted`, if
    that is given, and pictures that cost extra work are only made then. Any of them may raise
    `Interrupted`.
    """

    begin: Callable[[EditPlan, float], None] = _ignore
    stage: Callable[[StagePlan], None] = _ignore
    advance: Callable[[float, str], None] = _ignore
    picture: Callable[[str, Tensor, StagePlan, str], None] = _ignore
    wanted: frozenset[str] | None = None
    predicted: Callable[[StagePlan, int, Tensor], None] = _ignore
    decoding: Callable[[StagePlan, int], None] = _ignore
    keeper: Keeper = Keeper()

    def wants(self, name: str) -> bool:
        """Whether somebody wants intermediate pictures of this name."""
        return self.picture is not _ignore and (self.wanted is None or name in self.wanted)

    def image(self, name: str, image: Tensor, stage: StagePlan, caption: str) -> None:
        """Hand an intermediate picture to whoever wants it."""
        if self.wants(name):
            self.picture(name, image.cpu(), stage, caption)


class Recorder:
    """Tells the callbacks of one edit, and writes its report.

    Work is told in units of a model call at the training resolution. Each stage advances by what
    the plan says of it, whatever happens: a stage that is done again in smaller tiles fills what
    is left of its part. part, done: the reports of the mask's part and the stage at work. stopped:
    whether the edit ended early. sparing: whether fine-tuning the decoder has turned out to need
    gradient checkpointing.
    """

    def __init__(
        self,
        plan: EditPlan,
        settings: EditSettings,
        seed: int,
        to: Callbacks,
        device: torch.device = torch.device("cpu"),
    ) -> None:
        """device: where the work is done that is timed."""
        self.report = Report(plan, settings, seed)
        self.callbacks, self.stopped, self.sparing = to, False, False
        self._begun = (-1, -1)
        self._plan, self._device = plan, device
        self._done = self._end = 0.0
        to.begin(plan, work(plan))

    def begin_part(self, seed: int) -> None:
        """The next part of the mask begins."""
        self.part = PartReport(seed)
        self.report.parts.append(self.part)

    def chosen(self, candidates: Candidates) -> None:
        """One of the candidates goes on."""
        self.part.chosen, self.part.scores = candidates.number, candidates.scores

    def go_on(self, part: PartPlan) -> None:
        """After those of a part's stages that are there from an earlier run."""
        for stage, done in zip(part.stages, self.keeper.stages(part.number), strict=False):
            self.report.stages.append(done)
            self._done += (work := stage_work(stage, self._plan))
            self.callbacks.advance(work, f"stage {stage.index + 1}: from before")
        if made := self.keeper.candidates(part.number):
            self.chosen(made)

    def start(self, stage: StagePlan) -> None:
        """A stage begins, perhaps once more."""
        plan, place = self._plan, (stage.part, stage.index)
        self.report.as_planned &= place != self._begun
        self._stage, self._begun = stage, place
        self.done = StageReport(
            stage.name, str(stage.size), part=stage.part, model_calls=stage.model_calls
        )
        self._clock = stopwatch(self._device)
        there = (one for one in plan.stages if (one.part, one.index) <= place)
        self._end = sum(stage_work(one, plan) for one in there)
        left = (self._end - self._done) / max(stage_work(stage, plan), 1e-9)
        self._unit = left * plan.share(stage)
        self.callbacks.stage(stage)

    def denoised(self, first: int, predicted: Tensor, tile: int = 0) -> None:
        """Samples of one tile have been through the network; see `Callbacks.predicted`.

        tile: the first of those that are denoised together.
        """
        self.callbacks.predicted(self._stage, tile + first, predicted)
        self._advance(len(predicted), "denoising")

    def fitted(self) -> None:
        """A step of decoder optimisation on one tile is done."""
        self._advance(STEP_WORK, "decoder optimisation")

    def fill(self) -> None:
        """What was planned of the stage is done, or left out."""
        if self._done < self._end:
            self._advance(math.inf, "decoder optimisation")

    def telling(self, decode: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
        """`decode`, which tells of a tile before it decodes it."""

        def told(index: int) -> Tensor:
            self.callbacks.decoding(self._stage, index)
            return decode(index)

        return told

    def finish(self) -> None:
        """The stage is finished, in the tiles that it began with at the last."""
        self.done.seconds = self._clock()
        self.report.stages.append(self.done)
        self.report.plan = self.report.plan.with_stage(self._stage)

    def note(self, text: str) -> None:
        """Something the user should know, once."""
        if text not in self.report.notes:
            self.report.notes.append(text)

    def deviate(self, text: str) -> None:
        """Something is done otherwise than planned."""
        self.report.as_planned = False
        self.note(text)

    def stop(self, reason: str) -> None:
        """The edit ends early; what is finished is kept. reason: skipped, or stopped."""
        self.stopped = self.report.interrupted = True
        done = [stage for stage in self.report.stages if stage.part == len(self.report.parts) - 1]
        stages = len(self._plan.parts[len(self.report.parts) - 1].stages)
        where = f"stage {len(done)} of {stages}"
        if len(self._plan.parts) > 1:
            where += f" of part {len(self.report.parts)} of {len(self._plan.parts)}"
        shows = "the picture shows that stage at full size"
        self.report.notes.append(
            f"{reason} after {where}: {shows if done else 'that part is unchanged'}"
        )

    @property
    def keeper(self) -> Keeper:
        """Of the edit's work, earlier and present."""
        return self.callbacks.keeper

    @contextmanager
    def keeping_the_best(self, has_result: Callable[[], bool]) -> Iterator[None]:
        """Turn an interruption or a failure into an early end if there is something to keep."""
        reason = "stopped"
        try:
            yield
            return
        except (Interrupted, KeyboardInterrupt) as stop:
            reason = str(stop) or reason
            if not has_result():
                raise Interrupted(f"{reason} before the first stage was finished") from None
        except EditError as error:
            if not has_result():
                raise
            self.note(str(error))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            advice = "lower Tile size or Candidates, or close other programs"
            if not has_result():
                raise EditError(f"not enough memory for the first stage: {advice}") from error
            self.note(f"memory ran out: {advice}")
        self.stop(reason)

    def _advance(self, calls: float, text: str) -> None:
        """Work in units of a model call on one of the stage's tiles."""
        work = min(calls * self._unit, self._end - self._done)
        self._done += work
        self.callbacks.advance(work, f"stage {self._stage.index + 1}: {text}")
