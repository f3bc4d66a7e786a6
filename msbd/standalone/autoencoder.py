"""Pixels in [0,1] to scaled latents and back; the only place where pixels are in [-1,1]."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..backend import Decoder
from ..precision import finite_in_single, single_precision


class Autoencoder:
    """diffusers' `AutoencoderKL` behind the engine's conventions.

    network: in any precision, on any device. scale_factor: latents are multiplied by it.

    Samples pass one after the other, which bounds memory and keeps them independent. Some SD1
    autoencoders overflow in half precision, see `finite_in_single`.
    """

    def __init__(self, network: Any, scale_factor: float) -> None:
        self.network = network
        self.scale_factor = scale_factor

    @property
    def factor(self) -> int:
        """Pixels per latent cell."""
        return 2 ** (len(self.network.config.block_out_channels) - 1)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """[B,3,H,W] in [0,1] -> the posterior's mean [B,4,H/8,W/8], scaled, float32."""
        means = self._each(lambda one: self.network.encode(one).latent_dist.mean, image * 2 - 1)
        return means * self.scale_factor

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Scaled latents [B,4,h,w] -> [B,3,8h,8w] in [0,1], clamped, float32."""
        images = self._each(lambda one: self.network.decode(one).sample, z / self.scale_factor)
        return (images / 2 + 0.5).clamp(0, 1)

    def decoder(self) -> TrainableDecoder:
        """A copy of the decoder that may be trained; this one keeps its weights."""
        return TrainableDecoder(self.network, self.scale_factor)

    def _each(self, work: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        with single_precision():
            return torch.cat([self._one(work, one) for one in batch.split(1)])

    def _one(self, work: Callable[[Tensor], Tensor], one: Tensor) -> Tensor:
        network = self.network
        return finite_in_single(
            network, lambda: work(one.to(network.dtype)).float(), "the autoencoder"
        )


class TrainableDecoder(Decoder):
    """A float32 copy of an autoencoder's decoder."""

    def __init__(self, network: Any, scale_factor: float) -> None:
        super().__init__()
        self.scale_factor = scale_factor
        with single_precision():
            self.entrance = copy.deepcopy(network.post_quant_conv)
            self.decoder = copy.deepcopy(network.decoder)
            self.float().eval().requires_grad_(True)

    @property
    def last(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self.decoder.conv_out)

    def forward(self, z: Tensor) -> Tensor:
        return cast(Tensor, 0.5 * self.decoder(self.entrance(z.float() / self.scale_factor)) + 0.5)
