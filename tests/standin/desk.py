"""Requests to the stand-in, and edits of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from . import Host

TITLE = "Multi-Stage Blended Diffusion"
QUICK = {
    "candidates": 2,
    "resampling_steps": 1,
    "decoder": "fine-tune",
    "decoder_iterations": 2,
    "choose": "first",
}
THREE_STAGES = {"size": (120, 140), "box": (slice(30, 90), slice(40, 110))}
"""A picture whose edit has stages of 32, 48 and 96 pixels, the last in several tiles."""

Pixels = NDArray[np.uint8]


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    """Random bytes: nothing is as hard to leave untouched."""
    shape = (height, width, 3)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def mask_of(size: tuple[int, int], box: tuple[slice, slice]) -> Image.Image:
    """White inside `box`."""
    levels = np.zeros(size, np.uint8)
    levels[box] = 255
    return Image.fromarray(levels)


def request(
    host: Host,
    size: tuple[int, int] = (70, 96),
    box: tuple[slice, slice] = (slice(20, 50), slice(30, 66)),
    **changes: Any,
) -> Any:
    """A request as the UI makes it. size: height and width of the picture."""
    facts: dict[str, Any] = {
        "prompt": "a red star",
        "init_images": [photograph(*size)],
        "mask": mask_of(size, box),
        "seed": 5,
        "subseed": 9,
        "steps": 4,
        "cfg_scale": 1.0,
        "width": 64,
        "height": 48,
        "sampler_name": "Euler a",
        "scheduler": "Automatic",
        "mask_blur": 2,
        "outpath_samples": "samples",
        "outpath_grids": "grids",
    }
    return host.processing.StableDiffusionProcessingImg2Img(**{**facts, **changes})


def edited(host: Host, p: Any, **fields: Any) -> Any:
    """The host's result of an edit with quick settings."""
    from msbd.webui.run import run

    host.begin()
    return run(p, TITLE, [{**QUICK, **fields}])


def plainly(host: Host, p: Any) -> Any:
    """The host's result without the script."""
    host.begin()
    return host.processing.process_images(p)


def pixels(picture: Image.Image) -> Pixels:
    return np.asarray(picture.convert("RGB"))


def before(p: Any, index: int = 0) -> Pixels:
    """The request's own picture."""
    return pixels(p.init_images[index])


def touched(p: Any) -> NDArray[np.bool_]:
    """Where a request allows changes: the mask and its blur."""
    painted = torch.from_numpy((pixels(p.image_mask)[..., 0] > 127).astype(np.float32))[None, None]
    blur = max(p.mask_blur_x, p.mask_blur_y)
    grown = torch.nn.functional.max_pool2d(painted, 2 * blur + 1, stride=1, padding=blur)
    return grown[0, 0].numpy() > 0


def inside(p: Any) -> NDArray[np.bool_]:
    """The mask itself."""
    return pixels(p.image_mask)[..., 0] > 127


def reports(processed: Any) -> list[dict[str, Any]]:
    """Our reports in the response's `info`."""
    return json.loads(processed.js())["msbd"]
