"""Run methods on cases, in several processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, Any

from .cases import Case, draw
from .errands import Errand
from .methods import MULTI_STAGE, Method
from .records import MEASURED, Pixels, Records, recipe

if TYPE_CHECKING:
    from ..standalone.model import StandaloneModel

MOST_WORKERS = 60
"""Windows waits for no more processes than that."""


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
    from .measuring import examine_picture

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
    from .measuring import examine_painting
    from .memory import PeakMemory
    from .prediction_cache import RecallingBackend, Spent
    from .ways import Task

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

    from ..check.environment import processor

    return f"{os.cpu_count()} cores of {processor()}, torch {torch.__version__}"
