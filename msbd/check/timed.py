"""Backends round another: one hands everything on, one knows how long each network takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from ..backend import Backend, Condition, Decoder
from ..geometry import Size
from ..report import StageReport, stopwatch


class ForwardingBackend:
    """`Backend` round another one, for those that change or watch a part of it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.spec = backend.spec
        self.device = backend.device
        self.sampler = backend.sampler

    def sigmas(self, steps: int) -> Tensor:
        return self._backend.sigmas(steps)

    def condition(self, image: Tensor, painted: Tensor, source: Tensor) -> Condition:
        return self._backend.condition(image, painted, source)

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        return self._backend.denoise(z, sigma, guidance, condition)

    def encode(self, image: Tensor) -> Tensor:
        return self._backend.encode(image)

    def decode(self, z: Tensor) -> Tensor:
        return self._backend.decode(z)

    def decoder(self) -> Decoder:
        return self._backend.decoder()

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        return self._backend.upscale(image, size)

    def score(self, images: Tensor) -> Tensor | None:
        return self._backend.score(images)


class TimedBackend(ForwardingBackend):
    """`Backend` round another one. seconds: by network, device work included; what was decoded to
    be scored counts as judging."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        clock = stopwatch(self.device)
        yield
        self.seconds[part] += clock()

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

    def parts(self, stages: Sequence[StageReport], whole: float) -> dict[str, float]:
        """Of an edit's `whole` seconds: all, in each network, fitting the decoder and decoding
        with it, and what is left."""
        fitting = sum(stage.fitting_seconds for stage in stages)
        decoding = sum(stage.decoding_seconds for stage in stages)
        parts = {**self.seconds, "fitting": fitting, "decoding": decoding}
        parts["other"] = max(0.0, whole - sum(parts.values()))
        return {name: round(value, 3) for name, value in {"all": whole, **parts}.items()}
