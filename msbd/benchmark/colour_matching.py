"""Matching the ring's colours after decoding, instead of fitting the decoder, or as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..decoder import Segment
from ..decoder.last_layer import RIDGE
from ..decoder.regression import ConvolutionRegression

REACH = 16
"""How far from a pixel the difference is averaged that is spread to it."""


def matched(
    images: Mapping[str, Sequence[Tensor]], segments: Sequence[Segment]
) -> dict[str, list[Tensor]]:
    """coloured: the decoder's pictures as it was, their colours matched; spread: ours, and what is
    left of the difference taken inwards."""
    return {
        "coloured": coloured(images["before"], segments),
        "spread": [spread(one, s) for one, s in zip(images["ours"], segments, strict=True)],
    }


@torch.no_grad()
def coloured(images: Sequence[Tensor], segments: Sequence[Segment]) -> list[Tensor]:
    """One change of colours for all tiles, a 3x3 matrix and an offset, so that outside the mask
    they come out as near the truth as such a change can make them; it fades out inside the mask
    as ours does."""
    regression = ConvolutionRegression(3, 3, 1, images[0].device)
    for image, segment in zip(images, segments, strict=True):
        outside = (1 - segment.painted)[0]
        regression.add(image[0], outside * (segment.background - image)[0], outside)
    weight, bias = (one.to(images[0]) for one in regression.kernel(regression.solution(RIDGE)))
    return [
        image + segment.edge * F.conv2d(image, weight, bias)
        for image, segment in zip(images, segments, strict=True)
    ]


@torch.no_grad()
def spread(image: Tensor, segment: Segment) -> Tensor:
    """Each pixel changed by the mean difference from the truth outside the mask round it."""
    outside = 1 - segment.painted

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 2 * REACH + 1, 1, REACH)

    share = mean(outside).clamp_min(1e-6)
    return image + segment.edge * mean(outside * (segment.background - image)) / share
