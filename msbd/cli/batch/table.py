"""What became of every row: a table beside the results, by which the same command goes on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ...errors import EditError
from ...keeping.files import replacing
from ...standalone import models
from .. import asked
from . import places
from .rows import Row
from .work import Options, Outcome, arguments

COLUMNS = ("row", "image", "output", "seconds", "seam", "seed", "error", "notes", "bytes", "recipe")


class Table:
    """A CSV file with a line for each row, which grows as soon as one is made.

    lines: the last of each row, by its number and then by column. Raises `EditError` if there is a
    file of this name that is no such table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.earlier: dict[str, dict[str, str]] = {}
        self.lines: dict[int, dict[str, str]] = {}
        self._file: TextIO | None = None
        with suppress(FileNotFoundError):
            self._read(path.read_text(encoding="utf-8"))

    def _read(self, text: str) -> None:
        """The earlier lines, by recipe."""
        # The last line of a run that was killed may not be whole.
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        if tuple(reader.fieldnames or COLUMNS) != COLUMNS:
            raise EditError(f"{self.path} is no table of results: name another with --results")
        for line in reader:
            if all(isinstance(value, str) for value in line.values()) and not line["error"]:
                self.earlier[line["recipe"]] = line

    def begin(self, made: Iterable[tuple[Row, str]]) -> None:
        """Begin to write. made: rows that are there from before, with their recipes.

        Raises `EditError` if nothing can be written there.
        """
        for row, recipe in made:
            self.lines[row.number] = {**self.earlier[recipe], "row": str(row.number)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write([*self.earlier.values()])
            self._file = self.path.open("a", encoding="utf-8", newline="")
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
        self.lines[outcome.row] = line
        assert self._file is not None
        csv.DictWriter(self._file, COLUMNS).writerow(line)
        self._file.flush()

    def close(self) -> None:
        """End with the rows in their order; earlier lines of others are kept behind them."""
        if self._file is None:
            return
        self._file.close()
        known = {line["recipe"] for line in self.lines.values()}
        others = [line for recipe, line in self.earlier.items() if recipe not in known]
        self._write([*(self.lines[number] for number in sorted(self.lines)), *others])

    def _write(self, lines: Iterable[Mapping[str, str]]) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
        with replacing(self.path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8", newline="")


def recipes(rows: Iterable[Row], options: Options) -> dict[int, str]:
    """By number of row, a digest of all that decides on its result; rows that are wrong have none.

    It changes with the settings that are meant, whatever names them, and with the files; see
    `places.marks`. A seed that is left to chance is part of none.
    """
    good = [row for row in rows if not row.problem]
    files = {value for row in good for value in _files(row, options).values()}
    found, made = places.marks(files), dict[int, str]()
    for row in good:
        with suppress(EditError):
            given = arguments(row, options)
            seed = None if given.seed == -1 else given.seed
            marked = {
                name: (file, found[file])
                for name, file in _files(row, options).items()
                if file in found
            }
            facts = {
                "settings": asked.begun(given).settings.flat(),
                "files": marked,
                "output": row.values["output"],
                "more": [given.prompt, given.negative, seed, given.clip, given.soft_mask],
            }
            text = json.dumps(facts, sort_keys=True)
            made[row.number] = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return made


def _files(row: Row, options: Options) -> dict[str, str]:
    """The names of what the row is made from."""
    names = {name: row.values.get(name) for name in ("image", "mask", "paint", "checkpoint")}
    checkpoint = names["checkpoint"] or options.checkpoint or str(models.MINIATURE)
    names |= {"checkpoint": checkpoint, "config": str(Path(checkpoint).with_suffix(".yaml"))}
    names["upscaler"] = row.values.get("upscaler", options.upscaler)
    names["clip"] = options.clip
    return {name: file for name, file in names.items() if file}


def made_before(rows: Iterable[Row], table: Table, known: Mapping[int, str]) -> list[Row]:
    """Rows whose results are there, whole, and made by the same recipe."""
    there = [row for row in rows if known.get(row.number) in table.earlier]
    found = places.marks({row.values["output"] for row in there})
    return [
        row
        for row in there
        if found.get(row.values["output"], "").partition(" ")[0]
        == table.earlier[known[row.number]]["bytes"]
    ]
