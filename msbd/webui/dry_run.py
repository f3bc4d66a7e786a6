"""The dry run: what an edit would do, drawn and in words, before it is done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import Image

from .. import cost
from ..pictures.drawing import draw_plan
from ..pictures.summary import few_pixels, headline, steps
from ..plan import EditPlan
from ..planning import plan_edit
from ..settings import EditSettings
from . import downloads
from .conflicts import conflicts, of_other_scripts, of_repaint
from .estimate import loaded
from .hosts.checkpoint import model_spec
from .hosts.clip import clip_source
from .hosts.upscaling import HostUpscaler, load_upscaler
from .inputs import Inputs
from .limit import GIB, limited
from .options import stored_in_words


@dataclass(frozen=True)
class DryRun:
    """What `count` edits of the same kind would be.

    inputs: the first one's. settings: as the edit would use them, after the memory limit.
    seconds: of all of them together. memory: bytes, the checkpoint's among them, by kind of work;
    on a GPU only what lies there. notes: what the user should know, in plain words.
    """

    inputs: Inputs
    settings: EditSettings
    plan: EditPlan
    count: int
    seconds: float
    memory: dict[str, int]
    notes: list[str]

    @cached_property
    def picture(self) -> Image.Image:
        """The plan drawn over the picture."""
        return draw_plan(self.inputs.pictures[0], self.plan, self.inputs.mask)

    @property
    def headline(self) -> str:
        """A sentence for people."""
        return headline(self.plan, self.inputs.mask)

    @property
    def lines(self) -> list[str]:
        """What follows it: the stages, time and memory."""
        many = f" for all {self.count} pictures" if self.count > 1 else ""
        memory = f"{max(self.memory.values()) / GIB:.1f} GiB of memory"
        return [*steps(self.plan), f"About {in_words(self.seconds)}{many}, {memory}"]

    def text(self) -> str:
        """All of it, and the notes."""
        return "\n".join([self.headline, *self.lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """The plan and the rest as plain JSON values, without the drawing."""
        settings = self.settings.flat()
        for name in ("sampler", "guidance"):
            settings.pop(name)  # the host's own, and of no consequence for the plan
        return self.plan.to_dict() | {
            "settings": settings,
            "count": self.count,
            "estimate": {
                "seconds": self.seconds,
                "memory_bytes": max(self.memory.values()),
                "memory_bytes_by_work": self.memory,
            },
            "notes": self.notes,
            "headline": self.headline,
            "text": self.text(),
        }


def dry_run(inputs: Inputs, wanted: EditSettings, *, sampler_name: str, count: int) -> DryRun:
    """Plan an edit of `inputs` as `run` would, and estimate what it takes.

    wanted: see `with_the_hosts`. count: pictures in all. No network is run for it. Raises
    `EditError`.
    """
    upscaler = load_upscaler(wanted.upscaler)
    spec = model_spec(sampler_name, upscaler.factor)
    fetched = [*downloads.of_upscaler(upscaler), *downloads.of_clip(clip_source(), wanted)]
    settings, plan, lowered = limited(
        wanted, lambda some: plan_edit(inputs.size, inputs.mask, some, spec)
    )
    if len(plan.stages) > 1 and isinstance(upscaler, HostUpscaler):
        upscaler.ensure_tiles_advance()
    repaint = of_repaint(sampler_name) if settings.resampling_steps else None
    notes = [
        *few_pixels(plan, inputs.mask),
        *inputs.notes,
        *stored_in_words(),
        *conflicts(sampler_name, inputs),
        *of_other_scripts(),
        *([repaint] if repaint else []),
        *lowered,
        *fetched,
    ]
    model = loaded(plan, settings)
    seconds, memory = round(count * cost.seconds(plan, model), 1), cost.memory(plan, model)
    return DryRun(inputs, settings, plan, count, seconds, memory, notes)


def in_words(seconds: float) -> str:
    """A rough duration: seconds below two minutes, minutes below two hours."""
    for unit, length in (("s", 1), ("min", 60)):
        if seconds < 120 * length:
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{seconds / 3600:.1f} h"
