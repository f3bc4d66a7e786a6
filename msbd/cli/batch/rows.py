"""What is to be done: the rows of a manifest, or of two folders."""

from __future__ import annotations

import csv
import difflib
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import EditError
from ...setting import ABLATIONS
from ...settings import SETTINGS
from .places import exists, here, join, key, parent, typed, whole

FILES = ("image", "mask", "paint")
"""Columns with names of pictures."""
MODELS = ("checkpoint", "upscaler")
"""Columns with names of files, or other names: a running WebUI's, or a filter's."""
COLUMNS = (*FILES, *MODELS, "prompt", "negative", "seed", "output", "preset", *SETTINGS, *ABLATIONS)
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm")
"""Of pictures, in folders."""
_DELIMITERS = ",;\t"
_PARQUET_ROWS = 1000


@dataclass(frozen=True)
class Row:
    """One edit. number: from 1. values: what was given, by column. problem: what is wrong with the
    row itself."""

    number: int
    values: dict[str, str]
    problem: str = ""


@dataclass(frozen=True)
class Manifest:
    """rows: in their order. notes: what of the manifest is not used, in sentences."""

    rows: list[Row]
    notes: list[str]


def from_manifest(path: str) -> Manifest:
    """Rows of a CSV file, of JSON lines, or of a Parquet file; names are relative to its folder.

    Raises `EditError` if it cannot be read as a whole, or has none of the columns it takes.
    """
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
    reader = readers.get(Path(path).suffix.lower())
    if reader is None:
        endings = ", ".join(readers)
        raise EditError(f"{path} is no manifest: let its name end in {endings}")
    try:
        with here(path) as file:
            found = list(reader(file))
    except OSError as error:
        raise EditError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise EditError(f"{path} is not in UTF-8: save it so ({error})") from None
    if not found:
        raise EditError(f"{path} has no rows")
    unused = Counter(name for _, values, _ in found for name in values if name not in COLUMNS)
    if all("image" not in values for _, values, problem in found if not problem):
        raise EditError(f"{path} has no column image: its first line names the columns")
    folder = parent(path)
    rows = [
        Row(number, {name: _placed(name, value, folder) for name, value in values.items()}, problem)
        for number, values, problem in found
    ]
    return Manifest(rows, [_unused(name) for name in unused])


def from_folders(images: str, masks: str, output: str) -> Manifest:
    """A row for each picture in a folder and in those below, with the mask of the same name.

    masks: a folder, or one mask for all pictures. output: the folder of results; what lies there is
    none of the pictures. Raises `EditError` if there is no picture.
    """
    root, beside = Path(whole(images)), Path(whole(masks))
    if key(whole(output)) == key(str(root)):
        raise EditError(f"the results would lie among the pictures in {images}: name another -o")
    if not root.is_dir():
        raise EditError(f"there is no folder {images}")
    if not beside.exists():
        raise EditError(f"there is no {masks}: give the masks' folder, or one mask")
    others = {Path(whole(output)), beside}
    pictures = [
        path
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in ENDINGS and not others.intersection([path, *path.parents])
    ]
    if not pictures:
        raise EditError(f"there is no picture in {images}")
    known = {} if beside.is_file() else _by_stem(beside)
    stems = Counter(_stem(picture, root) for picture in pictures)
    rows = []
    for number, picture in enumerate(pictures, 1):
        stem = _stem(picture, root)
        mask = beside if beside.is_file() else known.get(stem, beside / f"{stem}.png")
        named = stem if stems[stem] == 1 else picture.relative_to(root).as_posix()
        values = {"image": str(picture), "mask": str(mask), "output": f"{named}.png"}
        rows.append(Row(number, values))
    unused = known.keys() - stems.keys()
    notes = [f"masks that belong to no picture: {', '.join(sorted(unused))}"] if unused else []
    return Manifest(rows, notes)


def with_outputs(rows: list[Row], folder: str) -> list[Row]:
    """The rows with whole names of outputs: in `folder`, called like the picture if not named.

    A name that an earlier row has, or that any row reads, is a problem of the row.
    """
    made, taken = list[Row](), dict[str, int]()
    read = {
        key(row.values[name]): row.number for row in rows for name in FILES if name in row.values
    }
    for row in rows:
        image = row.values.get("image", f"row{row.number}").replace("\\", "/")
        given = row.values.get("output") or f"{Path(image.rpartition('/')[2]).stem}.png"
        output = join(folder, given)
        reader = read.get(key(output))
        first = taken.setdefault(key(output), row.number)
        problem = row.problem
        if reader is not None:
            problem = problem or f"{output} is read by row {reader}: name another output"
        elif first != row.number:
            problem = problem or f"row {first} is written to {output} already: name another output"
        made.append(Row(row.number, {**row.values, "output": output}, problem))
    return made


def settings_of(values: Mapping[str, str]) -> list[str]:
    """The settings that a row gives, as `NAME=VALUE`."""
    return [f"{name}={value}" for name, value in values.items() if name in SETTINGS | ABLATIONS]


_Found = Iterator[tuple[int, dict[str, str], str]]
"""Numbers, values, problems."""


def _csv(path: Path) -> _Found:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        delimiter = max(_DELIMITERS, key=header.count)
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            yield from _of_lines(path, lines)
        except csv.Error as error:
            raise EditError(
                f"{path}, line {lines.line_num}: {error}: put texts with commas or quotes in "
                'quotes, and double quotes inside: "a ""red"" star"'
            ) from None


def _of_lines(path: Path, lines: Iterator[list[str]]) -> _Found:
    names = [name.strip().lower() for name in next(lines, [])]
    twice = [name for name, count in Counter(names).items() if count > 1 and name in COLUMNS]
    if twice:
        raise EditError(f"{path} has two columns {twice[0]}: leave one out")
    for number, cells in enumerate((cells for cells in lines if any(cells)), 1):
        problem = ""
        if len(cells) > len(names):
            problem = (
                f"the row has {len(cells)} cells for {len(names)} columns: "
                'put texts with commas in "quotes"'
            )
        pairs = zip(names, cells, strict=False)
        yield number, _given(dict(pairs)), problem


def _json_lines(path: Path) -> _Found:
    with path.open(encoding="utf-8-sig") as file:
        lines = (line for line in file if line.strip())
        for number, line in enumerate(lines, 1):
            try:
                values = json.loads(line)
            except ValueError:
                values = None
            if not isinstance(values, dict):
                yield number, {}, 'the line is no JSON object: write {"image": ..., ...}'
                continue
            nested = [name for name, value in values.items() if isinstance(value, (list, dict))]
            problem = f"{nested[0]} must be a text or a number" if nested else ""
            yield number, _given(values), problem


def _parquet(path: Path) -> _Found:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise EditError(f"{path} needs pyarrow: pip install 'msbd[batch]'") from None
    try:
        number = 0
        for batch in parquet.ParquetFile(path).iter_batches(_PARQUET_ROWS):
            for values in batch.to_pylist():
                number += 1
                yield number, _given(values), ""
    except pyarrow.ArrowException as error:
        raise EditError(f"{path} is no Parquet file, or it is damaged: {error}") from None


def _given(values: Mapping[str, Any]) -> dict[str, str]:
    """What is said, as text."""
    texts = {str(name).strip().lower(): _text(value) for name, value in values.items()}
    return {name: text for name, text in texts.items() if text}


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""  # as some tools write an empty number
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _placed(name: str, value: str, folder: str) -> str:
    if name not in FILES + MODELS:
        return value
    placed = join(folder, typed(value))
    return placed if name in FILES or exists(placed) else value


def _unused(name: str) -> str:
    near = difflib.get_close_matches(name, COLUMNS, 1)
    return f"column {name!r} is not used" + (f": is {near[0]!r} meant?" if near else "")


def _by_stem(folder: Path) -> dict[str, Path]:
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS)
    return {_stem(path, folder): path for path in found}


def _stem(path: Path, folder: Path) -> str:
    """The name below a folder, without its ending."""
    return path.relative_to(folder).with_suffix("").as_posix()
