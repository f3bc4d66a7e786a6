"""What a plan needs to know of the checkpoint that the host has loaded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modules import call_queue, sd_models, shared

from ...backend import ModelSpec
from ...errors import EditError
from ..options import option
from .sampling import calls_per_step

LATENT_FACTOR = 8
SD2_RESOLUTION = 768
"""Training side of Stable Diffusion 2 with v-prediction; its configuration does not tell."""
LOADING_LIMIT = 60.0
"""Seconds to wait for a checkpoint that is being loaded."""
_INTERVAL = 0.1
_OTHER_FAMILIES = {"is_sdxl": "SDXL", "is_sd3": "Stable Diffusion 3"}


def model_spec(sampler_name: str, upscale_factor: float = 4.0) -> ModelSpec:
    """Facts of the loaded checkpoint with the host's sampler; `EditError` if it is unsuitable."""
    model = loaded_model()
    for attribute, family in _OTHER_FAMILIES.items():
        if getattr(model, attribute, False):
            raise EditError(
                f"{family} checkpoints are not supported: choose a Stable Diffusion 1 or 2 one"
            )
    return ModelSpec(
        resolution=option("resolution") or trained_resolution(model),
        multiple=LATENT_FACTOR * 2 ** (_levels(model) - 1),
        latent_factor=LATENT_FACTOR,
        upscale_factor=upscale_factor,
        calls_per_step=calls_per_step(sampler_name),
    )


def loaded_model() -> Any:
    """The host's checkpoint; the host loads one if it never had any.

    One that is being loaded, or changed for another, is waited for. Raises `EditError` if nobody
    is loading one, or after `LOADING_LIMIT` seconds.
    """
    end = time.monotonic() + LOADING_LIMIT
    while _complete_model() is None and _is_loading() and time.monotonic() < end:
        time.sleep(_INTERVAL)
    # To ask for it by this name is to load it, if the host never had any.
    model = _complete_model() or (None if sd_models.model_data.lock.locked() else shared.sd_model)
    if model is None:
        raise EditError(
            "the checkpoint is still being loaded, or could not be: try again, or see the console "
            "and choose another checkpoint"
        )
    return model


def is_loaded() -> bool:
    """Whether there is a checkpoint, so that nothing has to be waited for."""
    return _complete_model() is not None


def _complete_model() -> Any:
    """The host's checkpoint; None while its first is not all there, or there is none."""
    data = sd_models.model_data
    return None if data.lock.locked() else data.sd_model


def _is_loading() -> bool:
    """Whether the host may be loading a checkpoint: its first one, or another in its queue."""
    if sd_models.model_data.lock.locked() or not call_queue.queue_lock.acquire(blocking=False):
        return True
    call_queue.queue_lock.release()
    return False


@contextmanager
def same_model() -> Iterator[None]:
    """What fails because the host changes its checkpoint meanwhile is an `EditError`."""
    model = loaded_model()
    try:
        yield
    except Exception as error:
        if sd_models.model_data.sd_model is model:
            raise
        raise EditError("the checkpoint was changed meanwhile: try again") from error


def trained_resolution(model: Any) -> int:
    """Side in pixels of the pictures a checkpoint was trained on, by its configuration."""
    if getattr(model, "is_sd2", False) and model.parameterization == "v":
        return SD2_RESOLUTION
    side = getattr(model, "image_size", 64)
    return int(side if isinstance(side, int) else side[0]) * LATENT_FACTOR


def _levels(model: Any) -> int:
    """Resolutions the UNet works at; each halves the sides."""
    return len(model.model.diffusion_model.channel_mult)
