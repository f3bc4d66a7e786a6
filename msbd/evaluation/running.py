"""Run methods on cases, in several processes; keep every outcome, so that runs can be resumed."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .cases import Case, all_cases, draw
from .methods import COMPARED, EXPERIMENTS, METHODS, MULTI_STAGE, Experiment, Method

if TYPE_CHECKING:
    from ..plan import EditPlan
    from ..standalone.model import StandaloneModel

QUICK = {"steps": 6, "resampling_steps": 1}
"""What a quick run changes in every method; its figures show only that everything works."""
QUICK_CASES, QUICK_CANDIDATES, QUICK_ITERATIONS, QUICK_CROP = 1, 2, 2, 256
MOST_WORKERS = 60
"""Windows waits for no more processes than that."""
Pixels = NDArray[np.uint8]
PAINTED = 2
"""To be raised when the same settings paint otherwise, or `examine_painting` measures otherwise:
what was recorded before is then made anew."""
MEASURED = 5
"""To be raised when `examine_picture` measures otherwise: recorded pictures are then looked at
again."""


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
        """What was recorded of just this edit, or None."""
        path = self.path(case, method)
        if not path.is_file() or not self.path(case, method, ".png").is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record if record.get("made_by") == recipe(case, method) else None

    def write(self, case: Case, method: Method, record: dict[str, Any]) -> None:
        """All or nothing, so that a run may be killed at any time."""
        path = self.path(case, method)
        made = path.with_suffix(f".{os.getpid()}")
        made.write_text(json.dumps(record), encoding="utf-8")
        made.replace(path)

    def write_picture(self, case: Case, method: Method, pixels: Pixels) -> None:
        path = self.path(case, method, ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}.png")
        Image.fromarray(pixels).save(made)
        made.replace(path)

    def picture(self, case: Case, method: Method) -> Pixels:
        with Image.open(self.path(case, method, ".png")) as image:
            return np.asarray(image)


def recipe(case: Case, method: Method) -> dict[str, Any]:
    """All that an edit depends on, as JSON values: a record of another recipe is of no use.

    Settings that have their defaults are left out, so that new ones make no record useless.
    """
    made = {
        "painted": PAINTED,
        "case": asdict(case),
        "settings": method.settings.changed(),
        "seed": method.seed,
        "paint": _named(method.paint),
    }
    return dict(json.loads(json.dumps(made)))


def _named(paint: Any) -> str:
    """A function's name, with the arguments that are bound to it."""
    if isinstance(paint, partial):
        bound = ", ".join(f"{name}={_named(value)}" for name, value in paint.keywords.items())
        return f"{paint.func.__name__}({bound})"
    return str(getattr(paint, "__name__", paint))


def chosen(only: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """The experiments of these names, or all of them."""
    return tuple(e for e in EXPERIMENTS if not only or e.name in only)


def quickened(method: Method) -> Method:
    """The same with hardly any steps."""
    settings = method.settings.flat()
    changes = {
        **method.changes,
        **QUICK,
        "resampling_steps": min(settings["resampling_steps"], QUICK["resampling_steps"]),
        "candidates": min(settings["candidates"], QUICK_CANDIDATES),
        "decoder_iterations": min(settings["decoder_iterations"], QUICK_ITERATIONS),
    }
    return replace(method, changes=changes)


def cases_of(experiment: Experiment, quick: bool = False) -> list[Case]:
    """The first cases that suit the experiment, as many as it wants."""
    low, high = experiment.crops
    if quick:
        high = min(high, max(low, QUICK_CROP))
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
        compared = [METHODS[name] for name in COMPARED.get(experiment.name, ())]
        methods = [*compared, *experiment.methods]
        for case in cases_of(experiment, quick):
            key = case.number, experiment.name if quick else ""
            wanted.setdefault(key, {}).update({m.name: m for m in methods})
    cases = all_cases()
    made = [Errand(cases[key[0]], tuple(methods.values())) for key, methods in wanted.items()]
    if quick:
        made = [replace(e, methods=tuple(map(quickened, e.methods))) for e in made]
    return sorted(made, key=lambda errand: (-len(errand.methods), errand.case.number))


def run(todo: Sequence[Errand], records: Records, workers: int, say: Callable[[str], None]) -> None:
    """Do all errands; what is in the records already is left alone.

    If the user interrupts, the edits under way are given up at once and the others not begun.
    """
    from ..standalone import models

    models.choose(MULTI_STAGE.settings)  # complains of missing weights here, not in a worker
    workers = min(workers, MOST_WORKERS)
    threads = max(1, (os.cpu_count() or 1) // workers)
    began, done = time.monotonic(), 0
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _prepare, (threads,))
    try:
        pending = [pool.submit(_work, errand, records) for errand in todo]
        for future in as_completed(pending):
            done += 1
            minutes = (time.monotonic() - began) / 60
            say(f"{done} of {len(todo)} cases, {minutes:.1f} minutes: {future.result()}")
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.terminate()
        raise
    pool.shutdown()


_model: StandaloneModel | None = None
"""The worker's own; loaded once in each process."""


def _prepare(threads: int) -> None:
    import torch

    from ..standalone import models

    global _model  # noqa: PLW0603 - a process pool has no other place for what its workers keep
    # Ctrl-C is for the parent: an edit that heard it would end early and look finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _model = models.load(models.choose(MULTI_STAGE.settings, device="cpu"))


def _work(errand: Errand, records: Records) -> str:
    """Paint and look at what has not been, look again at what has been by other measures."""
    case, looked = errand.case, 0
    found = {method.name: records.read(case, method) for method in errand.methods}
    missing = [method for method in errand.methods if found[method.name] is None]
    for method, record, pixels in _painted(case, missing):
        records.write_picture(case, method, pixels)
        found[method.name] = record
        looked += _look(case, method, record, records)
    for method in errand.methods:
        record = found[method.name]
        if method not in missing and record is not None:
            looked += _look(case, method, record, records)
    return f"{case.name}, {len(missing)} edits made, {looked} looked at"


def _look(case: Case, method: Method, record: dict[str, Any], records: Records) -> bool:
    """Measure a recorded picture, unless that has been done by the present measures."""
    from .examination import examine_picture

    if record.get("measured") == MEASURED:
        return False
    image, mask = draw(case)
    seen = examine_picture(case, image, mask, record, records.picture(case, method))
    records.write(case, method, {**record, **seen, "measured": MEASURED})
    return True


def _painted(case: Case, methods: Sequence[Method]) -> Iterator[tuple[Method, Any, Pixels]]:
    """Every method's record and picture of the crop."""
    from ..noise import Noise
    from ..standalone.pictures import Picture, to_pixels
    from .examination import examine_painting
    from .memory import PeakMemory
    from .painting import Task
    from .recalling import RecallingBackend, Spent

    if not methods:
        return
    assert _model is not None
    image, mask = draw(case)
    photograph = Picture(image).tensor()
    bound: dict[tuple[float, str], RecallingBackend] = {}
    for method in methods:
        settings = method.settings
        key = (settings.guidance, settings.ablation.sampler)
        if key not in bound or not method.recall:
            bound[key] = RecallingBackend(_model.bind(case.prompt, "", *key))
        backend = bound[key]
        backend.spent = Spent()
        noise = Noise(case.seed + method.seed)
        memory, began = PeakMemory(), time.process_time()
        painting = method.paint(Task(photograph, mask, settings, backend, noise))
        spent, grown = backend.spent, memory.grown()
        seconds = time.process_time() - began + spent.recalled_seconds
        if painting.report.interrupted:
            raise RuntimeError(f"{method.name} on {case.name}: {painting.report.notes}")
        record = {
            "made_by": recipe(case, method),
            **examine_painting(case, photograph, painting),
            "evaluations": round(spent.evaluations, 2),
            "seconds": round(seconds, 2),
            # What is recalled takes no memory, so it says nothing of what computing it takes.
            "memory": None if spent.recalled_seconds else grown,
            "machine": machine(),
        }
        yield method, record, to_pixels(painting.result)


def machine() -> str:
    """Cores, processor and PyTorch, for people."""
    import torch

    return f"{os.cpu_count()} cores of {_processor()}, torch {torch.__version__}"


def _processor() -> str:
    """The processor's own name, where Linux tells it."""
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def plan_of(case: Case, method: Method) -> EditPlan:
    """The plan of an edit, made without loading the model."""
    from ..planning import plan_edit
    from ..standalone import models

    facts = models.spec(models.choose(method.settings), method.settings)
    return plan_edit(case.size, draw(case)[1], method.settings, facts)
