"""The host's upscalers by name, checked to do what they say."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from modules import devices, shared
from PIL import Image
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

from ...compositing import resized
from ...errors import EditError, Interrupted
from ...geometry import Size, ceil_to
from ...memory import is_out_of_memory
from ...standalone.pictures import to_pixels
from ...standalone.upscaler import INTERPOLATIONS, Interpolation
from ..inputs import tensor_of
from . import which
from .sampling import own_randomness

logger = logging.getLogger(__name__)
Enlarge = Callable[[Tensor, Size], Tensor]
_GRID = 8
"""The host cuts an upscaler's result to multiples of this."""
_MARGIN = 8
"""Repeated pixels laid round the picture, since networks are at a loss at a border."""
_TRIAL = 24
"""Side of the picture that an upscaler is tried on, where the host's tiles allow it."""
_FACTOR = 4.0
"""What the host takes for an upscaler that does not say."""
_TILING = {
    "ESRGAN": "ESRGAN",
    "RealESRGAN": "ESRGAN",
    "HAT": "ESRGAN",
    "DAT": "DAT",
    "SwinIR": "SWIN",
    "ScuNET": "SCUNET",
}
"""The host's upscalers that work in tiles, and how the names of their settings begin."""


@dataclass(frozen=True)
class HostUpscaler:
    """One of the host's upscalers; `factor` times larger, then reduced to the size asked for.

    The host works on 8-bit pictures; what it gives is only the draft of the next stage.
    """

    host: Any
    factor: float

    def __call__(self, image: Tensor, size: Size) -> Tensor:
        """[1,3,H,W] -> [1,3,size], both in [0,1]. Raises as `enlarged`, and `Interrupted` if the
        user stops."""
        height, width = image.shape[-2:]
        tile, overlap = self.tiles
        least = max(tile, overlap + 1)  # smaller pictures get a black border, or no tile at all
        below, right = (
            ceil_to(max(n + 2 * _MARGIN, least), _GRID) - n - _MARGIN for n in (height, width)
        )
        framed = F.pad(image, (_MARGIN, right, _MARGIN, below), mode="replicate")
        large = tensor_of(self.enlarged(Image.fromarray(to_pixels(framed)))).to(image)
        if shared.state.interrupted or shared.state.skipped:
            # The host may have left the work half done, and tells nobody.
            raise Interrupted(which.stopped_how())
        start = round(_MARGIN * self.factor)
        large = large[..., start : start + round(height * self.factor), :]
        large = large[..., start : start + round(width * self.factor)]
        return resized(large, size).clamp(0, 1)

    @property
    def tiles(self) -> tuple[int, int]:
        """Side of the host's tiles, 0 where it makes none, and their overlap, in pixels."""
        owner = _TILING.get(self.host.scaler.name, "ESRGAN")
        names = (f"{owner}_tile", f"{owner}_tile_overlap")
        tile, overlap = (int(getattr(shared.opts, name, 0)) for name in names)
        return tile, overlap

    def _tiles_of(self, picture: Image.Image) -> int:
        """How many tiles the host will cut it into."""
        tile, overlap = self.tiles
        if not tile:
            return 1
        rows, columns = (
            math.ceil(max(side - overlap, 1) / (tile - overlap)) for side in picture.size
        )
        return rows * columns

    @property
    def trial_side(self) -> int:
        """Side of a small picture that the host's tiles can be cut from."""
        return max(_TRIAL, ceil_to(self.tiles[1] + 1, _GRID))

    def enlarged(self, picture: Image.Image) -> Image.Image:
        """`factor` times larger, in single precision if half precision gives what is no number.

        Raises `EditError` if the upscaler fails; whatever tells of too little memory is raised as
        it is. Once the user has stopped, the result means nothing.
        """
        self.ensure_tiles_advance()
        name = self.host.name
        try:
            for precision in (nullcontext, _single_precision):
                # A network is built anew for every use, with random weights to begin with.
                with precision(), own_randomness(), _watched(self._tiles_of(picture)) as watch:
                    large = self.host.scaler.upscale(picture, self.factor, self.host.data_path)
                if watch.all_finite():
                    return large.convert("RGB")
                logger.warning("the upscaler %r gives numbers that are not finite", name)
        except Exception as error:  # whatever upscalers of other people raise
            if is_out_of_memory(error):
                raise
            logger.warning("the upscaler %r fails", name, exc_info=True)
            raise EditError(
                f"the upscaler {name!r} does not work ({_told(error)}): see the console, or choose "
                "another upscaler"
            ) from error
        raise EditError(
            f"the upscaler {name!r} gives numbers that are not finite, in single precision too: "
            "its file may be damaged; choose another upscaler"
        )

    def tried(self, picture: Image.Image) -> Image.Image:
        """`enlarged` before an edit, where too little memory is an `EditError` as well."""
        try:
            return self.enlarged(picture)
        except EditError:
            raise
        except Exception as error:
            raise EditError(
                f"not enough memory for the upscaler {self.host.name!r}: choose another, set "
                "smaller tiles in Settings → Upscaling, or close other programs"
            ) from error

    def ensure_tiles_advance(self) -> None:
        """Otherwise the host would make none, or only such as leave most of a picture black."""
        tile, overlap = self.tiles
        owner = _TILING.get(self.host.scaler.name)
        if owner and 0 < tile <= overlap:
            raise EditError(
                f"the tile overlap of {owner} upscalers, {overlap}, must be smaller than their "
                f"tile size, {tile}: change either in Settings → Upscaling"
            )


def load_upscaler(name: str) -> HostUpscaler | Interpolation:
    """The host's upscaler `name`, or plain interpolation; `EditError` if there is none."""
    interpolation = INTERPOLATIONS.get(name.lower())
    if interpolation is not None:
        return Interpolation(interpolation)
    host = next((u for u in shared.sd_upscalers if u.name.lower() == name.lower()), None)
    if host is None:
        known = ", ".join(u.name for u in shared.sd_upscalers)
        raise EditError(f"no upscaler {name!r}; the WebUI has {known}")
    return HostUpscaler(host, float(host.scale or _FACTOR))


def ensure_it_works(upscaler: HostUpscaler | Interpolation) -> None:
    """Try an upscaler on a small picture; `EditError` if it fails, as without its weights.

    The host itself would silently interpolate. Nothing is known once the user has stopped it.
    """
    if not isinstance(upscaler, HostUpscaler):
        return
    host, trial = upscaler.host, _trial_picture(upscaler.trial_side)
    large = upscaler.tried(trial)
    width, height = (round(side * upscaler.factor) for side in trial.size)
    interpolated = trial.resize((width, height), Image.Resampling.LANCZOS)
    differs = large.size == (width, height) and not np.array_equal(
        np.asarray(large), np.asarray(interpolated)
    )
    if not (differs or shared.state.interrupted):
        raise EditError(
            f"the upscaler {host.name!r} does not work, probably because its weights are missing "
            f"or damaged ({host.data_path}): put them into the WebUI's models folder, see the "
            "console, or choose another upscaler"
        )


def _trial_picture(side: int) -> Image.Image:
    """A square with edges, on which no network agrees with interpolation."""
    rows, columns = np.indices((side, side))
    checks = ((rows // 6 + columns // 6) % 2 * 160 + 40).astype(np.uint8)
    return Image.fromarray(np.stack([checks, checks.T, 255 - checks], -1))


class _Watch:
    """Whether all pictures [B,3,H,W] that networks gave in this thread were finite.

    Their sums tell, which take no memory, and nobody waits for them until `all_finite`. Of several
    tiles the progress text counts those that are done, by the layer that first gave a picture.
    """

    def __init__(self, tiles: int) -> None:
        self._thread = get_ident()
        self._finite = torch.ones((), dtype=torch.bool)
        self._tiles, self._done = tiles, 0
        self._layer: Any = None
        self._words = (shared.state.textinfo or "").partition(", tile ")[0]

    def look(self, network: Any, inputs: Any, output: Any) -> None:
        """A forward hook."""
        if get_ident() == self._thread and _is_picture(output):
            finite = torch.isfinite(output.sum(dtype=torch.float32))
            self._finite = finite & self._finite.to(finite.device, non_blocking=True)
            self._layer = network if self._layer is None else self._layer
            self._done += network is self._layer
            if self._words and self._done < self._tiles:
                told = f"{self._words}, tile {self._done + 1} of {self._tiles}"
                shared.state.textinfo = told

    def all_finite(self) -> bool:
        return bool(self._finite)


@contextmanager
def _watched(tiles: int) -> Iterator[_Watch]:
    """A watch on every network there is, as the host tells none of its own."""
    watch = _Watch(tiles)
    hook = register_module_forward_hook(watch.look)
    try:
        yield watch
    finally:
        hook.remove()


def _is_picture(output: Any) -> bool:
    return (
        isinstance(output, Tensor)
        and output.is_floating_point()
        and output.ndim == 4
        and output.shape[1] == 3
    )


@contextmanager
def _single_precision() -> Iterator[None]:
    """Networks that the host loads meanwhile are in single precision, and work in it."""
    options = shared.cmd_opts
    kept, options.no_half = options.no_half, True
    try:
        with devices.without_autocast():
            yield
    finally:
        options.no_half = kept


def _told(error: Exception) -> str:
    """Its kind and the first line of what it says."""
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
