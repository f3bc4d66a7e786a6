"""`msbd evaluate --photographs`: tables and a page of photographs that returned."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import __version__
from ..errors import EditError
from . import photographs
from .markdown import table
from .photographs import PLACES, SHOWN, WAYS, WITH_TEXTURE, Pixels, Way
from .workers import machine

Results = dict[str, Any]
REAL = "real_esrgan"
BEFORE = Way(
    "without texture, and with tone that is not held", {"texture": 0.0, "hold_tone": False}
)
GROUPS = {
    "Photographs as they are": ("own",),
    "With known grain or canvas over a defocused photograph": WITH_TEXTURE,
    "Defocused": ("defocused",),
}
TILE, GAP, ROWS = 200, 6, 10
"""The page's pictures at 100 %, and how many edits it shows."""
TEXT = """\
# Photographs that return

The masked part of a photograph that scikit-image brings, reduced to the first stage's size, goes
through the later stages as if it had been painted; the photograph itself is what should come out.
The networks are the miniature's, which has seen no photograph: what it cannot say of one is lost,
and that is what texture of the surroundings is for. Discs of 140 to 340 pixels; grain is fine (5
levels), coarse (7) or film's (10), the canvas a weave of 5 by 6 pixels; defocused by 2.5 pixels.
"""
GLOSSARY = """\
- **finest, middle, coarsest**: doublings of the detail in octaves from 2 pixels on against the
  photograph's; less than 0 is lost, more is added. **error** is the mean of their sizes.
- **displaced**: share of the finest and middle octaves' power that is not where it was; all of a
  texture that was lost and put back.
- **tone**: mean distance of the colours without detail, in 8-bit levels.
- **structure**: structural similarity of the luma (Wang et al. 2004).
- **seam**: how well the edge can be seen, see [`seam.py`](../../msbd/seam.py), less what the
  photograph itself shows there.
"""


def perform(folder: Path, workers: int, upscaler: Path | None, say: Callable[[str], None]) -> None:
    """Measure, and write `photographs.json`, `.md` and `.jpg`. upscaler: a Real-ESRGAN model to be
    measured beside the miniature's. Raises `EditError` without scikit-image, or if the folder or
    the model is not to be had."""
    if find_spec("skimage") is None:
        raise EditError("photographs need scikit-image: get it with pip install scikit-image")
    if upscaler is not None and not upscaler.is_file():
        raise EditError(f"there is no upscaler {upscaler}: give a Real-ESRGAN model's file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"cannot make the folder {folder}: {error.strerror}") from None
    ways = WAYS | {"before": BEFORE}
    if upscaler is not None:
        about = f"enlarged by {upscaler.name}"
        ways[REAL] = Way(about, {"upscaler": str(upscaler)})
    rows, page = [], []
    for (name, version), found, pictures in _all(ways, workers):
        errors = ", ".join(f"{row['way']} {row['error']:.2f}" for row in found)
        say(f"{name}, {version}: {errors}")
        rows += found
        if version != "defocused":
            page.append(_strip(name, pictures))
    result = {
        "made": {
            "command": "python -m msbd evaluate --photographs"
            + " --upscaler FILE" * bool(upscaler),
            "version": __version__,
            "date": date.today().isoformat(),
            "machine": machine(),
        },
        "ways": {name: way.about for name, way in ways.items()},
        "rows": rows,
    }
    files = {
        "photographs.json": json.dumps(result, indent=1) + "\n",
        "photographs.md": text(result),
    }
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
        say(f"wrote {folder / name}")
    # Those that show most: with grain or canvas first.
    _page(page[::-1][:ROWS]).save(folder / "photographs.jpg", quality=88)


def _all(ways: dict[str, Way], workers: int) -> Iterator[tuple[tuple[str, str], list[Any], Any]]:
    """Photograph by photograph: its rows, and the pictures of it by way."""
    workers = min(workers, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        todo = [(one, pool.submit(_one, *one, ways)) for one in SHOWN]
        for one, future in todo:
            yield (one, *future.result())


def _one(name: str, version: str, ways: dict[str, Way]) -> tuple[list[Any], dict[str, Pixels]]:
    before = photographs.photograph(name, version)
    pictures = {"photograph": before}
    rows = []
    for key, way in ways.items():
        pictures[key] = photographs.returned(name, version, way)
        rows.append({"way": key, **photographs.compared(name, version, before, pictures[key])})
    return rows, pictures


def text(result: Results) -> str:
    """The document; every figure comes from the JSON."""
    made = result["made"]
    parts = [
        TEXT,
        f"`{made['command']}`, {made['date']}, {made['machine']}, msbd {made['version']}.\n",
    ]
    head = (
        *("way", "n", "finest", "middle", "coarsest", "error", "displaced", "tone", "structure"),
        "seam",
    )
    for title, versions in GROUPS.items():
        rows = [
            _row(way, [r for r in result["rows"] if r["way"] == way and r["version"] in versions])
            for way in result["ways"]
        ]
        parts += [f"## {title}\n", table(head, rows)]
    parts.append("\n".join(f"- `{way}`: {about}" for way, about in result["ways"].items()) + "\n")
    parts += [GLOSSARY, _counts(result)]
    parts.append(
        "![Ten of them at 100 %: the photograph, without texture and with tone that is not held, "
        "the preset recommended](photographs.jpg)\n"
    )
    return "\n".join(parts)


def _row(way: str, rows: list[Results]) -> tuple[str, ...]:
    def mean(values: list[float]) -> str:
        return f"{np.mean(values):.2f}"

    return (
        f"`{way}`",
        str(len(rows)),
        *(mean([row["octaves"][octave] for row in rows]) for octave in range(3)),
        mean([row["error"] for row in rows]),
        mean([np.mean(row["displaced"][:2]) for row in rows]),
        *(mean([row[key] for row in rows]) for key in ("tone", "structure", "seam")),
    )


def _counts(result: Results) -> str:
    """How often the preset is nearer to the photograph than two passes and than before."""
    by = {(r["way"], (r["name"], r["version"])): r for r in result["rows"]}
    grainy = [one for one in SHOWN if one[1] in WITH_TEXTURE]
    said = []
    for other, name in (("two_passes", "two passes"), ("before", "before")):
        texture, seam = (
            sum(by["recommended", one][key] < by[other, one][key] for one in grainy)
            for key in ("error", "seam")
        )
        said.append(f"than {name} in {texture}, with a weaker seam in {seam}")
    return (
        f"Of the {len(grainy)} with grain or canvas the octaves of `recommended` are nearer to the "
        f"photograph's {'; '.join(said)}.\n"
    )


def _strip(name: str, pictures: dict[str, Pixels]) -> Pixels:
    """The photograph, as it came back before, and as it comes back."""
    row, column, _ = PLACES[name]
    height, width = pictures["photograph"].shape[:2]
    top = min(max(row - TILE // 2, 0), height - TILE)
    left = min(max(column - TILE // 2, 0), width - TILE)
    shown = [pictures[key] for key in ("photograph", "before", "recommended")]
    return np.hstack([one[top : top + TILE, left : left + TILE] for one in shown])


def _page(strips: list[Pixels]) -> Image.Image:
    """Two edits beside each other."""
    blank = np.full((TILE, GAP, 3), 255, np.uint8)
    rows = [np.hstack([*strips[i : i + 1], blank, *strips[i + 1 : i + 2]]) for i in (0, 2, 4, 6, 8)]
    gap = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    return Image.fromarray(np.vstack([part for row in rows for part in (row, gap)][:-1]))
