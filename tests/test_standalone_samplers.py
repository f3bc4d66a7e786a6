"""The samplers against diffusers' schedulers, closed forms, and k-diffusion's own functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from msbd.backend import Sampler
from msbd.standalone.discrete import scaled_linear
from msbd.standalone.samplers import SAMPLERS, ancestral_levels, euler_ancestral

SHAPE = (2, 4, 6, 5)
MEAN, SPREAD = 0.7, 0.4
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def keyed(sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Noise that depends on the step alone."""
    return noise(round(1000 * float(sigma)))


def curved(x: Tensor, sigma: Tensor) -> Tensor:
    """A denoiser without closed form that depends on everything it is given."""
    level = sigma.reshape(-1, 1, 1, 1)
    return torch.tanh(x / (1 + level)) + 0.3 * torch.cos(level + x.flip(-1))


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact posterior mean where data are Gaussian with MEAN and SPREAD."""
    level = sigma.reshape(-1, 1, 1, 1) ** 2
    return (SPREAD**2 * x + level * MEAN) / (SPREAD**2 + level)


def gaussian_end(x: Tensor, sigma: Tensor) -> Tensor:
    """Where the probability flow ends at sigma 0 that passes x at `sigma`, for `gaussian`."""
    return MEAN + (x - MEAN) * SPREAD / (SPREAD**2 + sigma**2).sqrt()


def run_scheduler(scheduler: Any, x: Tensor, variance_preserving: bool, **extra: Any) -> Tensor:
    """Drive a diffusers scheduler of sigmas by `curved`; x and the result as in sigma space."""

    def scale(sigma: Tensor) -> Tensor:
        return 1 / (1 + sigma**2).sqrt() if variance_preserving else torch.ones(())

    sample = x * scale(scheduler.sigmas[0])
    for timestep in scheduler.timesteps:
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)
        sigma = scheduler.sigmas[scheduler.step_index]
        clear = sample / scale(sigma)
        epsilon = (clear - curved(clear, sigma.expand(len(x)))) / sigma
        sample = scheduler.step(epsilon, timestep, sample, **extra).prev_sample
    return sample


def levels_of(scheduler: Any) -> Tensor:
    """The scheduler's distinct levels; HeunDiscreteScheduler repeats the inner ones."""
    return torch.unique_consecutive(scheduler.sigmas)


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
@pytest.mark.parametrize("name", ["EulerDiscrete", "HeunDiscrete", "DPMSolverMultistep"])
def test_deterministic_samplers_equal_diffusers(name: str, steps: int) -> None:
    import diffusers

    ours = {"EulerDiscrete": "euler", "HeunDiscrete": "heun", "DPMSolverMultistep": "dpmpp_2m"}
    extra = {"final_sigmas_type": "zero"} if name == "DPMSolverMultistep" else {}
    if name == "DPMSolverMultistep":
        extra["lower_order_final"] = False
    scheduler = getattr(diffusers, name + "Scheduler")(**BETAS, **extra)
    scheduler.set_timesteps(steps)
    levels = levels_of(scheduler)
    x = noise(1).float() * levels[0]
    theirs = run_scheduler(scheduler, x, name == "DPMSolverMultistep")
    result = SAMPLERS[ours[name]][0](curved, x, levels)
    assert torch.allclose(result, theirs, atol=3e-5), (result - theirs).abs().max()


def test_euler_ancestral_equals_diffusers() -> None:
    from diffusers import EulerAncestralDiscreteScheduler

    scheduler = EulerAncestralDiscreteScheduler(**BETAS)
    scheduler.set_timesteps(15)
    x = noise(1).float() * scheduler.sigmas[0]
    theirs = run_scheduler(scheduler, x, False, generator=torch.Generator().manual_seed(5))
    shared = torch.Generator().manual_seed(5)
    ours = euler_ancestral(
        curved, x, scheduler.sigmas, noise_sampler=lambda a, b: torch.randn(SHAPE, generator=shared)
    )
    assert torch.allclose(ours, theirs, atol=2e-5), (ours - theirs).abs().max()


def test_ddim_with_eta_one_is_euler_ancestral_on_its_own_timesteps() -> None:
    """Song et al. 2021's DDIM as the paper uses it, by diffusers, at the original's timesteps."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        **BETAS,
        timestep_spacing="leading",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )
    scheduler.set_timesteps(50)
    levels = scaled_linear().levels(50, "ddim")
    # The original's last step ends at the first timestep's level, ours goes on to 0.
    levels[-1] = scaled_linear().sigma(torch.zeros(()))
    x = noise(1).float() * levels[0]
    sample = x / (1 + levels[0] ** 2).sqrt()
    for timestep, (sigma, after) in zip(scheduler.timesteps, pairwise(levels), strict=True):
        clear = sample * (1 + sigma**2).sqrt()
        epsilon = (clear - curved(clear, sigma.expand(2))) / sigma
        variance = keyed(sigma, after).float()
        sample = scheduler.step(epsilon, timestep, sample, 1.0, variance_noise=variance).prev_sample
    theirs = sample * (1 + levels[-1] ** 2).sqrt()
    ours = euler_ancestral(curved, x, levels, noise_sampler=lambda a, b: keyed(a, b).float())
    assert torch.allclose(ours, theirs, atol=1e-4), (ours - theirs).abs().max()


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("spacing", ["uniform", "ddim", "karras"])
def test_ddim_is_euler_ancestral_on_any_levels(spacing: str, eta: float) -> None:
    """DDIM, equations 12 and 16 of Song et al. 2021, in its own variables and in double precision.

    For eta between 0 and 1 k-diffusion's ancestral step adds eta times the posterior's deviation,
    as DDIM does.
    """
    levels = scaled_linear().levels(12, spacing).double()
    kept = 1 / (1 + levels**2)
    x = noise(1) * levels[0]
    sample = x * kept[0].sqrt()
    for i in range(12):
        now, after = kept[i], kept[i + 1]
        denoised = curved(sample / now.sqrt(), levels[i].expand(2))
        epsilon = (sample - now.sqrt() * denoised) / (1 - now).sqrt()
        deviation = eta * ((1 - after) / (1 - now) * (1 - now / after)).sqrt()
        sample = after.sqrt() * denoised + (1 - after - deviation**2).sqrt() * epsilon
        sample = sample + deviation * keyed(levels[i], levels[i + 1])
    # Noise enters DDIM times sqrt(kept): deviation / sqrt(after) is what sigma space adds.
    ours = euler_ancestral(curved, x, levels, noise_sampler=keyed, eta=eta)
    assert torch.allclose(ours, sample, atol=1e-9), (ours - sample).abs().max()


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order_of_convergence(name: str, order: int) -> None:
    """Halving the steps divides the error by 2 to the order; from 10 to 0.05, in log sigma."""
    x = noise(1) * 10
    start, end = torch.tensor(10.0).double(), torch.tensor(0.05).double()
    goal = MEAN + (x - MEAN) * ((SPREAD**2 + end**2) / (SPREAD**2 + start**2)).sqrt()
    errors = []
    for steps in (64, 128, 256):
        levels = torch.linspace(math.log(10), math.log(0.05), steps + 1, dtype=torch.float64).exp()
        errors.append(float((SAMPLERS[name][0](gaussian, x, levels) - goal).abs().max()))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_euler_ancestral_samples_the_data() -> None:
    """Mean and deviation of the samples are the data's, within statistics and first order."""
    levels = scaled_linear().levels(400).double()
    shape = (1, 1, 100, 200)
    draws = torch.Generator().manual_seed(3)
    x = noise(2, shape) * levels[0]
    samples = euler_ancestral(
        gaussian, x, levels, noise_sampler=lambda a, b: torch.randn(shape, generator=draws)
    )
    assert float(samples.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(samples.std()) == pytest.approx(SPREAD, rel=0.04)


def test_uniform_levels_reach_the_closed_form() -> None:
    levels = scaled_linear().levels(400).double()
    x = noise(1) * levels[0]
    result = SAMPLERS["heun"][0](gaussian, x, levels)
    # The jump from the lowest level to 0 costs about (0.029 / SPREAD)² / 2 of the spread.
    assert torch.allclose(result, gaussian_end(x, levels[0]), atol=4e-3)


def test_ancestral_levels_split_the_variance() -> None:
    high, low = torch.tensor(3.0), torch.tensor(2.0)
    for eta in (0.0, 0.5, 1.0):
        below, added = ancestral_levels(high, low, eta)
        assert float(below**2 + added**2) == pytest.approx(4.0)
    below, added = ancestral_levels(high, torch.tensor(0.0))
    assert float(below) == float(added) == 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_interface(name: str) -> None:
    """Model calls, callbacks, extra arguments, one-step segments and the global generator."""
    sampler, calls_per_step = SAMPLERS[name]
    levels = torch.tensor([5.0, 2.0, 1.0, 0.0])
    seen: list[dict[str, Any]] = []
    sigmas: list[Tensor] = []

    def model(x: Tensor, sigma: Tensor, shift: float) -> Tensor:
        sigmas.append(sigma)
        return curved(x, sigma) + shift

    before = torch.get_rng_state()
    x = noise(1)
    kept = x.clone()
    run: Callable[..., Tensor] = sampler
    whole = run(model, x, levels, {"shift": 0.1}, seen.append, True, noise_sampler=keyed)
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(x, kept)
    assert len(sigmas) in (3 * calls_per_step, 3 * calls_per_step - 1)
    assert all(sigma.shape == (2,) for sigma in sigmas)
    assert [step["i"] for step in seen] == [0, 1, 2]
    assert [float(step["sigma_hat"]) for step in seen] == [5.0, 2.0, 1.0]
    assert torch.equal(seen[0]["x"], x)
    assert torch.isfinite(whole).all()
    if name != "dpmpp_2m":  # it has a history
        parts = x
        for pair in pairwise(levels):
            parts = run(model, parts, torch.stack(pair), {"shift": 0.1}, noise_sampler=keyed)
        assert torch.equal(parts, whole)


def test_without_noise_sampler_the_global_generator_is_used() -> None:
    levels = torch.tensor([5.0, 2.0, 1.0])
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(euler_ancestral(curved, noise(1), levels))
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.crosscheck
@pytest.mark.parametrize("spacing", ["uniform", "karras"])
@pytest.mark.parametrize("name", SAMPLERS)
def test_equal_to_k_diffusion(name: str, spacing: str) -> None:
    theirs = pytest.importorskip("k_diffusion.sampling")
    sampler: Sampler = SAMPLERS[name][0]
    levels = scaled_linear().levels(20, spacing).double()
    x = noise(1) * levels[0]
    extra = {"noise_sampler": keyed} if name == "euler_ancestral" else {}
    expected = getattr(theirs, "sample_" + name)(curved, x, levels, disable=True, **extra)
    result = sampler(curved, x, levels, noise_sampler=keyed)
    assert torch.allclose(result, expected, atol=1e-9), (result - expected).abs().max()
