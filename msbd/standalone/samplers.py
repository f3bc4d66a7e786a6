"""Samplers with k-diffusion's signature, in the coordinates z = z0 + sigma * noise.

Each integrates dz/dsigma = (z - D(z; sigma)) / sigma, equation 1 of Karras et al. (2022,
"Elucidating the Design Space of Diffusion-Based Generative Models"), D the denoiser. Arguments
common to all:

model: `model(x, sigma, **extra_args) -> denoised`, x [B,...], sigma [B].
x: [B,...] at noise level sigmas[0]. sigmas: [n + 1], strictly descending; the last may be 0.
callback: called once per step with x, i, sigma, sigma_hat and denoised, before x moves.
disable: accepted for k-diffusion's callers; there is no progress bar here.
noise_sampler: `(sigma, sigma_next) -> [B,...]`; deterministic samplers ignore it.

All return x at noise level sigmas[-1] and carry no gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..backend import Denoise, Sampler

Callback = Callable[[dict[str, Any]], None]
NoiseSampler = Callable[[Tensor, Tensor], Tensor]


def _tell(callback: Callback | None, x: Tensor, step: int, sigma: Tensor, denoised: Tensor) -> None:
    if callback is not None:
        callback({"x": x, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})


@torch.no_grad()
def euler(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Euler's method: Algorithm 2 of Karras et al. (2022) without churn and correction.

    The same as DDIM with eta 0 (Song et al. 2021, equation 12). First order.
    """
    one, extra = x.new_ones(len(x)), extra_args or {}
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma * one, **extra)
        _tell(callback, x, step, sigma, denoised)
        slope = (x - denoised) / sigma
        x = x + slope * (sigma_next - sigma)
    return x


@torch.no_grad()
def heun(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Heun's method: Algorithm 2 of Karras et al. (2022) without churn.

    Second order; two model calls per step, one in the step that ends at 0.
    """
    one, extra = x.new_ones(len(x)), extra_args or {}
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = model(x, sigma * one, **extra)
        _tell(callback, x, step, sigma, denoised)
        slope = (x - denoised) / sigma
        end = x + slope * (sigma_next - sigma)
        if sigma_next > 0:
            slope_at_end = (end - model(end, sigma_next * one, **extra)) / sigma_next
            end = x + (slope + slope_at_end) / 2 * (sigma_next - sigma)
        x = end
    return x


@torch.no_grad()
def dpmpp_2m(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """DPM-Solver++(2M): Algorithm 2 of Lu et al. (2022b), in sigma space.

    Second order from one model call per step, for it extrapolates from the step before; hence
    its first step, and the step that ends at 0, are of first order. One-step segments (RePaint)
    leave it no history and make it Euler's method in log sigma.
    """
    one, extra = x.new_ones(len(x)), extra_args or {}
    previous: tuple[Tensor, Tensor] | None = None
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = target = model(x, sigma * one, **extra)
        _tell(callback, x, step, sigma, denoised)
        if previous is not None and sigma_next > 0:
            old_sigma, old_denoised = previous
            ratio = (sigma / sigma_next).log() / (old_sigma / sigma).log()
            target = denoised + ratio / 2 * (denoised - old_denoised)
        keep = sigma_next / sigma
        x = keep * x + (1 - keep) * target
        previous = sigma, denoised
    return x


@torch.no_grad()
def euler_ancestral(  # noqa: PLR0913
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    noise_sampler: NoiseSampler | None = None,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Euler's method to below the next level, then fresh noise up to it.

    With eta 1 and s_noise 1 this is ancestral sampling (Ho et al. 2020, Algorithm 2), that is
    DDIM with the same eta (Song et al. 2021, equations 12 and 16) on the same noise levels.
    Without `noise_sampler` the noise comes from torch's global generator.

    eta: share of the added noise, in [0,1]; 0 is `euler`. s_noise: scales the added noise.
    """
    one, extra = x.new_ones(len(x)), extra_args or {}
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        below, added = ancestral_levels(sigma, sigma_next, eta)
        denoised = model(x, sigma * one, **extra)
        _tell(callback, x, step, sigma, denoised)
        slope = (x - denoised) / sigma
        x = x + slope * (below - sigma)
        if sigma_next > 0:
            noise = noise_sampler(sigma, sigma_next) if noise_sampler else torch.randn_like(x)
            x = x + noise * s_noise * added
    return x


def ancestral_levels(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """The level to step down to and the deviation of the noise to add; below² + added² = next²."""
    posterior = sigma_next * (1 - (sigma_next / sigma) ** 2).sqrt()
    added = torch.minimum(sigma_next, eta * posterior)
    return (sigma_next**2 - added**2).sqrt(), added


SAMPLERS: dict[str, tuple[Sampler, int]] = {
    "euler_ancestral": (euler_ancestral, 1),
    "euler": (euler, 1),
    "heun": (heun, 2),
    "dpmpp_2m": (dpmpp_2m, 1),
}
"""By name: the sampler, and how often it calls the model per step."""
