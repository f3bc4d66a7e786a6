"""Run methods on cases, in several processes; keep every outcome, so that runs can be resumed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cases import Case, all_cases, draw
from .methods import EXPERIMENTS, MULTI_STAGE, Experiment, Method

if TYPE_CHECKING:
    from ..plan import EditPlan
    from ..standalone.model import StandaloneModel

QUICK = {"steps": 6, "repaint_repeats": 1}
"""What a quick run changes in every method; its figures show only that everything works."""
QUICK_CASES, QUICK_CANDIDATES, QUICK_ITERATIONS, QUICK_CROP = 2, 2, 2, 384


@dataclass(frozen=True)
class Errand:
    """All methods to be run on one case, together, since they share much."""

    case: Case
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class Records:
    """The outcomes kept in a folder: one JSON file and one picture for each case and method."""

    folder: Path

    def path(self, case: Case, method: Method, suffix: str = ".json") -> Path:
        return self.folder / case.name / f"{method.name}{suffix}"

    def read(self, case: Case, method: Method) -> dict[str, Any] | None:
        """What was measured, or None if that has not been done with these very settings."""
        path = self.path(case, method)
        if not path.is_file():
            return None
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if record["settings"] == method.settings.flat() else None

    def write(self, case: Case, method: Method, record: dict[str, Any]) -> None:
        """All or nothing, so that a run may be killed at any time."""
        path = self.path(case, method)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(record), encoding="utf-8")
        partial.replace(path)


def chosen(only: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """The experiments of these names, or all of them."""
    return tuple(e for e in EXPERIMENTS if not only or e.name in only)


def quickened(method: Method) -> Method:
    """The same with hardly any steps."""
    settings = method.settings.flat()
    changes = {
        **method.changes,
        **QUICK,
        "repaint_repeats": min(settings["repaint_repeats"], QUICK["repaint_repeats"]),
        "candidates": min(settings["candidates"], QUICK_CANDIDATES),
        "decoder_iterations": min(settings["decoder_iterations"], QUICK_ITERATIONS),
    }
    return replace(method, changes=changes)


def cases_of(experiment: Experiment, quick: bool = False) -> list[Case]:
    """The first cases that suit the experiment, as many as it wants."""
    low, high = experiment.crops
    if quick:
        high = max(low, QUICK_CROP)
    fitting = [
        case
        for case in all_cases()
        if (case.asks_for_object or not experiment.objects) and low <= case.unit <= high
    ]
    return fitting[: QUICK_CASES if quick else experiment.cases]


def errands(experiments: Sequence[Experiment], quick: bool = False) -> list[Errand]:
    """What there is to do, the most work first, so that the processes end together.

    A full run does everything of a case in one go, for the sake of what the methods share; a quick
    one, in which they share little, goes by experiments.
    """
    wanted: dict[tuple[int, str], dict[str, Method]] = {}
    for experiment in experiments:
        methods = [MULTI_STAGE, *experiment.methods]
        for case in cases_of(experiment, quick):
            key = case.number, experiment.name if quick else ""
            wanted.setdefault(key, {}).update({m.name: m for m in methods})
    cases = all_cases()
    made = [Errand(cases[key[0]], tuple(methods.values())) for key, methods in wanted.items()]
    if quick:
        made = [replace(e, methods=tuple(map(quickened, e.methods))) for e in made]
    return sorted(made, key=lambda errand: (-len(errand.methods), errand.case.number))


def run(todo: Sequence[Errand], records: Records, workers: int, say: Callable[[str], None]) -> None:
    """Do all errands; what is in the records already is left alone."""
    context = get_context("spawn")
    began, done = time.monotonic(), 0
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, context, _prepare, (threads,)) as pool:
        pending = [pool.submit(_work, errand, records) for errand in todo]
        for future in as_completed(pending):
            done += 1
            minutes = (time.monotonic() - began) / 60
            say(f"{done} of {len(todo)} cases, {minutes:.1f} minutes: {future.result()}")


_model: StandaloneModel | None = None
"""The worker's own; loaded once in each process."""


def _prepare(threads: int) -> None:
    import torch

    from ..settings import EditSettings
    from ..standalone import models

    global _model  # noqa: PLW0603 - a process pool has no other place for what its workers keep
    torch.set_num_threads(threads)
    _model = models.load(models.choose(EditSettings(), device="cpu"))


def _work(errand: Errand, records: Records) -> str:
    missing = [m for m in errand.methods if records.read(errand.case, m) is None]
    if missing:
        records.path(errand.case, missing[0]).parent.mkdir(parents=True, exist_ok=True)
        for method, record, pixels in _outcomes(errand.case, missing):
            _picture(pixels).save(records.path(errand.case, method, ".png"))
            records.write(errand.case, method, record)
    return f"{errand.case.name}, {len(missing)} of {len(errand.methods)} methods"


def _picture(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _outcomes(case: Case, methods: Sequence[Method]) -> Iterator[tuple[Method, Any, Any]]:
    """Every method's record and picture of the crop."""
    import torch

    from ..noise import Noise
    from ..standalone.pictures import to_pixels
    from .examination import examine
    from .memory import PeakMemory
    from .painting import Task
    from .recalling import RecallingBackend, Spent

    assert _model is not None
    image, mask = draw(case)
    photograph = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    bound: dict[tuple[float, str], RecallingBackend] = {}
    for method in methods:
        settings = method.settings
        key = (settings.guidance.guidance, settings.guidance.sampler)
        if key not in bound:
            bound[key] = RecallingBackend(_model.bind(case.prompt, "", *key))
        backend = bound[key]
        backend.spent = Spent()
        noise = Noise(case.seed + method.seed)
        memory, began = PeakMemory(), time.process_time()
        painting = method.paint(Task(photograph, mask, settings, backend, noise))
        seconds = time.process_time() - began + backend.spent.recalled_seconds
        record = {
            "settings": settings.flat(),
            **examine(case, photograph, painting),
            "evaluations": round(backend.spent.evaluations, 2),
            "seconds": round(seconds, 2),
            "memory": memory.grown(),
        }
        yield method, record, to_pixels(painting.result)


def plan_of(case: Case, method: Method) -> EditPlan:
    """The plan of an edit, made without loading the model."""
    from ..plan import plan_edit
    from ..standalone import models

    facts = models.facts(models.choose(method.settings), method.settings)
    return plan_edit(case.size, draw(case)[1], method.settings, facts)
