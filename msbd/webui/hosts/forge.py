"""The Forge family (Forge, reForge, Neo): a memory manager moves the checkpoint's networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from modules import devices, sd_models, shared
from torch import Tensor, nn

from .networks import SD2_RESOLUTION

try:
    from backend import memory_management
    from backend.sampling.sampling_function import sampling_cleanup, sampling_prepare
except ImportError:  # reForge's
    from ldm_patched.modules import model_management as memory_management
    from modules_forge.forge_sampler import sampling_cleanup, sampling_prepare

USUAL_RESOLUTION = 512


class ForgeNetworks:
    """`Networks` of a model whose parts are its `forge_objects`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._prepared: Any = None
        objects = model.forge_objects
        self.unet: nn.Module = objects.unet.model.diffusion_model
        self.autoencoder: Any = objects.vae.first_stage_model
        if hasattr(self.autoencoder, "scaling_factor"):
            self.scale = float(self.autoencoder.scaling_factor)
            self.shift = float(self.autoencoder.shift_factor)
        else:
            latents = objects.unet.model.model_config.latent_format
            self.scale = float(latents.scale_factor)
            self.shift = float(getattr(latents, "shift_factor", 0.0))

    @property
    def resolution(self) -> int:
        """The usual one: these hosts read no configuration."""
        velocity = _predicts_velocity(self._model.forge_objects.unet.model)
        return SD2_RESOLUTION if velocity and self._model.is_sd2 else USUAL_RESOLUTION

    def all(self) -> list[nn.Module]:
        return [self.unet, self.autoencoder, self._model.forge_objects.clip.cond_stage_model]

    def encoded(self, pixels: Tensor) -> Tensor:
        """Not by the host's own way, which draws from the posterior."""
        vae = self._model.forge_objects.vae
        needed = vae.memory_used_encode(pixels.shape, vae.vae_dtype)
        memory_management.load_models_gpu([vae.patcher], memory_required=needed)
        moments = self.autoencoder.encoder(pixels.to(vae.device, vae.vae_dtype))
        quant_conv = getattr(self.autoencoder, "quant_conv", None)
        if quant_conv is not None:
            moments = quant_conv(moments)
        return (moments.chunk(2, 1)[0].to(pixels) - self.shift) * self.scale

    @contextmanager
    def autoencoder_in_single_precision(self) -> Iterator[None]:
        vae = self._model.forge_objects.vae
        kept = vae.vae_dtype
        try:
            vae.vae_dtype = devices.dtype_vae = torch.float32
            self.autoencoder.to(torch.float32)
            yield
        finally:
            vae.vae_dtype = devices.dtype_vae = kept
            self.autoencoder.to(kept)

    @contextmanager
    def patched(self, p: Any) -> Iterator[None]:
        """The UNet as extra networks left it, with token merging, as the host samples with it."""
        model, kept = self._model, self._model.forge_objects
        try:
            model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()
            sd_models.apply_token_merging(model, p.get_token_merging_ratio())
            yield
        finally:
            self.leave()
            model.forge_objects = kept

    def prepare(self, z: Tensor) -> None:
        if self._prepared is None:
            self._prepared = self._model.forge_objects.unet
            sampling_prepare(self._prepared, z)

    def leave(self) -> None:
        if self._prepared is not None:
            sampling_cleanup(self._prepared)
            self._prepared = None

    def make_room(self) -> None:
        """Half of the GPU, if it is not free anyway."""
        self.leave()
        device = torch.device(shared.device)
        if device.type != "cpu":
            half = memory_management.get_total_memory(device) / 2
            memory_management.free_memory(half, device)


def _predicts_velocity(network: Any) -> bool:
    predictor = getattr(network, "predictor", None)
    if predictor is not None:
        return bool(predictor.prediction_type == "v_prediction")
    return getattr(getattr(network, "model_type", None), "name", "") == "V_PREDICTION"
