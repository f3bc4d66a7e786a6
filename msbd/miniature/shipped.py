"""The shipped checkpoint's networks, read back under diffusers' names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from .files import WEIGHTS
from .ldm_names import rename_autoencoder, rename_text, rename_unet
from .models import Network, build_autoencoder, build_text_encoder, build_unet

States = dict[str, torch.Tensor]
PARTS: dict[str, tuple[Callable[[], Network], Callable[[States], States], str]] = {
    "unet": (build_unet, rename_unet, "model.diffusion_model."),
    "text": (build_text_encoder, rename_text, "cond_stage_model.transformer."),
    "vae": (build_autoencoder, rename_autoencoder, "first_stage_model."),
}


def read_shipped(directory: Path = WEIGHTS) -> dict[str, States]:
    """States of unet, text and vae, float32, from ``miniature.safetensors``.

    Relies on the renaming functions keeping the order of the names.
    """
    stored = load_file(directory / "miniature.safetensors")
    states = {}
    for part, (build, rename, prefix) in PARTS.items():
        with torch.device("meta"):
            own = build().state_dict()
        names = zip(own, rename(own), strict=True)
        states[part] = {
            name: stored[prefix + new].float().reshape(own[name].shape) for name, new in names
        }
    return states
