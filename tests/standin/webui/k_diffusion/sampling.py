"""Schedules and samplers under k-diffusion's names, on the product's own tested samplers.

As in the original, every random number comes from this module's own `torch.randn_like`, which
the host exchanges, and the methods with churn draw one per step whether they use it or not.
"""

import math
from itertools import pairwise

import torch
from msbd.standalone import samplers as _ours


def append_zero(x):
    return torch.cat([x, torch.zeros(1).to(x)])


def get_sigmas_karras(n, sigma_min, sigma_max, rho=7.0, device="cpu"):
    ramp = torch.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), n)
    return append_zero(ramp**rho).to(device)


def get_sigmas_exponential(n, sigma_min, sigma_max, device="cpu"):
    ramp = torch.linspace(math.log(sigma_max), math.log(sigma_min), n, device=device)
    return append_zero(ramp.exp())


def get_sigmas_polyexponential(n, sigma_min, sigma_max, rho=1.0, device="cpu"):
    high, low = math.log(sigma_max), math.log(sigma_min)
    ramp = torch.linspace(1, 0, n, device=device) ** rho
    return append_zero((low + ramp * (high - low)).exp())


def get_ancestral_step(sigma_from, sigma_to, eta=1.0):
    return _ours.ancestral_levels(sigma_from, sigma_to, eta)


def default_noise_sampler(x):
    return lambda sigma, sigma_next: torch.randn_like(x)


class BrownianTreeNoiseSampler:
    """Noise that only depends on the seeds and the levels."""

    def __init__(self, x, sigma_min, sigma_max, seed=None, transform=lambda x: x):
        self.transform = transform
        self._seeds = seed if isinstance(seed, list) else [seed or 0] * len(x)
        self._like = x[0]

    def __call__(self, sigma, sigma_next):
        def one(seed):
            named = hash((seed, float(sigma), float(sigma_next))) % 2**62
            return torch.randn(self._like.shape, generator=torch.Generator().manual_seed(named))

        return torch.stack([one(seed) for seed in self._seeds]).to(self._like)


def _with_churn(sampler, model, x, sigmas, extra_args, callback, churn):
    """`sampler` one step at a time, each from a level raised by fresh noise."""
    s_churn, s_tmin, s_tmax, s_noise = churn
    for step, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        drawn = torch.randn_like(x) * s_noise
        raised = sigma
        if s_churn and s_tmin <= sigma <= s_tmax:
            raised = sigma * (1 + min(s_churn / (len(sigmas) - 1), math.sqrt(2) - 1))
            x = x + drawn * (raised**2 - sigma**2).sqrt()

        def told(state, step=step):
            if callback is not None:
                callback({**state, "i": step})

        x = sampler(model, x, torch.stack([raised, sigma_next]), extra_args, told)
    return x


def sample_euler(
    model, x, sigmas, extra_args=None, callback=None, disable=None,
    s_churn=0.0, s_tmin=0.0, s_tmax=float("inf"), s_noise=1.0,
):  # fmt: skip
    churn = s_churn, s_tmin, s_tmax, s_noise
    return _with_churn(_ours.euler, model, x, sigmas, extra_args, callback, churn)


def sample_heun(
    model, x, sigmas, extra_args=None, callback=None, disable=None,
    s_churn=0.0, s_tmin=0.0, s_tmax=float("inf"), s_noise=1.0,
):  # fmt: skip
    churn = s_churn, s_tmin, s_tmax, s_noise
    return _with_churn(_ours.heun, model, x, sigmas, extra_args, callback, churn)


def sample_euler_ancestral(
    model, x, sigmas, extra_args=None, callback=None, disable=None,
    eta=1.0, s_noise=1.0, noise_sampler=None,
):  # fmt: skip
    noise = noise_sampler or default_noise_sampler(x)
    return _ours.euler_ancestral(
        model, x, sigmas, extra_args, callback, disable, noise, eta=eta, s_noise=s_noise
    )


def sample_lms(model, x, sigmas, extra_args=None, callback=None, disable=None, order=4):
    return _ours.dpmpp_2m(model, x, sigmas, extra_args, callback, disable)


def sample_dpmpp_2m(model, x, sigmas, extra_args=None, callback=None, disable=None):
    return _ours.dpmpp_2m(model, x, sigmas, extra_args, callback, disable)


def sample_dpmpp_2m_sde(
    model, x, sigmas, extra_args=None, callback=None, disable=None,
    eta=1.0, s_noise=1.0, noise_sampler=None, solver_type="midpoint",
):  # fmt: skip
    """Stochastic; its order is not the point here, so it is the ancestral method."""
    if solver_type not in ("heun", "midpoint"):
        raise ValueError("solver_type must be 'heun' or 'midpoint'")
    noise = noise_sampler or BrownianTreeNoiseSampler(x, sigmas[sigmas > 0].min(), sigmas.max())
    return sample_euler_ancestral(
        model, x, sigmas, extra_args, callback, disable, eta, s_noise, noise
    )


def sample_dpm_fast(
    model, x, sigma_min, sigma_max, n, extra_args=None, callback=None, disable=None,
    eta=0.0, s_noise=1.0, noise_sampler=None,
):  # fmt: skip
    """A sampler that chooses its own levels."""
    sigmas = get_sigmas_exponential(n, float(sigma_min), float(sigma_max))
    return _ours.euler(model, x, sigmas, extra_args, callback, disable)
