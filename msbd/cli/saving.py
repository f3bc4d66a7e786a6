"""Results to files: whole or not at all, and never lost once they are there."""

from __future__ import annotations

import secrets
import tempfile
from contextlib import suppress
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import EditError
from ..geometry import Size
from ..keeping.files import replacing, write_json
from ..standalone.pictures import Picture
from .encoding import FORMATS, encoded, format_of, storable
from .recipe import Recipe

_LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65_535, "WEBP": 16_383}
_WINDOWS_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    port + number for port in ("COM", "LPT") for number in "123456789¹²³"
}


def check_output(path: Path, size: Size | None = None, alpha: bool = False) -> None:
    """Raise `EditError` if `path` could not take a picture of this size, or one with alpha."""
    if path.suffix.lower() not in FORMATS:
        raise EditError(
            f"cannot tell the format of {path} from its name: let it end in {', '.join(FORMATS)}"
        )
    name = format_of(path)
    if alpha and name == "JPEG":
        raise EditError(
            f"{path}: JPEG cannot hold the picture's transparency: "
            "let the name end in .png or .webp"
        )
    if size and size.longest > _LONGEST_SIDE[name]:
        raise EditError(f"{path}: {size} is too large for {name}: let the name end in .png")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raise `EditError` if no file can be created in the folder of `path`, or it is a folder."""
    if unusable := unusable_name(path):
        raise EditError(f"{path}: {unusable}: give another name")
    try:
        if path.is_dir():
            raise EditError(f"{path} is a folder: give the name of a file")
    except OSError as error:  # a name that is too long here
        raise EditError(f"{path}: {error.strerror}: give another name") from None
    if not path.parent.is_dir():
        raise EditError(f"{path}: there is no folder {path.parent}: create it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise EditError(f"{path}: the folder cannot be written to: {error.strerror}") from None


def unusable_name(path: PurePath) -> str | None:
    """Why Windows would write such a file elsewhere or not at all; None if it is good."""
    if not isinstance(path, PureWindowsPath):
        return None
    name = path.name
    if name.partition(".")[0].rstrip(" ").upper() in _WINDOWS_DEVICES:
        return f"{name} is a device's name on Windows"
    if name.endswith((" ", ".")):
        return "Windows takes no names that end in a space or a full stop"
    if found := sorted(set(name) & set('<>:"|?*')):
        return f"Windows takes no names with {' '.join(found)}"
    return None


def save_report(path: Path, report: dict[str, Any]) -> None:
    write_json(path, report)


def save_drawing(path: Path, image: Image.Image) -> None:
    """Save a picture that has nothing to keep, such as a contact sheet."""
    _write(path, encoded(format_of(path), np.asarray(image.convert("RGB"))))


def save_picture(
    path: Path, pixels: NDArray[np.uint8], original: Picture, recipe: Recipe | None = None
) -> list[str]:
    """Save `pixels` [H,W,3] with what lies beside the original's, and the recipe.

    PNG and WebP are lossless; JPEG has quality 95 without chroma subsampling. The recipe is in
    the text `msbd` of a PNG and in the EXIF user comment of the others. Returns `storable`'s note
    of what was left out.
    """
    besides, notes = storable(format_of(path), original, recipe)
    _write(path, encoded(format_of(path), pixels, original.alpha, besides))
    return notes


def _write(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def rescue(pixels: NDArray[np.uint8], original: Picture, folder: Path) -> str:
    """Save a result as a PNG under a name of its own; where it is now, or that it is not, in words.

    In `folder` if possible, else in the folder one is in, at home, or with the temporary files;
    with the original's colour profile if possible, else without anything.
    """
    name = f"rescued-{secrets.token_hex(4)}.png"
    places = (folder.resolve, Path.cwd, Path.home, lambda: Path(tempfile.gettempdir()))
    for besides in ({"icc": original.icc}, None):
        for place in places:
            with suppress(Exception):  # whatever it is, the next may do
                path = place() / name
                _write(path, encoded("PNG", pixels, original.alpha, besides))
                return f"the result is in {path}"
    return "nor anywhere else"
