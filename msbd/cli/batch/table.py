"""What became of every row: a table beside the results, by which the same command goes on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from argparse import Namespace
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ...errors import EditError
from ...keeping.files import replacing
from ...settings import EditSettings
from ...standalone import models
from .. import asked
from . import places
from .rows import FILES, Row
from .work import Options, Outcome, arguments

COLUMNS = ("row", "image", "output", "seconds", "seam", "seed", "error", "notes", "bytes", "recipe")


class Table:
    """A CSV file with a line for each row, which grows as soon as one is made.

    earlier: lines of earlier runs by output, of what was made. Used in a `with`, in which nobody
    else may write it. Raises `EditError` if there is a file of this name that is no such table, or
    nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.earlier: dict[str, dict[str, str]] = {}
        self._lines: dict[int, dict[str, str]] = {}
        self._file: TextIO | None = None
        with suppress(FileNotFoundError):
            self._read(path)

    def _read(self, path: Path) -> None:
        refused = EditError(f"{path} is no table of results: name another with --results")
        try:
            text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
            if text and not text.startswith(",".join(COLUMNS)):
                raise refused
            # The last line of a run that was killed may not be whole.
            for line in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])):
                if all(isinstance(value, str) for value in line.values()) and not line["error"]:
                    self.earlier[line["output"]] = line
        except csv.Error:
            raise refused from None
        except FileNotFoundError:
            raise
        except OSError as error:
            raise EditError(f"{path}: {error.strerror or error}") from None

    def begin(self, made: Iterable[Row]) -> None:
        """Begin to write. made: rows that are there from before."""
        for row in made:
            line = self.earlier[row.values["output"]]
            self._lines[row.number] = {**line, "row": str(row.number)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = locked(self.path)
            self._write([*self.earlier.values()])
            self._file = self.path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
        except OSError as error:
            raise EditError(f"{self.path}: {error.strerror or error}") from None

    def add(self, row: Row, outcome: Outcome, recipe: str) -> None:
        """What became of a row."""
        line = {
            "row": str(outcome.row),
            "image": row.values.get("image", ""),
            "output": outcome.output,
            "seconds": f"{outcome.seconds:.2f}",
            "seam": "" if outcome.seam is None else f"{outcome.seam:.3f}",
            "seed": "" if outcome.seed is None else str(outcome.seed),
            "error": outcome.error,
            "notes": outcome.notes,
            "bytes": str(outcome.size),
            "recipe": recipe,
        }
        self._lines[outcome.row] = line
        assert self._file is not None
        csv.DictWriter(self._file, COLUMNS).writerow(line)
        self._file.flush()

    def close(self) -> None:
        """End with the rows in their order; lines of other outputs are kept behind them."""
        if self._file is None:
            return
        self._file.close()
        present = {line["output"] for line in self._lines.values()}
        others = [line for output, line in self.earlier.items() if output not in present]
        self._write([*(self._lines[number] for number in sorted(self._lines)), *others])
        self._lock.close()
        Path(self._lock.name).unlink(missing_ok=True)

    def _write(self, lines: Iterable[Mapping[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
        with replacing(self.path) as temporary:
            temporary.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))


def locked(path: Path) -> TextIO:
    """A file beside `path` that nobody else can have until it is closed, or the program ends.

    Raises `EditError` if somebody has it. Where a system has no such locks, everybody can.
    """
    beside = path.with_name(f".{path.name}.lock").open("w")
    try:
        import fcntl
    except ImportError:
        return beside
    try:
        fcntl.flock(beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        beside.close()
        raise EditError(
            f"another batch writes {path}: wait for it, or name another table with --results"
        ) from None
    except OSError:  # a disk without locks
        pass
    return beside


def recipes(rows: Iterable[Row], options: Options, webui: bool) -> dict[int, str]:
    """By number of row, a digest of all that decides on its result; rows that are wrong have none.

    It changes with the settings that are meant, whatever names them, and with the files; see
    `places.marks`. A seed that is left to chance is part of none. webui: whether WebUIs make them,
    whose checkpoints are known by their names alone.
    """
    meant = dict[int, tuple[Namespace, EditSettings, dict[str, str]]]()
    for row in rows:
        with suppress(EditError):
            if not row.problem:
                given = arguments(row, options)
                settings = asked.begun(given).settings
                meant[row.number] = given, settings, _files(row, given, settings, webui)
    found = places.marks({file for _, _, files in meant.values() for file in files.values()})
    made = {}
    outputs = {row.number: row.values["output"] for row in rows}
    for number, (given, settings, files) in meant.items():
        seed = None if given.seed == -1 else given.seed
        facts = {
            "settings": settings.flat(),
            "files": {name: (file, found.get(file, "")) for name, file in files.items()},
            "output": outputs[number],
            "more": [given.prompt, given.negative, seed, given.soft_mask, webui],
        }
        text = json.dumps(facts, sort_keys=True)
        digest = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16)
        made[number] = digest.hexdigest()
    return made


def _files(row: Row, given: Namespace, settings: EditSettings, webui: bool) -> dict[str, str]:
    """The names of what the row is made from."""
    names = {name: row.values.get(name) for name in FILES}
    checkpoint = given.checkpoint
    if not webui:
        checkpoint = checkpoint or models.MINIATURE
        names |= {"config": str(checkpoint.with_suffix(".yaml")), "clip": given.clip}
    names |= {"checkpoint": checkpoint and str(checkpoint), "upscaler": settings.upscaler}
    return {name: file for name, file in names.items() if file}


def made_before(rows: Iterable[Row], table: Table, known: Mapping[int, str]) -> list[Row]:
    """Rows whose results are there, whole, and made by the same recipe."""
    there = [
        row
        for row in rows
        if row.values["output"] in table.earlier
        and table.earlier[row.values["output"]]["recipe"] == known.get(row.number)
    ]
    found = places.marks({row.values["output"] for row in there})
    return [
        row
        for row in there
        if found.get(row.values["output"], "").partition(" ")[0]
        == table.earlier[row.values["output"]]["bytes"]
    ]
