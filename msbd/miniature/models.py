"""The miniature's networks: Stable Diffusion 1's architecture at a hundredth of the size.

Every width is a multiple of 32, since the original code fixes GroupNorm at 32 groups.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

Network = Any
"""A network of diffusers or transformers, which hide their classes from type checkers."""

LATENT_SCALE = 0.18215
FACTOR = 8
POSITIONS = 77
VOCABULARY = 49408
START, END = 49406, 49407
WIDTH = 64

AUTOENCODER_CONFIG: dict[str, Any] = dict(
    in_channels=3,
    out_channels=3,
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(64, 64, 128, 128),
    layers_per_block=1,
    latent_channels=4,
    norm_num_groups=32,
    sample_size=128,
    scaling_factor=LATENT_SCALE,
)
UNET_CONFIG: dict[str, Any] = dict(
    sample_size=16,
    in_channels=4,
    out_channels=4,
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    block_out_channels=(64, 128, 128),
    layers_per_block=1,
    cross_attention_dim=WIDTH,
    attention_head_dim=4,
    norm_num_groups=32,
)
TEXT_CONFIG: dict[str, Any] = dict(
    vocab_size=VOCABULARY,
    hidden_size=WIDTH,
    intermediate_size=4 * WIDTH,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=POSITIONS,
    hidden_act="quick_gelu",
    projection_dim=WIDTH,
    bos_token_id=START,
    eos_token_id=END,
    pad_token_id=END,
)


def build_autoencoder() -> Network:
    """Images [B, 3, H, W] in [-1, 1] <-> latents [B, 4, H/8, W/8]."""
    return AutoencoderKL(**AUTOENCODER_CONFIG)


def build_unet() -> Network:
    """Noise prediction from latents [B, 4, h, w], times [B] and conditioning [B, 77, 64]."""
    return UNet2DConditionModel(**UNET_CONFIG)


def build_text_encoder(rows: int = VOCABULARY) -> Network:
    """Conditioning [B, 77, 64] from token ids [B, 77] below ``rows``."""
    return CLIPTextModel(CLIPTextConfig(**{**TEXT_CONFIG, "vocab_size": rows}))


def alphas_cumprod() -> torch.Tensor:
    """Stable Diffusion's schedule [1000]: roots of the betas linear from 0.00085 to 0.012."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()
