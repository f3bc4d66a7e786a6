"""Stable Diffusion 1's networks with random weights: what they cost, if not what they paint."""

from __future__ import annotations

from typing import Any

import torch

from ..miniature.torchvision_patch import patch_torchvision
from ..standalone.autoencoder import Autoencoder
from ..standalone.checkpoint import Checkpoint
from ..standalone.clip import ClipRanker
from ..standalone.discrete import scaled_linear
from ..standalone.model import StandaloneModel
from ..standalone.upscaler import load_upscaler

WIDTH = 768
"""Channels of the text encoder's output."""


def random_stable_diffusion(device: torch.device, dtype: torch.dtype) -> StandaloneModel:
    """A model of SD 1.4's shapes, without CLIP, enlarging by Lanczos."""
    checkpoint = Checkpoint(
        unet(device, dtype),
        autoencoder(device, dtype),
        _text_encoder(device, dtype),
        schedule=scaled_linear(0.00085, 0.012, 1000),
        prediction="epsilon",
        resolution=512,
        multiple=64,
    )
    return StandaloneModel(
        checkpoint, load_upscaler("lanczos", device), ClipRanker(None, device), device
    )


def unet(device: torch.device, dtype: torch.dtype) -> Any:
    """The denoising network."""
    patch_torchvision()
    from diffusers import UNet2DConditionModel

    with device:
        network: Any = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=WIDTH, attention_head_dim=8
        )
    return network.to(dtype).eval().requires_grad_(False)


def autoencoder(device: torch.device, dtype: torch.dtype) -> Autoencoder:
    """The autoencoder."""
    patch_torchvision()
    from diffusers import AutoencoderKL

    with device:
        network: Any = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            sample_size=512,
        )
    return Autoencoder(network.to(dtype).eval().requires_grad_(False), 0.18215)


def _text_encoder(device: torch.device, dtype: torch.dtype) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=12,
        num_attention_heads=12,
        projection_dim=WIDTH,
    )
    with device:
        network: Any = CLIPTextModel(config)
    return network.to(dtype).eval().requires_grad_(False)
