"""Picture files of every kind, made up: sound, odd and damaged ones, and what they hold.

Containers are put together here from their parts, so that facts can stand in them that no
library would write, and taken apart again by a reader of its own.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]
PNG_MARK = b"\x89PNG\r\n\x1a\n"
XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
MODES = {
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "P transparent", "deep"),
    "JPEG": ("RGB", "L", "CMYK", "MPO"),
    "WEBP": ("RGB", "RGBA", "animated"),
    "TIFF": ("RGB", "RGBA", "L", "deep", "float", "pages"),
    "BMP": ("RGB",),
    "GIF": ("P", "animated"),
    "PPM": ("RGB", "L"),
}
REFUSED = {
    "deep": "8 bits per channel",
    "float": "8 bits per channel",
    "CMYK": "save it as RGB",
    "animated": "frames",
    "pages": "pages",
}
EXIFS = ("none", "camera", "turned", "long orientation", "doubled", "garbage", "empty", "70 kB")
PROFILES = ("none", "sRGB", "Adobe RGB", "1.2 MB", "grey", "garbage")
RESOLUTIONS = ("none", "300", "72 x 300", "zero", "huge")
TEXTS = ("none", "parameters", "other alphabets", "an earlier edit", "1.5 MB")
DAMAGES = {
    "truncated": "damaged or incomplete",
    "header": "IHDR does not fit",
    "checksum": "tEXt does not fit its checksum",
    "empty": "is empty",
    "web page": "is a web page",
    "HEIC": "is a HEIC picture",
    "Photoshop": "is a Photoshop document",
    "noise": "is not a picture",
}


ADOBE_RGB = {
    b"rXYZ": (0.60974, 0.31111, 0.01947),
    b"gXYZ": (0.20528, 0.62567, 0.06087),
    b"bXYZ": (0.14919, 0.06322, 0.74457),
}
"""Its primaries adapted to D50 (Adobe RGB 1998, annex A); the curve is left sRGB's."""


@dataclass
class Made:
    """A file, and what an edit of it owes.

    refused: words of the one line with which it is turned down; None if it must be taken. pixels,
    alpha: upright. beside: `exif` (a TIFF structure), `icc`, `dpi`, `xmp`, and texts by keyword.
    unreadable: which of them nobody can read.
    """

    data: bytes
    label: str
    refused: str | None = None
    pixels: Pixels = field(default_factory=lambda: np.zeros((1, 1, 3), np.uint8))
    alpha: Pixels | None = None
    beside: dict[str, Any] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    is_srgb: bool = True


def made(seed: int) -> Made:
    """The file of that number."""
    draw = random.Random(seed)
    if draw.random() < 0.12:
        return _damaged(draw)
    format = draw.choice(("PNG", "PNG", "PNG", "JPEG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM"))
    mode = draw.choice(MODES[format])
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 4), np.uint8)
    facts = Facts.drawn(draw, format)
    label = f"{format} {mode}"
    data, shown, alpha = _encoded(format, mode, pixels, facts)
    result = Made(data, label, REFUSED.get(mode))
    if result.refused:
        return result
    turn = facts.orientation
    result.pixels = turned(shown, turn)
    result.alpha = None if alpha is None else turned(alpha, turn)
    result.beside, result.unreadable = facts.owed(format), facts.unreadable()
    if format == "MPO":
        result.unreadable.add("views")
    result.is_srgb = facts.profile != "Adobe RGB"
    return result


def _damaged(draw: random.Random) -> Made:
    damage = draw.choice(tuple(DAMAGES))
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8))
    format = "PNG" if damage in ("header", "checksum") else draw.choice(("PNG", "JPEG"))
    whole = _saved(picture, format)
    data = {
        "truncated": whole[: len(whole) // 2],
        "checksum": whole[:33] + _chunk(b"tEXt", b"a\0b")[:-1] + b"\0" + whole[33:],
        "header": whole[:30] + bytes([whole[30] ^ 1]) + whole[31:],
        "empty": b"",
        "web page": b"\n<!DOCTYPE html><html><body>404</body></html>",
        "HEIC": b"\0\0\0\x18ftypheic" + bytes(200),
        "Photoshop": b"8BPS\0\1" + bytes(200),
        "noise": bytes(draw.randbytes(300)),
    }[damage]
    return Made(data, damage, DAMAGES[damage])


@dataclass(frozen=True)
class Facts:
    """What is to stand beside the pixels, by the words above."""

    exif: str
    orientation: int
    profile: str
    resolution: str
    text: str
    xmp: bool

    @classmethod
    def drawn(cls, draw: random.Random, format: str) -> Facts:
        bare = format in ("BMP", "GIF", "PPM")
        exif = "none" if bare or format == "TIFF" else draw.choice(EXIFS)
        if exif == "70 kB" and format == "JPEG":
            exif = "camera"
        turns = exif in ("turned", "long orientation")
        return cls(
            exif,
            draw.randrange(2, 9) if turns else 1,
            "none" if bare else draw.choice(PROFILES),
            draw.choice(RESOLUTIONS) if format in ("PNG", "JPEG") else "none",
            draw.choice(TEXTS) if format == "PNG" else "none",
            format in ("PNG", "JPEG", "WEBP") and draw.random() < 0.4,
        )

    def block(self, upright: bool = False) -> bytes | None:
        """The TIFF structure; `upright`: as it must be afterwards."""
        if self.exif in ("none", "garbage", "empty"):
            return None
        orientation = 1 if upright else self.orientation
        length = 70_000 if self.exif == "70 kB" else 8
        return exif_block(orientation, length, self.exif == "long orientation")

    def raw_exif(self) -> bytes | None:
        block = self.block()
        if block is not None:
            return b"Exif\0\0" * (2 if self.exif == "doubled" else 1) + block
        return {"garbage": b"Exif\0\0garbage!", "empty": b"Exif\0\0"}.get(self.exif)

    def icc(self) -> bytes | None:
        return None if self.profile == "none" else profile(self.profile)

    def texts(self) -> dict[str, str]:
        return {
            "none": {},
            "parameters": {"parameters": "a lighthouse\nSteps: 20", "Software": "some"},
            "other alphabets": {"Title": "結果 ★", "Author": "Jörg"},
            "an earlier edit": {"msbd": '{"prompt": "old"}', "Comment": "kept"},
            "1.5 MB": {"workflow": "0123456789abcdef" * 100_000},
        }[self.text]

    def xmp_document(self, orientation: int) -> bytes:
        return (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description '
            f'tiff:Orientation="{orientation}" dc:title="★"/></x:xmpmeta>'
        ).encode()

    def owed(self, format: str) -> dict[str, Any]:
        owed: dict[str, Any] = {"exif": self.block(upright=True), "icc": self.icc()}
        density = {"300": (300, 300), "72 x 300": (72, 300), "huge": HUGE[format == "PNG"]}
        owed["dpi"] = density.get(self.resolution)
        owed["xmp"] = self.xmp_document(1) if self.xmp else None
        owed |= {key: text for key, text in self.texts().items() if key != "msbd"}
        return {name: value for name, value in owed.items() if value is not None}

    def unreadable(self) -> set[str]:
        found = {"exif"} if self.exif == "garbage" else set()
        return found | ({"icc"} if self.profile in ("grey", "garbage") else set())


HUGE = {True: (2**32 - 1) * 0.0254, False: 65_535}
HUGE = {png: (value, value) for png, value in HUGE.items()}


def exif_block(orientation: int, length: int, as_long: bool) -> bytes:
    """Make and orientation, with a maker's text of that length."""
    first = struct.pack("<HHII", 0x010F, 2, length, 38)
    if as_long:
        second = struct.pack("<HHII", 0x0112, 4, 1, orientation)
    else:
        second = struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0)
    directory = struct.pack("<H", 2) + first + second + struct.pack("<I", 0)
    return b"II*\0\x08\0\0\0" + directory + b"m" * (length - 1) + b"\0"


def profile(name: str) -> bytes:
    """An ICC profile by the words above."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    srgb = srgb[:24] + bytes(12) + srgb[36:]  # the time of its creation
    if name == "sRGB":
        return srgb
    if name == "garbage":
        return srgb[:128] + b"\xff" * 300
    if name == "grey":
        return srgb[:16] + b"GRAY" + srgb[20:]
    if name == "1.2 MB":
        longer = srgb + bytes(range(1, 251)) * 4800
        return struct.pack(">I", len(longer)) + longer[4:]
    count = struct.unpack_from(">I", srgb, 128)[0]
    tags = {srgb[132 + 12 * i : 136 + 12 * i]: 136 + 12 * i for i in range(count)}
    moved = bytearray(srgb)
    for tag, primary in ADOBE_RGB.items():
        offset = struct.unpack_from(">I", srgb, tags[tag])[0] + 8
        moved[offset : offset + 12] = struct.pack(">iii", *(round(v * 65536) for v in primary))
    return bytes(moved)


def turned(pixels: Pixels, orientation: int) -> Pixels:
    """What an orientation says, by the words of the standard: which sides row 0, column 0 are."""
    sides = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "lt", 6: "rt", 7: "rb", 8: "lb"}[orientation]
    if sides[0] in "lr":
        pixels = pixels.swapaxes(0, 1)
        sides = sides[::-1]
    pixels = pixels[::-1] if sides[0] == "b" else pixels
    return np.ascontiguousarray(pixels[:, ::-1] if sides[1] == "r" else pixels)


def _encoded(
    format: str, mode: str, pixels: Pixels, facts: Facts
) -> tuple[bytes, Pixels, Pixels | None]:
    """The file, and what it shows before it is turned."""
    if mode == "deep":
        deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        return _saved(deep, format), pixels, None
    if mode == "float":
        return _saved(Image.fromarray(pixels[..., 0].astype(np.float32)), format), pixels, None
    colours = "RGB" if mode in ("animated", "pages", "MPO") else mode.split(maxsplit=1)[0]
    image = Image.fromarray(pixels if "A" in colours else pixels[..., :3]).convert(colours)
    options: dict[str, Any] = {}
    if mode in ("animated", "pages", "MPO"):
        options = {"save_all": True, "append_images": [image.rotate(180)]}
    if mode == "P transparent":
        options["transparency"] = 3
    if format == "WEBP":
        options |= {"lossless": True, "exact": True}
        options |= {"exif": facts.raw_exif() or b"", "icc_profile": facts.icc() or b""}
        options["xmp"] = facts.xmp_document(facts.orientation) if facts.xmp else b""
    if format == "TIFF" and facts.icc():
        options["icc_profile"] = facts.icc()
    if format == "JPEG":
        options |= {"quality": 90, "subsampling": 0}
    data = _saved(image, "MPO" if mode == "MPO" else format, **options)
    shown = Image.open(io.BytesIO(data))
    transparent = "A" in image.mode or mode == "P transparent"
    seen = np.asarray(shown.convert("RGBA" if transparent else "RGB"))
    if format == "PNG":
        data = _with_png_chunks(data, facts)
    elif format == "JPEG":
        data = _with_jpeg_markers(data, facts)
    return data, seen[..., :3], seen[..., 3] if transparent else None


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=format, **options)
    return file.getvalue()


def _with_png_chunks(data: bytes, facts: Facts) -> bytes:
    added = b""
    if icc := facts.icc():
        added += _chunk(b"iCCP", b"some\0\0" + zlib.compress(icc))
    density = {"300": (11811, 11811), "72 x 300": (2835, 11811), "zero": (0, 0)}
    density["huge"] = (2**32 - 1, 2**32 - 1)
    if facts.resolution in density:
        added += _chunk(b"pHYs", struct.pack(">IIB", *density[facts.resolution], 1))
    if exif := facts.raw_exif():
        # The chunk holds no mark, unless a program wrote it all the same.
        added += _chunk(b"eXIf", exif.removeprefix(b"Exif\0\0"))
    for key, text in facts.texts().items():
        added += _png_text(key, text)
    if facts.xmp:
        xmp = facts.xmp_document(facts.orientation)
        added += _chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    header = len(PNG_MARK) + 25
    return data[:header] + added + data[header:]


def _png_text(key: str, text: str) -> bytes:
    if len(text) > 1000:
        return _chunk(b"zTXt", key.encode() + b"\0\0" + zlib.compress(text.encode("latin-1")))
    try:
        return _chunk(b"tEXt", key.encode() + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + text.encode())


def _chunk(name: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + check


def _with_jpeg_markers(data: bytes, facts: Facts) -> bytes:
    density = {"300": (300, 300), "72 x 300": (72, 300), "zero": (0, 0), "huge": (65535, 65535)}
    start = 20 if data[6:10] == b"JFIF" else 2
    if facts.resolution in density and start > 2:
        jfif = struct.pack(">HBHH", 0x0101, 1, *density[facts.resolution])
        data = data[:11] + jfif + data[18:]
    added = b""
    if exif := facts.raw_exif():
        added += _marker(0xE1, exif)
    if facts.xmp:
        added += _marker(0xE1, XMP_MARK + facts.xmp_document(facts.orientation))
    if icc := facts.icc():
        pieces = [icc[start : start + 65_000] for start in range(0, len(icc), 65_000)]
        for number, piece in enumerate(pieces, 1):
            added += _marker(0xE2, b"ICC_PROFILE\0" + bytes([number, len(pieces)]) + piece)
    return data[:start] + added + data[start:]


def _marker(number: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, number, len(data) + 2) + data


@dataclass
class Read:
    """What another reader finds in a PNG, JPEG or WebP file."""

    pixels: Pixels
    alpha: Pixels | None
    beside: dict[str, Any]


def read(data: bytes) -> Read:
    """Pixels by OpenCV, the rest from the container's parts."""
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    bands = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    alpha = bands[..., 3] if bands.shape[2] == 4 else None
    parts = _png_parts if data.startswith(PNG_MARK) else _webp_parts
    parts = _jpeg_parts if data.startswith(b"\xff\xd8") else parts
    return Read(np.ascontiguousarray(bands[..., 2::-1]), alpha, dict(parts(data)))


def _png_parts(data: bytes) -> Iterator[tuple[str, Any]]:
    at = len(PNG_MARK)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert zlib.crc32(name + body) == struct.unpack_from(">I", data, at + 8 + length)[0]
        at += 12 + length
        if name == b"iCCP":
            yield "icc", zlib.decompress(body[body.index(0) + 2 :])
        elif name == b"pHYs":
            across, down, unit = struct.unpack(">IIB", body)
            yield "dpi", (across * 0.0254, down * 0.0254) if unit == 1 else None
        elif name == b"eXIf":
            yield "exif", body
        elif name == b"tEXt":
            key, _, text = body.partition(b"\0")
            yield key.decode("latin-1"), text.decode("latin-1")
        elif name == b"iTXt":
            key, _, rest = body.partition(b"\0")
            assert rest[0] == 0, "written without compression"
            text = rest[2:].split(b"\0", 2)[2]
            is_xmp = key == b"XML:com.adobe.xmp"
            yield ("xmp", text) if is_xmp else (key.decode(), text.decode())


def _jpeg_parts(data: bytes) -> Iterator[tuple[str, Any]]:
    at, icc = 2, b""
    while data[at + 1] != 0xDA:
        number, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        body = data[at + 4 : at + 2 + length]
        at += 2 + length
        if number == 0xE0 and body.startswith(b"JFIF\0") and body[7] == 1:
            yield "dpi", struct.unpack_from(">HH", body, 8)
        elif number == 0xE1 and body.startswith(XMP_MARK):
            yield "xmp", body.removeprefix(XMP_MARK)
        elif number == 0xE1:
            yield "exif", body.removeprefix(b"Exif\0\0")
        elif number == 0xE2:
            icc += body[14:]
        elif number == 0xFE:
            yield "Comment", body.decode()
    if icc:
        yield "icc", icc


def _webp_parts(data: bytes) -> Iterator[tuple[str, Any]]:
    at, names = 12, {b"EXIF": "exif", b"ICCP": "icc", b"XMP ": "xmp"}
    while at < len(data):
        name, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name in names:
            yield names[name], data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        at += 8 + length + length % 2
