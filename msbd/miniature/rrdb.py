"""The super-resolution network: residual in residual dense blocks, four times in each direction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALE = 4
FEATURES = 32
GROWTH = 32
"""Channels a dense layer adds; loaders of this format take 32 for granted."""
BLOCKS = 2
RESIDUAL = 0.2


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2, inplace=True)


def _conv(inputs: int, outputs: int, gain: float = 1.0) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    assert conv.bias is not None
    nn.init.kaiming_normal_(conv.weight, a=0.2)
    nn.init.zeros_(conv.bias)
    with torch.no_grad():
        conv.weight *= gain
    return conv


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees all results before it; [B,C,H,W] -> the same."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = _conv(features, GROWTH, 0.1)
        self.conv2 = _conv(features + GROWTH, GROWTH, 0.1)
        self.conv3 = _conv(features + 2 * GROWTH, GROWTH, 0.1)
        self.conv4 = _conv(features + 3 * GROWTH, GROWTH, 0.1)
        self.conv5 = _conv(features + 4 * GROWTH, features, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, _activate(conv(seen))], 1)
        return x + RESIDUAL * self.conv5(seen)


class ResidualBlock(nn.Module):
    """Three dense blocks around a residual; [B,C,H,W] -> the same."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features)
        self.rdb2 = DenseBlock(features)
        self.rdb3 = DenseBlock(features)

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """Images [B,3,H,W] in [0,1] -> [B,3,4H,4W], nominally in [0,1], not clamped.

    The architecture of ESRGAN (Wang et al. 2018) with the parameter names of Real-ESRGAN (Wang
    et al. 2021), so that every loader of those files takes this one. Small: 0.9 million
    parameters with the defaults. It starts as smoothed repetition of pixels: three channels
    carry the colours through unchanged, which saves the steps that learning the identity costs.
    """

    def __init__(self, features: int = FEATURES, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.conv_first = _conv(3, features)
        self.body = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.conv_body = _conv(features, features, gain=0.1)
        self.conv_up1 = _conv(features, features)
        self.conv_up2 = _conv(features, features)
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, 3, gain=0.1)
        self._pass_colours()

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(x)
        x = first + self.conv_body(self.body(first))
        x = _activate(self.conv_up1(F.interpolate(x, scale_factor=2, mode="nearest")))
        x = _activate(self.conv_up2(F.interpolate(x, scale_factor=2, mode="nearest")))
        return self.conv_last(_activate(self.conv_hr(x)))

    def _pass_colours(self) -> None:
        ramp = torch.tensor([0.25, 0.5, 0.25])
        smooth, sharp = torch.outer(ramp, ramp), torch.zeros(3, 3)
        sharp[1, 1] = 1.0
        layers = (self.conv_first, self.conv_up1, self.conv_up2, self.conv_hr, self.conv_last)
        with torch.no_grad():
            for conv, kernel in zip(layers, (sharp, smooth, smooth, sharp, sharp), strict=True):
                conv.weight[:3] = 0.0
                for c in range(3):
                    conv.weight[c, c] = kernel
            self.conv_body.weight[:3] = 0.0
