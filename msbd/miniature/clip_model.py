"""The miniature's judge as a network and as a file: a small CLIP (Radford et al. 2021)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import EditError
from .clip_pictures import SIDE
from .files import WEIGHTS, halve
from .models import POSITIONS, VOCABULARY
from .torchvision_patch import patch_torchvision
from .vocabulary import expand_rows, known_tokens

if TYPE_CHECKING:
    from open_clip import CLIP

FILE = WEIGHTS / "miniature_clip.safetensors"
UNKNOWN = 0
"""Some token the world has no word of; its row stands for all of them."""
CONFIG: dict[str, dict[str, Any]] = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": SIDE, "layers": [1, 1, 1, 1], "width": 16},
        "text_cfg": {
            "context_length": POSITIONS,
            "vocab_size": VOCABULARY,
            "width": 32,
            "heads": 2,
            "layers": 3,
        },
    },
    "preprocess_cfg": {
        "size": SIDE,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic",
        "resize_mode": "squash",
    },
}
"""In the form of open_clip's own open_clip_config.json; `open_clip.CLIP(**model_cfg)` builds it."""


def build_clip(positions: int = POSITIONS) -> CLIP:
    """An untrained judge: pictures [B,3,SIDE,SIDE], tokens [B,positions] -> embeddings [B,64]."""
    text = CONFIG["model_cfg"]["text_cfg"] | {"context_length": positions}
    return _clip(CONFIG["model_cfg"] | {"text_cfg": text})


def _clip(settings: dict[str, Any]) -> CLIP:
    patch_torchvision()
    from open_clip import CLIP

    return CLIP(**settings)


def to_input(images: np.ndarray) -> Tensor:
    """uint8 [B,SIDE,SIDE,3] -> float32 [B,3,SIDE,SIDE], normalised as preprocess_cfg says."""
    values = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255
    mean, std = (
        torch.tensor(CONFIG["preprocess_cfg"][name]).view(3, 1, 1) for name in ("mean", "std")
    )
    return (values - mean) / std


def load_clip(path: Path = FILE) -> CLIP:
    """The judge of an exported file, float32, ready to use; its .json lies beside it."""
    settings = path.with_suffix(".json")
    if not path.is_file() or not settings.is_file():
        raise EditError(
            f"{path} or its .json is missing; train it with python -m msbd.miniature.train"
        )
    model = _clip(json.loads(settings.read_text())["model_cfg"])
    model.load_state_dict(load_file(path))
    return model.float().eval()


def export_clip(state: dict[str, Tensor], path: Path = FILE) -> None:
    """Write a state dict in half precision, and beside it a .json on how to build and feed it."""
    table, places = state["token_embedding.weight"], state["positional_embedding"]
    table = expand_rows(table[[*known_tokens(), UNKNOWN]])
    places = torch.cat([places, places.new_zeros(POSITIONS - len(places), places.shape[1])])
    state = state | {"token_embedding.weight": table, "positional_embedding": places}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(halve(state), path)
    path.chmod(0o644)
    path.with_suffix(".json").write_text(json.dumps(CONFIG, indent=1) + "\n")
