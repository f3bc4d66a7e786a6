"""The outcomes of edits, kept so that runs can be resumed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..keeping.files import replacing
from .cases import Case
from .methods import Method

Pixels = NDArray[np.uint8]
PAINTED = 4
"""To be raised when the same settings paint otherwise, or `examine_painting` measures otherwise:
what was recorded before is then made anew."""
MEASURED = 6
"""To be raised when `examine_picture` measures otherwise: recorded pictures are then looked at
again."""


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
        with replacing(self.path(case, method)) as made:
            made.write_text(json.dumps(record), encoding="utf-8")

    def write_picture(self, case: Case, method: Method, pixels: Pixels) -> None:
        path = self.path(case, method, ".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as made:
            Image.fromarray(pixels).save(made, format="PNG")

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
