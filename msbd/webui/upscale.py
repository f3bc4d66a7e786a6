"""The host's upscalers by name, checked to do what they say."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from modules import shared
from PIL import Image
from torch import Tensor

from ..errors import EditError, Interrupted
from ..geometry import Size, ceil_to
from ..standalone.pictures import to_pixels
from ..standalone.upscaler import INTERPOLATIONS, Interpolation
from ..upscaling import resized
from .inputs import tensor_of
from .sampling import own_randomness

logger = logging.getLogger(__name__)
Enlarge = Callable[[Tensor, Size], Tensor]
_GRID = 8
"""The host cuts an upscaler's result to multiples of this."""
_MARGIN = 8
"""Repeated pixels laid round the picture, since networks are at a loss at a border."""


@dataclass(frozen=True)
class HostUpscaler:
    """One of the host's upscalers; `factor` times larger, then reduced to the size asked for.

    The host works on 8-bit pictures; what it gives is only the draft of the next stage.
    """

    host: Any
    factor: float

    def __call__(self, image: Tensor, size: Size) -> Tensor:
        """[1,3,H,W] -> [1,3,size], both in [0,1]. Raises `Interrupted` if the user stops."""
        height, width = image.shape[-2:]
        least = getattr(shared.opts, "ESRGAN_tile", 0)  # smaller pictures get a black border
        below, right = (
            ceil_to(max(n + 2 * _MARGIN, least), _GRID) - n - _MARGIN for n in (height, width)
        )
        framed = F.pad(image, (_MARGIN, right, _MARGIN, below), mode="replicate")
        large = tensor_of(self._enlarged(Image.fromarray(to_pixels(framed)))).to(image)
        start = round(_MARGIN * self.factor)
        large = large[..., start : start + round(height * self.factor), :]
        large = large[..., start : start + round(width * self.factor)]
        return resized(large, size).clamp(0, 1)

    def _enlarged(self, picture: Image.Image) -> Image.Image:
        try:
            with own_randomness():
                # A network is built anew for every use, with random weights to begin with.
                result = self.host.scaler.upscale(picture, self.factor, self.host.data_path)
        except (MemoryError, torch.cuda.OutOfMemoryError):
            raise
        except Exception as error:  # whatever upscalers of other people raise
            name = self.host.name
            raise EditError(f"the upscaler {name!r} failed ({error}): try another") from error
        if shared.state.interrupted or shared.state.skipped:
            # The host may have left the work half done, and tells nobody.
            raise Interrupted("interrupted while enlarging")
        return result.convert("RGB")


def load_upscaler(name: str) -> HostUpscaler | Interpolation:
    """The host's upscaler `name`, or plain interpolation; `EditError` if there is none."""
    interpolation = INTERPOLATIONS.get(name.lower())
    if interpolation is not None:
        return Interpolation(interpolation)
    host = next((u for u in shared.sd_upscalers if u.name.lower() == name.lower()), None)
    if host is None:
        known = ", ".join(u.name for u in shared.sd_upscalers)
        raise EditError(f"no upscaler {name!r}; the WebUI has {known}")
    return HostUpscaler(host, float(host.scale))


def ensure_it_works(upscaler: HostUpscaler | Interpolation) -> None:
    """Try an upscaler on a small picture; `EditError` if it fails, as without its weights.

    The host itself would silently interpolate.
    """
    if isinstance(upscaler, HostUpscaler) and not _works(upscaler.host, upscaler.factor):
        host = upscaler.host
        raise EditError(
            f"the upscaler {host.name!r} does not work, probably because its weights are missing "
            f"or damaged ({host.data_path}): put them into the WebUI's models folder, see the "
            "console, or choose another upscaler"
        )


def _works(host: Any, factor: float) -> bool:
    """Whether the upscaler does more than to interpolate; not known if the user stops it."""
    trial = _trial_picture()
    try:
        with own_randomness():
            large = host.scaler.upscale(trial, factor, host.data_path)
    except Exception:  # whatever a damaged file leads to
        logger.warning("the upscaler %r fails", host.name, exc_info=True)
        return False
    if shared.state.interrupted:
        return True
    width, height = (round(side * factor) for side in trial.size)
    interpolated = trial.resize((width, height), Image.Resampling.LANCZOS)
    return large.size == (width, height) and not np.array_equal(
        np.asarray(large), np.asarray(interpolated)
    )


def _trial_picture() -> Image.Image:
    """24 x 24 pixels with edges, on which no network agrees with interpolation."""
    rows, columns = np.indices((24, 24))
    checks = ((rows // 6 + columns // 6) % 2 * 160 + 40).astype(np.uint8)
    return Image.fromarray(np.stack([checks, checks.T, 255 - checks], -1))
