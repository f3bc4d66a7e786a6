"""A picture as a file's bytes: which format, and what of the original goes beside the pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from ..standalone import exif
from ..standalone.beside import COMMENT, beside
from ..standalone.pictures import Picture, of_any_size
from .recipe import KEY, Recipe, stored_text

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 4}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
}
"""Endings; Pillow's names and options. zlib's level 4 writes photographs sooner than the usual 6,
and as small."""
_NEAR = 0.01
"""By how much a resolution may differ in dots per inch: formats store it in units of their own."""

Beside = dict[str, Any]
"""Names of `Picture`'s facts, `text <keyword>` for each text, and "settings" for the recipe."""


def encoded(
    format: str,
    pixels: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | None = None,
    besides: Beside | None = None,
) -> bytes:
    """A whole file of pixels [H,W,3], transparency [H,W], and what goes beside them.

    Raises whatever Pillow raises of facts that it cannot write in this format.
    """
    _, options = next(known for known in FORMATS.values() if known[0] == format)
    bands = pixels if alpha is None else np.dstack([pixels, alpha])
    file = io.BytesIO()
    with of_any_size():
        options = options | _options(format, besides or {})
        Image.fromarray(bands).save(file, format=format, **options)
    return file.getvalue()


def _options(format: str, besides: Beside) -> dict[str, Any]:
    """Pillow's."""
    options = {
        "icc_profile": besides.get("icc"),
        "dpi": besides.get("dpi"),
        "xmp": besides.get("xmp"),
    }
    texts = {name.partition(" ")[2]: text for name, text in besides.items() if _is_text(name)}
    block, recipe = besides.get("exif"), besides.get("settings")
    if format == "PNG":
        info = PngImagePlugin.PngInfo()
        if recipe:
            texts[KEY] = recipe
        if xmp := options.pop("xmp"):
            info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        for keyword, text in texts.items():
            info.add_text(keyword, text)
        options["pnginfo"] = info
    elif recipe:
        block = exif.with_comment(block, recipe)
    if format == "JPEG" and COMMENT in texts:
        options["comment"] = texts[COMMENT]
    if block:
        options["exif"] = b"Exif\0\0" + block
    return {name: value for name, value in options.items() if value is not None}


def _is_text(name: str) -> bool:
    return name.startswith("text ")


def storable(
    format: str, original: Picture, recipe: Recipe | None = None
) -> tuple[Beside, list[str]]:
    """What a file of this format can hold beside the pixels, and a note of what it cannot.

    Found out by writing each with a single pixel and reading it back, the most valuable first.
    """
    kept, lost = Beside(), []
    for name, value, words in _facts(original, recipe):
        if _survives(format, kept | {name: value}, name):
            kept[name] = value
        else:
            lost.append(words)
    return kept, [f"{format} cannot hold {', '.join(lost)}: left out"] if lost else []


def _facts(original: Picture, recipe: Recipe | None) -> Iterator[tuple[str, Any, str]]:
    if original.icc:
        yield "icc", original.icc, f"the picture's colour profile ({_length(original.icc)})"
    if original.exif:
        yield "exif", original.exif, f"the picture's EXIF ({_length(original.exif)})"
    if original.dpi is not None:
        yield "dpi", original.dpi, f"the picture's resolution ({_dots(original.dpi)})"
    if original.xmp:
        yield "xmp", original.xmp, f"the picture's XMP ({_length(original.xmp)})"
    if recipe:
        yield "settings", recipe.to_json(), "the edit's settings beside all that"
    for keyword, text in original.text.items():
        if keyword != KEY:  # an earlier edit's settings
            words = "comment" if keyword == COMMENT else f"text {keyword!r}"
            yield f"text {keyword}", text, f"the picture's {words}"


def _length(value: bytes) -> str:
    return f"{len(value):,} bytes"


def _dots(dpi: Any) -> str:
    try:
        return " x ".join(f"{value:.4g}" for value in dpi) + " dpi"
    except (TypeError, ValueError):
        return repr(dpi)


def _survives(format: str, besides: Beside, name: str) -> bool:
    """Whether it is all still there when a pixel that is saved with it is read back."""
    try:
        file = io.BytesIO(encoded(format, np.zeros((1, 1, 3), np.uint8), None, besides))
        if name == "settings":
            return stored_text(file) == besides[name]
        with of_any_size(), Image.open(file) as image:
            image.load()
            found = beside(image)
    except Exception:  # every kind of value fails in its own way
        return False
    expected = besides[name]
    if name == "dpi":
        return found["dpi"] is not None and np.allclose(found["dpi"], expected, rtol=_NEAR)
    if _is_text(name):
        return found["text"].get(name.partition(" ")[2]) == expected
    return bool(found[name] == expected)


def format_of(path: Path) -> str:
    return FORMATS[path.suffix.lower()][0]
