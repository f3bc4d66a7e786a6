"""AUTOMATIC1111's own: the checkpoint is one module, whose parts are called by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from modules import devices, lowvram
from torch import Tensor, nn

from .networks import LATENT_FACTOR, SD2_RESOLUTION


class A1111Networks:
    """`Networks` of a LatentDiffusion model."""

    shift = 0.0

    def __init__(self, model: Any) -> None:
        self._model = model
        self.unet: nn.Module = model.model.diffusion_model
        self.autoencoder: Any = model.first_stage_model
        self.scale = float(model.scale_factor)

    @property
    def resolution(self) -> int:
        """By its configuration."""
        if getattr(self._model, "is_sd2", False) and self._model.parameterization == "v":
            return SD2_RESOLUTION
        side = getattr(self._model, "image_size", 64)
        return int(side if isinstance(side, int) else side[0]) * LATENT_FACTOR

    def all(self) -> list[nn.Module]:
        return [self._model]

    def encoded(self, pixels: Tensor) -> Tensor:
        self.autoencoder.to(devices.dtype_vae)
        posterior = self._model.encode_first_stage(pixels)
        mean = getattr(posterior, "mode", lambda: posterior)()
        return self._model.scale_factor * mean

    @contextmanager
    def autoencoder_in_single_precision(self) -> Iterator[None]:
        kept = devices.dtype_vae
        try:
            devices.dtype_vae = torch.float32
            self.autoencoder.to(torch.float32)
            yield
        finally:
            devices.dtype_vae = kept
            self.autoencoder.to(kept)

    def patched(self, p: Any) -> Any:
        return nullcontext()

    def prepare(self, z: Tensor) -> None:
        """It is where it runs, or the host's hooks bring it there."""

    def leave(self) -> None:
        """As above."""

    def make_room(self) -> None:
        if lowvram.is_enabled(self._model):
            lowvram.send_everything_to_cpu()
