"""Masks before any tensor: read as people paint them, checked, bounded. 1 = repaint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import EditError
from .geometry import Box, Size

Mask = NDArray[np.float32]
"""[H, W] in [0, 1]; 1 = repaint, 0 = keep; values between are blended."""
GROUND = 3
"""Levels of 255 below which a soft mask is black: brushes and compression leave them everywhere."""
HALF = 128
"""The level of 255 from which a hard mask is white."""
ASPECT = 0.01
"""By how much a mask's aspect ratio may differ from the picture's, as a share of it."""
SPECK = 0.0002
"""Share of the picture below which a part may be a speck."""
BESIDE = 50
"""How many times larger another part must be, for one to be a speck."""
AS_PAINTED, CLOSED, FILLED = "as painted", "closed", "filled"
"""Shapes of a mask, see `shaped`."""
CLOSING = 0.02
"""Radius in the picture's shorter sides within which gaps of a mask are closed."""
_TOUCHING = np.ones((3, 3))
"""Pixels that touch at their corners are connected."""


def from_picture(
    luminance: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | None,
    picture: Size,
    *,
    soft: bool = False,
    invert: bool = False,
    by_alpha: bool = False,
) -> tuple[Mask, list[str]]:
    """The mask for a picture, and what was done to it, in sentences.

    luminance, alpha: of a picture [h,w] of the mask: their product is what is repainted, or alpha
    alone where luminance says nothing, as of black strokes on nothing, or a host has it so
    (`by_alpha`). Of another size it is scaled. Unless `soft`, all from half up is 1 and the rest
    0. invert: the other way round. Specks are left out. Raises `EditError` for an empty mask, or
    one of another aspect ratio.
    """
    painted, told = _painted(luminance, alpha, by_alpha)
    grey, scaled = _scaled(painted, picture)
    mask, left_out = without_specks(from_grey(255 - grey if invert else grey, soft))
    return checked(mask, picture), [*told, *scaled, *left_out]


def _painted(
    luminance: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, by_alpha: bool
) -> tuple[NDArray[np.uint8], list[str]]:
    if alpha is None or alpha.min() == 255:
        return luminance, []
    seen = luminance[alpha > 0]
    if not seen.size or seen.min() == seen.max():
        return alpha, []
    if by_alpha:
        return alpha, ["the mask is transparent in part, so its opacity counts and not its colours"]
    return np.rint(luminance.astype(np.float32) * alpha / 255).astype(np.uint8), []


def _scaled(grey: NDArray[np.uint8], picture: Size) -> tuple[NDArray[np.uint8], list[str]]:
    """To the nearest pixels."""
    size = Size(*grey.shape)
    if size == picture:
        return grey, []
    across, down = picture.width / size.width, picture.height / size.height
    if abs(across / down - 1) > ASPECT:
        raise EditError(
            f"the mask is {size} but the picture is {picture}: save the mask at the picture's own "
            "size, or at another of the same aspect ratio"
        )
    rows = (np.arange(picture.height) + 0.5) * size.height // picture.height
    columns = (np.arange(picture.width) + 0.5) * size.width // picture.width
    scaled = grey[np.ix_(rows.astype(int), columns.astype(int))]
    return scaled, [f"the mask is {size} and was scaled to the picture's {picture}"]


def from_grey(grey: NDArray[np.uint8], soft: bool = False) -> Mask:
    """A mask from an 8-bit picture [H, W]: white = repaint.

    Unless `soft`, everything from `HALF` up is 1 and the rest 0, so that the compression noise of
    a JPEG mask does not count as painted; of a soft one, what is below `GROUND` does not.
    """
    if soft:
        return np.where(grey < GROUND, 0, grey).astype(np.float32) / 255.0
    return (grey >= HALF).astype(np.float32)


def without_specks(mask: Mask) -> tuple[Mask, list[str]]:
    """The mask without the dots that a hand leaves beside what it paints, and a note of them.

    A connected part is a speck if it covers less than `SPECK` of the picture and another part is
    at least `BESIDE` times as large. So a mask of dust alone stays as it is.
    """
    from scipy import ndimage

    if not mask.any():
        return mask, []
    box = bounds(mask)
    parts = ndimage.label(mask[box.rows, box.columns], _TOUCHING)[0]
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    small = (areas < SPECK * mask.size) & (areas * BESIDE <= areas.max()) & (areas > 0)
    if not small.any():
        return mask, []
    kept = mask.copy()
    kept[box.rows, box.columns][small[parts]] = 0
    found, pixels = int(small.sum()), int(areas[small].sum())
    what = "a speck of the mask is" if found == 1 else f"{found} specks of the mask are"
    return kept, [f"{what} left out: {pixels} pixels, too few beside the rest"]


def shaped(mask: Mask, shape: str, grow: int) -> Mask:
    """A mask [H,W] that is not empty, `AS_PAINTED`, `CLOSED` or `FILLED`, then grown by so many
    pixels on every side, or shrunk if that is negative.

    closed: gaps up to twice `CLOSING` of the picture's shorter side are painted over, as between
    the strokes of a scribble (morphological closing by a disc). filled: and what is surrounded by
    them. What is added has the level of the nearest painted pixel. Raises `EditError` if shrinking
    leaves nothing.
    """
    if shape == AS_PAINTED and not grow:
        return mask
    from scipy import ndimage

    distance = ndimage.distance_transform_edt
    reach = round(CLOSING * min(mask.shape)) if shape != AS_PAINTED else 0
    picture = Size(*mask.shape)
    box = bounds(mask).grown(max(reach, grow, 0) + 1, picture)
    given = mask[box.rows, box.columns]
    region = given > 0
    if reach:
        # Beyond the box, and beyond the picture, too, is room for the disc.
        wide = np.pad(region, reach + 1)
        closed = distance(distance(~wide) <= reach) > reach
        region |= closed[reach + 1 : -reach - 1, reach + 1 : -reach - 1]
    if shape == FILLED:
        region = ndimage.binary_fill_holes(region)
    if grow > 0:
        region = distance(~region) <= grow
    elif grow < 0 and not region.all():
        region = distance(region) > -grow
    if not region.any():
        raise EditError(f"nothing is left of a mask shrunk by {-grow} pixels: shrink it less")
    result = np.zeros_like(mask)
    levels = given
    if (region & (given == 0)).any():
        nearest = distance(given == 0, return_distances=False, return_indices=True)
        levels = given[tuple(nearest)]
    result[box.rows, box.columns] = np.where(region, levels, 0)
    return result


def pieces(mask: Mask, within: Box) -> list[Box]:
    """The boxes of the connected parts of a mask, whose bounds are known."""
    from scipy import ndimage

    found = ndimage.find_objects(ndimage.label(mask[within.rows, within.columns], _TOUCHING)[0])
    return [
        Box(
            within.top + rows.start,
            within.left + columns.start,
            within.top + rows.stop,
            within.left + columns.stop,
        )
        for rows, columns in found
    ]


def checked(mask: Mask, image: Size) -> Mask:
    """`mask` itself, if it can be used on a picture of size `image`; else `EditError`."""
    size = Size(*mask.shape)
    if size != image:
        raise EditError(f"the mask is {size} but the picture is {image}: make them equal")
    if not np.isfinite(mask).all() or mask.min() < 0.0 or mask.max() > 1.0:
        raise EditError("the mask's values must lie between 0 and 1")
    if not mask.any():
        raise EditError("the mask is empty: paint the part to be replaced in white")
    return mask


def bounds(mask: Mask) -> Box:
    """The smallest box that holds every painted (non-zero) pixel of a mask that is not empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
