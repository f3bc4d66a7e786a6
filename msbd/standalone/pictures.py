"""Pictures from files: what is edited, and what must survive the edit.

Only here and in `saving` does PIL's (width, height) order exist.
"""

from __future__ import annotations

import errno
import re
import struct
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ..errors import EditError
from ..geometry import Size
from .beside import beside, upright
from .colour import Conversion, conversion
from .file_kinds import kind_of

if TYPE_CHECKING:
    from torch import Tensor

MOST_PIXELS = 200_000_000
"""Far above any camera; a file that claims more is more likely an attack or an accident."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""Plain pixels only: some of PIL's other readers start programs."""
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
_SIXTEEN_BIT = re.compile(r"^(I|L|LA|RGB|RGBA|RGBX);16")
DEEP_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_LARGEST_OF_16_BITS = 65_535
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error)
_DAMAGED_OR_LARGE = ("could not create decoder object", "failed to read next frame")
"""What libwebp says, by way of Pillow, of damaged files and when memory runs out."""


@dataclass(frozen=True)
class Picture:
    """A picture the right way up, and what is written back beside its pixels.

    pixels: uint8 [H,W,3]. alpha: uint8 [H,W] if the picture has transparency. exif: a TIFF
    structure whose orientation is 1. icc: an RGB colour profile. dpi: across, down. xmp: an XML
    document. text: a PNG's texts, or another file's comment, by keyword. notes: what of the file
    could not be read, in sentences.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    text: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> Size:
        return Size(*self.pixels.shape[:2])

    @property
    def conversion(self) -> Conversion | None:
        """To sRGB; None for pictures that are in it, as all without a profile are."""
        return conversion(self.icc)

    @cached_property
    def srgb(self) -> NDArray[np.uint8]:
        """The pixels in the colours that the model paints in."""
        return self.conversion.to_srgb(self.pixels) if self.conversion else self.pixels

    def tensor(self) -> Tensor:
        """sRGB as the engine takes it: float32 [1,3,H,W] in [0,1]."""
        import torch

        height, width, channels = self.srgb.shape
        image = torch.empty(1, channels, height, width)
        for index in range(channels):  # one by one: a large picture's copies are large
            image[0, index] = torch.from_numpy(self.srgb[..., index].copy())
        return image.div_(255)


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """[1,3,H,W] in [0,1] -> uint8 [H,W,3], rounded; the inverse of `Picture.tensor`."""
    channels, height, width = image.shape[1:]
    pixels = np.empty((height, width, channels), np.uint8)
    for index in range(channels):
        levels = image[0, index].detach().cpu() * 255
        pixels[..., index] = levels.round_().clamp_(0, 255).numpy()
    return pixels


def read_picture(path: Path) -> Picture:
    """Read a picture of 8 bits a channel, turned the right way up.

    Greyscale, black-and-white and palette pictures become RGB, because an edit may bring colour.
    Transparency of any kind becomes alpha. What lies beside the pixels and cannot be read is left
    out and noted. Raises `EditError` for everything that cannot be edited without loss, or not at
    all.
    """
    image, facts = _load(path)
    transparent = has_alpha(image)
    pixels = np.asarray(image.convert("RGBA" if transparent else "RGB"))
    return Picture(
        np.ascontiguousarray(pixels[..., :3]),
        np.ascontiguousarray(pixels[..., 3]) if transparent else None,
        **facts,
    )


Layers = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
"""Luminance [H,W], and transparency if there is any."""


def read_mask(path: Path) -> Layers:
    """The picture of a mask, turned the right way up; a grey one may have 16 bits."""
    image, _ = _load(path, DEEP_GREY)
    image = eight_bit(image)
    if reason := unfit(image):
        raise EditError(f"{path} {reason}")
    return layers(image)


def has_alpha(image: Image.Image) -> bool:
    """Whether there is transparency of any kind."""
    return image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info


def layers(image: Image.Image) -> Layers:
    """A picture of 8 bits a channel in black and white."""
    if not has_alpha(image):
        return np.asarray(image.convert("L")), None
    rgba = image.convert("RGBA")
    return np.asarray(rgba.convert("L")), np.asarray(rgba.getchannel("A"))


def _load(path: Path, welcome: Collection[str] = ()) -> tuple[Image.Image, dict[str, Any]]:
    """The decoded picture, upright, and what else its file states, as `Picture` names it.

    welcome: see `unfit`.
    """
    try:
        with _opened(path) as image:
            if reason := unfit(image, welcome):
                raise EditError(f"{path} {reason}")
            image.load()
            return upright(image), beside(image)
    except EditError:
        raise
    except FileNotFoundError:
        raise EditError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise EditError(f"{path} is a folder: give a picture file") from None
    except PermissionError:
        raise EditError(f"{path} may not be read: check its permissions") from None
    except UnidentifiedImageError:
        kind = kind_of(path) or "not a picture"
        raise EditError(f"{path} is {kind}: give a sound PNG, JPEG or WebP file") from None
    except _DAMAGED as error:
        raise EditError(f"{path} {_damage(path, error)}") from error


def _damage(path: Path, error: Exception) -> str:
    """What a decoder's error says of a file. Raises `MemoryError` if it says nothing of it."""
    if getattr(error, "errno", 0) == errno.ENOMEM or "out of memory" in str(error):
        raise MemoryError from error
    if "checksum" in str(error) and (kind := kind_of(path)):
        return f"is {kind}: fetch it again, or open and save it in another program"
    what = "damaged or incomplete"
    if str(error) in _DAMAGED_OR_LARGE:
        what += ", or too large for the memory that is left"
    return f"is {what}: fetch or save it again ({error})"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file as PIL sees it, without PIL's warnings, which come for sound pictures too."""
    with of_any_size(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=_FORMATS) as image:
            yield image


def unfit(image: Image.Image, welcome: Collection[str] = ()) -> str | None:
    """Why a picture cannot be edited without loss, and what to do; None if it can.

    Words to follow its name. It need not be decoded yet; of a copy only its facts are known.
    welcome: modes that are good although they are not of 8 bits.
    """
    if image.width * image.height > MOST_PIXELS:
        return (
            f"is {image.width}x{image.height}, more than {MOST_PIXELS // 10**6} megapixels: "
            "cut out the part to be edited"
        )
    # A photograph that also holds a preview or a second view (MPO) is not an animation.
    frames = getattr(image, "n_frames", 2 if image.info.get("duration") else 1)
    if image.format != "MPO" and frames > 1:
        return "has several frames or pages: save the one to be edited as a picture of its own"
    if image.mode in welcome:
        return None
    if image.mode[:2] in ("I", "F", "I;") or _is_deep(image):
        return "has more than 8 bits per channel: save it with 8 bits per channel"
    if image.mode not in _EIGHT_BIT:
        return f"is in {image.mode} colours: save it as RGB"
    return None


def eight_bit(mask: Image.Image) -> Image.Image:
    """A grey picture of 16 bits scaled to 8; others as they are."""
    if mask.mode not in DEEP_GREY:
        return mask
    levels = np.asarray(mask)
    if levels.max() > _LARGEST_OF_16_BITS:
        return mask
    return Image.fromarray(np.rint(levels / 257.0).astype(np.uint8))


def _is_deep(image: Image.Image) -> bool:
    """Whether PIL is about to reduce 16 bits to 8, which only its raw modes tell."""
    arguments = (tile[3] for tile in getattr(image, "tile", ()))
    raw = (each if isinstance(each, str) else (each or [""])[0] for each in arguments)
    return any(_SIXTEEN_BIT.match(str(mode)) for mode in raw)


@contextmanager
def of_any_size() -> Iterator[None]:
    """Lift PIL's limits of 89 megapixels and of a megabyte of text or profile; callers look at
    the size before they decode anything."""
    kept = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, PngImagePlugin.MAX_TEXT_MEMORY
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = kept
