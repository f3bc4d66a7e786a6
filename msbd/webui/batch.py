"""The Batch tab: its first picture for the dry run, by the host's rules; and one that fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules import processing, shared
from PIL import Image, UnidentifiedImageError

from ..errors import EditError
from .results import told

PICTURES, MASKS = "Input directory", "Inpaint batch mask directory"
"""The labels of the tab's folders."""
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Of the files that the host takes for pictures."""


@dataclass(frozen=True)
class First:
    """The first picture and its mask. count: pictures with a mask; left_out: without one."""

    name: str
    picture: Image.Image
    mask: Image.Image
    count: int
    left_out: int

    def __str__(self) -> str:
        """Which picture it is, for people."""
        which = f"First of {self.count} pictures" if self.count > 1 else "The only picture"
        rest = f" Pictures left out, without a mask: {self.left_out}." if self.left_out else ""
        return f"{which}: {self.name}.{rest}"


def first_of(folder: str, masks: str) -> First:
    """The first picture of a batch from `folder` with masks from the folder `masks`.

    A single mask is for all pictures; of several each is for the picture of its name. Raises
    `EditError` where there is no picture, or none with a mask.
    """
    if shared.cmd_opts.hide_ui_dir_config:
        raise EditError("folders are turned off: the WebUI runs with --hide-ui-dir-config")
    paths = shared.walk_files(_existing(folder, PICTURES), _SUFFIXES)
    pictures = [Path(path) for path in paths]
    if not pictures:
        raise EditError(f"{PICTURES}: there are no pictures in {folder}")
    pairs = list(_pairs(pictures, _existing(masks, MASKS)))
    for path, mask in pairs:
        try:
            picture = _read(path)
        except UnidentifiedImageError:  # the host goes on with the next one, too
            continue
        return First(path.name, picture, _read(mask), len(pairs), len(pictures) - len(pairs))
    raise EditError(f"{MASKS}: no picture in {folder} has a mask of its name in {masks}")


def _existing(folder: str, label: str) -> str:
    if not folder:
        raise EditError(f"{label}: name a folder in the Batch tab, under From directory")
    if not Path(folder).is_dir():
        raise EditError(f"{label}: there is no folder {folder}")
    return folder


def _pairs(pictures: list[Path], folder: str) -> Iterator[tuple[Path, Path]]:
    """The pictures that have a mask, each with it."""
    masks = [Path(path) for path in shared.listfiles(folder)]
    if not masks:
        raise EditError(f"{MASKS}: there are no masks in {folder}")
    for picture in pictures:
        named = masks if len(masks) == 1 else list(Path(folder).glob(f"{picture.stem}.*"))
        if named:
            yield picture, named[0]


def _read(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
    return image


@dataclass(frozen=True)
class Place:
    """Which of a batch's pictures is edited, from 1 on."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"Picture {self.number} of {self.count}"


def place() -> Place | None:
    """As the host says what its job is; None in any other job than the Batch tab's."""
    found = re.fullmatch(r"(\d+) out of (\d+)", shared.state.job or "")
    return Place(int(found[1]), int(found[2])) if found else None


def skipped(p: Any, jobs: int, reason: str) -> Any:
    """The host's result for a picture that cannot be edited. jobs: done before it.

    The host goes on with the next one, and counts this one's jobs as done.
    """
    while shared.state.job_no < jobs + p.n_iter:
        shared.state.nextjob()
    result = processing.Processed(p, [], p.seed, "")
    result.comments = f"Not edited: {reason}\n"
    told(result, [])
    return result


def gathered(p: Any, where: Place, result: Any) -> None:
    """Put what is said of a picture into the first one's result, which the host shows at the end.

    `p` is the same for all pictures of a batch.
    """
    lines = "".join(f"{where}: {line}\n" for line in result.comments.splitlines())
    first = vars(p).setdefault("msbd_batch", result)
    if first is result:
        result.comments = lines
    else:
        first.comments += lines
        first.msbd += result.msbd
