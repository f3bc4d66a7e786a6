"""The edit folder: `edit.json`, the pictures that were given, and what each stage made."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import EditError
from ..plan import EditPlan, StagePlan
from ..report import Candidates, Keeper, StageReport
from ..setting import BEST
from .files import read_array, replacing, write_array, write_json
from .writer import Writer

FACTS = "edit.json"
FORMAT = 1
_OF_THE_CHOICE = ("candidates", "first_candidate", "batch")
"""What may differ in the plan of a stage that made the same picture."""


class EditFolder(Keeper):
    """The work of one edit in a folder, as a `Keeper` of it.

    facts: what `edit.json` says: "about", what whoever made the folder must know; and for each part
    of the mask its "candidates" and finished "stages", with plans, reports, and files with their
    digests. redo_from: the stage, from 1, from which on what is there is to be done again.
    wants_more: whether more candidates are painted than are there, to choose from all of them.
    reads_only: whether what comes is not kept. goes_on: whether there was something to go on from
    when the edit began. notes: what was found damaged.

    Used in a `with` while the edit runs; what it finishes is written beside it.
    """

    wants_candidates = True

    def __init__(self, path: Path, facts: dict[str, Any]) -> None:
        self.path, self.facts = path, facts
        self.pauses = self.finishes = self.reads_only = self.wants_more = False
        self.goes_on = False
        self.redo_from: int | None = None
        self.notes: list[str] = []
        self._writer = Writer()
        self._found: dict[int, Tensor | None] = {}

    @classmethod
    def create(cls, path: Path, about: dict[str, Any]) -> EditFolder:
        """A new one. Raises `EditError` if there is something, or nothing can be made there."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise EditError(f"{path} is not empty: name a new folder to keep the edit in")
            folder = cls(path, {"format": FORMAT, "about": about, "parts": []})
            folder.save()
        except OSError as error:
            raise EditError(f"nothing can be kept in {path}: {error.strerror or error}") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> EditFolder:
        """Raises `EditError` if no edit is kept there."""
        try:
            facts = json.loads((path / FACTS).read_text(encoding="utf-8"))
            if facts["format"] != FORMAT:
                raise EditError(f"the edit in {path} was kept by another version of msbd")
            assert isinstance(facts["about"], dict) and isinstance(facts["parts"], list)
            return cls(path, facts)
        except OSError as error:
            why = error.strerror or error
            raise EditError(f"no edit is kept in {path}: {FACTS}: {why}") from None
        except (ValueError, KeyError, TypeError, AssertionError) as error:
            if isinstance(error, EditError):
                raise
            raise EditError(f"{path / FACTS} is damaged: begin the edit anew") from None

    def copied(self, path: Path) -> EditFolder:
        """A new folder with the same work; its files are those of this one where disks allow."""
        folder = EditFolder.create(path, self.about)
        for file in self.path.iterdir():
            if file.name != FACTS and file.is_file():
                try:
                    os.link(file, path / file.name)
                except OSError:
                    shutil.copyfile(file, path / file.name)
        folder.facts = copy.deepcopy(self.facts)
        folder.save()
        return folder

    @property
    def about(self) -> dict[str, Any]:
        """What whoever made the folder must know of the edit."""
        about: dict[str, Any] = self.facts["about"]
        return about

    @property
    def problem(self) -> str | None:
        """Why something could not be kept."""
        return self._writer.problem

    def add(self, name: str, original: Path) -> str:
        """Keep a file that was given, under a name with its own ending; the name."""
        kept = f"{name}{original.suffix.lower()}"
        with replacing(self.path / kept) as temporary:
            shutil.copyfile(original, temporary)
        return kept

    def add_picture(self, name: str, picture: Image.Image) -> None:
        """Keep a picture for people, beside the work."""
        self._later(partial(self.write_picture, name, picture))

    def write_picture(self, name: str, picture: Image.Image) -> None:
        """The same, at once. Raises `OSError`."""
        with replacing(self.path / name) as temporary:
            picture.save(temporary, format="PNG", compress_level=1)

    def save(self) -> None:
        """Write `edit.json`."""
        write_json(self.path / FACTS, self.facts)

    def drop(self, part: int, stage: int) -> None:
        """Forget a part's stages from this one on, counted from 0."""
        if part < len(self.facts["parts"]):
            del self.facts["parts"][part]["stages"][stage:]

    def drop_candidates(self, part: int) -> None:
        """Forget all of a part."""
        if part < len(self.facts["parts"]):
            self.facts["parts"][part] = {"candidates": None, "stages": []}

    def choose(self, part: int, number: int) -> None:
        """Let the candidate of this number, from 1, go on in a part, if another one did."""
        made = self.made(part)
        if made is None or made["first"] + made["chosen"] == number - 1:
            return
        self.drop(part, 0)
        place = number - 1 - made["first"]
        if 0 <= place < made["count"]:
            made["chosen"] = place
        else:  # it is painted alone
            self.drop_candidates(part)

    def made(self, part: int) -> dict[str, Any] | None:
        """What is known of a part's candidates."""
        if part >= len(self.facts["parts"]):
            return None
        made: dict[str, Any] | None = self.facts["parts"][part]["candidates"]
        return made

    @property
    def parts(self) -> int:
        """How many the mask has, as far as it is known."""
        return len(self.facts["parts"])

    @property
    def numbers(self) -> str:
        """The candidates that go on, where they are others than the best; see `setting.NUMBERS`."""
        chosen = {}
        for part in range(self.parts):
            made = self.made(part)
            if made is None:
                continue
            if made["first"] or made["chosen"] != best_of(made):
                chosen[part + 1] = made["first"] + made["chosen"] + 1
        if self.parts == 1:
            return str(chosen.get(1, BEST))
        return ",".join(f"{part}:{number}" for part, number in chosen.items()) or BEST

    def finished_stages(self, part: int) -> list[dict[str, Any]]:
        """The reports of a part's stages that are there."""
        kept = self.facts["parts"][part]["stages"] if part < self.parts else []
        return [one["report"] for one in kept]

    def described(self) -> dict[str, Any]:
        """What is there, as plain JSON values without names of files."""
        parts = []
        for number in range(self.parts):
            made, told = self.made(number), None
            if made is not None:
                scores = made["scores"] or [None] * made["count"]
                told = {
                    "numbers": [made["first"] + 1 + index for index in range(made["count"])],
                    "scores": scores,
                    "chosen": made["first"] + made["chosen"] + 1,
                    "finished": made["finished"],
                }
            parts.append({"candidates": told, "stages": self.finished_stages(number)})
        return {"parts": parts, "finished": "report" in self.facts, "bytes": self.bytes}

    @property
    def bytes(self) -> int:
        """What all its files take."""
        return sum(file.stat().st_size for file in self.path.iterdir() if file.is_file())

    def begin(self, plan: EditPlan, feather: int) -> list[str]:
        """Make ready for an edit of this plan; what of the earlier work it cannot use, in words.

        What sees a part of the mask that is not finished is forgotten, as it is to change. Raises
        `EditError` for stages to be done again that do not follow what is there.
        """
        parts = self.facts["parts"]
        del parts[len(plan.parts) :]
        while len(parts) < len(plan.parts):
            parts.append({"candidates": None, "stages": []})
        notes = self._without_others(plan) if self.redo_from is None else self._without_last(plan)
        if self.wants_more:
            self._ready_for_more(plan)
        for part in plan.parts:
            before = plan.parts[: part.number]
            changing = (
                one for one in before if len(self.finished_stages(one.number)) < len(one.stages)
            )
            if any(part.sees(other, feather) for other in changing):
                self.drop_candidates(part.number)
        self.goes_on = any(part["stages"] or part["candidates"] for part in parts)
        if any(len(self.finished_stages(one.number)) < len(one.stages) for one in plan.parts):
            self.facts.pop("report", None)
        self._plan, self._earlier, self._found = plan, copy.deepcopy(parts), {}
        if not self.reads_only:
            self.save()
        return notes

    def _without_others(self, plan: EditPlan) -> list[str]:
        """Forget stages that this plan would make otherwise; which, in words."""
        notes = []
        for part, kept in zip(plan.parts, self.facts["parts"], strict=True):
            stages = [_plain(asdict(stage)) for stage in part.stages]
            pairs = zip(kept["stages"], stages, strict=False)
            good = [*(_same(one["plan"], stage) for one, stage in pairs), False].index(False)
            if good < len(kept["stages"]):
                notes.append(f"stage {good + 1} would be made otherwise now: it is done again")
                self.drop(part.number, good)
            if kept["candidates"] and not _same(kept["candidates"]["plan"], stages[0]):
                notes.append("candidates would be made otherwise now: they are painted again")
                self.drop_candidates(part.number)
        return notes

    def _ready_for_more(self, plan: EditPlan) -> None:
        """Forget what was made of a candidate, as others are to join it."""
        for part in plan.parts:
            self.drop(part.number, 0)
            made, run = self.made(part.number), part.stages[0].schedule
            if made is None:
                continue
            if made["first"] != run.first_candidate:
                self.drop_candidates(part.number)
            elif made["count"] >= run.candidates:
                raise EditError(
                    f"there are {made['count']} candidates already: raise Candidates for more"
                )

    def _without_last(self, plan: EditPlan) -> list[str]:
        """Forget the stages that are to be done again."""
        assert self.redo_from is not None
        index = self.redo_from - 1
        most = max(len(part.stages) for part in plan.parts)
        if not 0 <= index < most:
            raise EditError(f"the edit has stages 1 to {most}, not {self.redo_from}")
        for part, kept in zip(plan.parts, self.facts["parts"], strict=True):
            there = kept["stages"]
            if len(there) < min(index, len(part.stages)):
                raise EditError(
                    f"stage {len(there) + 1} was never finished: go on from there with `continue`"
                )
            for one, stage in zip(there[:index], part.stages, strict=False):
                planned = _plain(asdict(stage))
                if any(one["plan"][name] != planned[name] for name in ("box", "size")):
                    number = stage.index + 1
                    raise EditError(
                        f"with these settings stage {number} has another size: redo from {number}, "
                        "or leave margin, tile_size and the mask's shape as they were"
                    )
                one["plan"] = planned
            self.drop(part.number, index)
            if not index:
                self.drop_candidates(part.number)
            elif kept["candidates"]:
                kept["candidates"]["plan"] = _plain(asdict(part.stages[0]))
        return []

    def finish(self, report: dict[str, Any]) -> None:
        """Keep what is said of the whole edit, if that is finished."""
        unfinished = self.pauses or report["interrupted"]
        if not (unfinished or self.reads_only or self.problem):
            self.facts["report"] = report
            with suppress(OSError):
                self.save()

    def __enter__(self) -> EditFolder:
        self._writer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.end()

    def stages(self, part: int) -> Sequence[StageReport]:
        kept = self._earlier[part]["stages"]
        while kept and part not in self._found:
            last = kept[-1]
            values = read_array(self.path / last["file"], last["digest"])
            if values is None:
                self.notes.append(f"{last['file']} is damaged or gone: that stage is done again")
                kept.pop()
            else:
                self._found[part] = torch.from_numpy(values)
        return [StageReport(**one["report"]) for one in kept]

    def result(self, part: int) -> Tensor:
        found, self._found[part] = self._found[part], None
        assert found is not None
        return found

    def candidates(self, part: int) -> Candidates | None:
        made = self._earlier[part]["candidates"]
        values = read_array(self.path / made["file"], made["digest"]) if made else None
        if values is None:
            if made:
                self.notes.append(f"{made['file']} is damaged or gone: it is made again")
            self._earlier[part]["candidates"] = None
            return None
        z, shown = torch.from_numpy(values)
        chosen = None if self.wants_more else made["chosen"]
        return Candidates(made["first"], z, shown, made["scores"], chosen)

    def keep_candidates(self, part: int, made: Candidates, pictures: Tensor) -> None:
        values = torch.stack([made.z, made.shown]).cpu()
        self._later(partial(self._keep_candidates, part, made, values, pictures))

    def keep(self, stage: StagePlan, result: Tensor, done: StageReport) -> None:
        self._later(partial(self._keep_stage, stage, result.detach().cpu(), asdict(done)))

    def _later(self, task: Any) -> None:
        if not self.reads_only:
            self._writer.later(task)

    def _keep_candidates(
        self, part: int, made: Candidates, values: Tensor, pictures: Tensor
    ) -> None:
        name = f"part{part + 1}-candidates.npy"
        first = self._plan.parts[part].stages[0]
        numbers = range(made.first + 1, made.first + 1 + len(pictures))
        files = [f"part{part + 1}-candidate{number}.png" for number in numbers]
        for file, picture in zip(files, pictures, strict=True):
            self._keep_picture(file, picture)
        self.facts["parts"][part]["candidates"] = {
            "file": name,
            "digest": write_array(self.path / name, values.numpy()),
            "pictures": files,
            "finished": self.finishes or not first.schedule.choose_at,
            "first": made.first,
            "count": len(made.z),
            "scores": made.scores,
            "chosen": made.chosen,
            "plan": _plain(asdict(first)),
        }
        self.save()

    def _keep_stage(self, stage: StagePlan, result: Tensor, report: dict[str, Any]) -> None:
        name, planned = f"part{stage.part + 1}-stage{stage.index + 1}", self._plan.parts[stage.part]
        digest = write_array(self.path / f"{name}.npy", result.numpy())
        if stage.index < len(planned.stages) - 1:
            self._keep_picture(f"{name}.png", result[0])
        stages = self.facts["parts"][stage.part]["stages"]
        del stages[stage.index :]
        stages.append(
            {
                "file": f"{name}.npy",
                "digest": digest,
                "report": report,
                "plan": _plain(asdict(planned.stages[stage.index])),
            }
        )
        self.save()

    def _keep_picture(self, name: str, picture: Tensor) -> None:
        """[3,H,W] in [0,1], for people."""
        pixels = (picture * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        self.write_picture(name, Image.fromarray(pixels))


def best_of(made: dict[str, Any]) -> int:
    """The place of the candidate with the highest score; the first without scores."""
    scores: list[float] = made["scores"] or [0.0]
    return scores.index(max(scores))


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two stages' plans make the same picture, whichever candidate it is of."""

    def told(stage: dict[str, Any]) -> dict[str, Any]:
        flat = {**stage, **stage["schedule"]}
        return {name: flat[name] for name in flat if name not in ("schedule", *_OF_THE_CHOICE)}

    return told(one) == told(other)
