"""Between the discrete timesteps a network was trained on and continuous noise levels.

Symbols: t in [0, T-1] is a timestep, fractions allowed; sigma(t) = sqrt((1 - a) / a) with a the
cumulative product of 1 - beta (Ho et al. 2020); in between, log sigma is interpolated linearly,
as k-diffusion and the WebUI do it ("quantization" off).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import EditError

Network = Callable[[Tensor, Tensor], Tensor]
"""`network(x, t) -> output`: x [B,4,h,w] of unit variance, t [B]; output like x."""
PREDICTIONS = ("epsilon", "v")
SPACINGS = ("uniform", "ddim", "karras")


@dataclass(frozen=True)
class NoiseSchedule:
    """The noise levels of a network's timesteps.

    log_sigmas: [T] float32, strictly ascending.
    """

    log_sigmas: Tensor

    def __post_init__(self) -> None:
        assert self.log_sigmas.ndim == 1 and bool((self.log_sigmas.diff() > 0).all())

    def to(self, device: torch.device) -> NoiseSchedule:
        """The same, for levels that lie there."""
        return NoiseSchedule(self.log_sigmas.to(device))

    @property
    def last(self) -> int:
        """The largest timestep."""
        return len(self.log_sigmas) - 1

    def timestep(self, sigma: Tensor) -> Tensor:
        """Timesteps of noise levels, any shape; levels beyond the trained ones are clamped."""
        logs = self.log_sigmas.to(sigma.device)
        wanted = sigma.float().log()
        high = torch.searchsorted(logs, wanted, right=True).clamp(1, self.last)
        low = high - 1
        weight = ((wanted - logs[low]) / (logs[high] - logs[low])).clamp(0, 1)
        return low + weight

    def sigma(self, timestep: Tensor) -> Tensor:
        """Noise levels of timesteps in [0, T-1], any shape."""
        logs = self.log_sigmas.to(timestep.device)
        low = timestep.floor().long().clamp(0, self.last)
        high = (low + 1).clamp(max=self.last)
        return torch.lerp(logs[low], logs[high], timestep.float() - low).exp()

    def levels(self, steps: int, spacing: str = "uniform") -> Tensor:
        """Noise levels [steps + 1] to sample on: strictly descending, the last one 0.

        spacing: one of SPACINGS. "uniform" spreads timesteps evenly from T-1 to 0, as the WebUI
        does: whatever the number of steps, sampling starts at the highest noise level. "ddim" is
        the original DDIM's 1, 1 + T//steps, ...; it begins below that (at 981 for 50 steps, at
        901 for 10), so it is for comparisons. "karras": equation 5 of Karras et al. (2022), rho 7.
        """
        if not 1 <= steps <= self.last:
            raise EditError(f"the number of steps must be from 1 to {self.last}, not {steps}")
        if spacing == "uniform":
            levels = self.sigma(torch.linspace(self.last, 0, steps))
        elif spacing == "ddim":
            stride = (self.last + 1) // steps
            levels = self.sigma(torch.arange(steps).flip(0) * stride + 1)
        elif spacing == "karras":
            high, low = (self.log_sigmas[i].exp() ** (1 / 7) for i in (-1, 0))
            levels = (high + torch.linspace(0, 1, steps) * (low - high)) ** 7
        else:
            raise EditError(f"unknown spacing {spacing!r}; known are {', '.join(SPACINGS)}")
        return torch.cat([levels, levels.new_zeros(1)])


def scaled_linear(start: float = 0.00085, end: float = 0.012, count: int = 1000) -> NoiseSchedule:
    """Stable Diffusion's schedule: betas linear in their square root (Rombach et al. 2022).

    start, end: the first and the last beta. count: number of timesteps.
    """
    betas = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0).float()
    return NoiseSchedule(((1 - kept) / kept).sqrt().log())


def denoised(
    network: Network, schedule: NoiseSchedule, prediction: str, z: Tensor, sigma: Tensor
) -> Tensor:
    """z0 [B,4,h,w] as the network predicts it from z [B,4,h,w] at noise level sigma [B].

    prediction: what the network returns. "epsilon": the noise, so z0 = z - sigma * output.
    "v": the velocity of Salimans & Ho (2022), so z0 = (z - sigma * sqrt(1 + sigma²) * output) /
    (1 + sigma²). The network sees z / sqrt(1 + sigma²), which has unit variance.
    """
    assert prediction in PREDICTIONS, prediction
    level = sigma.float().reshape(-1, 1, 1, 1)
    scale = (1 + level**2).rsqrt()
    output = network(z * scale, schedule.timestep(sigma))
    if prediction == "epsilon":
        return z - level * output
    return scale * (scale * z - level * output)
