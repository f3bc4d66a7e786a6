"""What to do when memory runs out: smaller portions, of the same result."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch
from torch import Tensor

from .backend import Condition


def is_out_of_memory(error: BaseException) -> bool:
    """PyTorch reports a failed allocation on the CPU, and libraries theirs, as RuntimeError."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    signs = ("not enough memory", "out of memory", "ALLOC_FAILED")
    return any(sign in str(error) for sign in signs)


def release() -> None:
    """Give back what is kept for later, so that something smaller finds room."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class Portions:
    """`denoise` for any number of samples, as many at a time as memory allows.

    When memory runs out the batch is halved, once and for all, down to single samples; samples do
    not influence each other, so the result stays the same. condition: None, or one for all
    samples or for each [n,...]. most: the largest batch that is tried.
    """

    def __init__(
        self,
        denoise: Callable[[Tensor, Tensor, Condition], Tensor],
        condition: Condition,
        most: int,
    ) -> None:
        self._denoise = denoise
        self._condition = condition
        self.most = most

    def __call__(self, z: Tensor, sigma: Tensor) -> Tensor:
        parts: list[Tensor] = []
        done = 0
        while done < len(z):
            size = min(len(z) - done, self.most)
            some = slice(done, done + size)
            try:
                parts.append(self._denoise(z[some], sigma[some], self._theirs(some)))
                done += size
                continue
            except (MemoryError, RuntimeError) as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
            self.most = size // 2
            release()
        return torch.cat(parts)

    def _theirs(self, some: slice) -> Condition:
        if self._condition is None or len(self._condition) == 1:
            return self._condition
        return self._condition[some]
