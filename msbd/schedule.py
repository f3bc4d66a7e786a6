"""From a strength to the noise levels a stage runs through."""

from __future__ import annotations

from torch import Tensor


def last_steps(sigmas: Tensor, count: int) -> Tensor:
    """The last `count` steps of a schedule: SDEdit's start at an intermediate noise level.

    sigmas [n + 1], strictly descending to 0, count from 1 to n -> [count + 1]
    (Meng et al. 2022, Algorithm 1; t0 = count / n).
    """
    assert 1 <= count < len(sigmas), (count, len(sigmas))
    assert bool((sigmas[:-1] > sigmas[1:]).all()) and sigmas[-1] == 0, sigmas
    return sigmas[-(count + 1) :]
