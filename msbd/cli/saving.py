"""Pictures and reports to files: whole or not at all, with the recipe inside."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from .. import __version__
from ..errors import EditError
from ..geometry import Size
from ..legacy import with_stored
from ..settings import EditSettings
from ..standalone import exif
from ..standalone.pictures import Picture, of_any_size

_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
}
_LONGEST_SIDE = {"PNG": 2**31 - 1, "JPEG": 65_535, "WEBP": 16_383}
_LARGEST_JPEG_MARKER = 65_533
_KEY = "msbd"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What it takes to make an edit again, given the picture, the mask and the model."""

    prompt: str
    negative: str
    seed: int
    settings: EditSettings
    model: str = ""

    def to_json(self) -> str:
        facts = {
            "version": __version__,
            "prompt": self.prompt,
            "negative": self.negative,
            "seed": self.seed,
            "model": self.model,
            "settings": self.settings.flat(),
        }
        return json.dumps(facts)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Raises `EditError` for a setting this version does not know."""
        facts = json.loads(text)
        return cls(
            str(facts["prompt"]),
            str(facts["negative"]),
            int(facts["seed"]),
            with_stored(EditSettings(), facts["settings"]),
            str(facts.get("model", "")),
        )


def check_output(path: Path, size: Size | None = None, alpha: bool = False) -> None:
    """Raise `EditError` if `path` could not take a picture of this size, or one with alpha."""
    if path.suffix.lower() not in _FORMATS:
        raise EditError(
            f"cannot tell the format of {path} from its name: let it end in {', '.join(_FORMATS)}"
        )
    name, _ = _FORMATS[path.suffix.lower()]
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
    if path.is_dir():
        raise EditError(f"{path} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise EditError(f"{path}: there is no folder {path.parent}: create it first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise EditError(f"{path}: the folder cannot be written to: {error.strerror}") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file that becomes `path` if all goes well, else disappears."""
    path = path.resolve()
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_report(path: Path, report: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def save_drawing(path: Path, image: Image.Image) -> None:
    """Save a picture that has nothing to keep, such as a contact sheet."""
    name, options = _FORMATS[path.suffix.lower()]
    with replacing(path) as temporary:
        image.save(temporary, format=name, **options)


def save_picture(
    path: Path, pixels: NDArray[np.uint8], original: Picture, recipe: Recipe | None = None
) -> None:
    """Save `pixels` [H,W,3] with the original's alpha, EXIF, ICC profile, and the recipe.

    PNG and WebP are lossless; JPEG has quality 95 without chroma subsampling. The recipe is in
    the text `msbd` of a PNG and in the EXIF user comment of the others.
    """
    name, options = _FORMATS[path.suffix.lower()]
    bands = pixels if original.alpha is None else np.dstack([pixels, original.alpha])
    options = options | {"icc_profile": original.icc}
    if original.dpi and name != "WEBP":
        options["dpi"] = original.dpi
    block = original.exif
    if recipe and name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text(_KEY, recipe.to_json())
    elif recipe:
        block = _with_recipe(block, recipe, name)
    if block:
        options["exif"] = b"Exif\0\0" + block
    with replacing(path) as temporary:
        Image.fromarray(bands).save(temporary, format=name, **options)


def _with_recipe(block: bytes | None, recipe: Recipe, name: str) -> bytes | None:
    extended = exif.with_comment(block, recipe.to_json())
    if name == "JPEG" and len(extended) + 8 > _LARGEST_JPEG_MARKER:
        _log.warning("the picture's EXIF leaves no room for the settings: they are not stored")
        return block
    return extended


def read_recipe(path: Path) -> Recipe:
    """The recipe stored in a picture by `save_picture`. Raises `EditError` if there is none."""
    try:
        with of_any_size(), Image.open(path) as image:
            block = image.info.get("exif")
            text = image.info.get(_KEY)
            if text is None and block:
                text = exif.comment(block.removeprefix(b"Exif\0\0"))
            return Recipe.from_json(text or "")
    except EditError as error:
        raise EditError(f"{path} was made by another version: {error}") from None
    except FileNotFoundError:
        raise EditError(f"{path}: there is no such file") from None
    except (OSError, SyntaxError, ValueError, TypeError, KeyError):
        raise EditError(f"{path} holds no settings: give a picture made by `msbd edit`") from None
