"""Other extensions' part in sampling: the hook that the host's own sampling would call.

The host has `process_before_every_sampling` since 1.10.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from modules import scripts
from PIL import Image
from torch import Tensor

from ...diffusion import latent_mask
from ...errors import EditError
from ...memory import is_out_of_memory
from ...standalone.pictures import to_pixels
from .networks import LATENT_FACTOR
from .sampling import own_randomness

HOOK = "process_before_every_sampling"


def wanted(p: Any) -> bool:
    """Whether any always-on script of a request has registered for the hook."""
    always_on = getattr(p.scripts, "alwayson_scripts", None) or ()
    return any(_has_the_hook(one) for one in always_on)


def _has_the_hook(script: Any) -> bool:
    plain = getattr(scripts.Script, HOOK, None)
    return plain is not None and getattr(type(script), HOOK, plain) is not plain


def call(p: Any, image: Tensor, painted: Tensor, source: Tensor) -> None:
    """Call the hook with `p` as if the tile were the whole picture.

    image: the tile, [1,3,H,W] in [0,1]. painted: [1,1,H,W] of 0 and 1. source: its latents.
    """
    with _as_tile(p, image, painted, source), own_randomness():
        torch.manual_seed(p.seeds[0])
        if script := controlnet(p):
            _make_hints(p, script)
        getattr(p.scripts, HOOK)(p, x=source, noise=torch.randn_like(source), c=p.c, uc=p.uc)


def controlnet(p: Any) -> Any:
    """The ControlNet of a request that attaches itself by the hook, as the forks' own does."""
    always_on = getattr(p.scripts, "alwayson_scripts", None) or ()
    return next((one for one in always_on if _is_controlnet(one) and _has_the_hook(one)), None)


def _is_controlnet(script: Any) -> bool:
    return str(script.title()).lower() == "controlnet"


def _make_hints(p: Any, script: Any) -> None:
    """Let ControlNet's units see the tile: it makes their hints before the host samples at all,
    of the request's picture at the request's size. Raises `EditError` if it fails."""
    try:
        script.process(p, *p.script_args[script.args_from : script.args_to])
    except Exception as error:  # whatever preprocessors of other people raise
        if is_out_of_memory(error):
            raise
        raise EditError(
            f"ControlNet cannot make its hint ({error}): look at its units, or turn them off"
        ) from error


@contextmanager
def _as_tile(p: Any, image: Tensor, painted: Tensor, source: Tensor) -> Iterator[None]:
    """The request's size, picture and mask are the tile's meanwhile."""
    picture = Image.fromarray(to_pixels(image))
    mask = Image.fromarray((painted[0, 0].cpu().numpy() * 255).astype(np.uint8))
    cells = latent_mask(painted, LATENT_FACTOR)[0]
    own = {
        "width": picture.width,
        "height": picture.height,
        "init_images": [picture],
        "image_mask": mask,
        "inpaint_full_res": False,
        "extra_result_images": [],
        "init_latent": source,
        "mask": 1 - cells,
        "nmask": cells,
    }
    kept = {name: getattr(p, name, None) for name in own}
    for name, value in own.items():
        setattr(p, name, value)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(p, name, value)
