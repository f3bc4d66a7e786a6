"""Facts of the loaded checkpoint that only running it tells: what it needs, and how fast it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from modules import devices, lowvram, sd_hijack, sd_vae, shared
from PIL import Image

from ..plan import DECODER_STEP_WORK, EditPlan
from ..report import Stopwatch
from .backend import HostDecoder
from .facts import LATENT_FACTOR
from .footprint import Growth, Training, inference, training, weight_bytes
from .options import option

_DECODED = (8, 16)
"""Sides of the latents that the decoder is measured on."""
_ENLARGED = (24, 48)
"""Sides of the pictures that the upscaler is measured on."""

_LONG_ENOUGH = 0.3
"""Seconds of work that tell the speed."""


@dataclass(frozen=True)
class Footprint:
    """Bytes of a checkpoint.

    unet, autoencoder, others: weights as they are loaded; block: of the UNet's largest block.
    denoising, decoding: what a pass of one sample takes besides. training: see there.
    """

    unet: int
    autoencoder: int
    others: int
    block: int
    denoising: Growth
    decoding: Growth
    training: Training


@dataclass(frozen=True)
class Speed:
    """Seconds at the training resolution of a guided model call, and of a decoder step."""

    call: float
    step: float

    def seconds(self, plan: EditPlan) -> float:
        return self.call * plan.network_evaluations + self.step * decoder_area(plan)


_footprints: dict[Hashable, Footprint] = {}
_enlargements: dict[Hashable, Growth] = {}
_speeds: dict[Hashable, Speed] = {}
_finished: dict[Hashable, tuple[EditPlan, float]] = {}


def decoder_area(plan: EditPlan) -> float:
    """Decoder steps of a plan, weighted by area as its network evaluations are."""
    return (plan.work - plan.network_evaluations) / DECODER_STEP_WORK


def decoder_device() -> torch.device:
    """Where the copy of the decoder is trained."""
    return torch.device("cpu" if option("decoder_device") == "CPU" else shared.device)


def is_known(resolution: int, upscaler: str) -> bool:
    """Whether nothing would have to be run to answer all questions."""
    return (
        _key(resolution) in _footprints
        and _upscaler_key(upscaler) in _enlargements
        and _key(resolution) in _speeds
    )


def learn(resolution: int, upscaler: str) -> None:
    """Run what must be run, so that `is_known`."""
    footprint(resolution)
    enlargement(upscaler)
    speed(resolution)


def footprint(resolution: int) -> Footprint:
    """Of the loaded checkpoint, trained at `resolution`; measured when first asked for."""
    key = _key(resolution)
    if key not in _footprints:
        with torch.random.fork_rng(_cuda()):
            _footprints[key] = _measured(shared.sd_model, resolution // LATENT_FACTOR)
    return _footprints[key]


def enlargement(upscaler: str) -> Growth:
    """Bytes by the pixels of one pass through the host's upscaler, its weights included."""
    key = _upscaler_key(upscaler)
    if key not in _enlargements:
        # The host builds the network anew for every use, with random weights to begin with.
        with torch.random.fork_rng(_cuda()):
            _enlargements[key] = _measured_upscaler(upscaler)
    return _enlargements[key]


def speed(resolution: int) -> Speed:
    """Of the loaded checkpoint on this device, timed when first asked for."""
    key = _key(resolution)
    if key not in _speeds:
        _speeds[key] = _timed(shared.sd_model, resolution // LATENT_FACTOR)
    return _speeds[key]


def seconds(plan: EditPlan) -> float:
    """What an edit should take, by the speed and by how long the last one really took."""
    known = speed(plan.resolution)
    last, took = _finished.get(_key(plan.resolution), (plan, known.seconds(plan)))
    return known.seconds(plan) * took / known.seconds(last)


def remember(plan: EditPlan, took: float) -> None:
    """An edit after `plan` was finished in so many seconds."""
    _finished[_key(plan.resolution)] = plan, took


def _measured(model: Any, side: int) -> Footprint:
    network, autoencoder = model.model.diffusion_model, model.first_stage_model
    small = tuple(max(1, side // part) for part in (4, 2))
    denoising = inference(lambda n: _call(model, n, 1), (small[0], small[1]), devices.autocast)
    _finish(model)
    copy = HostDecoder(model, decoder_device())
    with devices.without_autocast():
        trained = training(copy, _DECODED, _latent)
        decoding = inference(lambda n: copy(_latent(n)), _DECODED)
    half = devices.dtype_vae.itemsize / torch.float32.itemsize
    blocks = (*network.input_blocks, network.middle_block, *network.output_blocks)
    parts = weight_bytes(network), weight_bytes(autoencoder)
    return Footprint(
        *parts,
        others=weight_bytes(model) - sum(parts),
        block=max(weight_bytes(block) for block in blocks),
        denoising=denoising,
        decoding=Growth(decoding.linear * half, decoding.quadratic * half),
        training=trained,
    )


def _measured_upscaler(name: str) -> Growth:
    host = next((u for u in shared.sd_upscalers if u.name.lower() == name.lower()), None)
    if host is None:
        return Growth(0)

    def run(side: int) -> Any:
        picture = Image.new("RGB", (side, side))
        return host.scaler.upscale(picture, host.scale, host.data_path)

    return inference(run, _ENLARGED, fit=Growth.along)


def _call(model: Any, side: int, count: int) -> torch.Tensor:
    """The network on the empty prompt."""
    prompt = model.cond_stage_model_empty_prompt.to(devices.device).expand(count, -1, -1)
    extra = model.model.diffusion_model.in_channels - 4
    condition = {"c_crossattn": [prompt]}
    if extra > 0:
        condition["c_concat"] = [_latent(side, count, extra)]
    steps = torch.full((count,), 500.0, device=devices.device)
    return model.apply_model(_latent(side, count), steps, condition)


def _timed(model: Any, side: int) -> Speed:
    """Seconds of the network on a pair of latents, and of training the decoder on a smaller one.

    If there is no memory for the latter, the engine's own proportion is taken.
    """
    with torch.no_grad(), devices.autocast():
        call = _seconds(lambda: _call(model, side, 2), torch.device(shared.device))
    _finish(model)
    small = max(1, side // 2)
    try:
        copy = HostDecoder(model, decoder_device())
        with torch.inference_mode(False), torch.enable_grad(), devices.without_autocast():
            step = _seconds(lambda: copy(_latent(small)).sum().backward(), decoder_device())
    except RuntimeError:
        return Speed(call, DECODER_STEP_WORK * call)
    return Speed(call, step * (side / small) ** 2)


def _seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Of one `run()`; the very first is slower and does not count."""
    run()
    clock, runs = Stopwatch(device), 0
    while (spent := clock.seconds()) < _LONG_ENOUGH:
        run()
        runs += 1
    return spent / runs


def _finish(model: Any) -> None:
    """As the host does after use, where it keeps one part of the model on the GPU at a time."""
    if lowvram.is_enabled(model):
        lowvram.send_everything_to_cpu()


def _latent(side: int, count: int = 1, channels: int = 4) -> torch.Tensor:
    return torch.zeros(count, channels, side, side, device=devices.device)


def _key(resolution: int) -> Hashable:
    """All that changes what the checkpoint needs, and how fast it is."""
    return (
        getattr(shared.sd_model, "sd_model_checkpoint", None),
        sd_vae.loaded_vae_file,
        sd_hijack.model_hijack.optimization_method,
        str(shared.device),
        str(decoder_device()),
        resolution,
    )


def _upscaler_key(name: str) -> Hashable:
    return name.lower(), str(shared.device)


def _cuda() -> list[torch.device]:
    device = torch.device(shared.device)
    return [device] if device.type == "cuda" else []
