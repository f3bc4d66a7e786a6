"""Whole edits, each in a process of its own, so that one's memory is not another's."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import torch

from ..backend import Backend
from ..check.timed import TimedBackend
from ..evaluation.memory import PeakMemory
from ..noise import Noise
from ..pipeline import edit
from ..planning import plan_edit
from ..report import stopwatch
from ..settings import EditSettings
from ..standalone.model import StandaloneModel
from ..standalone.pictures import Picture
from .setups import PROMPT, Setup

SEED = 11
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """One edit to be measured. gpu: with random weights of Stable Diffusion 1's size, on CUDA."""

    what: Setup
    settings: EditSettings
    gpu: bool = False
    repeats: int = 1


def alone(work: Callable[..., T], threads: int, *arguments: Any) -> T:
    """What `work(*arguments)` gives in a process of its own, with so many threads."""
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        return pool.submit(work, *arguments).result()


def measured(run: Run, threads: int) -> dict[str, Any]:
    """Seconds by part, evaluations and memory of an edit; of several, the quickest."""
    return alone(_measured, threads, run)


def load(gpu: bool) -> StandaloneModel:
    """The embedded miniature on the CPU, or the stand-in for Stable Diffusion 1 on CUDA."""
    if gpu:
        from .random_model import random_stable_diffusion

        return random_stable_diffusion(torch.device("cuda"), torch.float16)
    from ..standalone import models

    return models.load(models.choose(EditSettings(), device="cpu"))


class Model(Protocol):
    """What can be bound to a prompt."""

    def bind(self, prompt: str, negative: str, guidance: float, sampler: str) -> Backend: ...


def bound(model: Model, settings: EditSettings) -> TimedBackend:
    return TimedBackend(model.bind(PROMPT, "", settings.guidance, settings.ablation.sampler))


def _measured(run: Run) -> dict[str, Any]:
    model = load(run.gpu)
    runs = [once(run, model) for _ in range(run.repeats)]
    return min(runs, key=lambda one: float(one["seconds"]["all"]))


def once(run: Run, model: Model) -> dict[str, Any]:
    """Seconds by part, evaluations and memory of one edit, in this process."""
    image, mask = Picture(run.what.picture()).tensor(), run.what.mask()
    backend = bound(model, run.settings)
    loaded = 0
    if run.gpu:
        torch.cuda.reset_peak_memory_stats()
        loaded = torch.cuda.memory_allocated()
    memory, clock = PeakMemory(), stopwatch(backend.device)
    plan = plan_edit(run.what.image, mask, run.settings, backend.spec)
    done = edit(image, mask, plan, run.settings, backend, Noise(SEED))
    seconds = backend.parts(done.report.stages, clock())
    peak = torch.cuda.max_memory_allocated() - loaded if run.gpu else memory.grown()
    if done.report.interrupted:
        raise RuntimeError(f"{run.what}: {done.report.notes}")
    return {
        "image": str(run.what.image),
        "side": run.what.side,
        "crop": str(plan.crop.size),
        "evaluations": round(done.report.plan.network_evaluations, 1),
        "seconds": seconds,
        "outside": round(seconds["other"] / seconds["all"], 4),
        "loaded": loaded,
        "memory": peak,
        "notes": done.report.notes,
    }
