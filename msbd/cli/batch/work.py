"""One row is one edit: what a worker does, and what it tells of it."""

from __future__ import annotations

import time
import traceback
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import EditError, Interrupted
from ...settings import SURROUNDINGS
from .. import asked, editing
from ..failures import in_a_line, is_out_of_memory
from . import places
from .rows import FILES, Row, settings_of

if TYPE_CHECKING:
    from ...standalone.model import StandaloneModel
    from ...standalone.models import Models


@dataclass(frozen=True)
class Options:
    """What was said once, for all rows that say nothing else; as `msbd edit` takes it."""

    prompt: str | None = None
    negative: str | None = None
    seed: int | None = None
    preset: str | None = None
    changes: tuple[str, ...] = ()
    checkpoint: str | None = None
    upscaler: str | None = None
    start: str | None = None
    strength: str | None = None
    clip: str | None = None
    offload: bool = False
    soft_mask: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a row. seconds: from reading to writing, without loading a model. seam: the
    worst part's figure, see `seam.Seam`. size: of the file in bytes. error: what to change, if it
    could not be made. may_pass: whether it may go well another time."""

    row: int
    output: str
    seconds: float = 0.0
    seam: float | None = None
    seed: int | None = None
    size: int = 0
    error: str = ""
    notes: str = ""
    may_pass: bool = False


class Worker(Protocol):
    """Whoever makes rows, one after the other."""

    def ready(self) -> None:
        """Whatever must be there before the first row. Raises what prevents it."""

    def perform(self, row: Row) -> Outcome:
        """Make it; whatever goes wrong with it is told in the outcome.

        Raises `Gone` if this worker can do no more.
        """


class Gone(Exception):
    """The worker is lost; what it had in hand can be done by another one."""


def arguments(row: Row, options: Options, device: str | None = None) -> Namespace:
    """The row as the options of `msbd edit`. Raises `EditError` for what none of them takes."""
    said = asdict(options)
    for name in ("prompt", "negative", "checkpoint", "preset"):
        said[name] = row.values.get(name, said[name])
    if seed := row.values.get("seed"):
        try:
            said["seed"] = int(seed.removesuffix(".0"))  # as some tools write whole numbers
        except ValueError:
            raise EditError(f"the seed {seed!r} is no whole number") from None
    said["changes"] = [*options.changes, *settings_of(row.values)]
    for name in ("start", "strength", "upscaler"):
        if name in row.values:
            said[name] = None  # the row's own is among the changes
    said["checkpoint"] = said["checkpoint"] and Path(said["checkpoint"])
    return Namespace(**said, like=None, device=device, quiet=True)


@contextmanager
def requested(
    row: Row, options: Options, device: str | None, out: Path | None = None
) -> Iterator[editing.Request]:
    """The edit that a row asks for, with its files at hand.

    Raises `EditError`, and `ConnectionError` for files that could not be had this time.
    """
    missing = [name for name in ("image", "mask") if not row.values.get(name)]
    if missing:
        raise EditError(f"the row names no {missing[0]}")
    given = arguments(row, options, device)
    if given.prompt is None and asked.begun(given).settings.start != SURROUNDINGS:
        raise EditError("the row has no prompt: say what to paint")
    with ExitStack() as stack:
        for name in FILES:
            file = row.values.get(name)
            setattr(given, name, stack.enter_context(places.here(file)) if file else None)
        yield asked.request(given, editing.Outputs(out), _ignore)


def _ignore(_: str) -> None:
    """What is said on the way is in the report, too."""


class Editor:
    """A worker that has a model of its own; it keeps that which it used last.

    device: see `Models`. threads: of PyTorch, as many as it likes if None.
    """

    def __init__(self, options: Options, device: str | None, threads: int | None = None) -> None:
        self._options, self._device, self._threads = options, device, threads
        self._loaded: tuple[Models, StandaloneModel] | None = None
        # Not in the main thread, where an edit would take Ctrl-C as meant for it alone.
        self._thread = ThreadPoolExecutor(1)

    def ready(self) -> None:
        import torch

        if self._threads:
            torch.set_num_threads(self._threads)

    def perform(self, row: Row) -> Outcome:
        return self._thread.submit(self._perform, row).result()

    def _perform(self, row: Row) -> Outcome:
        began, output = time.monotonic(), row.values["output"]
        self._loading = 0.0
        try:
            with (
                places.there(output) as out,
                requested(row, self._options, self._device, out) as request,
            ):
                notes = [*editing.notes_before(request)]
                done, _ = editing.perform(request, _ignore, self._model)
                size = out.stat().st_size
        except Exception as error:
            if is_out_of_memory(error):
                self._loaded = None
            return failed(row, error, time.monotonic() - began)
        except Interrupted as stopped:
            return Outcome(row.number, output, error=f"stopped: {stopped}", may_pass=True)
        return outcome_of(
            row, done.report.to_dict(), time.monotonic() - began - self._loading, size, notes
        )

    def _model(self, chosen: Models) -> StandaloneModel:
        from ...standalone import models

        if self._loaded is None or self._loaded[0] != chosen:
            self._loaded = None  # before the next, as there may be no room for both
            began = time.monotonic()
            self._loaded = chosen, models.load(chosen)
            self._loading = time.monotonic() - began
        return self._loaded[1]


def outcome_of(
    row: Row, report: dict[str, Any], seconds: float, size: int, notes: Sequence[str] = ()
) -> Outcome:
    """By the edit's report as plain values. notes: what there was to say before it."""
    seams = [part["seam"]["figure"] for part in report["parts"] if part["seam"]]
    unfinished = report["interrupted"] and f"not finished: {'; '.join(report['notes'])}"
    return Outcome(
        *(row.number, row.values["output"], seconds),
        seam=max(seams, default=None),
        seed=report["seed"],
        size=size,
        error=unfinished or "",
        notes="; ".join([*notes, *report["notes"]]),
        may_pass=bool(unfinished),
    )


def failed(row: Row, error: Exception, seconds: float) -> Outcome:
    """A row that an error ended."""
    passing = is_out_of_memory(error) or isinstance(error, (ConnectionError, TimeoutError))
    output = row.values["output"]
    return Outcome(row.number, output, seconds, error=_told(error), may_pass=passing)


def _told(error: Exception) -> str:
    """In a line: what to change if that is known, else where it happened."""
    text = str(error) if isinstance(error, EditError) else in_a_line(error)
    if text is None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}, line {last.lineno}"
        text = f"a fault of the program: {type(error).__name__}: {error} ({place})"
    return " ".join(text.split())
