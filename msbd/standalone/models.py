"""Which files make up the model: chosen and checked at once, loaded later."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EditError
from ..plan import ModelSpec
from ..settings import SETTINGS, EditSettings

if TYPE_CHECKING:
    from .model import StandaloneModel

WEIGHTS = Path(__file__).parent.parent / "miniature" / "weights"
MINIATURE = WEIGHTS / "miniature.safetensors"
MINIATURE_UPSCALER = WEIGHTS / "miniature_x4.pth"
MINIATURE_CLIP = WEIGHTS / "miniature_clip.safetensors"
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "none")
"""Upscalers that need no file."""


@dataclass(frozen=True)
class Models:
    """What to load. upscaler: a file or one of INTERPOLATIONS. clip: see `ClipRanker`. offload: see
    `StandaloneModel.load`."""

    checkpoint: Path
    upscaler: str
    clip: str | None
    device: str | None
    offload: bool = False

    def to_dict(self) -> dict[str, str | None]:
        """Names for the report, without the folders."""
        return {
            "checkpoint": self.checkpoint.name,
            "upscaler": Path(self.upscaler).name,
            "clip": self.clip and (Path(self.clip).name if Path(self.clip).suffix else self.clip),
            "device": self.device,
        }


def choose(
    settings: EditSettings,
    checkpoint: Path | None = None,
    clip: str | None = None,
    device: str | None = None,
) -> Models:
    """The files asked for, and what goes with them where nothing was asked for.

    Without a checkpoint it is the embedded miniature with its own upscaler and CLIP. Another
    checkpoint goes with Lanczos, as its upscaler must be downloaded, and OpenAI's CLIP ViT-L/14.
    clip: "none" leaves the first candidate to go on. Raises `EditError` for a missing file.
    """
    embedded = checkpoint is None
    path = checkpoint or MINIATURE
    if not path.is_file():
        advice = "reinstall msbd" if embedded else "give the path of a .safetensors or .ckpt file"
        raise EditError(f"there is no checkpoint {path}: {advice}")
    upscaler = settings.upscaler
    if upscaler == SETTINGS["upscaler"].default:
        upscaler = str(MINIATURE_UPSCALER) if embedded else "lanczos"
    if upscaler.lower() not in INTERPOLATIONS and not Path(upscaler).is_file():
        known = ", ".join(INTERPOLATIONS)
        raise EditError(f"there is no upscaler {upscaler}: give a file, or one of {known}")
    if clip and Path(clip).suffix and not Path(clip).is_file():
        raise EditError(f"there is no CLIP {clip}: give a file, a name of open_clip's, or none")
    if clip is None:
        clip = str(MINIATURE_CLIP) if embedded else "ViT-L-14/openai"
    return Models(path, upscaler, None if clip.lower() == "none" else clip, device)


def spec(models: Models, settings: EditSettings) -> ModelSpec:
    """What a plan needs to know, read from names and descriptions.

    Only an upscaler of another's making is loaded, as nothing else tells its factor.
    """
    from .original_config import read_original_config
    from .samplers import SAMPLERS

    return ModelSpec(
        resolution=read_original_config(models.checkpoint).resolution,
        multiple=8 * 2 ** _halvings(models.checkpoint),
        upscale_factor=_upscale_factor(models.upscaler),
        calls_per_step=SAMPLERS[settings.ablation.sampler][1],
    )


def _upscale_factor(upscaler: str) -> float:
    if upscaler.lower() in INTERPOLATIONS or upscaler == str(MINIATURE_UPSCALER):
        return ModelSpec.upscale_factor
    from .upscaler import load_upscaler

    try:
        return load_upscaler(upscaler).factor
    except EditError:  # which the edit itself will tell
        return ModelSpec.upscale_factor


def _halvings(checkpoint: Path) -> int:
    """How often the denoising network halves its latents; Stable Diffusion's 3 if unknown."""
    if checkpoint.suffix != ".safetensors":
        return 3
    try:
        with checkpoint.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > checkpoint.stat().st_size:
                raise ValueError("the header is longer than the file")
            names = json.loads(file.read(length))
    except (OSError, ValueError, struct.error):
        advice = "it is damaged; download it again"
        raise EditError(f"{checkpoint} is no .safetensors file, or {advice}") from None
    parts = (name.rsplit(".", 3) for name in names if name.endswith(".0.op.weight"))
    return sum(part[0].startswith("model.diffusion_model.input_blocks") for part in parts)


def load(models: Models) -> StandaloneModel:
    """Load everything. Raises `EditError` for damaged files, a missing device or lack of memory."""
    from ..memory import is_out_of_memory
    from .model import StandaloneModel, best_device

    try:
        if models.device:
            _try_device(models.device)
        return StandaloneModel.load(
            models.checkpoint, models.upscaler, models.clip, models.device, models.offload
        )
    except Exception as error:  # first imports fail in many ways, too
        if not is_out_of_memory(error):
            raise
        advice = "give --device cpu" if models.offload else "give --offload or --device cpu"
        if (models.device or best_device().type).startswith("cpu"):
            advice = "choose a smaller checkpoint"
        advice = f"close other programs, or {advice}"
        raise EditError(f"not enough memory to load the model: {advice}") from error


def _try_device(name: str) -> None:
    """Raise `EditError` unless it takes tensors."""
    import torch

    from ..memory import is_out_of_memory

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise EditError(f"there is no device {name}: give cpu, cuda or mps") from None
