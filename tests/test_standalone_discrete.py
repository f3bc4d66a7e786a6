"""Timesteps and noise levels against diffusers, k-diffusion, and themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from msbd.errors import EditError
from msbd.standalone.discrete import SPACINGS, denoised, scaled_linear

SCHEDULE = scaled_linear()


def test_levels_are_the_model_s_own():
    from diffusers import EulerDiscreteScheduler

    theirs = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    theirs.set_timesteps(1000)
    assert torch.allclose(SCHEDULE.levels(999)[[0, -2, -1]], theirs.sigmas[[0, -2, -1]], rtol=1e-4)
    assert float(SCHEDULE.log_sigmas[-1].exp()) == pytest.approx(14.6146, rel=1e-5)
    assert float(SCHEDULE.log_sigmas[0].exp()) == pytest.approx(0.029168, rel=1e-4)


@given(st.floats(0, 999))
def test_timestep_inverts_sigma(timestep):
    wanted = torch.tensor([timestep])
    assert float(SCHEDULE.timestep(SCHEDULE.sigma(wanted))) == pytest.approx(timestep, abs=0.02)


def test_levels_beyond_the_trained_ones_are_clamped():
    assert SCHEDULE.timestep(torch.tensor([0.0, 1e-5, 15.0, 1e6])).tolist() == [0, 0, 999, 999]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 30, 50, 150, 999])
def test_levels_descend_to_zero(spacing, steps):
    levels = SCHEDULE.levels(steps, spacing)
    assert levels.shape == (steps + 1,) and levels.dtype == torch.float32
    assert (levels.diff() < 0).all() and levels[-1] == 0
    if spacing != "ddim":
        assert float(levels[0]) == pytest.approx(14.6146, rel=1e-5)


def test_ddim_spacing_is_the_original_s():
    timesteps = SCHEDULE.timestep(SCHEDULE.levels(50, "ddim")[:-1])
    expected = torch.arange(981, 0, -20, dtype=torch.float32)
    assert torch.allclose(timesteps, expected, atol=1e-2)


@pytest.mark.parametrize("steps", [0, -1, 1000])
def test_impossible_numbers_of_steps(steps):
    with pytest.raises(EditError, match="from 1 to 999"):
        SCHEDULE.levels(steps)


def test_unknown_spacing():
    with pytest.raises(EditError, match="uniform, ddim, karras"):
        SCHEDULE.levels(5, "cosine")


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_network_that_is_right_gives_the_clean_latents(prediction):
    """For each parametrisation, the training target as output leads back to z0 exactly."""
    draws = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5, 6, generator=draws)
    sigma = torch.tensor([0.05, 1.0, 14.0])
    level = sigma[:, None, None, None]
    kept = 1 / (1 + level**2)
    target = noise if prediction == "epsilon" else kept.sqrt() * noise - (1 - kept).sqrt() * clean

    def network(x, timestep):
        assert torch.allclose(x, kept.sqrt() * clean + (1 - kept).sqrt() * noise, atol=1e-5)
        assert torch.allclose(SCHEDULE.sigma(timestep), sigma, rtol=1e-4)
        return target

    result = denoised(network, SCHEDULE, prediction, clean + level * noise, sigma)
    assert torch.allclose(result, clean, atol=2e-5)


@pytest.mark.crosscheck
@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_equal_to_k_diffusion(prediction):
    external = pytest.importorskip("k_diffusion.external")
    kept = 1 / (1 + SCHEDULE.log_sigmas.exp() ** 2)

    def network(x, timestep, **extra):
        return torch.sin(3 * x) + timestep.view(-1, 1, 1, 1) / 1000

    name = {"epsilon": "DiscreteEpsDDPMDenoiser", "v": "DiscreteVDDPMDenoiser"}[prediction]
    theirs = getattr(external, name)(network, kept, quantize=False)
    for steps in (1, 7, 50):
        assert torch.allclose(theirs.get_sigmas(steps), SCHEDULE.levels(steps), rtol=1e-4)
    z = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.01, 0.03, 0.5, 3.3, 14.0, 20.0])
    ours = denoised(network, SCHEDULE, prediction, z, sigma)
    assert torch.allclose(theirs(z, sigma), ours, atol=2e-3)
    assert torch.allclose(theirs.sigma_to_t(sigma), SCHEDULE.timestep(sigma), atol=2e-2)
