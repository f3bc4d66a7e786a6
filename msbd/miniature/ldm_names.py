"""From the parameter names of diffusers and transformers to those of the original code.

The inverse of what diffusers does when it loads one file. Names on the right are those of
CompVis/stable-diffusion (`ldm.modules.diffusionmodules.openaimodel.UNetModel` and
`ldm.modules.diffusionmodules.model.Encoder`, `Decoder`).
"""

from __future__ import annotations

import re

from torch import Tensor

LAYERS = 1
"""Residual layers a level has on the way down; one more on the way up."""
LEVELS = 4
"""Levels of the autoencoder; the original counts those of its decoder from the outside."""

_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def unet_name(name: str, attends: bool) -> str:
    """Name of a UNet parameter; attends: whether its level has attention."""
    module, _, kind = name.rpartition(".")
    if module in _UNET_ENDS:
        return f"{_UNET_ENDS[module]}.{kind}"
    found = re.match(
        r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name
    )
    if found:
        way, level, part, layer, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
        first = 1 + level * (LAYERS + 1) if way == "down" else level * (LAYERS + 1)
        trunk = "input_blocks" if way == "down" else "output_blocks"
        if part == "downsamplers":
            return f"{trunk}.{first + LAYERS}.0.op.{kind}"
        if part == "upsamplers":
            return f"{trunk}.{first + LAYERS}.{2 if attends else 1}.conv.{kind}"
        place = f"{trunk}.{first + layer}"
        return f"{place}.1.{rest}" if part == "attentions" else f"{place}.0.{_resnet_name(rest)}"
    found = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", name)
    assert found, name
    if found[1] == "attentions":
        return f"middle_block.1.{found[3]}"
    return f"middle_block.{2 * int(found[2])}.{_resnet_name(found[3])}"


def _resnet_name(rest: str) -> str:
    module, _, kind = rest.rpartition(".")
    return f"{_UNET_RESNET[module]}.{kind}"


def autoencoder_name(name: str) -> str:
    """Name of an autoencoder parameter."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{LEVELS - 1 - int(m[1])}.block", name)
    name = re.sub(
        r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{LEVELS - 1 - int(m[1])}.upsample", name
    )
    found = re.match(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", name)
    return f"{found[1]}.mid.attn_1.{_ATTENTION[found[2]]}.{found[3]}" if found else name


def rename_unet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A UNet's state dict under the original names; values unchanged."""
    attending = {name.split(".attentions")[0] for name in state if ".attentions" in name}
    return {unet_name(k, ".".join(k.split(".")[:2]) in attending): v for k, v in state.items()}


def rename_autoencoder(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An autoencoder's state dict under the original names; attention's matrices become kernels."""
    renamed = {autoencoder_name(name): value for name, value in state.items()}
    return {
        k: v[..., None, None] if ".attn_1." in k and v.ndim == 2 else v for k, v in renamed.items()
    }


def rename_text(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A text encoder's state dict as transformers named it before version 5.6, as in SD1 files."""
    return {
        f"text_model.{name.removeprefix('text_model.')}": value for name, value in state.items()
    }
