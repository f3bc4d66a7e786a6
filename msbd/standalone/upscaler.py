"""Enlarge pictures by a super-resolution network (Real-ESRGAN and its like) or by interpolation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EditError
from ..geometry import Box, Size, all_tiles
from ..memory import is_out_of_memory, release
from ..miniature.torchvision_patch import patch_torchvision
from ..precision import finite_in_single, single_precision
from .weights import read_weights, tensors_of

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor

logger = logging.getLogger(__name__)
SMALLEST_TILE = 64
"""Tiles of this side are not made smaller when memory runs out."""
FACTOR = 4.0
"""Greatest enlargement by interpolation: that of the usual networks, so that plans are the same."""


class Upscaler(Protocol):
    """`upscaler(image [1,3,H,W], size) -> [1,3,size]` in [0,1], up to `factor` times larger."""

    factor: float

    def __call__(self, image: Tensor, size: Size) -> Tensor: ...


def load_upscaler(name: str | Path, device: torch.device | str = "cpu") -> Upscaler:
    """An upscaler by the path of a network's file, or by a name in INTERPOLATIONS.

    Any single-image super-resolution network that spandrel knows will do. "none" leaves
    super-resolution out, it is "bilinear", with which every enlargement ends. Raises `EditError`
    if the file is missing, damaged or something else; a failed allocation is raised as it is.
    """
    interpolation = INTERPOLATIONS.get(str(name).lower())
    if interpolation is not None:
        return Interpolation(interpolation)
    path = Path(name)
    if not path.is_file():
        known = ", ".join(INTERPOLATIONS)
        raise EditError(f"no upscaler {str(name)!r}; give a network's file, or one of {known}")
    return SuperResolution(_load_network(path, torch.device(device)))


def _load_network(path: Path, device: torch.device) -> ImageModelDescriptor:
    patch_torchvision()
    from spandrel import ImageModelDescriptor, ModelLoader, canonicalize_state_dict

    weights = tensors_of(canonicalize_state_dict(read_weights(path)))
    try:
        network = ModelLoader().load_from_state_dict(weights)
    except Exception as error:  # spandrel's, and many kinds for tensors that do not fit
        if is_out_of_memory(error):
            raise
        logger.debug("loading %s", path, exc_info=True)
        advice = "choose a super-resolution network"
        raise EditError(f"{path.name} is no upscaler that is known here; {advice}") from error
    if not isinstance(network, ImageModelDescriptor) or network.purpose != "SR":
        raise EditError(f"{path.name} does not enlarge pictures; choose a super-resolution network")
    if network.input_channels != 3 or network.output_channels != 3:
        raise EditError(f"{path.name} is not for colour pictures; choose another upscaler")
    half = device.type == "cuda" and network.supports_half
    network.model.requires_grad_(False)
    return network.to(device=device, dtype=torch.float16 if half else torch.float32).eval()


@dataclass
class Interpolation:
    """Plain resizing to any size; `resize` as in INTERPOLATIONS."""

    resize: Callable[[Tensor, Size], Tensor]
    factor: float = FACTOR

    def __call__(self, image: Tensor, size: Size) -> Tensor:
        return self.resize(image, size).clamp(0, 1)


class SuperResolution:
    """A network that enlarges by a fixed factor; its output is reduced to the size asked for.

    Large pictures pass through it in tiles of at most `tile`² pixels, so that memory is bounded;
    when it runs out all the same, in tiles of half that side from then on.
    Neighbours overlap by `overlap`; each pixel is taken from a tile whose edge (unless it is the
    picture's) is at least half of that away.
    """

    def __init__(self, network: ImageModelDescriptor, tile: int = 256, overlap: int = 32) -> None:
        self.network = network
        self.factor = float(network.scale)
        self.tile = tile
        self.overlap = overlap

    @single_precision()
    def __call__(self, image: Tensor, size: Size) -> Tensor:
        source = Size(*image.shape[-2:])
        assert size.height <= self.factor * source.height, (source, size)
        assert size.width <= self.factor * source.width, (source, size)
        while True:
            try:
                return bilinear(self._enlarged(image, source), size).clamp(0, 1)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error) or self.tile <= SMALLEST_TILE:
                    raise
            self.tile //= 2
            release()

    def _enlarged(self, image: Tensor, source: Size) -> Tensor:
        """[1,3,H,W] -> [1,3,H*factor,W*factor] float32 in [0,1]; the tiles one by one."""
        scale, half = self.network.scale, self.overlap // 2
        result = image.new_empty(1, 3, source.height * scale, source.width * scale)
        for box in all_tiles(source, self.tile, self.overlap):
            large = self._pass(image[..., box.rows, box.columns])
            # Later tiles overwrite what they share with earlier ones, but for their own border.
            top, left = (half if start else 0 for start in (box.top, box.left))
            kept = Box(box.top + top, box.left + left, box.bottom, box.right)
            rows = slice(kept.top * scale, kept.bottom * scale)
            columns = slice(kept.left * scale, kept.right * scale)
            result[..., rows, columns] = large[..., top * scale :, left * scale :]
        return result

    def _pass(self, image: Tensor) -> Tensor:
        network = self.network

        def run() -> Tensor:
            return cast(Tensor, network(image.to(network.device, network.dtype)))

        return finite_in_single(network, run, "the upscaler", "upscaler").to(image).clamp(0, 1)


def bilinear(image: Tensor, size: Size) -> Tensor:
    """Antialiased bilinear resizing, [B,C,H,W] -> [B,C,size]."""
    return F.interpolate(image, (size.height, size.width), mode="bilinear", antialias=True)


def bicubic(image: Tensor, size: Size) -> Tensor:
    """Antialiased bicubic resizing (Keys 1981, a = -0.5); overshoots."""
    return F.interpolate(image, (size.height, size.width), mode="bicubic", antialias=True)


def lanczos(image: Tensor, size: Size) -> Tensor:
    """Resizing by a windowed sinc of three lobes, antialiased, as Pillow's; overshoots."""
    rows, columns = (
        _lanczos_weights(before, after).to(image)
        for before, after in zip(image.shape[-2:], (size.height, size.width), strict=True)
    )
    return rows @ image @ columns.T


def _lanczos_weights(before: int, after: int) -> Tensor:
    """[after, before]: each row holds one output pixel's weights, whose sum is 1."""
    step = max(before / after, 1.0)
    centres = (torch.arange(after, dtype=torch.float64) + 0.5) * before / after
    offsets = (torch.arange(before, dtype=torch.float64) + 0.5 - centres[:, None]) / step
    weights = torch.sinc(offsets) * torch.sinc(offsets / 3) * (offsets.abs() < 3)
    return weights / weights.sum(1, keepdim=True)


INTERPOLATIONS: dict[str, Callable[[Tensor, Size], Tensor]] = {
    "bilinear": bilinear,
    "bicubic": bicubic,
    "lanczos": lanczos,
    "none": bilinear,
}
"""Ways to enlarge without a network, by lower-case name."""
