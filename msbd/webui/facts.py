"""What a plan needs to know of the checkpoint that the host has loaded."""

from __future__ import annotations

from typing import Any

from modules import shared

from ..backend import ModelFacts
from ..errors import EditError
from .options import option
from .sampling import calls_per_step

LATENT_FACTOR = 8
SD2_RESOLUTION = 768
"""Training side of Stable Diffusion 2 with v-prediction; its configuration does not tell."""
_OTHER_FAMILIES = {"is_sdxl": "SDXL", "is_sd3": "Stable Diffusion 3"}


def model_facts(sampler_name: str, upscale_factor: float = 4.0) -> ModelFacts:
    """Facts of the loaded checkpoint with the host's sampler; `EditError` if it is unsuitable."""
    model = shared.sd_model
    for attribute, family in _OTHER_FAMILIES.items():
        if getattr(model, attribute, False):
            raise EditError(
                f"{family} checkpoints are not supported: choose a Stable Diffusion 1 or 2 one"
            )
    return ModelFacts(
        resolution=option("resolution") or trained_resolution(model),
        multiple=LATENT_FACTOR * 2 ** (_levels(model) - 1),
        latent_factor=LATENT_FACTOR,
        upscale_factor=upscale_factor,
        calls_per_step=calls_per_step(sampler_name),
    )


def trained_resolution(model: Any) -> int:
    """Side in pixels of the pictures a checkpoint was trained on, by its configuration."""
    if getattr(model, "is_sd2", False) and model.parameterization == "v":
        return SD2_RESOLUTION
    side = getattr(model, "image_size", 64)
    return int(side if isinstance(side, int) else side[0]) * LATENT_FACTOR


def _levels(model: Any) -> int:
    """Resolutions the UNet works at; each halves the sides."""
    return len(model.model.diffusion_model.channel_mult)
