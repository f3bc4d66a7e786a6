"""What a checkpoint's tensors do not tell: the YAML file beside it, as CompVis' code writes it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import EditError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OriginalConfig:
    """A model's facts beyond its weights; the defaults are those of Stable Diffusion 1.x.

    resolution: side in pixels it was trained at. scale_factor: latents are multiplied by it.
    prediction: "epsilon" or "v". beta_start, beta_end, timesteps: see `discrete.scaled_linear`.
    heads: attention heads of the denoising network; None if the file does not say.
    """

    resolution: int = 512
    scale_factor: float = 0.18215
    prediction: str = "epsilon"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    timesteps: int = 1000
    heads: int | None = None


def read_original_config(checkpoint: Path) -> OriginalConfig:
    """The facts in the `.yaml` of the checkpoint's name beside it; the defaults if there is none.

    Raises `EditError` if the file is there but is no such configuration.
    """
    path = checkpoint.with_suffix(".yaml")
    if not path.is_file():
        return OriginalConfig()
    import yaml

    wrong = (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError)
    try:
        return _facts(yaml.safe_load(path.read_text(encoding="utf-8"))["model"]["params"])
    except wrong as error:
        logger.debug("reading %s", path, exc_info=True)
        raise EditError(f"{path.name} is no model configuration; mend or remove it") from error


def _facts(model: Mapping[str, Any]) -> OriginalConfig:
    default = OriginalConfig()
    heads = model.get("unet_config", {}).get("params", {}).get("num_heads", -1)
    return OriginalConfig(
        resolution=8 * int(model.get("image_size", default.resolution // 8)),
        scale_factor=float(model.get("scale_factor", default.scale_factor)),
        prediction="v" if model.get("parameterization") == "v" else default.prediction,
        beta_start=float(model.get("linear_start", default.beta_start)),
        beta_end=float(model.get("linear_end", default.beta_end)),
        timesteps=int(model.get("timesteps", default.timesteps)),
        heads=int(heads) if int(heads) > 0 else None,
    )
