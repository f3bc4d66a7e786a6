"""Noise as a value: a pure function of a seed and a key, independent of order and device."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Key = tuple[int | str, ...]


@dataclass(frozen=True)
class Noise:
    """Standard normal noise named by keys.

    `Noise(seed)(shape, *key)` always gives the same numbers for the same seed, shape and key,
    whatever was drawn before, and leaves PyTorch's global generators alone. `at(*key)` fixes the
    beginning of the key.
    """

    seed: int
    prefix: Key = ()

    def at(self, *key: int | str) -> Noise:
        return Noise(self.seed, self.prefix + key)

    def __call__(self, shape: Sequence[int], *key: int | str) -> Tensor:
        """float32 on the CPU, of the given shape."""
        digest = hashlib.blake2b(repr((self.seed, self.prefix + key)).encode(), digest_size=8)
        generator = torch.Generator().manual_seed(int.from_bytes(digest.digest(), "big") >> 1)
        return torch.randn(*shape, generator=generator)
