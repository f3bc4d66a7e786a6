"""The loaded checkpoint, run on small inputs to learn what memory it needs."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from modules import devices, sd_hijack, sd_vae, shared
from PIL import Image
from torch import Tensor, nn

from ..refit import working_bytes
from .backend import HostDecoder, make_room
from .facts import LATENT_FACTOR
from .footprint import Growth, Refitting, Training, inference, training, weight_bytes
from .options import option
from .sampling import own_randomness
from .upscale import HostUpscaler, ensure_it_works, load_upscaler

CONCATENATED = ("hybrid", "concat")
"""Conditioning keys of networks that see further channels beside the latents."""
_DECODED = (8, 16)
"""Sides of the latents that the decoder is measured on."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of a checkpoint.

    unet, autoencoder, others: weights as they are loaded; block: of the UNet's largest block.
    denoising, decoding: what a pass of one sample takes besides. training, refitting: see there.
    """

    unet: int
    autoencoder: int
    others: int
    block: int
    denoising: Growth
    decoding: Growth
    training: Training
    refitting: Refitting


_footprints: dict[Hashable, Footprint] = {}
_enlargements: dict[Hashable, Growth] = {}


def footprint(resolution: int) -> Footprint:
    """Of the loaded checkpoint, trained at `resolution`; measured when first asked for."""
    key = model_key(resolution)
    if key not in _footprints:
        with own_randomness():
            _footprints[key] = _measured(shared.sd_model, resolution // LATENT_FACTOR)
    return _footprints[key]


def enlargement(upscaler: str) -> Growth:
    """Bytes by the pixels of one pass through the host's upscaler, its weights included.

    Raises `EditError` if it does not work.
    """
    key = _upscaler_key(upscaler)
    if key not in _enlargements:
        _enlargements[key] = _measured_upscaler(upscaler)
    return _enlargements[key]


def is_measured(resolution: int, upscaler: str) -> bool:
    """Whether `footprint` and `enlargement` have nothing to run."""
    return model_key(resolution) in _footprints and _upscaler_key(upscaler) in _enlargements


def model_key(resolution: int) -> Hashable:
    """All that changes what the checkpoint needs, and how fast it is."""
    return (
        getattr(shared.sd_model, "sd_model_checkpoint", None),
        sd_vae.loaded_vae_file,
        sd_hijack.model_hijack.optimization_method,
        str(shared.device),
        str(decoder_device()),
        resolution,
    )


def decoder_device() -> torch.device:
    """Where the copy of the decoder is trained."""
    return torch.device("cpu" if option("decoder_device") == "CPU" else shared.device)


def predict(model: Any, side: int, count: int) -> Tensor:
    """The network on `count` latents and the empty prompt, as the host's denoiser calls it."""
    prompt = model.cond_stage_model_empty_prompt.to(devices.device).expand(count, -1, -1)
    beside = side if model.model.conditioning_key in CONCATENATED else 1
    condition = {"c_crossattn": [prompt], "c_concat": [latent(beside, count, 5)]}
    steps = torch.full((count,), 500.0, device=devices.device)
    return model.apply_model(latent(side, count), steps, condition)


def latent(side: int, count: int = 1, channels: int = 4) -> Tensor:
    return torch.zeros(count, channels, side, side, device=devices.device)


def _measured(model: Any, side: int) -> Footprint:
    network, autoencoder = model.model.diffusion_model, model.first_stage_model
    multiple = 2 ** (len(network.channel_mult) - 1)
    sides = max(1, side // 4 // multiple) * multiple, max(2, side // 2 // multiple) * multiple
    denoising = inference(lambda n: predict(model, n, 1), sides, devices.autocast)
    make_room()
    copy = HostDecoder(model, decoder_device())
    with devices.without_autocast():
        trained = training(copy, _DECODED, latent)
        decoding = inference(lambda n: copy(latent(n)), _DECODED)
    share = torch.finfo(devices.dtype_vae).bits / torch.finfo(torch.float32).bits
    parts = weight_bytes(network), weight_bytes(autoencoder)
    return Footprint(
        *parts,
        others=weight_bytes(model) - sum(parts),
        block=max(map(weight_bytes, _blocks(network)), default=parts[0]),
        denoising=denoising,
        decoding=Growth(decoding.linear * share, decoding.quadratic * share),
        training=trained,
        refitting=Refitting(weight_bytes(copy), decoding, working_bytes(copy.last)),
    )


def _blocks(network: nn.Module) -> list[nn.Module]:
    """What the host's --lowvram has on the GPU at one time."""
    return [
        block
        for child in network.children()
        for block in (child if isinstance(child, nn.ModuleList) else [child])
    ]


def _measured_upscaler(name: str) -> Growth:
    upscaler = load_upscaler(name)
    if not isinstance(upscaler, HostUpscaler):
        return Growth(0)
    sides = upscaler.trial_side, 2 * upscaler.trial_side
    with _uninterrupted():
        ensure_it_works(upscaler)
        return inference(
            lambda side: upscaler.tried(Image.new("RGB", (side, side))), sides, fit=Growth.along
        )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """The host keeps an interruption until the next generation: here it stops nothing."""
    state = shared.state
    kept = {name: getattr(state, name) for name in ("interrupted", "skipped")}
    for name in kept:
        setattr(state, name, False)
    try:
        yield
    finally:
        for name, was in kept.items():
            setattr(state, name, was or getattr(state, name))


def _upscaler_key(name: str) -> Hashable:
    """All that changes what the upscaler needs, and whether it works."""
    return name.lower(), str(shared.device), getattr(load_upscaler(name), "tiles", None)
