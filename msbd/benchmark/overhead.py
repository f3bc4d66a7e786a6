"""Networks that cost nothing: what an edit takes besides them, on any machine."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backend import Backend, Condition, Decoder, ModelSpec
from ..geometry import Box, Size
from ..settings import OFF
from ..standalone.discrete import scaled_linear
from ..standalone.samplers import SAMPLERS
from .runs import Run, once
from .setups import WAYS, Setup

OURS = WAYS["ours"].with_values({"decoder": OFF})
"""Without fitting the decoder: there is none."""


class IdleModel:
    """A model of Stable Diffusion 1's sizes that paints a plain grey."""

    def bind(self, prompt: str, negative: str, guidance: float, sampler: str) -> Backend:
        return IdleBackend(sampler)


class IdleBackend:
    """`Backend` without networks."""

    spec = ModelSpec()
    device = torch.device("cpu")
    tile_by_tile = False
    details = None

    def __init__(self, sampler: str) -> None:
        self.sampler, _ = SAMPLERS[sampler]

    def sigmas(self, steps: int) -> Tensor:
        return scaled_linear().levels(steps)

    def sampling(
        self, image: Tensor, painted: Tensor, source: Tensor, noise: Tensor, place: Box
    ) -> AbstractContextManager[Condition]:
        return nullcontext()

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        return torch.zeros_like(z)

    def encode(self, image: Tensor) -> Tensor:
        height, width = (side // self.spec.latent_factor for side in image.shape[-2:])
        return image.new_zeros(len(image), 4, height, width)

    def decode(self, z: Tensor) -> Tensor:
        height, width = (side * self.spec.latent_factor for side in z.shape[-2:])
        return z.new_full((len(z), 3, height, width), 0.5)

    def decoder(self) -> Decoder:
        raise NotImplementedError

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        return F.interpolate(image, (size.height, size.width))

    def score(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))


def edited(what: Setup, repeats: int) -> dict[str, Any]:
    """The quickest of several edits our way: its seconds, without those of its networks."""
    run = Run(what, OURS)
    rows = [once(run, IdleModel()) for _ in range(repeats)]
    row = min(rows, key=lambda one: float(one["seconds"]["other"]))
    kept = ("image", "side", "crop", "evaluations")
    return {name: row[name] for name in kept} | {"seconds": row["seconds"]["other"]}
