"""A backend that hands everything on to another, for those that change or watch a part of it."""

from __future__ import annotations

from torch import Tensor

from ..backend import Backend, Condition, Decoder
from ..geometry import Size


class ForwardingBackend:
    """`Backend` round another one."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.facts = backend.facts
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
