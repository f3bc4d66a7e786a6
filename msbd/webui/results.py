"""What the user gets besides the picture: candidates, stages, sheet, and the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from modules import images
from PIL import Image
from torch import Tensor

from ..pictures.sheet import SheetRecorder
from ..plan import StagePlan
from ..report import Report
from ..standalone.pictures import to_pixels
from .fields import TITLE
from .options import SAVE, SHOW, option

_KINDS = {"candidate": "candidates", "result": "stages"}
"""Name of an intermediate picture -> the option that asks for it."""


@dataclass(frozen=True)
class Extra:
    """A further picture of an edit. kind: candidates, stages or sheet."""

    kind: str
    caption: str
    picture: Image.Image


@dataclass
class ExtraImages:
    """Collects one edit's further pictures, as the settings panel asks for them.

    file_format: in which they are saved; None if nothing is.
    """

    wanted: Mapping[str, str] = field(
        default_factory=lambda: {kind: option(kind) for kind in ("candidates", "stages", "sheet")}
    )
    file_format: str | None = None
    extras: list[Extra] = field(default_factory=list)
    sheet: SheetRecorder = field(default_factory=SheetRecorder)

    @property
    def looks(self) -> bool:
        """Whether anything is wanted at all."""
        return any(self._wants(kind) for kind in self.wanted)

    def picture(self, name: str, image: Tensor, stage: StagePlan, caption: str) -> None:
        """A `Watch.picture`."""
        if self._wants("sheet"):
            self.sheet.picture(name, image, stage, caption)
        kind = _KINDS.get(name)
        if kind and self._wants(kind):
            self.extras.append(Extra(kind, caption, picture_of(image)))

    def finish(self, title: str, before: Image.Image, after: Image.Image) -> None:
        """The edit is done: draw the sheet."""
        if self._wants("sheet"):
            self.extras.append(Extra("sheet", "sheet", self.sheet.render(title, before, after)))

    def _wants(self, kind: str) -> bool:
        return self.wanted[kind] in (SHOW, SAVE)

    def saves(self, extra: Extra) -> bool:
        return self.file_format is not None and self.wanted[extra.kind] == SAVE


@dataclass(frozen=True)
class EditResult:
    """One picture of a job. index: its place among all of the job's pictures."""

    index: int
    report: dict[str, Any]
    extras: ExtraImages


def picture_of(image: Tensor) -> Image.Image:
    """[1,3,H,W] in [0,1] -> 8-bit RGB."""
    return Image.fromarray(to_pixels(image))


def completed(processed: Any, p: Any, results: list[EditResult]) -> None:
    """Put further pictures, report and notes into the host's result, and save what shall be."""
    first = processed.index_of_first_image
    unnamed = len(processed.images) - len(processed.infotexts)  # the host's pictures of masks
    processed.infotexts += processed.infotexts[-1:] * unnamed
    for outcome in results:
        place = min(first + outcome.index, len(processed.infotexts) - 1)
        text = processed.infotexts[place]
        for number, extra in enumerate(outcome.extras.extras):
            info = f"{text}, MSBD picture: {extra.caption.replace(',', ' ')}"
            extra.picture.info["parameters"] = info
            processed.images.append(extra.picture)
            processed.infotexts.append(info)
            if outcome.extras.saves(extra):
                _save(extra, number, p, outcome, info)
    processed.comments += "".join(f"{line}\n" for o in results for line in _lines(o, results))
    reports = [outcome.report for outcome in results]
    plain = processed.js
    processed.js = lambda: json.dumps({**json.loads(plain()), "msbd": reports})


def _save(extra: Extra, number: int, p: Any, outcome: EditResult, info: str) -> None:
    images.save_image(
        extra.picture,
        p.outpath_samples,
        "",
        p.all_seeds[outcome.index],
        p.all_prompts[outcome.index],
        outcome.extras.file_format,
        info=info,
        p=p,
        suffix=f"-msbd-{extra.kind}-{number}",
    )


def _lines(outcome: EditResult, results: list[EditResult]) -> list[str]:
    """The report in a few words."""
    report = outcome.report
    if not report["stages"]:
        return [f"{_which(outcome, results)}{note}" for note in report["notes"]]
    facts = [
        f"{len(report['stages'])} of {len(report['plan']['stages'])} stages",
        f"{report['model_calls']} model calls",
        f"{report['seconds']:.1f} s",
        f"peak memory {report['peak_memory_bytes'] / 2**30:.1f} GiB",
        f"largest difference outside the mask {report['outside_max_difference']}",
    ]
    if report["seam"] is not None:
        facts.append(f"seam {report['seam']:.2f} (1 = none)")
    if report["scores"]:
        scores = ", ".join(f"{score:.3f}" for score in report["scores"])
        facts.append(f"candidate {report['chosen'] + 1} chosen by CLIP of {scores}")
    return [f"{_which(outcome, results)}{'; '.join(facts)}", *report["notes"]]


def _which(outcome: EditResult, results: list[EditResult]) -> str:
    return f"{TITLE}, picture {outcome.index + 1}: " if len(results) > 1 else f"{TITLE}: "


def described(report: Report, p: Any, notes: list[str]) -> dict[str, Any]:
    """A report as plain JSON values, with the host's own settings in place of the engine's."""
    facts = report.to_dict()
    for name in ("sampler", "guidance"):
        facts["settings"].pop(name)
    facts["host"] = {
        "sampler": p.sampler_name,
        "scheduler": getattr(p, "scheduler", None),
        "cfg_scale": p.cfg_scale,
    }
    facts["notes"] = [*notes, *report.notes]
    return facts
