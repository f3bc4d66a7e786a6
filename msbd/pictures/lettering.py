"""Text on pictures, with whatever font there is."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from PIL import ImageDraw, ImageFont

_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "Helvetica.ttc", "LiberationSans-Regular.ttf")


@lru_cache(maxsize=16)
def font(size: int) -> Any:
    """A font of about `size` pixels: Pillow's own, or the system's where Pillow is too old."""
    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow before 10.1, as in the WebUI
        pass
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default()


def shortened(draw: ImageDraw.ImageDraw, text: str, width: float, size: int) -> str:
    """`text`, cut and ended with dots if it is wider than `width` pixels."""
    if draw.textlength(text, font=font(size)) <= width:
        return text
    while text and draw.textlength(text + "...", font=font(size)) > width:
        text = text[:-1]
    return text.rstrip() + "..."
