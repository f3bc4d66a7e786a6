"""A backend that knows how long each of its networks takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..backend import Backend
from ..geometry import Size
from ..report import Stopwatch


class TimedBackend:
    """`Backend` round another one. seconds: by network, device work included."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.seconds: dict[str, float] = defaultdict(float)
        self.facts = backend.facts
        self.device = backend.device
        self.sampler = backend.sampler

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        clock = Stopwatch(self.device)
        yield
        self.seconds[part] += clock.seconds()

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Any = None
    ) -> Tensor:
        with self._timed("denoising"):
            return self._backend.denoise(z, sigma, guidance, condition)

    def sigmas(self, steps: int) -> Tensor:
        return self._backend.sigmas(steps)

    def condition(self, image: Tensor, painted: Tensor, source: Tensor) -> Any:
        with self._timed("encoding"):
            return self._backend.condition(image, painted, source)

    def encode(self, image: Tensor) -> Tensor:
        with self._timed("encoding"):
            return self._backend.encode(image)

    def decode(self, z: Tensor) -> Tensor:
        with self._timed("decoding"):
            return self._backend.decode(z)

    def decoder(self) -> nn.Module:
        return self._backend.decoder()

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        with self._timed("upscaling"):
            return self._backend.upscale(image, size)

    def score(self, images: Tensor) -> Tensor | None:
        with self._timed("judging"):
            return self._backend.score(images)
