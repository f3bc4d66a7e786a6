"""What a report measures of pictures, some rows at a time: the same as all at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from msbd.geometry import BAND, bands
from msbd.report import outside_difference

HEIGHTS = [1, 2, BAND - 1, BAND, BAND + 1, 2 * BAND + 40]


def pictures(height: int, width: int = 31) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height)
    one, other = torch.rand(2, 1, 3, height, width, generator=generator)
    return one, other


def pasted_with(height: int, width: int = 31) -> Tensor:
    """Opacity: a disc with a soft edge, which crosses bands."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    distance = ((rows - height / 2) / (height / 3)) ** 2 + ((columns - width / 2) / 9.0) ** 2
    return (4 * (1 - distance)).clamp(0, 1)[None, None]


@pytest.mark.parametrize("height", [0, *HEIGHTS])
def test_bands_are_all_rows_once(height: int) -> None:
    rows = [row for band in bands(height) for row in range(height)[band]]
    assert rows == list(range(height))
    assert all(band.stop - band.start <= BAND for band in bands(height))


def test_what_is_no_number_inside_the_mask_does_not_matter() -> None:
    height = 2 * BAND + 40
    image, _ = pictures(height)
    alpha = pasted_with(height)
    middle = (..., slice(height // 2 - 4, height // 2 + 4), slice(13, 18))
    assert (alpha[middle] == 1).all()
    spoilt = image.clone()
    spoilt[middle] = torch.nan
    spoilt[0, 0, height // 2, 0] += 0.1
    assert outside_difference(spoilt, image, alpha) in (25, 26)


@pytest.mark.parametrize("row", [0, BAND - 1, BAND, 2 * BAND + 39])
def test_one_changed_value_is_found_wherever_it_is(row: int) -> None:
    image = (pictures(2 * BAND + 40)[0] * 255).round() / 255
    changed = torch.zeros_like(image[:, :1])
    result = image.clone()
    result[0, 1, row, 7] += (3 if result[0, 1, row, 7] < 0.5 else -3) / 255
    assert outside_difference(result, image, changed) == 3
    changed[0, 0, row, 7] = 0.01
    assert outside_difference(result, image, changed) == 0
