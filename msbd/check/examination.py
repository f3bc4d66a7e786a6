"""Edit a drawn picture by every preset, and look whether all is as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ..backend import Backend
from ..compositing import feathered
from ..errors import Interrupted
from ..memory import release
from ..report import StageReport
from .finding import Checked, Examination, Fault, Finding, found, in_words
from .probe import (
    ProbedBackend,
    Trial,
    fingerprint,
    tried,
    try_autoencoder,
    try_decoder,
    try_upscaler,
)
from .subject import Subject

_OUT_OF_MEMORY = ("memory ran out", "not enough memory")
"""In the engine's notes."""


class Ranker(Protocol):
    """CLIP. source: None if nobody wants it. reason: why there is none, if so."""

    source: Any
    reason: str | None


Wrap = Callable[[Backend, Ranker], Backend]


@dataclass(frozen=True)
class Made:
    """An edited picture [1,3,H,W] in [0,1], and its report as plain values."""

    image: Tensor
    report: dict[str, Any]


Perform = Callable[[str, Wrap], Made]
"""Edits the subject by a preset, with what `wrap` makes of the backend in the backend's place.
Raises `Interrupted` if the user stops it, and whatever else goes wrong."""


@dataclass
class Probe:
    """Looks at an edit from the backend's side. findings: of the parts, before the edit."""

    subject: Subject
    findings: list[Finding] = field(default_factory=list)
    backend: ProbedBackend | None = None
    before: str = ""

    def wrap(self, backend: Backend, ranker: Ranker) -> Backend:
        """Try all parts of a backend, then watch it."""
        if backend.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(backend.device)
        self.backend, image = ProbedBackend(backend), self.subject.image()
        trials: dict[str, Trial] = {
            "autoencoder": try_autoencoder,
            "decoder copy": try_decoder,
            "upscaler": try_upscaler,
            "CLIP": partial(_try_clip, ranker),
        }
        for name, trial in trials.items():
            look = partial(tried, trial, self.backend, image)
            self.findings.append(found(name, look))
        with suppress(Exception):  # said by the trial of the copy
            self.before = fingerprint(backend.decoder())
        self.backend.begin()
        release()
        return self.backend

    def untouched(self) -> str:
        """The autoencoder's own decoder is what it was."""
        if self.backend is None or not self.before:
            raise Fault("not known, since the edit did not come so far")
        if fingerprint(self.backend.decoder()) != self.before:
            raise Fault("decoder optimisation changed the model's own decoder")
        return "bit by bit as before"


def _try_clip(ranker: Ranker, backend: Backend, piece: Tensor) -> str:
    if not ranker.source:
        return "left out"
    scores = backend.score(torch.cat([piece, piece.flip(-1)]))
    if scores is None:
        raise Fault(ranker.reason or "no scores")
    if not bool(torch.isfinite(scores).all()):
        raise Fault("gave scores that are not finite")
    return f"similarity {float(scores[0]):.2f}"


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
    stopped = False
    for number, preset in enumerate(presets, 1):
        say(f"checking preset {preset} ({number} of {len(presets)})")
        try:
            checked.append(examined(preset, subject, perform))
        except (Interrupted, KeyboardInterrupt):
            stopped = True
            break
        failed = checked[-1].failed
        say(f"preset {preset}: {f'{failed} checks FAILED' if failed else 'ok'}")
        release()
    return Examination(list(general), checked, len(presets), stopped)


def examined(preset: str, subject: Subject, perform: Perform) -> Checked:
    """One preset. Raises `Interrupted`."""
    probe = Probe(subject)
    try:
        made = perform(preset, probe.wrap)
    except Exception as error:
        failure = Finding("edit", False, in_words(error))
        return Checked(preset, [failure, *_seen_inside(probe, [])])
    report = made.report
    findings = [
        found("edit", lambda: _finished(report)),
        *_seen_inside(probe, report["notes"], report["peak_memory_bytes"]),
        found("outside the mask", lambda: _identical(made, subject)),
        found("inside the mask", lambda: _painted(made, subject)),
    ]
    stages = [StageReport(**stage) for stage in report["stages"]]
    seconds = probe.backend.parts(stages, report["seconds"]) if probe.backend else {}
    return Checked(preset, findings, seconds)


def _seen_inside(probe: Probe, notes: Sequence[str], peak: int = 0) -> Iterator[Finding]:
    """What the parts gave by themselves and during the edit."""
    faults = dict(probe.backend.faults) if probe.backend else {}
    memory = faults.pop("memory", None)
    short = [note for note in notes if any(sign in note for sign in _OUT_OF_MEMORY)]
    yield from probe.findings
    if probe.backend:
        words = "; ".join(faults.values()) or "all gave finite numbers"
        yield Finding("networks", not faults, words)
        yield found("own decoder", probe.untouched)
    if memory or short or peak:
        words = "; ".join(filter(None, [memory, *short]))
        yield Finding("memory", not words, words or f"{peak / 2**30:.1f} GiB at most")


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
    outside = ~_touched(made, subject)
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


def _touched(made: Made, subject: Subject) -> Tensor:
    """Where an edit may change the picture, [1,1,H,W]."""
    mask = torch.from_numpy(subject.painted())[None, None]
    return feathered(mask, int(made.report["settings"]["feather"])) > 0


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round().to(torch.uint8)
