"""A backend that is looked at while it works, and its parts tried one by one before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backend import Backend, Condition
from ..errors import EditError
from ..geometry import Size
from ..memory import is_out_of_memory
from ..precision import single_precision
from .finding import Fault, first_line
from .timed import TimedBackend

SIDE = 128
"""Side in pixels of the piece of the picture on which parts are tried, or the next multiple."""
UNLIKE = 0.15
"""Mean difference, of 1, from which on a picture is not taken for the same."""
APART = 0.02
"""Mean difference between the decoder and its copy in single precision that half precision does
not explain."""


class ProbedBackend(TimedBackend):
    """`Backend` round another one. faults: of each network the first thing that was wrong with it,
    and under "memory" what ran out of memory first, even if smaller portions found room."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.faults: dict[str, str] = {}

    def begin(self) -> None:
        """Trials are over: forget all that they took, and what was wrong but for memory."""
        self.seconds.clear()
        self.faults = {name: words for name, words in self.faults.items() if name == "memory"}

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        try:
            with super()._timed(part):
                yield
        except EditError as error:
            self.faults.setdefault(part, f"{part}: {error}")
            raise
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                self.faults.setdefault("memory", f"{part} ran out of memory: {first_line(error)}")
            raise

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        return self._finite("denoising", super().denoise(z, sigma, guidance, condition))

    def encode(self, image: Tensor) -> Tensor:
        return self._finite("encoding", super().encode(image))

    def decode(self, z: Tensor) -> Tensor:
        return self._finite("decoding", super().decode(z))

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        return self._finite("upscaling", super().upscale(image, size))

    def _finite(self, part: str, numbers: Tensor) -> Tensor:
        if not bool(torch.isfinite(numbers).all()):
            self.faults.setdefault(part, f"{part} gave numbers that are not finite")
        return numbers


Trial = Callable[[Backend, Tensor], str]
"""Tries a part of a backend on a piece of a picture [1,3,s,s]; what it saw. Raises `Fault`."""


def try_autoencoder(backend: Backend, piece: Tensor) -> str:
    """Encoding and decoding give the picture again."""
    again = backend.decode(backend.encode(piece))
    return f"{_alike(again, piece):.3f} from the picture"


def try_decoder(backend: Backend, piece: Tensor) -> str:
    """A fresh copy of the decoder does as the decoder, and can be trained."""
    z = backend.encode(piece)
    copy = backend.decoder()
    with torch.enable_grad():
        image = copy(z)
        F.mse_loss(image, piece.to(image)).backward()
    apart = float((image.detach().clamp(0, 1) - backend.decode(z)).abs().mean())
    if not apart <= APART:
        raise Fault(f"its copy differs by {apart:.3f} of 1 from the decoder")
    slopes = [p.grad for p in copy.parameters() if p.grad is not None]
    if not slopes or not all(bool(torch.isfinite(slope).all()) for slope in slopes):
        raise Fault("its copy cannot be trained: gradients are missing or not finite")
    return f"{apart:.4f} from the decoder, can be trained"


def try_upscaler(backend: Backend, piece: Tensor) -> str:
    """The upscaler gives a larger picture of the same."""
    factor = min(2.0, backend.spec.upscale_factor)
    size = Size(round(factor * piece.shape[-2]), round(factor * piece.shape[-1]))
    large = backend.upscale(piece, size)
    if large.shape[-2:] != (size.height, size.width):
        raise Fault(f"gave {large.shape[-1]}x{large.shape[-2]} pixels in place of {size}")
    small = F.interpolate(large, piece.shape[-2:], mode="bilinear", antialias=True)
    return f"x{factor:g}, {_alike(small, piece):.3f} from the picture"


def _alike(image: Tensor, picture: Tensor) -> float:
    """Their mean difference. Raises `Fault` if one is no picture of the other."""
    if not bool(torch.isfinite(image).all()):
        raise Fault("gave numbers that are not finite")
    if float(image.std()) < 0.1 * float(picture.std()):
        raise Fault("gave one colour in place of a picture")
    apart = float((image - picture.to(image)).abs().mean())
    if apart > UNLIKE:
        raise Fault(f"gave another picture: it differs by {apart:.2f} of 1")
    return apart


@single_precision()
def tried(trial: Trial, backend: Backend, image: Tensor) -> str:
    """A trial on the middle of a picture [1,3,H,W], in the engine's precision."""
    multiple = backend.spec.multiple
    side = -(-SIDE // multiple) * multiple
    top, left = ((n - side) // 2 for n in image.shape[-2:])
    return trial(backend, image[..., top : top + side, left : left + side].to(backend.device))


@single_precision()
def fingerprint(network: nn.Module) -> str:
    """Equal for equal weights, to the last bit."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
