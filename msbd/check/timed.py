"""Backends round another: one hands everything on, one knows how long each network takes."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from torch import Tensor

from ..backend import Backend, Condition, Decoder
from ..geometry import Box, Size
from ..report import StageReport, stopwatch

T = TypeVar("T")


class ForwardingBackend:
    """`Backend` round another one, for those that change or watch a part of it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.spec = backend.spec
        self.device = backend.device
        self.sampler = backend.sampler
        self.tile_by_tile = backend.tile_by_tile

    @property
    def details(self) -> ForwardingBackend | None:
        """Round the other's."""
        if self._backend.details is None:
            return None
        other = copy.copy(self)
        other._backend = self._backend.details
        return other

    def _call(self, part: str, network: Callable[..., T], *arguments: Any) -> T:
        """What `network(*arguments)` gives; every call of a network comes by here.

        part: of the edit, in one word.
        """
        return network(*arguments)

    def sigmas(self, steps: int) -> Tensor:
        return self._backend.sigmas(steps)

    def sampling(
        self, image: Tensor, painted: Tensor, source: Tensor, noise: Tensor, place: Box
    ) -> AbstractContextManager[Condition]:
        arguments = image, painted, source, noise, place
        return self._call("encoding", self._backend.sampling, *arguments)

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        return self._call("denoising", self._backend.denoise, z, sigma, guidance, condition)

    def encode(self, image: Tensor) -> Tensor:
        return self._call("encoding", self._backend.encode, image)

    def decode(self, z: Tensor) -> Tensor:
        return self._call("decoding", self._backend.decode, z)

    def decoder(self) -> Decoder:
        return self._backend.decoder()

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        return self._call("upscaling", self._backend.upscale, image, size)

    def score(self, images: Tensor) -> Tensor | None:
        return self._call("judging", self._backend.score, images)


class TimedBackend(ForwardingBackend):
    """`Backend` round another one. seconds: by part, device work included; what was decoded to be
    scored counts as judging."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.seconds: dict[str, float] = defaultdict(float)

    def _call(self, part: str, network: Callable[..., T], *arguments: Any) -> T:
        if part == "judging":
            self.seconds[part] += self.seconds.pop("decoding", 0.0)
        clock = stopwatch(self.device)
        result = super()._call(part, network, *arguments)
        self.seconds[part] += clock()
        return result

    def parts(self, stages: Sequence[StageReport], whole: float) -> dict[str, float]:
        """Of an edit's `whole` seconds: all, in each network, fitting the decoder and decoding
        with it, and what is left."""
        fitting = sum(stage.fitting_seconds for stage in stages)
        decoding = sum(stage.decoding_seconds for stage in stages)
        parts = {**self.seconds, "fitting": fitting, "decoding": decoding}
        parts["other"] = max(0.0, whole - sum(parts.values()))
        return {name: round(value, 3) for name, value in {"all": whole, **parts}.items()}
