"""`msbd evaluate`: run what is missing, then write results, document, sheets and plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..errors import EditError
from . import workers
from .errands import chosen, errands
from .methods import EXPERIMENTS
from .records import Records

SHEETS: dict[str, Sequence[str]] = {
    "upscaling": (
        *("first_bilinear", "first_esrgan", "unconditional", "text"),
        *("sharp_background", "multi_stage"),
    ),
    "baselines": (
        *("multi_stage", "recommended", "one_pass", "segments", "first_bilinear"),
        *("first_esrgan", "only_masked"),
    ),
    "recommended": ("recommended", "two_passes", "multi_stage", "first_esrgan"),
    "presets": ("recommended", "fast", "draft"),
    "guidances": (
        *("multi_stage", "tile_guidance_0.5", "tile_guidance_0"),
        *("later_guidance_0.5", "later_guidance_0.25", "later_guidance_0"),
    ),
    "strengths": (
        *("final_0", "final_0.1", "multi_stage", "final_0.4", "final_0.6"),
        *("intermediate_0", "intermediate_0.2", "intermediate_0.6"),
    ),
}
"""What a contact sheet shows, where that is not just its experiment's own methods."""
WITHOUT_SHEET = ("segments", "candidates")
"""The first is on another's sheet; the second's pictures are those of the first stage."""


@dataclass(frozen=True)
class Evaluation:
    """What to do. folder: for the documents. kept: for every edit's figures and picture; those of
    quick runs lie in a folder of their own there. only: the experiments to run."""

    folder: Path
    kept: Path
    only: Sequence[str] = ()
    quick: bool = False
    workers: int = 2

    @property
    def records(self) -> Records:
        return Records(self.kept / "quick" if self.quick else self.kept)


def perform(evaluation: Evaluation, say: Callable[[str], None]) -> None:
    """Run what is asked for, then write documents of all that is recorded.

    What an earlier run recorded is kept, so a run that was stopped goes on where it was. Raises
    `EditError` if matplotlib or a folder is not to be had.
    """
    if find_spec("matplotlib") is None:
        raise EditError("plots need matplotlib: get it with pip install 'msbd[evaluation]'")
    for folder in (evaluation.folder, evaluation.records.folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EditError(f"cannot make the folder {folder}: {error.strerror}") from None
    todo = errands(chosen(evaluation.only), evaluation.quick)
    edits = sum(len(errand.methods) for errand in todo)
    say(f"{edits} edits of {len({e.case for e in todo})} pictures, {evaluation.workers} at a time")
    workers.run(todo, evaluation.records, evaluation.workers, say)
    write(evaluation, say)


def write(evaluation: Evaluation, say: Callable[[str], None]) -> None:
    """The documents of whatever has been recorded."""
    from . import document, plots, results, sheets
    from .table import Table

    folder, records, quick = evaluation.folder, evaluation.records, evaluation.quick
    table = Table.read(records, EXPERIMENTS, quick)
    found = results.assembled(table, records, EXPERIMENTS, quick)
    pictures = [path.name for path in plots.plot(found, folder)]
    for experiment in EXPERIMENTS:
        own = [method.name for method in experiment.methods]
        page = sheets.sheet(experiment, SHEETS.get(experiment.name, own), records, quick)
        if page is not None and experiment.name not in WITHOUT_SHEET:
            sheets.save(page, folder / f"{experiment.name}.jpg")
            pictures.append(f"{experiment.name}.jpg")
    texts = {
        "results.json": json.dumps(found, indent=1) + "\n",
        "records.csv": results.as_csv(table),
        "README.md": document.markdown(found, pictures),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        say(f"wrote {folder / name}")
    for aim in found["aims"]:
        state = "reached" if aim["reached"] else "not reached"
        say(f"{aim['aim']}: {aim['effect']} ({aim['low']} to {aim['high']}), {state}")
