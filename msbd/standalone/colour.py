"""Pictures in other colour spaces than sRGB, which is what Stable Diffusion paints in."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from ..geometry import bands
from ..masks import Mask

_AS_GOOD_AS_NONE = 2
"""Levels by which a profile may differ from sRGB: what profiles of sRGB itself differ by."""
_PROBE = 9
_BLACK_POINT_COMPENSATION = 0x2000
"""LittleCMS's flag, which Pillow names only since 10.1."""


@dataclass(frozen=True)
class Conversion:
    """Between a profile's colours and sRGB's, both 8 bits a channel.

    By the relative colorimetric intent with black point compensation, as retouchers' programs do
    (ICC.1:2022, 6.2.2). What sRGB cannot show is cut off at its limits.
    """

    there: ImageCms.ImageCmsTransform
    back: ImageCms.ImageCmsTransform

    def to_srgb(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H,W,3] in the profile's colours, in sRGB's."""
        return _converted(pixels, self.there)

    def restored(
        self,
        edited: NDArray[np.uint8],
        original: NDArray[np.uint8],
        mask: Mask,
        feather: int,
    ) -> NDArray[np.uint8]:
        """An edited picture in the original's colours.

        edited: uint8 [H,W,3] in sRGB. original: the same before the edit, in the profile's
        colours. mask: [H,W] in [0,1]. feather: the edit's, in pixels. Where nothing of the edit
        is seen, or nothing changed, the original's bytes are given back, and between lies a ramp
        even where sRGB cut colours off.
        """
        import torch

        from ..compositing import feathered

        alpha = feathered(torch.from_numpy(mask)[None, None], feather)[0, 0].numpy()
        result = original.copy()
        for rows in bands(len(result)):
            share = alpha[rows, :, None]
            if not share.any():
                continue
            before = self.to_srgb(original[rows])
            lost = original[rows] - _converted(before, self.back).astype(np.float32)
            levels = _converted(edited[rows], self.back) + (1 - share) * lost
            rounded = np.rint(levels).clip(0, 255).astype(np.uint8)
            changed = (share > 0) & (edited[rows] != before).any(-1, keepdims=True)
            result[rows] = np.where(changed, rounded, original[rows])
        return result


@lru_cache(maxsize=4)
def conversion(icc: bytes | None) -> Conversion | None:
    """How a picture with this profile comes to sRGB; None if it is in sRGB as it is.

    Raises `ValueError` for a profile that cannot be read.
    """
    if icc is None:
        return None
    srgb = ImageCms.createProfile("sRGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        found = Conversion(_transform(profile, srgb), _transform(srgb, profile))
        colours = _all_colours()
        shift = np.abs(found.to_srgb(colours).astype(int) - colours).max()
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"the colour profile cannot be read ({error})") from error
    return found if shift > _AS_GOOD_AS_NONE else None


def _transform(source: object, target: object) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        source,  # type: ignore[arg-type]
        target,  # type: ignore[arg-type]
        "RGB",
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        _BLACK_POINT_COMPENSATION,  # type: ignore[arg-type]
    )


def _converted(
    pixels: NDArray[np.uint8], transform: ImageCms.ImageCmsTransform
) -> NDArray[np.uint8]:
    image = ImageCms.applyTransform(Image.fromarray(pixels), transform)
    assert image is not None
    return np.asarray(image)


def _all_colours() -> NDArray[np.uint8]:
    """A coarse cube of them, as a picture [H,W,3]."""
    steps = np.linspace(0, 255, _PROBE).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    return np.ascontiguousarray(cube.reshape(_PROBE, -1, 3))
