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
from ...standalone.pictures import to_pixels
from .networks import LATENT_FACTOR
from .sampling import own_randomness

HOOK = "process_before_every_sampling"


def wanted(p: Any) -> bool:
    """Whether any always-on script of a request has registered for the hook."""
    plain = getattr(scripts.Script, HOOK, None)
    always_on = getattr(p.scripts, "alwayson_scripts", None) or ()
    return plain is not None and any(
        getattr(type(one), HOOK, plain) is not plain for one in always_on
    )


def call(p: Any, image: Tensor, painted: Tensor, source: Tensor) -> None:
    """Call the hook with `p` as if the tile were the whole picture.

    image: the tile, [1,3,H,W] in [0,1]. painted: [1,1,H,W] of 0 and 1. source: its latents.
    """
    with _as_tile(p, image, painted, source), own_randomness():
        torch.manual_seed(p.seeds[0])
        getattr(p.scripts, HOOK)(p, x=source, noise=torch.randn_like(source), c=p.c, uc=p.uc)


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
