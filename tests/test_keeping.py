"""An edit that is kept: gone on with, chosen from, done again; the bytes are those of one run."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from engine import QUICK, box_mask, photograph
from fakes import PointwiseBackend, small_spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from msbd.errors import EditError
from msbd.geometry import Box, Size
from msbd.keeping import files
from msbd.keeping.folder import FACTS, EditFolder
from msbd.noise import Noise
from msbd.pipeline import Edit, edit
from msbd.plan import ModelSpec
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.progress import Callbacks

pytestmark = pytest.mark.edits(alike=False)

PICTURE = photograph(110, 150)
ONE = box_mask(Size(110, 150), Box(30, 40, 90, 100))
TWO = box_mask(Size(110, 150), Box(4, 4, 30, 30), Box(70, 110, 100, 140))
NEAR = box_mask(Size(110, 150), Box(2, 16, 26, 40), Box(8, 70, 103, 84))
"""Two parts, the second of which sees the first."""
MASKS = {"one": ONE, "two": TWO, "near": NEAR}


class Killed(Exception):
    """The process is gone."""


def quick(name: str = "recommended", **changes):
    return preset(name).with_values({**QUICK, "choose": "clip", **changes})


def kept(
    folder: EditFolder | None,
    values,
    mask=ONE,
    seed: int = 3,
    dies_at: int | None = None,
    backend: PointwiseBackend | None = None,
) -> Edit:
    """An edit whose process is killed at the beginning of its stage number `dies_at`, from 0."""
    backend = backend or PointwiseBackend(spec=small_spec())
    plan = plan_edit(Size(*PICTURE.shape[-2:]), mask, values, backend.spec)
    begun = []

    def stage(planned) -> None:
        if len(begun) == dies_at:
            raise Killed
        begun.append(planned)

    callbacks = Callbacks(stage=stage)
    noise = Noise(seed)
    if folder is None:
        return edit(PICTURE, mask, plan, values, backend, noise, callbacks)
    folder.begin(plan, values.feather)
    with folder:
        return edit(
            *(PICTURE, mask, plan, values, backend, noise), replace(callbacks, keeper=folder)
        )


def new(path: Path) -> EditFolder:
    return EditFolder.create(path, {})


def stages_of(values, mask) -> int:
    return len(plan_edit(Size(*PICTURE.shape[-2:]), mask, values, small_spec()).stages)


@given(
    name=st.sampled_from(["draft", "fast", "recommended"]),
    mask=st.sampled_from(sorted(MASKS)),
    seed=st.integers(0, 99),
    candidates=st.integers(1, 3),
    early=st.sampled_from([0.5, 1.0]),
)
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
def test_killed_at_any_stage_it_ends_in_the_same_bytes(
    tmp_path_factory, name, mask, seed, candidates, early
):
    values = quick(name, candidates=candidates, early_selection=early)
    whole = kept(None, values, MASKS[mask], seed)
    for dies_at in range(stages_of(values, MASKS[mask])):
        path = tmp_path_factory.mktemp("edit") / "kept"
        with pytest.raises(Killed):
            kept(new(path), values, MASKS[mask], seed, dies_at)
        done = kept(EditFolder.open(path), values, MASKS[mask], seed)
        assert torch.equal(done.image, whole.image)
        assert done.report.to_dict()["parts"] == whole.report.to_dict()["parts"]
        assert done.report.model_calls == whole.report.model_calls


def test_it_goes_on_and_begins_nothing_twice(tmp_path):
    values = quick()
    total = PointwiseBackend(spec=small_spec())
    kept(None, values, backend=total)
    first, second = PointwiseBackend(spec=small_spec()), PointwiseBackend(spec=small_spec())
    with pytest.raises(Killed):
        kept(new(tmp_path / "kept"), values, dies_at=1, backend=first)
    kept(EditFolder.open(tmp_path / "kept"), values, backend=second)
    assert first.samples + second.samples == total.samples and first.samples and second.samples


def test_what_is_finished_is_not_painted_again(tmp_path):
    values = quick()
    before = kept(new(tmp_path / "kept"), values)
    backend = PointwiseBackend(spec=small_spec())
    after = kept(EditFolder.open(tmp_path / "kept"), values, backend=backend)
    assert torch.equal(before.image, after.image) and backend.samples == 0


@pytest.mark.parametrize("mask", sorted(MASKS))
@pytest.mark.parametrize("early", [0.5, 1.0])
@pytest.mark.parametrize("finishes", [False, True])
def test_paused_it_goes_on_with_the_same_bytes(tmp_path, mask, early, finishes):
    values = quick(candidates=3, early_selection=early)
    whole = kept(None, values, MASKS[mask])
    folder = new(tmp_path / "kept")
    folder.pauses, folder.finishes = True, finishes
    paused = kept(folder, values, MASKS[mask])
    assert torch.equal(paused.image, PICTURE) and not paused.report.stages
    assert folder.made(0)["count"] == 3
    assert folder.made(0)["finished"] == (finishes or early == 1.0)
    done = kept(EditFolder.open(tmp_path / "kept"), values, MASKS[mask])
    if not finishes or early == 1.0:
        assert torch.equal(done.image, whole.image)
    # With finished candidates to look at another one may have the best score.
    numbers = ",".join(f"{k}:{part.chosen + 1}" for k, part in enumerate(done.report.parts, 1))
    again = kept(None, values.with_values({"candidate": numbers}), MASKS[mask])
    assert (done.image - again.image).abs().max() <= 1 / 255


@pytest.mark.parametrize("early", [0.5, 1.0])
@pytest.mark.parametrize("finishes", [False, True])
def test_a_candidates_number_names_one_picture(tmp_path, early, finishes):
    """However many are made, together or alone, from a board or at once."""
    values = quick(candidates=4, early_selection=early)
    folder = new(tmp_path / "kept")
    folder.pauses, folder.finishes = True, finishes
    kept(folder, values)
    seen = set()
    for number in (2, 6):
        named = values.with_values({"candidate": str(number)})
        alone = kept(None, named)
        assert alone.report.parts[0].chosen == number - 1
        other = kept(None, named.with_values({"candidates": 7 - number}))
        assert torch.equal(alone.image, other.image)
        chosen = EditFolder.open(tmp_path / "kept")
        chosen.choose(0, number)
        going_on = kept(chosen, named)
        assert (going_on.image - alone.image).abs().max() <= 1 / 255
        assert going_on.report.parts[0].chosen == number - 1
        seen.add(alone.image.numpy().tobytes())
    assert len(seen) == 2


def test_the_best_is_the_one_of_its_number():
    values = quick(candidates=4)
    best = kept(None, values)
    number = best.report.parts[0].chosen + 1
    named = kept(None, values.with_values({"candidate": str(number)}))
    assert (named.image - best.image).abs().max() <= 1 / 255
    assert named.report.model_calls < best.report.model_calls


def test_numbers_of_parts(tmp_path):
    values = quick(candidates=3)
    whole = kept(None, values, TWO)
    one, other = (part.chosen for part in whole.report.parts)
    changed = kept(None, values.with_values({"candidate": f"2:{(other + 1) % 3 + 1}"}), TWO)
    assert [part.chosen for part in changed.report.parts] == [one, (other + 1) % 3]
    top = np.s_[..., :60, :]
    assert torch.equal(changed.image[top], whole.image[top])
    assert not torch.equal(changed.image, whole.image)


def test_of_two_parts_only_the_other_one_is_painted_again(tmp_path):
    values = quick(candidates=3)
    first = kept(new(tmp_path / "kept"), values, TWO)
    number = (first.report.parts[1].chosen + 1) % 3 + 1
    folder = EditFolder.open(tmp_path / "kept")
    folder.choose(1, number)
    named = values.with_values({"candidate": f"2:{number}"})
    backend, calls = PointwiseBackend(spec=small_spec()), first.report.stages
    done = kept(folder, named, TWO, backend=backend)
    assert backend.samples < sum(stage.model_calls for stage in calls if stage.part == 1)
    assert (done.image - kept(None, named, TWO).image).abs().max() <= 1 / 255


def test_a_part_that_sees_a_changed_one_is_painted_again(tmp_path):
    values = quick(candidates=3)
    first = kept(new(tmp_path / "kept"), values, NEAR)
    assert first.report.plan.parts[1].sees(first.report.plan.parts[0], values.feather)
    number = (first.report.parts[0].chosen + 1) % 3 + 1
    folder = EditFolder.open(tmp_path / "kept")
    folder.choose(0, number)
    named = values.with_values({"candidate": f"1:{number}"})
    done = kept(folder, named, NEAR)
    assert (done.image - kept(None, named, NEAR).image).abs().max() <= 1 / 255


@pytest.mark.parametrize("mask", sorted(MASKS))
def test_redone_with_nothing_changed_it_is_the_same(tmp_path, mask):
    values = quick()
    whole = kept(new(tmp_path / "kept"), values, MASKS[mask])
    for first in range(1, len(whole.report.plan.parts[0].stages) + 1):
        folder = EditFolder.open(tmp_path / "kept")
        folder.redo_from, folder.reads_only = first, True
        assert torch.equal(kept(folder, values, MASKS[mask]).image, whole.image)


def test_redo_makes_only_the_calls_of_what_follows(tmp_path, monkeypatch):
    values = quick()
    whole = kept(new(tmp_path / "kept"), values)
    last = len(whole.report.plan.stages)
    read = []
    read_array = files.read_array
    monkeypatch.setattr(
        "msbd.keeping.folder.read_array",
        lambda path, digest: read.append(path.name) or read_array(path, digest),
    )
    before = contents(tmp_path / "kept")
    folder = EditFolder.open(tmp_path / "kept")
    folder.redo_from, folder.reads_only = last, True
    backend = PointwiseBackend(spec=small_spec())
    changed = values.with_values({"final_strength": 0.7})
    redone = kept(folder, changed, backend=backend)
    plan = plan_edit(Size(*PICTURE.shape[-2:]), ONE, changed, small_spec())
    assert backend.samples == plan.stages[-1].model_calls
    assert len([name for name in read if "stage" in name]) == 1 and len(read) <= 2
    assert contents(tmp_path / "kept") == before
    assert torch.equal(redone.image, kept(None, changed).image)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize(
    "changes",
    [{"steps": 8}, {"decoder": "off"}, {"final_strength": 0.7, "guidance_later": 1.5}],
)
def test_a_redo_that_is_killed_goes_on_as_a_redo(tmp_path, changes):
    kept(new(tmp_path / "kept"), quick())
    changed = quick(**changes)
    folder = EditFolder.open(tmp_path / "kept")
    folder.redo_from, folder.reads_only = 2, True
    redone = kept(folder, changed)
    other = EditFolder.open(tmp_path / "kept").copied(tmp_path / "other")
    other.redo_from = 2
    with pytest.raises(Killed):
        kept(other, changed, dies_at=1)
    going_on = EditFolder.open(tmp_path / "other")
    assert "report" not in going_on.facts
    assert torch.equal(kept(going_on, changed).image, redone.image) and not going_on.notes


def test_more_candidates_have_their_own_numbers(tmp_path):
    """Also after one that was painted alone, and under an edit that is finished."""
    kept(new(tmp_path / "kept"), quick(candidates=2, candidate="3"))
    more = EditFolder.open(tmp_path / "kept")
    more.pauses = more.wants_more = True
    kept(more, quick(candidates=4))
    assert more.made(0)["first"] == 0 and more.made(0)["count"] == 4
    for number in (1, 3, 4):
        chosen = EditFolder.open(tmp_path / "kept")
        chosen.choose(0, number)
        named = quick(candidates=4, candidate=str(number))
        assert (kept(chosen, named).image - kept(None, named).image).abs().max() <= 1 / 255
    again = EditFolder.open(tmp_path / "kept")
    again.pauses = again.wants_more = True
    with pytest.raises(EditError, match="there are 4 candidates already"):
        kept(again, quick(candidates=4))


@pytest.mark.parametrize("first", [True, False])
def test_without_scores_the_first_is_the_best(tmp_path, first):
    blind = PointwiseBackend(spec=small_spec(), blind=True)
    kept(new(tmp_path / "kept"), quick(candidates=3), backend=blind)
    folder = EditFolder.open(tmp_path / "kept")
    folder.choose(0, 1 if first else 2)
    assert folder.numbers == ("best" if first else "2")


def test_numbers_are_those_that_were_chosen_against_the_scores(tmp_path):
    done = kept(new(tmp_path / "kept"), quick(candidates=3), TWO)
    folder = EditFolder.open(tmp_path / "kept")
    assert folder.numbers == "best"
    other = (done.report.parts[1].chosen + 1) % 3 + 1
    folder.choose(1, other)
    assert folder.numbers == f"2:{other}"


@pytest.mark.parametrize("first", [0, 9])
def test_there_must_be_such_a_stage(tmp_path, first):
    kept(new(tmp_path / "kept"), quick())
    folder = EditFolder.open(tmp_path / "kept")
    folder.redo_from = first
    with pytest.raises(EditError, match="stages 1 to"):
        kept(folder, quick())


def test_what_was_never_finished_is_not_redone(tmp_path):
    with pytest.raises(Killed):
        kept(new(tmp_path / "kept"), quick(), dies_at=1)
    folder = EditFolder.open(tmp_path / "kept")
    folder.redo_from = 3
    with pytest.raises(EditError, match="stage 2 was never finished"):
        kept(folder, quick())


def test_a_stage_of_another_size_is_not_gone_on_from(tmp_path):
    kept(new(tmp_path / "kept"), quick())
    folder = EditFolder.open(tmp_path / "kept")
    folder.redo_from = 2
    with pytest.raises(EditError, match="stage 1 has another size: redo from 1"):
        kept(folder, quick(margin=1.6))


def test_more_can_be_painted_of_candidates_that_are_there(tmp_path):
    few, many = quick(candidates=2), quick(candidates=5)
    folder = new(tmp_path / "kept")
    folder.pauses = True
    kept(folder, few)
    more = EditFolder.open(tmp_path / "kept")
    more.pauses, more.wants_more = True, True
    backend = PointwiseBackend(spec=small_spec())
    kept(more, many, backend=backend)
    whole, alone = PointwiseBackend(spec=small_spec()), new(tmp_path / "whole")
    alone.pauses = True
    kept(alone, many, backend=whole)
    assert backend.samples == whole.samples * 3 // 5
    one, other = (EditFolder.open(tmp_path / name) for name in ("kept", "whole"))
    assert one.made(0)["scores"] == pytest.approx(other.made(0)["scores"], abs=1e-3)
    assert len(one.made(0)["pictures"]) == 5


@pytest.mark.parametrize("harm", ["cut", "changed"])
@pytest.mark.parametrize("file", ["stage2", "stage1", "candidates"])
def test_what_is_damaged_is_made_again_and_told(tmp_path, harm, file):
    values = quick()
    whole = kept(None, values)
    with pytest.raises(Killed):
        kept(new(tmp_path / "kept"), values, dies_at=2)
    path = tmp_path / "kept" / f"part1-{file}.npy"
    data = path.read_bytes()
    changed = bytes([*data[:-1], data[-1] ^ 1])
    path.write_bytes({"cut": data[:200], "changed": changed}[harm])
    folder = EditFolder.open(tmp_path / "kept")
    assert torch.equal(kept(folder, values).image, whole.image)
    assert bool(folder.notes) == (file != "stage1")  # which is not needed
    assert torch.equal(kept(EditFolder.open(tmp_path / "kept"), values).image, whole.image)


def test_a_full_disk_costs_what_is_kept_and_not_the_edit(tmp_path, monkeypatch):
    values = quick()
    whole = kept(None, values)
    folder = new(tmp_path / "kept")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("msbd.keeping.folder.write_array", full)
    assert torch.equal(kept(folder, values).image, whole.image)
    assert "No space left" in folder.problem
    monkeypatch.undo()
    assert torch.equal(kept(EditFolder.open(tmp_path / "kept"), values).image, whole.image)


def test_a_folder_that_disappears_costs_nothing_else(tmp_path):
    values = quick()
    folder = new(tmp_path / "kept")
    shutil.rmtree(tmp_path / "kept")
    folder.reads_only = True
    plan = plan_edit(Size(*PICTURE.shape[-2:]), ONE, values, small_spec())
    folder.begin(plan, values.feather)
    folder.reads_only = False
    with folder:
        done = edit(
            *(PICTURE, ONE, plan, values, PointwiseBackend(spec=small_spec()), Noise(3)),
            Callbacks(keeper=folder),
        )
    assert torch.equal(done.image, kept(None, values).image) and folder.problem


def test_only_an_empty_folder_is_written_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine.txt").write_text("mine")
    with pytest.raises(EditError, match="not empty"):
        new(tmp_path / "kept")
    (tmp_path / "file").write_text("")
    with pytest.raises(EditError, match="nothing can be kept"):
        new(tmp_path / "file")
    assert (tmp_path / "kept" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "nonsense", '{"format": 99}', '{"format": 1, "about": 3, "parts": []}']
)
def test_what_is_no_edit_is_refused(tmp_path, text):
    (tmp_path / FACTS).write_text(text)
    with pytest.raises(EditError):
        EditFolder.open(tmp_path)
    with pytest.raises(EditError, match="no edit is kept"):
        EditFolder.open(tmp_path / "elsewhere")


def test_files_are_whole_whenever_it_ends(tmp_path):
    """Every state of the folder on the way is one that can be gone on with."""
    values, states = quick(), []
    folder = new(tmp_path / "kept")
    save = folder.save

    def watched() -> None:
        save()
        copy = tmp_path / f"state{len(states)}"
        shutil.copytree(tmp_path / "kept", copy)
        states.append(copy)

    folder.save = watched
    whole = kept(folder, values)
    assert len(states) >= 4
    for state in random.Random(0).sample(states, 3):
        assert torch.equal(kept(EditFolder.open(state), values).image, whole.image)


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    with pytest.raises(RuntimeError), files.replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_large_edit_takes_half_a_gibibyte_at_most():
    """All that is kept of a mask of 3200x3200 in 24 megapixels, pictures for people at their worst:
    three bytes a pixel."""
    picture = Size(4000, 6000)
    mask = box_mask(picture, Box(400, 1400, 3600, 4600))
    for name in ("draft", "fast", "recommended"):
        values = preset(name)
        plan = plan_edit(picture, mask, values, ModelSpec())
        areas = [stage.size.area for stage in plan.stages]
        latents = 2 * values.candidates * 4 * areas[0] // 64
        pictures = 3 * (sum(areas[:-1]) + values.candidates * areas[0] + 2 * 1600**2)
        given = 2 * 4 * picture.area
        assert 12 * sum(areas) + 4 * latents + pictures + given < 2**29


def test_the_last_stage_is_there_once(tmp_path):
    done = kept(new(tmp_path / "kept"), quick())
    last = len(done.report.plan.stages)
    names = [path.name for path in (tmp_path / "kept").iterdir() if f"stage{last}" in path.name]
    assert names == [f"part1-stage{last}.npy"]
    facts = json.loads((tmp_path / "kept" / FACTS).read_text())
    assert [one["file"] for one in facts["parts"][0]["stages"]][-1] == names[0]
