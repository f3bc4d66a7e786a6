"""What onlookers are told adds up, whatever has to be done again; and what the report keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from engine import box_mask
from fakes import small_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.geometry import Box, Size
from msbd.masks import Mask
from msbd.plan import EditPlan, StagePlan
from msbd.planning import plan_edit, smaller_tiles
from msbd.progress import Callbacks, Recorder, stage_work, work
from msbd.settings import EditSettings

SIZE, PAINTED = Size(150, 203), Box(40, 60, 90, 130)
FACTS = small_spec()


@dataclass
class Onlooker:
    """Adds up what it is told. parts: of all work; begun: how often, and the total then."""

    begun: list[float] = field(default_factory=list)
    parts: list[float] = field(default_factory=list)
    stages: list[StagePlan] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def callbacks(self) -> Callbacks:
        return Callbacks(
            begin=lambda plan, total: self.begun.append(total),
            stage=self.stages.append,
            advance=lambda work, text: (self.parts.append(work), self.texts.append(text)),
        )

    @property
    def done(self) -> float:
        return sum(self.parts)


def planned(**values: Any) -> tuple[EditPlan, EditSettings]:
    chosen = EditSettings().with_values({"steps": 6, "decoder_iterations": 3, **values})
    return plan_edit(SIZE, box_mask(SIZE, PAINTED), chosen, FACTS), chosen


def mask_of(plan: EditPlan) -> Mask:
    """Inside its crop."""
    return box_mask(SIZE, PAINTED)[plan.crop.rows, plan.crop.columns]


WORK = st.lists(st.tuples(st.sampled_from(["denoised", "fitted"]), st.integers(0, 40)), max_size=12)
"""What is done in one attempt at a stage: too little, enough or too much."""
ATTEMPTS = st.lists(st.tuples(st.booleans(), WORK), min_size=1, max_size=4)
"""Of one stage; whether each is in smaller tiles than the one before."""


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["off", "last layer", "fine-tune"]),
    st.sampled_from([1.0, 3.0]),
    st.lists(ATTEMPTS, min_size=3, max_size=6),
)
def test_the_work_told_is_that_of_the_plan_whatever_is_done_again(
    decoder: str, tile_size: float, edit: list[list[tuple[bool, list[tuple[str, int]]]]]
) -> None:
    """It never goes back, and is never more than what the stages so far are of the plan."""
    plan, chosen = planned(decoder=decoder, tile_size=tile_size, growth=1.5)
    seen = Onlooker()
    recorder = Recorder(plan, chosen, 0, seen.callbacks())
    assert seen.begun == [work(plan)] and not seen.parts
    end, started = 0.0, 0
    for planned_stage, attempts in zip(plan.stages, edit, strict=False):
        stage = planned_stage
        end += stage_work(stage, plan)
        for smaller, parts in attempts:
            less = (
                smaller_tiles(stage, plan.parts[0], mask_of(plan), chosen, FACTS)
                if smaller
                else None
            )
            stage = less or stage
            recorder.start(stage)
            started += 1
            for what, amount in parts:
                if what == "denoised":
                    recorder.denoised(0, torch.empty(amount))
                else:
                    for _ in range(amount):
                        recorder.fitted()
                assert seen.done <= end * (1 + 1e-9)
        recorder.fill()
        recorder.finish()
        assert seen.done == pytest.approx(end)
        assert recorder.report.plan.stages[stage.index] == stage
    assert min(seen.parts, default=0) >= 0
    assert len(seen.begun) == 1 and len(seen.stages) == started
    if len(edit) >= len(plan.stages):
        assert seen.done == pytest.approx(work(plan))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["off", "last layer", "fine-tune"]), st.booleans())
def test_what_goes_by_the_plan_fills_it_evenly(decoder: str, sparing: bool) -> None:
    """Nothing is cut off, and nothing has to be filled."""
    plan, chosen = planned(decoder=decoder, decoder_checkpointing=sparing)
    seen = Onlooker()
    recorder = Recorder(plan, chosen, 0, seen.callbacks())
    for stage in plan.stages:
        before, first = seen.done, len(seen.parts)
        recorder.start(stage)
        for _ in range(stage.model_calls):
            recorder.denoised(0, torch.empty(1))
        assert seen.parts[first:] == pytest.approx([plan.share(stage)] * stage.model_calls)
        for _ in range(stage.decoder_steps):
            recorder.fitted()
        assert seen.done - before == pytest.approx(stage_work(stage, plan))
        recorder.fill()
        assert seen.done - before == pytest.approx(stage_work(stage, plan))
    assert seen.done == pytest.approx(work(plan))
    assert all(text.startswith("stage ") for text in seen.texts)


def test_a_stage_in_smaller_tiles_fills_what_is_left_evenly() -> None:
    """Half of it was in vain: what is done again counts for the other half."""
    plan, chosen = planned(decoder="off", tile_size=3.0, growth=4.0, steps=40)
    stage = plan.stages[-1]
    seen = Onlooker()
    recorder = Recorder(plan, chosen, 0, seen.callbacks())
    for one in plan.stages[:-1]:
        recorder.start(one)
        recorder.fill()
    recorder.start(stage)
    recorder.denoised(0, torch.empty(stage.model_calls // 2))
    left = work(plan) - seen.done
    assert left == pytest.approx(stage_work(stage, plan) / 2)
    smaller = smaller_tiles(stage, plan.parts[0], mask_of(plan), chosen, FACTS)
    assert smaller is not None
    recorder.start(smaller)
    first = len(seen.parts)
    for _ in range(smaller.model_calls):
        recorder.denoised(0, torch.empty(1))
    assert seen.parts[first:] == pytest.approx([left / smaller.model_calls] * smaller.model_calls)


def test_a_note_is_told_once_and_an_early_end_names_its_stage() -> None:
    plan, chosen = planned()
    recorder = Recorder(plan, chosen, 7, Callbacks())
    for text in ("one", "two", "one"):
        recorder.note(text)
    assert recorder.report.notes == ["one", "two"] and not recorder.report.interrupted
    recorder.begin_part(7)
    recorder.start(plan.stages[0])
    recorder.finish()
    recorder.stop("skipped")
    number = len(plan.stages)
    assert recorder.report.interrupted and recorder.report.seed == 7
    ending = f"skipped after stage 1 of {number}: the picture shows that stage at full size"
    assert recorder.report.notes[-1] == ending
    assert recorder.report.plan == plan


def test_pictures_are_handed_to_those_who_want_them() -> None:
    plan, _ = planned()
    seen: list[str] = []

    def look(name: str, image: torch.Tensor, stage: StagePlan, caption: str) -> None:
        seen.append(f"{name} {image.device.type} {stage.index} {caption}")

    image, stage = torch.zeros(1, 3, 8, 8), plan.stages[1]
    assert not Callbacks().wants("draft")
    Callbacks().image("draft", image, stage, "x")
    assert not Callbacks(wanted=frozenset(["draft"])).wants("draft")
    some = Callbacks(picture=look, wanted=frozenset(["draft"]))
    for name in ("draft", "start"):
        some.image(name, image, stage, "x")
    everything = Callbacks(picture=look)
    everything.image("start", image, stage, "y")
    assert seen == ["draft cpu 1 x", "start cpu 1 y"]
