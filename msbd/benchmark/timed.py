"""A backend that knows how long each of its networks takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from ..backend import Backend, Condition
from ..evaluation.forwarding import ForwardingBackend
from ..geometry import Size
from ..report import Stopwatch


class TimedBackend(ForwardingBackend):
    """`Backend` round another one. seconds: by network, device work included; what was decoded to
    be scored counts as judging."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        clock = Stopwatch(self.device)
        yield
        self.seconds[part] += clock.seconds()

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        with self._timed("denoising"):
            return super().denoise(z, sigma, guidance, condition)

    def condition(self, image: Tensor, painted: Tensor, source: Tensor) -> Condition:
        with self._timed("encoding"):
            return super().condition(image, painted, source)

    def encode(self, image: Tensor) -> Tensor:
        with self._timed("encoding"):
            return super().encode(image)

    def decode(self, z: Tensor) -> Tensor:
        with self._timed("decoding"):
            return super().decode(z)

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        with self._timed("upscaling"):
            return super().upscale(image, size)

    def score(self, images: Tensor) -> Tensor | None:
        self.seconds["judging"] += self.seconds.pop("decoding", 0.0)
        with self._timed("judging"):
            return super().score(images)
