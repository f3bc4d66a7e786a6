"""The miniature's sizes as other programs read them: ldm's yaml and diffusers' folder of json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .files import PLACEHOLDER
from .ldm_names import LAYERS
from .models import AUTOENCODER_CONFIG, LATENT_SCALE, TEXT_CONFIG, UNET_CONFIG
from .tokenizer import write_tokenizer

TIMES = 1000
BETA_START, BETA_END = 0.00085, 0.012
TEXT_JSON = {"model_type": "clip_text_model", "architectures": ["CLIPTextModel"], **TEXT_CONFIG}
SCHEDULER_JSON = {
    "_class_name": "DDIMScheduler",
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": TIMES,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
PIPELINE_JSON = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}

YAML = """\
# Sizes of miniature.safetensors for code that builds ldm's LatentDiffusion. Before use, replace
# {placeholder} by the absolute path of the folder "tokenizer" beside this file, as
# msbd.miniature.files.host_config does.
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: {beta_start}
    linear_end: {beta_end}
    num_timesteps_cond: 1
    log_every_t: 200
    timesteps: {times}
    first_stage_key: jpg
    cond_stage_key: txt
    image_size: {image_size}
    channels: {latent_channels}
    cond_stage_trainable: false
    conditioning_key: crossattn
    scale_factor: {scale}
    use_ema: false
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params:
        image_size: {image_size}
        in_channels: {latent_channels}
        out_channels: {latent_channels}
        model_channels: {model_channels}
        attention_resolutions: {attention_resolutions}
        num_res_blocks: {layers}
        channel_mult: {channel_mult}
        num_heads: {heads}
        use_spatial_transformer: true
        transformer_depth: 1
        context_dim: {context_dim}
        use_checkpoint: false
        legacy: false
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: {latent_channels}
        ddconfig:
          double_z: true
          z_channels: {latent_channels}
          resolution: {resolution}
          in_channels: 3
          out_ch: 3
          ch: {ch}
          ch_mult: {ch_mult}
          num_res_blocks: {layers}
          attn_resolutions: []
          dropout: 0.0
        lossconfig:
          target: torch.nn.Identity
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params:
        version: {placeholder}
"""


def ldm_yaml() -> str:
    """The original code's description of `models`, with a placeholder for the tokenizer."""
    widths, outer = UNET_CONFIG["block_out_channels"], AUTOENCODER_CONFIG["block_out_channels"]
    kinds = enumerate(UNET_CONFIG["down_block_types"])
    return YAML.format(
        placeholder=PLACEHOLDER,
        beta_start=BETA_START,
        beta_end=BETA_END,
        times=TIMES,
        scale=LATENT_SCALE,
        image_size=UNET_CONFIG["sample_size"],
        latent_channels=AUTOENCODER_CONFIG["latent_channels"],
        model_channels=widths[0],
        channel_mult=[width // widths[0] for width in widths],
        attention_resolutions=[2**level for level, kind in kinds if kind.startswith("CrossAttn")],
        layers=LAYERS,
        heads=UNET_CONFIG["attention_head_dim"],
        context_dim=UNET_CONFIG["cross_attention_dim"],
        resolution=AUTOENCODER_CONFIG["sample_size"],
        ch=outer[0],
        ch_mult=[width // outer[0] for width in outer],
    )


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a value as indented JSON; makes the folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def write_pipeline_config(directory: Path) -> None:
    """Write the folder diffusers wants: ``from_single_file(checkpoint, config=directory)``."""
    write_json(directory / "model_index.json", PIPELINE_JSON)
    write_json(
        directory / "unet" / "config.json", {"_class_name": "UNet2DConditionModel", **UNET_CONFIG}
    )
    write_json(
        directory / "vae" / "config.json", {"_class_name": "AutoencoderKL", **AUTOENCODER_CONFIG}
    )
    write_json(directory / "text_encoder" / "config.json", TEXT_JSON)
    write_json(directory / "scheduler" / "scheduler_config.json", SCHEDULER_JSON)
    write_tokenizer(directory / "tokenizer")
