"""What the mask hides is filled from round it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.noise import Noise
from msbd.upscaling import filled


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.02, 0.98))
def test_what_is_hidden_plays_no_part_and_what_is_not_stays(height, width, share):
    image = Noise(0)((1, 3, height, width), "image") * 0.1 + 0.5
    painted = (Noise(1)((1, 1, height, width), "mask").abs() < share * 2).float()
    if painted.all():
        painted[..., 0, 0] = 0
    result = filled(image, painted)
    assert torch.equal(result, filled(image + 9 * painted, painted))
    known = (painted == 0).expand_as(image)
    assert torch.equal(result[known], image[known])
    for channel in range(3):  # an average of what is known lies between its extremes
        seen = image[:, channel][painted[:, 0] == 0]
        assert result[:, channel].min() >= seen.min() - 1e-5
        assert result[:, channel].max() <= seen.max() + 1e-5


def test_a_plain_picture_stays_plain():
    painted = torch.zeros(1, 1, 50, 70)
    painted[..., 5:45, 9:] = 1
    plain = torch.full((1, 3, 50, 70), 0.3)
    assert filled(plain, painted) == pytest.approx(plain, abs=1e-6)


def test_colours_run_in_from_their_own_sides():
    image = torch.zeros(1, 1, 64, 64)
    image[..., 32:] = 1
    painted = torch.zeros(1, 1, 64, 64)
    painted[..., 8:56, 8:56] = 1
    row = filled(image, painted)[0, 0, 32]
    assert row[10] < 0.2 and row[53] > 0.8 and (row.diff() > -0.05).all()


def test_with_nothing_known_or_nothing_hidden_the_image_stays():
    image = Noise(0)((1, 3, 9, 9), "image")
    assert torch.equal(filled(image, torch.ones(1, 1, 9, 9)), image)
    assert torch.equal(filled(image, torch.zeros(1, 1, 9, 9)), image)
