"""Edits of many made-up files: what is taken, what is refused, what is told.

    python tests/robustness.py 1000 -o docs/robustness.md

Each file is edited through the command line with a model that is instant, and its result taken
apart by another reader. Exits with 1 if anything was lost in silence.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from fakes import PointwiseBackend
from files import Made, made, read
from PIL import Image

from msbd.cli.command import main as msbd
from msbd.standalone import models

OUTPUTS = (".png", ".jpg", ".webp")
HARDLY = ("--preset", "draft", "--set", "steps=1", "--set", "feather=0", "--quiet")
NAMES = {"exif": "EXIF", "icc": "profile", "dpi": "resolution", "xmp": "XMP"}
LOSSY = 40
"""Levels by which JPEG may change a pixel of pure noise at quality 95."""


@dataclass(frozen=True)
class Outcome:
    """refused: as it should be. faults: what went wrong, none if all is well."""

    label: str
    output: str
    refused: bool
    told: int
    faults: tuple[str, ...]


def examined(seed: int, folder: Path) -> Outcome:
    """Make the file of that number, edit it, and look at what came of it."""
    subject, suffix = made(seed), OUTPUTS[seed % len(OUTPUTS)]
    if subject.alpha is not None and suffix == ".jpg":
        suffix = ".webp"
    source, out, mask = folder / "in.picture", folder / f"out{suffix}", folder / "mask.png"
    source.write_bytes(subject.data)
    out.unlink(missing_ok=True)
    height, width = subject.pixels.shape[:2]
    hole = np.zeros((max(height, 8), max(width, 8)), np.uint8)
    hole[2:6, 2:6] = 255
    Image.fromarray(hole).save(mask)
    said, complained, loaded = io.StringIO(), io.StringIO(), list[object]()
    with _instant(loaded), _heard(said, complained):
        try:
            code = msbd(
                ["edit", str(source), str(mask), "a star", "-o", str(out), "--seed", "1", *HARDLY]
            )
        except Exception as error:
            return Outcome(subject.label, suffix, False, 0, (f"traceback: {error!r}",))
    faults = list(
        _refusal(subject, code, complained.getvalue(), loaded, out)
        if subject.refused
        else _losses(subject, code, said.getvalue() + complained.getvalue(), out, hole > 0)
    )
    told = sum(word in said.getvalue() for word in ("left out",))
    return Outcome(subject.label, suffix, subject.refused is not None, told, tuple(faults))


@contextlib.contextmanager
def _instant(loaded: list[object]) -> Any:
    """A model that is there at once, in place of the embedded one."""
    model = mock.Mock(notes=())
    model.bind = lambda *_, **__: PointwiseBackend()

    def load(chosen: object) -> Any:
        loaded.append(chosen)
        return model

    with (
        mock.patch.object(models, "load", load),
        mock.patch.object(models, "spec", lambda *_: PointwiseBackend().spec),
    ):
        yield


@contextlib.contextmanager
def _heard(said: io.StringIO, complained: io.StringIO) -> Any:
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(complained):
        yield


def _refusal(subject: Made, code: int, text: str, loaded: list[object], out: Path) -> Any:
    if code != 2 or text.count("\n") != 1:
        yield f"not refused in one line: {code}, {text!r}"
    if subject.refused not in text:
        yield f"{subject.refused!r} is not said: {text!r}"
    if loaded:
        yield "a model was loaded for it"
    if out.exists():
        yield "something was written"


def _losses(subject: Made, code: int, text: str, out: Path, hole: np.ndarray) -> Any:
    if code != 0:
        yield f"not edited: {code}, {text!r}"
        return
    found, kept = read(out.read_bytes()), ~hole
    difference = np.abs(found.pixels[kept].astype(int) - subject.pixels[kept]).max()
    if difference > (LOSSY if out.suffix == ".jpg" else 0):
        yield f"outside the mask pixels differ by {difference}"
    opaque = np.full(subject.pixels.shape[:2], 255)
    alphas = (opaque if one is None else one for one in (subject.alpha, found.alpha))
    if not np.array_equal(*alphas):
        yield "the transparency is another"
    for name, value in subject.beside.items():
        if name in subject.unreadable or _is_same(name, found.beside.get(name), value):
            continue
        word = NAMES.get(name, "comment" if name == "Comment" else repr(name))
        if "left out" not in text or word not in text:
            yield f"{name} is lost in silence"
    for name in subject.unreadable:
        if f"{NAMES[name]} " not in text:
            yield f"that its {name} cannot be read is not told"
    if not subject.is_srgb and "painted in sRGB" not in text:
        yield "that it is not in sRGB is not told"


def _is_same(name: str, found: Any, value: Any) -> bool:
    if name == "dpi":
        return found is not None and np.allclose(found, value, rtol=0.01)
    if name == "exif" and found is not None:
        # The first directory may have been written anew at the end; the maker's text stays.
        return bool(found[38 : len(value)] == value[38:]) and found[:4] == value[:4]
    return bool(found == value)


def table(outcomes: list[Outcome]) -> str:
    """What was tried, as a page."""
    counts = Counter((one.label, one.refused) for one in outcomes)
    told = Counter(one.label for one in outcomes if one.told)
    wrong = [one for one in outcomes if one.faults]
    lines = [
        "# Files of every kind",
        "",
        f"Written by `python tests/robustness.py {len(outcomes)} -o docs/robustness.md`: made-up "
        "files with EXIF, colour",
        "profiles, resolutions, texts and XMP of many kinds, or damaged ones, edited through the "
        "command line with a",
        "model that is instant, and read again by another reader (OpenCV, and the container's "
        "parts).",
        "",
        f"{len(outcomes)} files: {sum(one.refused for one in outcomes)} had to be refused in one "
        f"line before a model loads, {sum(not one.refused for one in outcomes)} to be edited with "
        f"nothing lost in silence; **{len(wrong)} were not treated so**.",
        "",
        "| file | how many | outcome | of which something had to be left out, and was told |",
        "|---|---|---|---|",
    ]
    for (label, refused), count in sorted(counts.items()):
        lines.append(
            f"| {label} | {count} | {'refused' if refused else 'edited'} | {told[label] or ''} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """0 if nothing was lost in silence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("count", type=int)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [examined(seed, Path(folder)) for seed in range(arguments.count)]
    for seed, outcome in enumerate(outcomes):
        for fault in outcome.faults:
            print(f"{seed} ({outcome.label}, {outcome.output}): {fault}")
    if arguments.output:
        arguments.output.write_text(table(outcomes), encoding="utf-8")
    print(f"{len(outcomes)} files, {sum(bool(one.faults) for one in outcomes)} with faults")
    return int(any(one.faults for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
