"""Where the trained weights lie and how they are stored."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..errors import EditError

WEIGHTS = Path(__file__).parent / "weights"


def halve(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict in half precision, contiguous, integers unchanged.

    EditError if a weight is not finite, or would not be in half precision.
    """
    halved = {}
    for name, value in state.items():
        half = value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()
        if not torch.isfinite(half).all():
            raise EditError(
                f"{name} is not finite in half precision; train again with a smaller rate"
            )
        halved[name] = half.contiguous().clone()
    return halved


PLACEHOLDER = "TOKENIZER_DIRECTORY"
"""Stands in miniature.yaml for the absolute path of the tokenizer's folder."""


def host_config(directory: Path = WEIGHTS) -> str:
    """miniature.yaml with the absolute path of ``directory``/tokenizer filled in.

    A host that reads a checkpoint's description from a .yaml of the same name wants this text
    in a file beside (a link to) miniature.safetensors. EditError if the files are missing.
    """
    description, tokenizer = directory / "miniature.yaml", directory / "tokenizer"
    if not description.is_file() or not tokenizer.is_dir():
        raise EditError(
            f"{description} or {tokenizer} is missing; write them with msbd.miniature.checkpoint"
        )
    return description.read_text().replace(
        f"version: {PLACEHOLDER}", f'version: "{tokenizer.resolve()}"'
    )
