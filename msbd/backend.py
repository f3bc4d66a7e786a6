"""What the engine needs of a diffusion model, and nothing else.

Conventions: images are float32 [B,3,H,W] in [0,1]; latents are float32 [B,4,H/8,W/8], already
multiplied by the model's scale factor; everything lives on `Backend.device`. Prompt, negative
prompt and guidance are bound into the backend before the engine sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .geometry import Box, Size
from .plan import ModelSpec

Denoise = Callable[..., Tensor]
"""`denoise(z, sigma, **extra) -> z0`: z [B,4,h,w] at noise level sigma [B]; z0 like z."""

Condition = Tensor | None
"""What a network is told besides latents, [1,...] or [B,...]."""


class Sampler(Protocol):
    """A k-diffusion style sampler: integrates from `sigmas[0]` down to `sigmas[-1]`.

    sigmas: on the CPU, where a sampler may look at them without waiting for a GPU.
    `model(z, sigma, **extra_args)` predicts the denoised latents. `noise_sampler(sigma,
    sigma_next)` returns the fresh noise [B,4,h,w] that stochastic samplers add.
    """

    def __call__(
        self,
        model: Denoise,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
        disable: bool | None = None,
        noise_sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor: ...


class Decoder(nn.Module):
    """Latents as above to images [B,3,8h,8w], unclamped, differentiable.

    Its parameters require gradients.
    """

    @property
    def last(self) -> nn.Conv2d:
        """The last layer, with a bias: it gives the image but for a factor and a constant."""
        raise NotImplementedError


class Backend(Protocol):
    """A diffusion model with its autoencoder, super-resolution network and CLIP ranking."""

    spec: ModelSpec
    device: torch.device
    sampler: Sampler
    tile_by_tile: bool
    """Whether tiles are denoised one after the other, each in a `sampling` of its own."""

    @property
    def details(self) -> Backend | None:
        """The same, bound to the prompt of the later stages; None where that is the same."""

    def sigmas(self, steps: int) -> Tensor:
        """Noise levels [steps + 1], strictly descending, the last one 0; float32, on the CPU."""

    def sampling(
        self, image: Tensor, painted: Tensor, source: Tensor, noise: Tensor, place: Box
    ) -> AbstractContextManager[Condition]:
        """While a tile is denoised: yields what the network must be told of it besides its latents,
        [1,...]; None for most models.

        Inpainting checkpoints want to see the surroundings. image: [1,3,H,W] in [0,1]; painted:
        [1,1,H,W], 1 = repaint; source: the image's latents; noise: what the first candidate
        starts with, like source; place: see `StagePlan.in_picture`. Handed on to `denoise`.
        """

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        """Predict z0 [B,4,h,w] from z at noise level sigma [B], guided by the bound prompt.

        guidance: times the bound guidance scale; 0 leaves the prompt out. condition: of all
        samples, [1,...], or of each, [B,...]. Samples of a batch do not influence each
        other. Raises `Interrupted` when the user stops.
        """

    def encode(self, image: Tensor) -> Tensor:
        """The posterior's mean latents of [B,3,H,W] in [0,1], sides multiples of the spec's."""

    def decode(self, z: Tensor) -> Tensor:
        """Latents -> [B,3,8h,8w] in [0,1], clamped, finite."""

    def decoder(self) -> Decoder:
        """A fresh float32 copy of the decoder that may be trained; it is the caller's.

        The model's own decoder is never touched.
        """

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        """[1,3,H,W] -> [1,3,size] in [0,1] by super-resolution, then antialiased reduction."""

    def score(self, images: Tensor) -> Tensor | None:
        """Similarity [B] of images to the prompt, finite, higher is nearer; None if it cannot be
        judged."""
