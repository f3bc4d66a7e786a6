"""What every kind of host tells of the checkpoint that it has loaded."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

LATENT_FACTOR = 8
SD2_RESOLUTION = 768
"""Training side of Stable Diffusion 2 with v-prediction; its configuration does not tell."""


class Networks(Protocol):
    """The loaded checkpoint's networks, wherever a host keeps and moves them.

    scale, shift: the engine's latents are (what the autoencoder gives - shift) * scale.
    resolution: side in pixels of the pictures that the checkpoint was trained on.
    """

    unet: nn.Module
    autoencoder: Any
    scale: float
    shift: float

    @property
    def resolution(self) -> int: ...

    def all(self) -> list[nn.Module]:
        """All networks of the checkpoint, the text encoder's among them."""
        ...

    def encoded(self, pixels: Tensor) -> Tensor:
        """[1,3,H,W] in [-1,1], in the autoencoder's precision -> the engine's latents: the mean
        of the posterior."""
        ...

    def autoencoder_in_single_precision(self) -> AbstractContextManager[None]:
        """The autoencoder, lent: its numbers are exact in single precision, and come back."""
        ...

    def patched(self, p: Any) -> AbstractContextManager[None]:
        """While a request samples: what is attached to the UNet meanwhile is gone afterwards."""
        ...

    def prepare(self, z: Tensor) -> None:
        """Called before each of the UNet's calls, on latents like z: it lies where it runs."""
        ...

    def leave(self) -> None:
        """Called before another network's turn."""
        ...

    def make_room(self) -> None:
        """Whatever the host would move anyway leaves the GPU to others."""
        ...
