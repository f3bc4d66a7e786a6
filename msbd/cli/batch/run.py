"""A whole batch: rows to workers, results to a table."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ...errors import EditError
from .. import asked, saving, stopping
from . import places
from .crews import Crew, Dispatch, Processes, Threads
from .forecast import Forecast
from .rows import MODELS, Manifest, Row, from_folders, from_manifest, with_outputs
from .table import Table, made_before, recipes
from .work import Editor, Gone, Options, Outcome, arguments

RESULTS = "results.csv"
_STOPPING = b"\nfinishing what is in hand; press Ctrl-C again to stop at once\n"
_MOST_WORKERS = 60
"""Windows waits for no more processes than that."""


@dataclass(frozen=True)
class Batch:
    """source: a manifest, or a folder of pictures with `masks`. output: the folder of results.
    ray: the address of a cluster, empty to start Ray here. webuis: their addresses."""

    source: str
    masks: str | None
    options: Options
    output: str
    results: Path | None = None
    workers: int | None = None
    device: str | None = None
    ray: str | None = None
    webuis: tuple[str, ...] = ()
    auth: str | None = None
    quiet: bool = False


@dataclass(frozen=True)
class Summary:
    """How many rows there are, were made now, were there before, and failed; whether the user
    stopped the others."""

    rows: int
    made: int
    before: int
    failed: int
    stopped: bool

    @property
    def complete(self) -> bool:
        return self.made + self.before == self.rows


def perform(batch: Batch, say: Callable[[str], None]) -> Summary:
    """Make all rows that are not made yet. Raises `EditError` for what concerns all of them."""
    _check(batch)
    manifest = _manifest(batch)
    rows = with_outputs(manifest.rows, batch.output)
    table = Table(_results(batch))
    for note in manifest.notes:
        say(note)
    known = recipes(rows, batch.options, bool(batch.webuis))
    before = made_before(rows, table, known)
    there = {row.number for row in before}
    table.begin(before)
    todo = [row for row in rows if row.number not in there]
    if before:
        say(f"{len(before)} of {len(rows)} rows are made already")
    made, failed, stopped = 0, 0, False
    try:
        by_number = {row.number: row for row in todo}
        run = _Run(batch, todo)
        for outcome in run.outcomes():
            table.add(by_number[outcome.row], outcome, known.get(outcome.row, ""))
            made, failed = made + (not outcome.error), failed + bool(outcome.error)
            if outcome.error:
                run.write(f"row {outcome.row}: {outcome.error}")
        stopped = run.stop.asked
    finally:
        table.close()
    summary = Summary(len(rows), made, len(before), failed, stopped)
    told = f"{made + len(before)} of {len(rows)} made ({made} now)"
    say(f"{told}, {failed} failed; what became of each is in {table.path}")
    if stopped:
        say("stopped: the same command goes on with the rest")
    return summary


def _check(batch: Batch) -> None:
    """Raise `EditError` for what concerns all rows."""
    options = batch.options
    asked.begun(arguments(Row(0, {}), options))
    if batch.workers is not None and not 1 <= batch.workers <= _MOST_WORKERS:
        raise EditError(f"--workers must be from 1 to {_MOST_WORKERS}")
    own = {"clip": options.clip, "offload": options.offload, "device": batch.device}
    for name, there, without in (
        ("webui", bool(batch.webuis), {**own, "workers": batch.workers}),
        ("ray", batch.ray is not None, {"device": batch.device}),
    ):
        unused = [other for other, value in without.items() if value and there]
        if unused:
            raise EditError(f"--{unused[0]} has no effect with --{name}: leave it out")
    if batch.auth and not batch.webuis:
        raise EditError("--auth is for --webui")
    checkpoint = options.checkpoint
    if not batch.webuis and checkpoint and not Path(checkpoint).is_file():
        raise EditError(f"there is no checkpoint {checkpoint}: give a .safetensors or .ckpt file")


def _manifest(batch: Batch) -> Manifest:
    if batch.masks is None:
        return from_manifest(batch.source)
    return from_folders(batch.source, batch.masks, batch.output)


def _results(batch: Batch) -> Path:
    """The table's name."""
    if batch.results is None and places.is_address(batch.output):
        raise EditError(f"say with --results FILE where the table goes, as {batch.output} is afar")
    path = batch.results or Path(batch.output) / RESULTS
    if unusable := saving.unusable_name(path):
        raise EditError(f"{path}: {unusable}: give another name")
    return path


class _Run:
    """Rows at work, with a bar, and Ctrl-C as a request to begin no more."""

    def __init__(self, batch: Batch, rows: Sequence[Row]) -> None:
        self._batch, self.stop = batch, stopping.Gently(_STOPPING)
        self._wrong = [row for row in rows if row.problem]
        # Whoever changes its model has to load it.
        good = (row for row in rows if not row.problem)
        self._rows = sorted(good, key=lambda row: [row.values.get(name, "") for name in MODELS])
        self._bar = tqdm(
            total=len(rows),
            unit="row",
            disable=batch.quiet or not rows,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        )

    def outcomes(self) -> Iterator[Outcome]:
        """What becomes of each row."""
        for row in self._wrong:
            self._bar.update()
            yield Outcome(row.number, row.values["output"], error=row.problem)
        if not self._rows:
            return
        began, seen = time.monotonic(), 0
        crew = _crew(self._batch, len(self._rows), self.write)
        forecast = Forecast(self._rows, self._batch.options)
        try:
            with stopping.on_request(self.stop):
                for outcome in Dispatch(self._rows, crew, lambda: self.stop.asked).outcomes():
                    seen += 1
                    forecast.made(outcome)
                    self._tell(seen / (time.monotonic() - began), forecast.seconds(crew.workers))
                    yield outcome
        finally:
            forecast.close()
            crew.close()
            self._bar.close()

    def _tell(self, rate: float, left: float | None) -> None:
        self._bar.update()
        told = "" if left is None else f", {tqdm.format_interval(left)} left"
        self._bar.set_postfix_str(f"{60 * rate:.1f} a minute{told}")

    def write(self, text: str) -> None:
        """A line above the bar."""
        if not self._batch.quiet:
            with suppress(OSError):  # nobody hears it any more
                self._bar.write(text)


def _crew(batch: Batch, rows: int, write: Callable[[str], None]) -> Crew:
    """Workers of the kind that is asked for."""
    if batch.webuis:
        from .webuis import WebUI

        make = [partial(WebUI, url, batch.auth, batch.options) for url in batch.webuis]
        try:
            for one in make:
                one().check()
        except Gone as gone:
            raise EditError(str(gone)) from None
        return Threads(make)
    if batch.ray is not None:
        from .on_ray import RayActors

        workers = batch.workers and min(batch.workers, rows)
        return RayActors(partial(Editor, batch.options), workers, batch.ray or None, write)
    gpus = 0 if batch.device not in (None, "cuda") else _gpus()
    count = min(batch.workers or gpus or 1, rows)
    devices = [f"cuda:{number % gpus}" if gpus else batch.device for number in range(count)]
    threads = max(1, (os.cpu_count() or 1) // count) if count > 1 else None
    return Processes([partial(Editor, batch.options, device, threads) for device in devices])


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
