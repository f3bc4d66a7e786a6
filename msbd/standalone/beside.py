"""What lies beside a picture's pixels in its file: EXIF, profile, resolution, XMP, texts.

Whatever of it cannot be read is left out and noted; it never makes the pixels unusable.
"""

from __future__ import annotations

import re
from typing import Any

from PIL import Image

from . import exif
from .colour import conversion

_EXIF_MARK = b"Exif\0\0"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to set upright what EXIF's orientation says (Exif 2.32, 4.6.4)."""
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")
_NOT_TEXT = ("XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type xmp")
_TIFF_KEPT = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
"""Tags of a TIFF that say something of the picture and nothing of the file: description, make,
model, software, time, artist, copyright."""
_TIFF_DIRECTORIES = (0x8769, 0x8825)
COMMENT = "Comment"
"""The keyword of a text that has none: PNG's own for remarks (PNG 1.2, 4.2.3)."""


def upright(image: Image.Image) -> Image.Image:
    """The decoded picture turned as its EXIF or XMP says."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    block = _exif(image)[0]
    found = exif.orientation(block) if block else None
    if found is None and (xmp := _xmp(image)):
        named = _XMP_ORIENTATION.search(xmp)
        found = int(named[0][-1:]) if named else None
    return found or 1


def beside(image: Image.Image) -> dict[str, Any]:
    """A decoded picture's facts by their names in `Picture`."""
    info, notes = image.info, []
    block, readable = _exif(image)
    if not readable:
        notes.append("the picture's EXIF cannot be read: it is left out")
    icc = info.get("icc_profile") or None
    if icc and icc[16:20] != b"RGB ":
        notes.append("the picture's colour profile is not for RGB: it is left out")
        icc = None
    try:
        conversion(icc)
    except ValueError as error:
        notes.append(f"{error}: it is left out")
        icc = None
    if info.get("photoshop"):
        notes.append("the picture's IPTC record is left out: only its EXIF and XMP are kept")
    if image.format == "MPO":
        notes.append("the file's other views, such as a depth or gain map, are left out")
    xmp = _xmp(image)
    return {
        "exif": exif.upright(block) if block else None,
        "icc": icc,
        "dpi": info.get("dpi"),
        "xmp": _XMP_ORIENTATION.sub(rb"\g<1>1", xmp) if xmp else None,
        "text": _text(image),
        "notes": tuple(notes),
    }


def _exif(image: Image.Image) -> tuple[bytes | None, bool]:
    """The EXIF block without its marks, and whether there is none that cannot be read."""
    if image.format == "TIFF":
        return _of_tiff(image)
    block = image.info.get("exif") or b""
    while block.startswith(_EXIF_MARK):  # some programs write it twice
        block = block.removeprefix(_EXIF_MARK)
    if not block.strip(b"\0"):
        return None, True
    return (block, True) if exif.is_readable(block) else (None, False)


def _of_tiff(image: Image.Image) -> tuple[bytes | None, bool]:
    """A TIFF's directory is its EXIF; most of it is about the file, which is another afterwards."""
    try:
        given, kept = image.getexif(), Image.Exif()
        for tag in _TIFF_KEPT:
            if tag in given:
                kept[tag] = given[tag]
        for tag in _TIFF_DIRECTORIES:
            if inner := given.get_ifd(tag):
                kept.get_ifd(tag).update(inner)
        orientation = given.get(exif.ORIENTATION)
        if isinstance(orientation, int) and orientation != 1:
            kept[exif.ORIENTATION] = orientation
        return (kept.tobytes().removeprefix(_EXIF_MARK) if kept else None), True
    except Exception:  # values of every kind stand there, and each fails in its own way
        return None, False


def _xmp(image: Image.Image) -> bytes | None:
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    return found.encode() if isinstance(found, str) else found


def _text(image: Image.Image) -> dict[str, str]:
    given = getattr(image, "text", {})
    found = {str(key): str(value) for key, value in given.items() if key not in _NOT_TEXT}
    comment = image.info.get("comment")
    if isinstance(comment, bytes) and comment:
        try:
            found[COMMENT] = comment.decode()
        except UnicodeDecodeError:
            found[COMMENT] = comment.decode("latin-1")
    return found
