"""The model files that the tests give a WebUI: the miniature and relatives of it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from msbd.miniature.files import WEIGHTS, host_config

PLAIN = "miniature.safetensors"
PERTURBED = "perturbed.safetensors"
INPAINTING = "with-inpainting.safetensors"
READING = "reads-the-mask.safetensors"
VELOCITY = "velocity.safetensors"
OTHER_VAE = "other.safetensors"
LORA = "other-words"
EMBEDDING = "other-token"
HYPERNETWORK = "other-context"
CONTROL = "made-up"
CLIP = WEIGHTS / "miniature_clip.safetensors"
STYLE = ("starry", "a red star, {prompt}", "")

_FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"


def write(data: Path, upscaler: bool = True) -> None:
    """Everything into the folders where the WebUI looks for it."""
    checkpoints = data / "models" / "Stable-diffusion"
    checkpoints.mkdir(parents=True)
    (checkpoints / PLAIN).symlink_to(WEIGHTS / PLAIN)
    described = host_config()
    _describe(checkpoints / PLAIN, described)
    if upscaler:
        network = data / "models" / "RealESRGAN" / "RealESRGAN_x4plus.pth"
        network.parent.mkdir(parents=True)
        network.symlink_to(WEIGHTS / "miniature_x4.pth")
    state = load_file(WEIGHTS / PLAIN)
    _write_relatives(checkpoints, state, described)
    _write_vae(data / "models" / "VAE" / OTHER_VAE, state)
    _write_lora(data / "models" / "Lora" / f"{LORA}.safetensors", state)
    _write_embedding(data / "embeddings" / f"{EMBEDDING}.safetensors", state)
    _write_hypernetwork(data / "models" / "hypernetworks" / f"{HYPERNETWORK}.pt", state)
    _write_control(data / "models" / "ControlNet" / f"{CONTROL}.safetensors")
    (data / "styles.csv").write_text(f'name,prompt,negative_prompt\n{STYLE[0]},"{STYLE[1]}",\n')


def _write_control(path: Path) -> None:
    """A ControlNet: the encoder of the miniature's UNet, and random weights for a hint's way."""
    noise = torch.Generator().manual_seed(6)

    def convolution(name: str, out: int, into: int, side: int, gain: float) -> None:
        weight = torch.randn(out, into, side, side, generator=noise)
        control[f"control_model.{name}.weight"] = gain * weight / (into * side**2) ** 0.5
        control[f"control_model.{name}.bias"] = torch.zeros(out)

    unet = "model.diffusion_model."
    own = {n.removeprefix(unet): v for n, v in load_file(WEIGHTS / PLAIN).items() if unet in n}
    control = {
        f"control_model.{name}": value.clone()
        for name, value in own.items()
        if name.startswith(("input_blocks.", "middle_block.", "time_embed."))
    }
    first = own["input_blocks.0.0.weight"].shape[0]
    wide = [3, 16, 16, 32, 32, 96, 96, 256, first]
    for index, (into, out) in enumerate(pairwise(wide)):
        convolution(f"input_hint_block.{2 * index}", out, into, 3, 1.4)
    blocks = sorted({int(name.split(".")[1]) for name in own if name.startswith("input_blocks.")})
    for index in blocks:
        channels = _channels(own, f"input_blocks.{index}.")
        convolution(f"zero_convs.{index}.0", channels, channels, 1, 0.2)
    channels = _channels(own, "middle_block.")
    convolution("middle_block_out.0", channels, channels, 1, 0.2)
    path.parent.mkdir(parents=True)
    save_file(control, path)


def _channels(unet: dict[str, torch.Tensor], block: str) -> int:
    """How many a block gives."""
    ends = ("0.weight", "op.weight", "out_layers.3.weight")
    found = [v for n, v in unet.items() if n.startswith(block) and n.endswith(ends) and v.ndim == 4]
    return len(found[-1])


def _describe(checkpoint: Path, text: str) -> None:
    checkpoint.with_suffix(".yaml").write_text(text)


def _write_relatives(folder: Path, state: dict[str, torch.Tensor], described: str) -> None:
    """A perturbed copy, two that read a mask (the first ignores it), one that predicts v."""
    noise = torch.Generator().manual_seed(1)
    perturbed = {
        name: value * (1 + 0.02 * torch.randn(value.shape, generator=noise)).to(value.dtype)
        if name.startswith("model.diffusion_model.")
        else value
        for name, value in state.items()
    }
    save_file(perturbed, folder / PERTURBED)
    _describe(folder / PERTURBED, described)

    convolution = state[_FIRST_CONVOLUTION]
    more = convolution.new_zeros(len(convolution), 5, *convolution.shape[2:])
    random = torch.randn(more.shape, generator=noise).to(more.dtype) * convolution.std() / 4
    text = _replaced(described, "ddpm.LatentDiffusion", "ddpm.LatentInpaintDiffusion")
    text = _replaced(text, "conditioning_key: crossattn", "conditioning_key: hybrid")
    scale = "scale_factor: 0.18215"
    text = _replaced(text, scale, f"{scale}\n    finetune_keys: null")
    text = _replaced(text, "in_channels: 4\n", "in_channels: 9\n")
    for name, weights in ((INPAINTING, more), (READING, random)):
        widened = state | {_FIRST_CONVOLUTION: torch.cat([convolution, weights], 1)}
        save_file(widened, folder / name)
        _describe(folder / name, text)

    save_file(perturbed, folder / VELOCITY)
    velocity = 'conditioning_key: crossattn\n    parameterization: "v"'
    _describe(folder / VELOCITY, _replaced(described, "conditioning_key: crossattn", velocity))


def _replaced(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} is not once in miniature.yaml"
    return text.replace(old, new)


def _write_vae(path: Path, state: dict[str, torch.Tensor]) -> None:
    """The same autoencoder with a brighter picture."""
    prefix = "first_stage_model."
    vae = {n.removeprefix(prefix): v.clone() for n, v in state.items() if n.startswith(prefix)}
    vae["decoder.conv_out.bias"] = vae["decoder.conv_out.bias"] + 0.25
    path.parent.mkdir(parents=True)
    save_file(vae, path)


def _write_lora(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Small random changes of the text encoder's first layer."""
    weight = next(v for n, v in state.items() if n.endswith("layers.0.mlp.fc1.weight"))
    noise = torch.Generator().manual_seed(2)
    out, into = weight.shape
    name = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    lora = {
        f"{name}.lora_down.weight": torch.randn(4, into, generator=noise),
        f"{name}.lora_up.weight": torch.randn(out, 4, generator=noise),
        f"{name}.alpha": torch.tensor(4.0),
    }
    path.parent.mkdir(parents=True)
    save_file(lora, path, metadata={"ss_tag_frequency": json.dumps({})})


def _write_hypernetwork(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Two small random networks that add to what attention knows of the prompt."""
    tokens = next(v for n, v in state.items() if n.endswith("token_embedding.weight"))
    width, noise = tokens.shape[1], torch.Generator().manual_seed(4)

    def network() -> dict[str, torch.Tensor]:
        wide, narrow = (2 * width, width), (width, 2 * width)
        return {
            "linear.0.weight": torch.randn(*wide, generator=noise) / width**0.5,
            "linear.0.bias": torch.zeros(2 * width),
            "linear.1.weight": torch.randn(*narrow, generator=noise) / width**0.5,
            "linear.1.bias": torch.zeros(width),
        }

    described = {"layer_structure": [1, 2, 1], "activation_func": "linear"}
    path.parent.mkdir(parents=True)
    # In the older layout, since the WebUI refuses newer PyTorch's entries.
    torch.save(
        {width: [network(), network()], **described}, path, _use_new_zipfile_serialization=False
    )


def _write_embedding(path: Path, state: dict[str, torch.Tensor]) -> None:
    """A token of its own: a random vector as long as the others."""
    tokens = next(v for n, v in state.items() if n.endswith("token_embedding.weight"))
    noise = torch.Generator().manual_seed(3)
    vector = torch.randn(1, tokens.shape[1], generator=noise) * tokens.float().std()
    path.parent.mkdir(parents=True)
    save_file({"emb_params": vector.float()}, path)
