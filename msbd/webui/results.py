"""What the user gets besides the picture: candidates, stages, sheet, and the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from modules import images, shared
from PIL import Image
from torch import Tensor

from ..geometry import Box
from ..masks import Mask
from ..pictures.sheet import SheetRecorder
from ..pictures.summary import MOST_PARTS
from ..plan import StagePlan
from ..report import Report
from ..setting import BEST
from .dry_run import in_words
from .options import NO, SAVE, SHOW, option
from .previews import Placed, picture_of

_SIDE = 2048
"""The longest side of candidates and stages: several as large as the picture would be too many."""
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
    """Collects one edit's further pictures, as the user asks for them.

    source, mask: the user's picture, and what of it is painted. wanted: what is done with which
    kind. several_parts: whether the mask has. file_format: in which they are saved; None if
    nothing is.
    """

    source: Image.Image
    mask: Mask
    wanted: Mapping[str, str]
    file_format: str | None = None
    several_parts: bool = False
    extras: list[Extra] = field(default_factory=list)
    sheet: SheetRecorder = field(default_factory=SheetRecorder)

    @property
    def names(self) -> frozenset[str] | None:
        """The intermediate pictures that are wanted; None for all of them."""
        if self._wants("sheet"):
            return None
        return frozenset(name for name, kind in _KINDS.items() if self._wants(kind))

    def picture(self, name: str, image: Tensor, stage: StagePlan, caption: str) -> None:
        """A `Callbacks.picture`."""
        if self._wants("sheet"):
            self.sheet.picture(name, image, stage, caption)
        kind = _KINDS.get(name)
        if kind and self._wants(kind):
            self._placed.paste(picture_of(image), Box.of(stage.size), stage)
            named = f"part {stage.part + 1} {caption}" if self.several_parts else caption
            self.extras.append(Extra(kind, named, self._placed.picture()))

    def finish(self, title: str, after: Image.Image) -> None:
        """The edit is done: draw the sheet."""
        if self._wants("sheet"):
            sheet = self.sheet.render(title, self.source, after)
            self.extras.append(Extra("sheet", "sheet", sheet))

    @cached_property
    def _placed(self) -> Placed:
        return Placed(self.source, self.mask, _SIDE)

    def _wants(self, kind: str) -> bool:
        return self.wanted[kind] in (SHOW, SAVE)

    def saves(self, extra: Extra) -> bool:
        return self.file_format is not None and self.wanted[extra.kind] == SAVE


@dataclass(frozen=True)
class EditResult:
    """One picture of a job. index: its place among all of the job's pictures. icc: the colour
    profile that it has."""

    index: int
    report: dict[str, Any]
    extras: ExtraImages
    icc: bytes | None = None


def wanted_extras(show_candidates: bool) -> dict[str, str]:
    """What to do with which kind of further pictures, as the settings panel says; and the box."""
    kinds = {kind: option(kind) for kind in ("candidates", "stages", "sheet")}
    shown = kinds["candidates"] if kinds["candidates"] != NO else SHOW
    return kinds | {"candidates": shown if show_candidates else NO}


def completed(processed: Any, p: Any, results: list[EditResult]) -> None:
    """Put further pictures, report and notes into the host's result, and save what shall be."""
    first = processed.index_of_first_image
    unnamed = len(processed.images) - len(processed.infotexts)  # the host's pictures of masks
    processed.infotexts += processed.infotexts[-1:] * unnamed
    for outcome in results:
        place = min(first + outcome.index, len(processed.infotexts) - 1)
        text = processed.infotexts[place]
        shown = range(len(processed.images), len(processed.images) + len(outcome.extras.extras))
        outcome.report["pictures"] = [place, *shown]
        if outcome.icc:
            processed.images[place].info["icc_profile"] = outcome.icc
        for number, extra in enumerate(outcome.extras.extras):
            info = f"{text}, MSBD picture: {extra.caption.replace(',', ' ')}"
            extra.picture.info["parameters"] = info
            processed.images.append(extra.picture)
            processed.infotexts.append(info)
            if outcome.extras.saves(extra):
                _save(extra, number, p, outcome, info)
    reports = [outcome.report for outcome in results]
    processed.comments += "".join(f"{line}\n" for line in sentences(reports))
    told(processed, reports)


def told(processed: Any, reports: list[dict[str, Any]]) -> None:
    """Add reports to what the host's result tells of itself; more may be added to `msbd`."""
    plain, processed.msbd = processed.js, reports
    processed.js = lambda: json.dumps({**json.loads(plain()), "msbd": processed.msbd})


def lossy() -> list[str]:
    """A note if the host's file format for pictures keeps no bytes as they are."""
    name = shared.opts.samples_format.lower()
    if name == "png" or (name == "webp" and getattr(shared.opts, "webp_lossless", False)):
        return []
    return [
        f"outside the mask the picture is the same, but the WebUI's file format {name} compresses "
        "all of it anew: set it to png to keep every byte of it"
    ]


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


def sentences(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """What became of each picture, and what the user should know; for the page, line by line.

    Figures for engineers are left to `info`. Notes on all pictures are told once.
    """
    notes = list(dict.fromkeys(note for report in reports for note in report["notes"]))
    common = [note for note in notes if all(note in report["notes"] for report in reports)]
    lines = []
    for number, report in enumerate(reports, 1):
        own = [sentence(note) for note in report["notes"] if note not in common]
        told = [*filter(None, [_summary(report)]), *own]
        which = f"Picture {number}: " if len(reports) > 1 else ""
        lines += [which + " ".join(told)] if told else []
    return lines + [sentence(note) for note in common]


def _summary(report: Mapping[str, Any]) -> str:
    """What was painted; nothing if nothing was."""
    done, planned = len(report["stages"]), len(report["plan"]["stages"])
    if not done:
        return ""
    stages, parts = f"{planned} stage{'s' * (planned > 1)}", report["plan"]["parts"]
    count = f"in {stages}" if done == planned else f"{done} of {stages}"
    if len(parts) > 1:
        begun = len({stage["part"] for stage in report["stages"]})
        count = f"{begun} of {len(parts)} parts of the mask, {count}"
    words = [f"Painted {count}, {in_words(report['seconds'])}."]
    levels = report["outside_max_difference"]
    if levels:
        words.append(
            f"Outside the mask pixels changed by up to {levels} of 255 levels, which must not be: "
            "please report it."
        )
    else:
        words.append("Nothing outside the mask changed.")
    by_fit = report["settings"]["choose"] == "fit"
    for number, part in enumerate(report["parts"][:MOST_PARTS], 1):
        if part["scores"]:
            which = f"Of part {number} candidate" if len(parts) > 1 else "Candidate"
            best, candidates = part["chosen"] + 1, len(part["scores"])
            why = "fitted in best" if by_fit else "was nearest to the prompt"
            if report["settings"]["candidate"] != BEST:
                why = "went on, as chosen"
            words.append(f"{which} {best} of {candidates} {why}.")
        levels = math.hypot(*(part["texture"] or ()))
        if levels >= 0.5:
            words.append(f"Texture as around the mask was put back: {levels:.0f} of 255 levels.")
    return " ".join(words)


def sentence(note: str) -> str:
    """A note with a capital and a full stop."""
    return note[:1].upper() + note[1:] + ("" if note.endswith((".", "!", "?")) else ".")


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
