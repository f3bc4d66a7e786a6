"""Load a Stable Diffusion 1.x checkpoint in CompVis' layout, offline and completely."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
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

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The networks of a checkpoint, in evaluation mode and without gradients, and their facts.

    unet: diffusers' `UNet2DConditionModel`. text_encoder: transformers' `CLIPTextModel`.
    prediction: "epsilon" or "v". resolution: training side in pixels. multiple: pixel sides must
    be multiples of this.
    """

    unet: Any
    autoencoder: Autoencoder
    text_encoder: Any
    schedule: NoiseSchedule
    prediction: str
    resolution: int
    multiple: int


def load_checkpoint(
    path: str | Path, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Checkpoint:
    """The model in a `.safetensors` or `.ckpt` file, with the `.yaml` beside it if there is one.

    Widths and depths may be any; they are read from the file. Every weight of every network
    comes from the file. Raises `EditError` for a file that is missing, damaged or no SD1.x model;
    a failed allocation is raised as it is.
    """
    path = Path(path)
    tensors = _renamed(read_tensors(path))
    try:
        architecture.check_family(tensors)
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
    for network in (unet, vae, text_encoder):
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
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file on the CPU. Pickles are read without running code from them."""
    if not path.is_file():
        raise EditError(f"{path} is not there; give the path of a .safetensors or .ckpt checkpoint")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        advice = "take its .safetensors edition"
        raise EditError(f"{path.name} is damaged, or holds more than weights; {advice}") from error
    except Exception as error:  # safetensors and torch raise many kinds for damaged files
        if is_out_of_memory(error):
            raise
        logger.debug("reading %s", path, exc_info=True)
        raise EditError(f"{path.name} cannot be read, it is damaged; download it again") from error
    if isinstance(content, Mapping):
        content = content.get("state_dict", content)
    if not isinstance(content, Mapping):
        raise EditError(f"{path.name} holds no weights by name; choose another checkpoint")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


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
    own = {name: value.to(dtype, copy=True).contiguous() for name, value in weights.items()}
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
        if name.startswith(architecture.TEXT) and not name.endswith("position_ids")
    }
    expected = {name for name in module.state_dict() if not name.endswith("position_ids")}
    if expected != weights.keys():
        different = sorted(expected ^ weights.keys())
        raise EditError(f"the text encoder's weights are not SD1's ({different[0]}, ...)")
    module.load_state_dict(weights, strict=False)
    return module.to(dtype)
