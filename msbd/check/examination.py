"""Edit a drawn picture by every preset, and look whether all is as it should be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..backend import Backend
from ..compositing import feathered
from ..errors import Interrupted
from ..memory import release
from ..report import StageReport
from ..standalone.clip import ClipRanker
from .finding import Checked, Examination, Fault, Finding, found, in_words
from .probe import Probe
from .subject import Subject

Wrap = Callable[[Backend, ClipRanker], Backend]


@dataclass(frozen=True)
class Made:
    """An edited picture [1,3,H,W] in [0,1], and its report as plain values."""

    image: Tensor
    report: dict[str, Any]


Perform = Callable[[str, Wrap], Made]
"""Edits the subject by a preset, with what `wrap` makes of the backend in the backend's place.
Raises `Interrupted` if the user stops it, and whatever else goes wrong."""


def examine(
    presets: Sequence[str],
    subject: Subject,
    perform: Perform,
    say: Callable[[str], None],
    general: Sequence[Finding] = (),
) -> Examination:
    """Examine preset after preset; whatever goes wrong in one is a finding, and the next is tried.

    say: is told what is being done, a line each. general: what was found before.
    """
    checked: list[Checked] = []
    for number, preset in enumerate(presets, 1):
        say(f"checking preset {preset} ({number} of {len(presets)})")
        try:
            checked.append(examined(preset, subject, perform))
        except (Interrupted, KeyboardInterrupt):
            break
        say(str(checked[-1]))
        release()
    return Examination(list(general), checked, len(presets), len(checked) < len(presets))


def examined(preset: str, subject: Subject, perform: Perform) -> Checked:
    """One preset. Raises `Interrupted`."""
    probes: list[Probe] = []

    def wrap(backend: Backend, ranker: ClipRanker) -> Backend:
        probes.append(Probe(backend))
        probes[-1].try_parts(subject.image(), ranker)
        return probes[-1]

    try:
        made = perform(preset, wrap)
    except Exception as error:
        seen = [finding for probe in probes for finding in probe.seen()]
        return Checked(preset, [Finding("edit", False, in_words(error)), *seen])
    report, probe = made.report, probes[-1]
    findings = [
        found("edit", lambda: _finished(report)),
        *probe.seen(report["notes"], report["peak_memory_bytes"]),
        found("outside the mask", lambda: _identical(made, subject)),
        found("inside the mask", lambda: _painted(made, subject)),
    ]
    stages = [StageReport(**stage) for stage in report["stages"]]
    return Checked(preset, findings, probe.parts(stages, report["seconds"]))


def _finished(report: dict[str, Any]) -> str:
    """All stages were made."""
    done, planned = len(report["stages"]), len(report["plan"]["stages"])
    if report["interrupted"] or done < planned:
        reason = "; ".join(report["notes"]) or "no reason given"
        raise Fault(f"{done} of {planned} stages: {reason}")
    return f"{done} stages, {report['model_calls']} model calls"


def _identical(made: Made, subject: Subject) -> str:
    """Outside the mask and its feather every byte is the picture's, and the report knows it."""
    before, after = _bytes(subject.image()), _bytes(made.image)
    if before.shape != after.shape:
        raise Fault(f"the result has {after.shape[-1]}x{after.shape[-2]} pixels")
    mask = torch.from_numpy(subject.painted())[None, None]
    outside = feathered(mask, int(made.report["settings"]["feather"])) == 0
    changed = int(((before != after).any(1, keepdim=True) & outside).sum())
    if changed:
        raise Fault(f"{changed} of {int(outside.sum())} pixels are not the picture's")
    told = made.report["outside_max_difference"]
    if told:
        raise Fault(f"the report tells of a difference of {told} levels")
    return "identical"


def _painted(made: Made, subject: Subject) -> str:
    before, after = _bytes(subject.image()).float(), _bytes(made.image).float()
    inside = torch.from_numpy(subject.painted() > 0)
    change = float((before - after).abs().mean(1)[0][inside].mean())
    if not change >= 1:
        raise Fault(f"nothing was painted: it changed by {change:.2f} of 255 levels")
    return f"changed by {change:.0f} of 255 levels"


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)
