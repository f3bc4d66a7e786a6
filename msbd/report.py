"""What was done, for people and programs, and what is kept of it to go on from."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from . import __version__
from .geometry import bands
from .plan import EditPlan, StagePlan
from .seam import Seam
from .settings import EditSettings


@dataclass
class StageReport:
    """What one stage did. seconds: in all; fitting_seconds: of them, optimising the decoder;
    decoding_seconds: decoding the result."""

    name: str
    size: str
    seconds: float = 0.0
    fitting_seconds: float = 0.0
    decoding_seconds: float = 0.0
    model_calls: int = 0
    decoder_loss: tuple[float, float] | None = None
    part: int = 0


@dataclass
class PartReport:
    """What became of a part of the mask. scores: of its candidates. chosen: the number of the one
    that went on, counted from 0. seam: how well its edge can be seen, None without one.
    texture: added at the end, in 8-bit levels by octave, finest first; None where none was, or too
    little was decoded round the edit to see any."""

    seed: int
    scores: list[float] | None = None
    chosen: int = 0
    seam: Seam | None = None
    texture: list[float] | None = None


@dataclass
class Report:
    """The whole edit. parts: those that were begun. outside_max_difference: in 8-bit levels.
    as_planned: whether nothing was done again, or left out, for lack of memory."""

    plan: EditPlan
    settings: EditSettings
    seed: int
    parts: list[PartReport] = field(default_factory=list)
    stages: list[StageReport] = field(default_factory=list)
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    outside_max_difference: int = 0
    interrupted: bool = False
    as_planned: bool = True
    notes: list[str] = field(default_factory=list)

    @property
    def model_calls(self) -> int:
        return sum(stage.model_calls for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "version": __version__,
            **vars(self),
            "settings": self.settings.flat(),
            "plan": self.plan.to_dict(),
            "parts": [asdict(part) for part in self.parts],
            "stages": [vars(stage) for stage in self.stages],
            "model_calls": self.model_calls,
        }


@dataclass(frozen=True)
class Candidates:
    """Some of a part's candidates when one of them is chosen. first: the number of the first, from
    0. z: their samples then, [n,4,h,w]. shown: their latents as they will look, like z. chosen: the
    place of the one that goes on, None before that."""

    first: int
    z: Tensor
    shown: Tensor
    scores: list[float] | None = None
    chosen: int | None = None

    def after(self, others: Candidates | None) -> Candidates:
        """These, not yet ranked, and others before them."""
        if others is None:
            return self
        z = torch.cat([others.z.to(self.z), self.z])
        return Candidates(others.first, z, torch.cat([others.shown.to(self.z), self.shown]))

    @property
    def number(self) -> int:
        """Of the one that goes on, among all."""
        return self.first + (self.chosen or 0)

    @property
    def one(self) -> Tensor:
        """Its sample [1,4,h,w]."""
        return self.z[self.number - self.first, None]


class Keeper:
    """Where an edit finds its earlier work, and keeps its present; here nothing, nowhere.

    What it returns is as it was kept, bit for bit. It raises nothing: what cannot be read is not
    there, and what cannot be kept is lost. wants_candidates: whether it keeps them. finishes:
    whether all candidates are to be finished before one is chosen, for the user to see. pauses:
    whether a part's edit ends when its candidates are there.
    """

    wants_candidates = finishes = pauses = False

    def stages(self, part: int) -> Sequence[StageReport]:
        """Of the part's first stages, which are there already."""
        return ()

    def result(self, part: int) -> Tensor:
        """The last of these, [1,3,size] in [0,1]."""
        raise LookupError(part)

    def candidates(self, part: int) -> Candidates | None:
        """Those that are there."""
        return None

    def keep_candidates(self, part: int, made: Candidates, pictures: Tensor) -> None:
        """Keep a part's candidates, of which one was chosen. pictures: [n,3,size] in [0,1]."""

    def keep(self, stage: StagePlan, result: Tensor, done: StageReport) -> None:
        """Keep a finished stage, [1,3,size]."""


def stopwatch(device: torch.device) -> Callable[[], float]:
    """Tells the seconds since it was made, the device's work included."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    start = now()
    return lambda: round(now() - start, 3)


def peak_memory(device: torch.device) -> int:
    """Bytes: the GPU's peak since its statistics were reset, else the process's so far.

    0 on Windows, where the process is not asked.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def outside_difference(result: Tensor, image: Tensor, changed: Tensor) -> int:
    """Largest difference in 8-bit levels where `changed` [1,1,H,W] is 0; images in [0,1]."""
    most = 0
    for rows in bands(image.shape[-2]):
        one, other, part = (tensor[..., rows, :] for tensor in (result, image, changed))
        different = (one != other) & (part == 0).expand_as(one)
        if different.any():
            levels = ((one * 255).round() - (other * 255).round()).abs()
            most = max(most, int(levels[different].max()))
    return most
