"""What a file is that cannot be read as a picture or as weights, told from its first bytes."""

from __future__ import annotations

import zlib
from pathlib import Path

_LONGEST = 512
_PNG = b"\x89PNG\r\n\x1a\n"
_STARTS = {
    _PNG: "a PNG",
    b"\xff\xd8\xff": "a JPEG",
    b"8BPS": "a Photoshop document",
    b"gimp xcf": "a GIMP document",
    b"%PDF": "a PDF document",
    b"%!PS": "a PostScript document",
    b"\xff\x0a": "a JPEG XL picture",
    b"\0\0\0\x0cJXL ": "a JPEG XL picture",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 picture",
    b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
    b"v/1\x01": "an OpenEXR picture",
    b"#?RADIANCE": "a Radiance picture",
    b"\0\0\x01\0": "an icon",
    b"DDS ": "a DirectDraw surface",
    b"qoif": "a QOI picture",
    b"GGUF": "a GGUF file",
    b"II*\0\x10\0\0\0CR": "a camera's raw file",
    b"IIRO": "a camera's raw file",
    b"IIU\0": "a camera's raw file",
    b"FUJIFILMCCD-RAW": "a camera's raw file",
    b"version https://git-lfs": "a Git LFS pointer in place of the file itself",
    b"PK\x03\x04": "a zip archive, or a Krita or OpenRaster document",
}
_BRANDS = {
    b"avif": "an AVIF picture",
    b"avis": "an AVIF animation",
    b"heic": "a HEIC picture",
    b"heix": "a HEIC picture",
    b"hevc": "a HEIC animation",
    b"mif1": "a HEIF picture",
    b"msf1": "a HEIF animation",
    b"crx ": "a camera's raw file",
}
"""Of files in ISO's base media format, behind the word "ftyp" (ISO/IEC 14496-12)."""
_OPENINGS = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<svg": "an SVG drawing",
    b"<?xml": "an SVG drawing or another XML document",
    b"{": "a JSON document",
}
"""Of texts, in small letters."""


def kind_of(path: Path) -> str | None:
    """The file's kind in words; None if it is none of those known here."""
    with path.open("rb") as file:
        start = file.read(_LONGEST)
    if not start:
        return "empty"
    if start.startswith(_PNG) and (part := wrong_part(path)):
        return f"a PNG whose part {part} does not fit its checksum, so it was changed or damaged"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "a WebP file"
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "a film")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return _found(start, _STARTS) or _found(text, _OPENINGS)


def wrong_part(path: Path) -> str | None:
    """The name of a PNG's first chunk with a wrong checksum; None if there is none."""
    with path.open("rb") as file:
        file.seek(len(_PNG))
        while len(head := file.read(8)) == 8:
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            body, check = file.read(length), file.read(4)
            if len(check) == 4 and zlib.crc32(name + body) != int.from_bytes(check, "big"):
                return name.decode("latin-1")
    return None


def _found(start: bytes, known: dict[bytes, str]) -> str | None:
    return next((kind for sign, kind in known.items() if start.startswith(sign)), None)
