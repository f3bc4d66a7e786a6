"""An examination as one block of text, to be pasted into a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .finding import WIDTH, Examination

BEGIN, END = "----- msbd check -----", "----- end of msbd check -----"
_PARTS = {
    "denoising": "denoising",
    "fitting": "decoder optimisation",
    "judging": "CLIP",
    "upscaling": "upscaling",
    "encoding": "encoding",
    "decoding": "decoding",
    "other": "other",
}
"""Names of an edit's parts, as `TimedBackend.parts` has them -> as people have them."""
_FOLDER = r"(?!\s)(?:(?!\.\w{1,12}[\s,;:)])[^\\/'\"\n])+[\\/]+"
"""In a path: spaces may be in its name, but none behind what ends as the name of a file does."""
_FOLDERS = re.compile(rf"(?<![\w.:/\\])(?:[A-Za-z]:|~)?[\\/]+(?:{_FOLDER})*([^\\/\s'\"]+)")


def block(examination: Examination, about: Sequence[str]) -> str:
    """Plain ASCII between two marker lines, without a folder's name, a prompt or a picture.

    about: versions, device and options, a line each.
    """
    lines = [*about, *map(str, examination.general)]
    for one in examination.presets:
        lines += [str(one), *(f"  {finding}" for finding in one.findings)]
        if one.seconds:
            parts = [f"{said} {one.seconds.get(name, 0.0):.1f}" for name, said in _PARTS.items()]
            lines.append(f"  {'seconds':{WIDTH}}{one.seconds['all']:.1f}: {', '.join(parts)}")
    lines.append(f"verdict: {examination.verdict}")
    return "\n".join([BEGIN, *map(_public, lines), END])


def _public(line: str) -> str:
    """Of every path only the last name, and ASCII."""
    known = line.replace(str(Path.home()), "~")
    return _FOLDERS.sub(r"\1", known).encode("ascii", "backslashreplace").decode("ascii")
