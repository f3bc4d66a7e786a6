"""An initialisation that lets mean colours pass a GroupNorm of two channels a group.

With 32 groups on 64 channels, normalisation over (two channels, all pixels)
removes the mean of every pair: colours that fill the picture vanish, and a small
autoencoder learns them very slowly.  Here every normalised signal is given a
constant offset, +A and -A on the two channels of a pair.  A pair's mean is then
zero and its deviation nearly constant, so the normalisation acts almost as an
affine map, which the norm's own weight and bias undo.  Training may leave this
point; the architecture is unchanged.
"""

from __future__ import annotations

import torch
from diffusers.models.resnet import Downsample2D, ResnetBlock2D, Upsample2D
from torch import nn

from .models import Network

OFFSET = 2.0
GAIN = 3**0.5
FIRST_GAIN = 2 * GAIN
LOG_VARIANCE = -4.0


def _offsets(channels: int) -> torch.Tensor:
    """+A, -A, +A, ... [channels]."""
    return OFFSET * (1 - 2 * (torch.arange(channels) % 2)).float()


def _carry(convolution: Network) -> None:
    """Make a convolution on the residual stream keep the offsets and the signal's scale."""
    convolution.weight *= GAIN
    passed = convolution.weight.sum((2, 3)) @ _offsets(convolution.in_channels)
    convolution.bias.copy_(_offsets(convolution.out_channels) - passed)


@torch.no_grad()
def anchor_body(body: Network, first_gain: float = GAIN) -> None:
    """Initialise an encoder or decoder in place; its signals then have unit scale."""
    body.conv_in.weight *= first_gain
    body.conv_in.bias.copy_(_offsets(body.conv_in.out_channels))
    for module in body.modules():
        if isinstance(module, nn.GroupNorm):
            module.weight.fill_((1 + OFFSET**2) ** 0.5)
            module.bias.copy_(-_offsets(module.num_channels))
        elif isinstance(module, ResnetBlock2D):
            inner: Network = module.conv1
            inner.weight *= GAIN
            inner.bias.copy_(_offsets(inner.out_channels))
            if module.conv_shortcut is not None:
                _carry(module.conv_shortcut)
        elif isinstance(module, (Downsample2D, Upsample2D)):
            _carry(module.conv)


@torch.no_grad()
def anchor_autoencoder(network: Network) -> None:
    """Initialise an autoencoder in place; its latents then have little noise."""
    anchor_body(network.encoder, FIRST_GAIN)
    anchor_body(network.decoder)
    network.quant_conv.weight *= GAIN
    network.quant_conv.bias[4:] += LOG_VARIANCE
    network.post_quant_conv.weight *= GAIN
