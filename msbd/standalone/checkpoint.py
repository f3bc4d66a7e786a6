"""Load a Stable Diffusion 1.x checkpoint in CompVis' layout, offline and completely."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EditError
from ..memory import is_out_of_memory
from ..miniature.torchvision_patch import patch_torchvision
from . import architecture
from .autoencoder import Autoencoder
from .discrete import NoiseSchedule, scaled_linear
from .original_config import read_original_config
from .weights import read_weights, tensors_of

logger = logging.getLogger(__name__)
_PLACES = "position_ids"


@dataclass(frozen=True)
class Checkpoint:
    """The networks of a checkpoint, in evaluation mode and without gradients, and their facts.

    unet: diffusers' `UNet2DConditionModel`. text_encoder: transformers' `CLIPTextModel`.
    prediction: "epsilon" or "v". resolution: training side in pixels. multiple: pixel sides must
    be multiples of this. unused: how many of the file's tensors are in none of the networks, but
    for the noise schedule's.
    """

    unet: Any
    autoencoder: Autoencoder
    text_encoder: Any
    schedule: NoiseSchedule
    prediction: str
    resolution: int
    multiple: int
    unused: int = 0


def load_checkpoint(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Checkpoint:
    """The model in a file, with the `.yaml` beside it if there is one.

    Widths and depths may be any; they are read from the file. Every weight of every network
    comes from the file, and what it holds besides is left out. Raises `EditError` for a file that
    is missing, damaged or no SD1.x model; a failed allocation is raised as it is.
    """
    path = Path(path)
    content = read_weights(path)
    tensors = _renamed(tensors_of(content))
    try:
        architecture.check_family(tensors, content)
        config = read_original_config(path)
        unet, vae = _unet(tensors, config.heads, dtype), _vae(tensors, dtype)
        text_encoder = _text_encoder(tensors, dtype)
    except EditError as error:
        raise EditError(f"{path.name}: {error}") from error
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        logger.debug("loading %s", path, exc_info=True)
        what = "its tensors do not fit together as a Stable Diffusion 1.x model"
        raise EditError(f"{path.name}: {what}; choose another checkpoint") from error
    networks = unet, vae, text_encoder
    for network in networks:
        network.to(device).eval().requires_grad_(False)
    autoencoder = Autoencoder(vae, config.scale_factor)
    return Checkpoint(
        unet,
        autoencoder,
        text_encoder,
        schedule=scaled_linear(config.beta_start, config.beta_end, config.timesteps),
        prediction="v" if "v_pred" in tensors else config.prediction,
        resolution=config.resolution,
        multiple=autoencoder.factor * 2 ** (len(unet.config.block_out_channels) - 1),
        unused=sum(map(_counts, tensors)) - sum(len(_needed(network)) for network in networks),
    )


def _needed(network: nn.Module) -> set[str]:
    """Names of a network's weights; the numbers of a prompt's places are always the same."""
    return {name for name in network.state_dict() if not name.endswith(_PLACES)}


def _counts(name: str) -> bool:
    """Whether a tensor may be a network's weight: the noise schedule's name no network."""
    return "." in name and not name.endswith(_PLACES)


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Old files lack `text_model.` in the text encoder's names; the rest is left alone."""
    short = architecture.TEXT.removesuffix("text_model.")
    return {
        architecture.TEXT + name.removeprefix(short)
        if name.startswith(short) and not name.startswith(architecture.TEXT)
        else name: value
        for name, value in tensors.items()
    }


def _unet(tensors: dict[str, Tensor], heads: int | None, dtype: torch.dtype) -> Any:
    patch_torchvision()
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    own = {name: value for name, value in tensors.items() if name.startswith(architecture.UNET)}
    arguments = architecture.unet_arguments(own, heads)
    weights = convert_ldm_unet_checkpoint(own, arguments)
    return _filled(UNet2DConditionModel, arguments, weights, dtype)


def _vae(tensors: dict[str, Tensor], dtype: torch.dtype) -> Any:
    patch_torchvision()
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    arguments = architecture.autoencoder_arguments(tensors)
    weights = convert_ldm_vae_checkpoint(tensors, arguments)
    return _filled(AutoencoderKL, arguments, weights, dtype)


def _filled(
    network: Any, arguments: dict[str, Any], weights: dict[str, Tensor], dtype: torch.dtype
) -> Any:
    """The network with exactly these weights, without first drawing random ones."""
    with torch.device("meta"):
        module: nn.Module = network(**arguments)
    # Copies, always: tensors read from a file may still depend on it.
    own = {
        name: weights[name].to(dtype, copy=True).contiguous()
        for name in module.state_dict()
        if name in weights
    }
    module.load_state_dict(own, strict=True, assign=True)
    return module


def _text_encoder(tensors: dict[str, Tensor], dtype: torch.dtype) -> Any:
    patch_torchvision()
    from transformers import CLIPTextConfig, CLIPTextModel

    module: Any = CLIPTextModel(CLIPTextConfig(**architecture.text_arguments(tensors)))
    own = "text_model." if any(n.startswith("text_model.") for n in module.state_dict()) else ""
    weights = {
        own + name.removeprefix(architecture.TEXT): value
        for name, value in tensors.items()
        if name.startswith(architecture.TEXT)
    }
    if missing := sorted(_needed(module) - weights.keys()):
        raise EditError(f"the text encoder lacks weights that SD1's has ({missing[0]}, ...)")
    module.load_state_dict({name: weights[name] for name in _needed(module)}, strict=False)
    return module.to(dtype)
