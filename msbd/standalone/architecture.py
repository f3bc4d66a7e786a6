"""Read the shape of a Stable Diffusion 1.x model off the tensors of its checkpoint.

Any width and depth of that family will do: the levels, blocks and attentions are counted in the
tensors' names (the layout of CompVis' original code), the widths read from their shapes. What
follows are keyword arguments for diffusers' and transformers' classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import EditError

Tensors = Mapping[str, Tensor]
UNET = "model.diffusion_model."
AUTOENCODER = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
_WANTED = "choose a plain Stable Diffusion 1.x checkpoint"
_OTHERS = {
    "conditioner.embedders.": "a Stable Diffusion XL checkpoint",
    "cond_stage_model.model.": "a Stable Diffusion 2.x checkpoint",
    "model.diffusion_model.joint_blocks.": "a Stable Diffusion 3 checkpoint",
    "joint_blocks.": "a Stable Diffusion 3 checkpoint",
    "model.diffusion_model.double_blocks.": "a Flux checkpoint",
    "double_blocks.": "a Flux checkpoint",
    "lora_": "a LoRA, not a checkpoint",
    "base_model.model.": "a LoRA, not a checkpoint",
    "control_model.": "a ControlNet, not a checkpoint",
    "controlnet_cond_embedding.": "a ControlNet, not a checkpoint",
    "input_hint_block.": "a ControlNet, not a checkpoint",
    "image_proj": "an IP-Adapter, not a checkpoint",
    "string_to_": "a textual inversion, not a checkpoint",
    "emb_params": "a textual inversion, not a checkpoint",
    "params": "an upscaler, not a checkpoint",
    "conv_first.": "an upscaler, not a checkpoint",
    "encoder.down": "an autoencoder (VAE) alone",
    "visual.": "CLIP, not a checkpoint",
    "text_model.": "a text encoder alone",
    "unet.": "a checkpoint in diffusers' layout, or a LoRA",
    "down_blocks.": "a network alone, in diffusers' layout",
    "diffusion_model.": "a network alone, or a LoRA",
}
"""Kinds by how the names of some of their tensors begin."""


def check_family(tensors: Tensors, others: Iterable[str] = ()) -> None:
    """Raise `EditError` unless the tensors are a whole SD1.x text-to-image model.

    others: further names in the file, which tell what it may be instead.
    """
    parts = {
        "the denoising network": UNET + "input_blocks.0.0.weight",
        "the autoencoder (VAE)": AUTOENCODER + "post_quant_conv.weight",
        "the text encoder": TEXT + "embeddings.token_embedding.weight",
    }
    if lacking := [part for part, name in parts.items() if name not in tensors]:
        for prefix, kind in _OTHERS.items():
            if any(name.startswith(prefix) for name in (*tensors, *others)):
                raise EditError(f"this is {kind}; {_WANTED}")
        raise EditError(f"the checkpoint lacks {lacking[0]}; {_WANTED} that has all its parts")
    channels = tensors[UNET + "input_blocks.0.0.weight"].shape[1]
    if channels != 4:
        kind = {9: "an inpainting", 8: "an instruct-pix2pix"}.get(channels, f"a {channels}-channel")
        raise EditError(f"this is {kind} checkpoint; {_WANTED}")


def unet_arguments(tensors: Tensors, heads: int | None = None) -> dict[str, Any]:
    """Arguments of `diffusers.UNet2DConditionModel`.

    heads: attention heads, which no shape tells; without it 8, as in all of SD1, but none
    narrower than 16 channels.
    """
    shapes = _shapes(tensors, UNET)
    blocks = _count(shapes, "input_blocks")
    downsamplers = [i for i in range(blocks) if f"input_blocks.{i}.0.op.weight" in shapes]
    layers = (downsamplers[0] if downsamplers else blocks) - 1
    firsts = range(1, blocks, layers + 1)
    attends = [f"input_blocks.{i}.1.norm.weight" in shapes for i in firsts]
    crosses = [shape for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")]
    if not crosses or any(len(s) == 2 for n, s in shapes.items() if n.endswith("proj_in.weight")):
        raise EditError(f"this is not Stable Diffusion 1.x's network; {_WANTED}")
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends]
    up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)]
    width = shapes["input_blocks.0.0.weight"][0]
    widths = (shapes[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in firsts)
    return dict(
        in_channels=shapes["input_blocks.0.0.weight"][1],
        out_channels=shapes["out.2.weight"][0],
        block_out_channels=tuple(widths),
        layers_per_block=layers,
        down_block_types=tuple(down),
        up_block_types=tuple(up),
        cross_attention_dim=crosses[0][1],
        attention_head_dim=heads or min(8, width // 16),  # diffusers' name for their number
    )


def autoencoder_arguments(tensors: Tensors) -> dict[str, Any]:
    """Arguments of `diffusers.AutoencoderKL`."""
    shapes = _shapes(tensors, AUTOENCODER + "encoder.")
    levels = _count(shapes, "down")
    widths = (shapes[f"down.{i}.block.0.conv2.weight"][0] for i in range(levels))
    if any(".attn." in name for name in shapes if name.startswith("down.")):
        raise EditError(f"the autoencoder attends at several levels, SD1's does not; {_WANTED}")
    return dict(
        block_out_channels=tuple(widths),
        layers_per_block=_count(shapes, "down.0.block"),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=tensors[AUTOENCODER + "post_quant_conv.weight"].shape[1],
    )


def text_arguments(tensors: Tensors) -> dict[str, Any]:
    """Arguments of `transformers.CLIPTextConfig`.

    The number of attention heads, which neither shapes nor the original's configuration tell, is
    one for 64 channels, as in all of OpenAI's models, but no fewer than 4.
    """
    shapes = _shapes(tensors, TEXT)
    words, width = shapes["embeddings.token_embedding.weight"]
    return dict(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=shapes["encoder.layers.0.mlp.fc1.weight"][0],
        num_hidden_layers=_count(shapes, "encoder.layers"),
        num_attention_heads=max(4, width // 64),
        max_position_embeddings=shapes["embeddings.position_embedding.weight"][0],
        hidden_act="quick_gelu",
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )


def _shapes(tensors: Tensors, prefix: str) -> dict[str, torch.Size]:
    """The shapes of the tensors whose names begin with `prefix`, under the rest of their names."""
    return {n.removeprefix(prefix): t.shape for n, t in tensors.items() if n.startswith(prefix)}


def _count(names: Mapping[str, object], prefix: str) -> int:
    """How many different numbers follow `prefix.` in the names."""
    depth = prefix.count(".") + 1
    return len({n.split(".")[depth] for n in names if n.startswith(prefix + ".")})
