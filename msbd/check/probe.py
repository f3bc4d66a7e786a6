"""A backend that is looked at: its parts one by one, then all of them while it works."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backend import Backend
from ..errors import EditError
from ..geometry import Size
from ..memory import is_out_of_memory, release
from ..precision import single_precision
from ..standalone.clip import ClipRanker
from .finding import Fault, Finding, first_line, found
from .timed import T, TimedBackend

SIDE = 128
"""Side in pixels of the piece of the picture on which parts are tried, or the next multiple."""
UNLIKE = 0.15
"""Mean difference, of 1, from which on a picture is not taken for the same."""
APART = 0.02
"""Mean difference between the decoder and its copy in single precision that half precision does
not explain."""
_OUT_OF_MEMORY = ("memory ran out", "not enough memory")
"""In the engine's notes."""


class Probe(TimedBackend):
    """`Backend` round another one. findings: of each part by itself. faults: of each network the
    first thing that was wrong with it. out_of_memory: what ran out of memory first, even if smaller
    portions found room. before: fingerprint of the decoder before the edit."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.findings: list[Finding] = []
        self.faults: dict[str, str] = {}
        self.out_of_memory = ""
        self.before = ""

    @single_precision()
    def try_parts(self, image: Tensor, ranker: ClipRanker) -> None:
        """Try every part on the middle of a picture [1,3,H,W], in the engine's precision.

        Of the time that takes, and of faults but for memory, nothing is kept.
        """
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        multiple = self.spec.multiple
        side = -(-SIDE // multiple) * multiple
        top, left = ((n - side) // 2 for n in image.shape[-2:])
        piece = image[..., top : top + side, left : left + side].to(self.device, copy=True)
        self.findings = [
            found("autoencoder", lambda: try_autoencoder(self, piece)),
            found("decoder copy", lambda: try_decoder(self, piece)),
            found("upscaler", lambda: try_upscaler(self, piece)),
            found("CLIP", lambda: try_clip(self, piece, ranker)),
        ]
        with suppress(Exception):  # said by the trial of the copy
            self.before = self._fingerprint()
        self.seconds.clear()
        self.faults.clear()
        release()

    def seen(self, notes: Sequence[str] = (), peak: int = 0) -> Iterator[Finding]:
        """What the parts gave by themselves and during the edit. notes, peak: its report's."""
        yield from self.findings
        faults = "; ".join(self.faults.values())
        yield Finding("networks", not faults, faults or "all gave finite numbers")
        yield found("own decoder", self._untouched)
        short = [note for note in notes if any(sign in note for sign in _OUT_OF_MEMORY)]
        words = "; ".join(filter(None, [self.out_of_memory, *short]))
        if words or peak:
            yield Finding("memory", not words, words or f"{peak / 2**30:.1f} GiB at most")

    def _call(self, part: str, network: Callable[..., T], *arguments: Any) -> T:
        try:
            result = super()._call(part, network, *arguments)
        except EditError as error:
            self.faults.setdefault(part, f"{part}: {error}")
            raise
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error) and not self.out_of_memory:
                self.out_of_memory = f"{part} ran out of memory: {first_line(error)}"
            raise
        if isinstance(result, Tensor) and not bool(torch.isfinite(result).all()):
            self.faults.setdefault(part, f"{part} gave numbers that are not finite")
        return result

    def _untouched(self) -> str:
        """The autoencoder's own decoder is what it was."""
        if not self.before:
            raise Fault("not known, since the edit did not come so far")
        if self._fingerprint() != self.before:
            raise Fault("decoder optimisation changed the model's own decoder")
        return "bit by bit as before"

    @single_precision()
    def _fingerprint(self) -> str:
        """Equal for equal weights of the decoder, to the last bit."""
        digest = hashlib.sha256()
        for name, tensor in self.decoder().state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        return digest.hexdigest()


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


def try_clip(backend: Backend, piece: Tensor, ranker: ClipRanker) -> str:
    """CLIP gives scores, unless nobody wants it."""
    if not ranker.source:
        return "left out"
    scores = backend.score(torch.cat([piece, piece.flip(-1)]))
    if scores is None:
        raise Fault(ranker.reason or "no scores")
    return f"similarity {float(scores[0]):.2f}"


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
