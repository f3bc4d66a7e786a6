"""One file of the miniature's networks, as the original Stable Diffusion 1 has it."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import EditError
from .checkpoint_config import BETA_END, BETA_START, TEXT_JSON, TIMES, ldm_yaml, write_json
from .files import WEIGHTS, halve
from .ldm_names import rename_autoencoder, rename_text, rename_unet
from .models import POSITIONS, build_autoencoder, build_text_encoder, build_unet
from .tokenizer import write_tokenizer

BUILDERS = {"unet": build_unet, "text": build_text_encoder, "vae": build_autoencoder}


def schedule_buffers() -> dict[str, Tensor]:
    """The original code's buffers [1000] (its `register_schedule`), float32."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMES, dtype=torch.float64) ** 2
    alphas = 1 - betas
    product = alphas.cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), product[:-1]])
    variance = betas * (1 - before) / (1 - product)
    buffers = {
        "betas": betas,
        "alphas_cumprod": product,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": product.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - product).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - product).log(),
        "sqrt_recip_alphas_cumprod": (1 / product).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / product - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - product),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - product),
    }
    return {name: value.float() for name, value in buffers.items()}


def _fitting(part: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of ``state`` that the network of `models` has; EditError unless they fit."""
    with torch.device("meta"):
        wanted = _parameters(BUILDERS[part]())
    state = {
        name.removeprefix("text_model.") if part == "text" else name: v for name, v in state.items()
    }
    wrong = [
        name for name, shape in wanted.items() if name not in state or state[name].shape != shape
    ]
    wrong += [name for name in state if name not in wanted and not name.endswith("position_ids")]
    if wrong:
        raise EditError(
            f"the {part} does not fit msbd.miniature.models: {', '.join(sorted(wrong)[:3])}"
        )
    return {name: state[name] for name in wanted}


def _parameters(network: nn.Module) -> dict[str, torch.Size]:
    return {
        name.removeprefix("text_model."): value.shape for name, value in network.named_parameters()
    }


def to_ldm(parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """One state dict in the original layout from those of diffusers and transformers.

    parts: "unet", "text" and "vae". Weights come out in half precision, the schedule in float32.
    EditError if a part is missing, does not fit `models`, or has a weight that is not finite.
    """
    missing = set(BUILDERS) - set(parts)
    if missing:
        raise EditError(
            f"the file lacks {', '.join(sorted(missing))}; it must hold unet, text and vae"
        )
    unet, text, vae = (halve(_fitting(part, parts[part])) for part in BUILDERS)
    named = {f"model.diffusion_model.{k}": v for k, v in rename_unet(unet).items()}
    named |= {f"first_stage_model.{k}": v for k, v in rename_autoencoder(vae).items()}
    named |= {f"cond_stage_model.transformer.{k}": v for k, v in rename_text(text).items()}
    positions = "cond_stage_model.transformer.text_model.embeddings.position_ids"
    named[positions] = torch.arange(POSITIONS)[None]
    return {name: value.contiguous() for name, value in (named | schedule_buffers()).items()}


def write_checkpoint(parts: dict[str, dict[str, Tensor]], directory: Path = WEIGHTS) -> Path:
    """Write miniature.safetensors, miniature.yaml and tokenizer/ into a folder; returns the first.

    tokenizer/ also gets the text encoder's config.json, as the host's text encoder class looks
    for both in one folder. Errors: those of `to_ldm`.
    """
    path = directory / "miniature.safetensors"
    state = to_ldm(parts)
    write_tokenizer(directory / "tokenizer")
    write_json(directory / "tokenizer" / "config.json", TEXT_JSON)
    (directory / "miniature.yaml").write_text(ldm_yaml())
    save_file(state, path, metadata={"format": "pt"})
    path.chmod(0o644)
    return path


def main() -> None:
    """``python -m msbd.miniature.checkpoint STATE_DICTS -o DIR``."""
    parser = argparse.ArgumentParser(
        description="Convert a torch file of dict(unet=, text=, vae=) to one checkpoint."
    )
    parser.add_argument("state_dicts", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    try:
        if not options.state_dicts.is_file():
            raise EditError(f"{options.state_dicts} is missing")
        print(write_checkpoint(torch.load(options.state_dicts, map_location="cpu"), options.out))
    except EditError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
