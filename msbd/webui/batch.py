"""The Batch tab's folders: the first picture that an edit would be made of, by the host's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modules import shared
from PIL import Image, UnidentifiedImageError

from ..errors import EditError

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
