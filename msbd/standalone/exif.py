"""Change one EXIF tag and leave every other byte where it is.

Libraries that rewrite a whole EXIF block move the maker's notes, whose inner offsets then point
nowhere. Here a changed directory is appended and the old one abandoned. Blocks are TIFF
structures, without the `Exif` prefix of a JPEG marker (TIFF 6.0, section 2; Exif 2.32).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

ORIENTATION, EXIF_DIRECTORY, USER_COMMENT = 0x0112, 0x8769, 0x9286
_BYTE, _LONG, _UNDEFINED = 1, 4, 7
_SIZES = {_BYTE: "B", _LONG: "I"}
"""Of orientations that are no 16-bit number, as the standard wants them."""
_ASCII = b"ASCII\0\0\0"
_EMPTY = b"II*\0\x08\0\0\0" + b"\0\0" + b"\0\0\0\0"


class _Entry(NamedTuple):
    tag: int
    type: int
    length: int
    value: bytes
    """Four bytes: the value itself or its offset."""


def upright(block: bytes) -> bytes:
    """The block with its orientation, if it names one, set to 1; unreadable blocks as they are."""
    try:
        order, first = _header(block)
        for index, entry in enumerate(_entries(block, order, first)):
            if entry.tag == ORIENTATION:
                one = struct.pack(order + _SIZES.get(entry.type, "H"), 1)
                return _patched(block, first + 10 + 12 * index, one.ljust(4, b"\0"))
    except (ValueError, struct.error):
        pass
    return block


def orientation(block: bytes) -> int | None:
    """What the block says of the picture's orientation, 1 to 8; None if nothing."""
    try:
        order, first = _header(block)
        entry = _find(block, order, first, ORIENTATION)
    except (ValueError, struct.error):
        return None
    if entry is None or entry.length != 1:
        return None
    (value,) = struct.unpack_from(order + _SIZES.get(entry.type, "H"), entry.value)
    return value if 1 <= value <= 8 else None


def is_readable(block: bytes) -> bool:
    """Whether the block is a TIFF structure with a whole first directory."""
    try:
        order, first = _header(block)
        return bool(_entries(block, order, first))
    except (ValueError, struct.error):
        return False


def comment(block: bytes) -> str | None:
    """The ASCII user comment of a block, if there is one."""
    try:
        order, first = _header(block)
        pointer = _find(block, order, first, EXIF_DIRECTORY)
        entry = pointer and _find(block, order, _number(order, pointer), USER_COMMENT)
    except (ValueError, struct.error):
        return None
    if not entry or entry.length <= 4:
        return None
    start = _number(order, entry)
    data = block[start : start + entry.length]
    if not data.startswith(_ASCII):
        return None
    return data[len(_ASCII) :].decode("ascii", "replace").rstrip("\0 ")


def with_comment(block: bytes | None, text: str) -> bytes:
    """The block with `text` (ASCII) as its user comment; a fresh block if it is unreadable."""
    try:
        return _with_comment(block or _EMPTY, text)
    except (ValueError, struct.error):
        return _with_comment(_EMPTY, text)


def _with_comment(block: bytes, text: str) -> bytes:
    order, first = _header(block)
    data = _ASCII + text.encode("ascii")
    block, at = _appended(block, data)
    entry = _Entry(USER_COMMENT, _UNDEFINED, len(data), struct.pack(order + "I", at))
    pointer = _find(block, order, first, EXIF_DIRECTORY)
    inner = _number(order, pointer) if pointer else None
    block, inner = _with_entry(block, order, inner, entry)
    link = _Entry(EXIF_DIRECTORY, _LONG, 1, struct.pack(order + "I", inner))
    block, first = _with_entry(block, order, first, link)
    return _patched(block, 4, struct.pack(order + "I", first))


def _with_entry(block: bytes, order: str, start: int | None, entry: _Entry) -> tuple[bytes, int]:
    """The block with a copy of the directory at `start` appended that has `entry`; and where."""
    entries = _entries(block, order, start) if start is not None else []
    following = b"\0\0\0\0"
    if start is not None:
        end = start + 2 + 12 * len(entries)
        following = block[end : end + 4].ljust(4, b"\0")
    kept = sorted([e for e in entries if e.tag != entry.tag] + [entry])
    packed = b"".join(struct.pack(order + "HHI4s", *each) for each in kept)
    return _appended(block, struct.pack(order + "H", len(kept)) + packed + following)


def _header(block: bytes) -> tuple[str, int]:
    """Byte order and the first directory's offset."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        raise ValueError("not a TIFF structure")
    return order, struct.unpack_from(order + "I", block, 4)[0]


def _entries(block: bytes, order: str, start: int) -> list[_Entry]:
    (count,) = struct.unpack_from(order + "H", block, start)
    return [
        _Entry(*struct.unpack_from(order + "HHI4s", block, start + 2 + 12 * index))
        for index in range(count)
    ]


def _find(block: bytes, order: str, start: int, tag: int) -> _Entry | None:
    return next((e for e in _entries(block, order, start) if e.tag == tag), None)


def _number(order: str, entry: _Entry) -> int:
    return struct.unpack(order + "I", entry.value)[0]


def _appended(block: bytes, data: bytes) -> tuple[bytes, int]:
    """The block with `data` at its end, on an even offset; and that offset."""
    block += b"\0" * (len(block) % 2)
    return block + data, len(block)


def _patched(block: bytes, at: int, data: bytes) -> bytes:
    return block[:at] + data + block[at + len(data) :]
