"""What a plan needs to know of the checkpoint that the host has loaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from modules import call_queue, sd_models

from ...backend import ModelSpec
from ...errors import EditError
from ..options import option
from . import which
from .networks import LATENT_FACTOR
from .sampling import calls_per_step, try_sampler

logger = logging.getLogger(__name__)
LOADING_LIMIT = 60.0
"""Seconds to wait for a checkpoint that is being loaded."""
_INTERVAL = 0.1
_NOT_LOADED = (
    "the checkpoint is still being loaded, or could not be: try again, or see the console and "
    "choose another checkpoint"
)
_CHANGED = "the checkpoint was changed meanwhile: try again"
_OTHER_FAMILIES = {"is_sdxl": "SDXL", "is_sd3": "Stable Diffusion 3"}


def model_spec(sampler_name: str, upscale_factor: float = 4.0) -> ModelSpec:
    """Facts of the loaded checkpoint with the host's sampler; `EditError` if one is unsuitable.

    Of a sampler that is unknown until now only if the host has nothing else to do.
    """
    model = loaded_model()
    for attribute, family in _OTHER_FAMILIES.items():
        if getattr(model, attribute, False):
            raise EditError(
                f"{family} checkpoints are not supported: choose a Stable Diffusion 1 or 2 one"
            )
    if call_queue.queue_lock.acquire(blocking=False):
        try:
            try_sampler(sampler_name)
        finally:
            call_queue.queue_lock.release()
    networks = which.networks(model)
    return ModelSpec(
        resolution=option("resolution") or networks.resolution,
        multiple=LATENT_FACTOR * 2 ** (_levels(networks.unet) - 1),
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
    while which.loaded_model() is None and _is_busy() and time.monotonic() < end:
        time.sleep(_INTERVAL)
    # Another may have been chosen since, which nobody else loads; not while an edit uses this one.
    model = which.loaded_model() if _is_busy() else None
    if model is None and not which.loads_first():
        model = _loaded()
    if model is None:
        raise EditError(_NOT_LOADED)
    return model


def ensure_loaded() -> None:
    """Load the chosen checkpoint if the host never had any; for callers that hold its lock, for
    whom nobody else would. Raises `EditError` if it cannot be loaded."""
    if which.loaded_model() is None and _loaded() is None:
        raise EditError(_NOT_LOADED)


def is_loaded() -> bool:
    """Whether there is a checkpoint, so that nothing has to be waited for."""
    return which.loaded_model() is not None


def _is_busy() -> bool:
    """Whether the host may be loading a checkpoint: its first one, or another in its queue."""
    if which.loads_first() or not call_queue.queue_lock.acquire(blocking=False):
        return True
    call_queue.queue_lock.release()
    return False


def _loaded() -> Any:
    try:
        return which.load()
    except Exception:  # whatever goes wrong with other people's checkpoints
        logger.warning("the checkpoint cannot be loaded", exc_info=True)
        return None


@contextmanager
def same_model() -> Iterator[None]:
    """What fails because the host changes its checkpoint meanwhile is an `EditError`."""
    model = loaded_model()
    try:
        yield
    except SystemError as error:
        # reForge takes hold of all objects in memory while it puts a checkpoint away, and Python
        # then cannot finish a tuple that is just being made.
        raise EditError(_CHANGED) from error
    except Exception as error:
        if sd_models.model_data.sd_model is model:
            raise
        raise EditError(_CHANGED) from error


def _levels(network: Any) -> int:
    """Resolutions the UNet works at; each halves the sides."""
    return len(network.channel_mult)
