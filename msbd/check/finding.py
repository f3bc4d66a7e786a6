"""What was looked at, and what was found."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import EditError

_PACKAGE = Path(__file__).parent.parent
WIDTH = 18
"""Of the names in front of what is told, in characters."""


class Fault(Exception):
    """Something does not do what it should; the words say what."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. detail: what was seen, or what is wrong."""

    name: str
    ok: bool
    detail: str = ""

    def __str__(self) -> str:
        verdict, mark = ("ok", ", ") if self.ok else ("FAILED", ": ")
        return f"{self.name:{WIDTH}}{verdict}{mark if self.detail else ''}{self.detail}"


@dataclass(frozen=True)
class Checked:
    """A preset's edit. seconds: by part, as far as it came."""

    preset: str
    findings: list[Finding]
    seconds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"preset {self.preset}: {f'{self.failed} checks FAILED' if self.failed else 'ok'}"

    @property
    def failed(self) -> int:
        return sum(not finding.ok for finding in self.findings)


@dataclass(frozen=True)
class Examination:
    """All that was found. general: what concerns all presets. asked: how many presets were to be
    examined. stopped: whether the user did not wait for the end."""

    general: list[Finding]
    presets: list[Checked]
    asked: int
    stopped: bool = False

    @property
    def failed(self) -> int:
        return sum(not one.ok for one in self.general) + sum(one.failed for one in self.presets)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "ok": not (self.failed or self.stopped),
            "interrupted": self.stopped,
            "general": [vars(one) for one in self.general],
            "presets": {
                one.preset: {
                    "findings": [vars(finding) for finding in one.findings],
                    "seconds": one.seconds,
                }
                for one in self.presets
            },
        }

    @property
    def verdict(self) -> str:
        """In one line."""
        checks = len(self.general) + sum(len(one.findings) for one in self.presets)
        said = f"FAILED: {self.failed} of {checks} checks" if self.failed else "ok"
        so_far = "INTERRUPTED, so far " if self.stopped else ""
        return f"{so_far}{said}, {len(self.presets)} of {self.asked} presets"


def found(name: str, look: Callable[[], str]) -> Finding:
    """What `look()` says it saw; whatever it raises is a failure, but for interruptions."""
    try:
        return Finding(name, True, look())
    except Exception as error:
        return Finding(name, False, in_words(error))


def in_words(error: Exception) -> str:
    """An error in one line: ours in its own words, others with their kind and place."""
    if isinstance(error, (Fault, EditError)):
        return " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _PACKAGE in Path(frame.filename).parents]
    place = f" ({Path(ours[-1].filename).name}, line {ours[-1].lineno})" if ours else ""
    return f"{type(error).__name__}: {first_line(error)}{place}"


def first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
