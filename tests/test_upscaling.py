"""What the mask hides is filled from round it; what is not used is not enlarged."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.geometry import Box, Size
from msbd.job import cut
from msbd.noise import Noise
from msbd.upscaling import CONTEXT, filled, resized, used_part


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


@st.composite
def enlargements(draw):
    before = Size(*(8 * draw(st.integers(1, 24)) for _ in range(2)))
    after = Size(*(draw(st.integers(side, 4 * side)) for side in (before.height, before.width)))
    top, left = draw(st.integers(0, after.height - 1)), draw(st.integers(0, after.width - 1))
    bottom, right = draw(st.integers(top, after.height)), draw(st.integers(left, after.width))
    return before, after, Box(top, left, max(top + 1, bottom), max(left + 1, right))


@settings(max_examples=200, deadline=None)
@given(enlargements())
def test_what_is_used_of_an_enlargement_is_what_it_is_in_the_whole(request):
    before, after, box = request
    painted = torch.zeros(1, 1, after.height, after.width)
    cut(painted, box).fill_(1)
    small, large = used_part(painted, before)
    assert small in Box.of(before) and large in Box.of(after) and box in large
    for near, far, old, new in (
        (small.top, large.top, before.height, after.height),
        (small.bottom, large.bottom, before.height, after.height),
        (small.left, large.left, before.width, after.width),
        (small.right, large.right, before.width, after.width),
    ):
        assert near * new == far * old
    assert large.top == 0 or box.top - large.top >= CONTEXT
    assert large.right == after.width or large.right - box.right >= CONTEXT
    picture = Noise(0)((1, 3, before.height, before.width), "picture")
    whole, part = resized(picture, after), resized(cut(picture, small), large.size)
    assert torch.allclose(
        cut(part, box.shifted(-large.top, -large.left)), cut(whole, box), atol=1e-4
    )


def test_a_flat_mask_is_not_enlarged_with_all_of_its_crop():
    painted = torch.zeros(1, 1, 704, 704)
    painted[..., 330:380, 80:620] = 1
    small, _ = used_part(painted, Size(512, 512))
    assert small.size.area < 0.25 * 512**2 and small.size.width < 512
