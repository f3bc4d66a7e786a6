"""Noise as a value: a pure function of a seed and a key, independent of order and device."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .compositing import cropped
from .geometry import Box, Size

KeyedNoise = Callable[..., Tensor]
"""`noise(*key) -> [B,4,h,w]`, standard normal, always the same for the same key."""


@dataclass(frozen=True)
class Noise:
    """Standard normal noise named by keys.

    `Noise(seed)(shape, *key)` always gives the same numbers for the same seed, shape and key,
    whatever was drawn before, and leaves PyTorch's global generators alone. `variation` is a second
    seed, and `strength` how far the noise lies on the arc from the first seed's (0) to the
    second's (1); it is standard normal all along.
    """

    seed: int
    variation: int = 0
    strength: float = 0.0

    def of_part(self, number: int) -> Noise:
        """Of the edit with the seed so many higher."""
        return replace(self, seed=self.seed + number)

    def __call__(self, shape: Sequence[int], *key: int | str) -> Tensor:
        """float32 on the CPU, of the given shape."""
        if self.strength in (0, 1):
            return _drawn(self.variation if self.strength else self.seed, key, shape)
        angle = self.strength * math.pi / 2
        ours, other = (_drawn(seed, key, shape) for seed in (self.seed, self.variation))
        return math.cos(angle) * ours + math.sin(angle) * other


def _drawn(seed: int, key: tuple[int | str, ...], shape: Sequence[int]) -> Tensor:
    digest = hashlib.blake2b(repr((seed, key)).encode(), digest_size=8)
    generator = torch.Generator().manual_seed(int.from_bytes(digest.digest(), "big") >> 1)
    return torch.randn(*shape, generator=generator)


def parts_of_fields(
    noise: Noise,
    stage: int,
    grid: Size,
    boxes: Sequence[Box],
    like: Tensor,
    candidates: Sequence[int],
    first: int = 0,
) -> KeyedNoise:
    """Noise for all candidates' tiles: parts of one field, of which each candidate has its own.

    grid: the field's size in cells. first: the number of what is step 0 to whoever asks.
    """
    shape = (like.shape[1], grid.height, grid.width)

    def named(purpose: str, *key: int) -> Tensor:
        step = [first + key[0], *key[1:]] if key else []
        fields = (noise(shape, "stage", stage, purpose, *step, n) for n in candidates)
        return torch.stack([cropped(field, box) for field in fields for box in boxes]).to(like)

    return named
