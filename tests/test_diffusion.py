"""Blended diffusion and RePaint, judged by what must hold for any sampler and any model."""

from __future__ import annotations

import pytest
import torch
from fakes import euler, euler_ancestral
from torch import Tensor

from msbd.compositing import inner_mask, latent_mask, mean_mask
from msbd.diffusion import (
    Repainted,
    blended,
    blended_diffusion,
    last_steps,
)
from msbd.noise import Noise
from msbd.standalone.samplers import SAMPLERS

SHAPE = (2, 4, 6, 6)


def sigmas(steps: int, top: float = 10.0, bottom: float = 0.05) -> Tensor:
    levels = top * (bottom / top) ** torch.linspace(0, 1, steps)
    return torch.cat([levels, torch.zeros(1)])


def hard(mask: Tensor) -> Repainted:
    """Whatever the schedule is."""
    return Repainted(mask, sigmas(8))


def posterior_mean(mean: float, spread: float):
    """The exact denoiser of latents that are Gaussian."""

    def denoise(z: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.reshape(-1, 1, 1, 1) ** 2
        return (spread**2 * z + variance * mean) / (spread**2 + variance)

    return denoise


def noise(*key):
    return Noise(11)(SHAPE, *key)


@pytest.fixture
def source():
    return Noise(1)((1, 4, 6, 6), "source") * 3


@pytest.fixture
def half():
    mask = torch.zeros(1, 1, 6, 6)
    mask[..., :3] = 1
    return hard(mask)


@pytest.mark.parametrize("sampler", [euler, euler_ancestral])
@pytest.mark.parametrize("repeats", [0, 3])
def test_outside_the_mask_the_result_is_the_source(sampler, repeats, source, half):
    z = 10 * noise("start")
    result = blended_diffusion(
        posterior_mean(5, 1), sampler, source, half, z, sigmas(8), noise, [repeats] * 8
    )
    assert torch.equal(result[..., 3:], source.expand(2, -1, -1, -1)[..., 3:])
    assert (result[..., :3] - 5).abs().mean() < 2


@pytest.mark.parametrize("sampler", [euler, euler_ancestral])
def test_a_full_mask_without_repeats_is_the_plain_sampler(sampler, source):
    z, levels = 10 * noise("start"), sigmas(8)
    draws = iter(range(100))
    plain = sampler(
        posterior_mean(1, 2),
        z,
        levels,
        noise_sampler=lambda a, b: noise("sampler", 0, 0, next(draws)),
    )
    ours = blended_diffusion(
        posterior_mean(1, 2), sampler, source, hard(torch.ones(1, 1, 6, 6)), z, levels, noise
    )
    assert torch.equal(plain, ours)


def test_without_repeats_the_sampler_is_called_once(source, half):
    calls = []

    def spy(model, x, levels, **kwargs):
        calls.append(len(levels))
        return euler(model, x, levels, **kwargs)

    blended_diffusion(posterior_mean(1, 2), spy, source, half, noise("s"), sigmas(8), noise)
    assert calls == [9]
    calls.clear()
    blended_diffusion(
        posterior_mean(1, 2), spy, source, half, noise("s"), sigmas(8), noise, [2] * 8
    )
    assert calls == [2] * 8 * 3


@pytest.mark.parametrize(
    ("repeats", "spans"),
    [
        ([2] * 8, [2] * 24),
        ([0, 0, 0, 2, 2], [4, *[2] * 6, 4]),
        ([2], [*[2] * 3, 8]),
        ([0, 1, 0, 1], [2, *[2] * 2, 2, *[2] * 2, 5]),
        ([0] * 7 + [2] * 5, [8, *[2] * 3]),
        ([0] * 8 + [2], [9]),
    ],
)
def test_only_the_steps_named_are_repeated(repeats, spans, source, half):
    calls = []

    def spy(model, x, levels, **kwargs):
        calls.append(len(levels))
        return euler(model, x, levels, **kwargs)

    blended_diffusion(
        posterior_mean(1, 2), spy, source, half, noise("s"), sigmas(8), noise, repeats
    )
    assert calls == spans


@pytest.mark.parametrize("repeats", [0, 4])
def test_the_background_is_at_the_samplers_level_at_every_call(repeats, source, half):
    """Seen over many samples: mean = source, standard deviation = sigma, in every call."""
    shape = (500, 4, 6, 6)

    def many(*key):
        return Noise(2)(shape, *key)

    def spy(z: Tensor, sigma: Tensor) -> Tensor:
        background = (z - source)[..., 3:]
        assert background.std() == pytest.approx(float(sigma[0]), rel=0.02)
        assert abs(float(background.mean())) < 0.02 * float(sigma[0])
        return posterior_mean(0, 1)(z, sigma)

    z = 10 * many("start")
    blended_diffusion(spy, euler_ancestral, source, half, z, sigmas(6), many, [repeats] * 6)


def test_going_back_up_restores_the_noise_level(source):
    """With a denoiser that knows the answer, each step's sample enters at its level."""
    shape = (500, 4, 6, 6)
    seen = []

    def many(*key):
        return Noise(3)(shape, *key)

    def spy(z: Tensor, sigma: Tensor) -> Tensor:
        seen.append((float(sigma[0]), float((z - source).std())))
        return source.expand(500, -1, -1, -1)

    everything = hard(torch.ones(1, 1, 6, 6))
    z = source + 10 * many("start")
    blended_diffusion(spy, euler_ancestral, source, everything, z, sigmas(5), many, [2] * 5)
    assert len(seen) == 15
    for level, measured in seen:
        assert measured == pytest.approx(level, rel=0.02)


def test_euler_converges_to_the_closed_form_at_first_order(source):
    """Probability flow of a Gaussian: z(0) = mean + (z(s) - mean) spread / sqrt(spread^2 + s^2)."""
    mean, spread, top = 1.5, 0.8, 10.0
    z = mean + top * noise("start").double()
    exact = mean + (z - mean) * spread / (spread**2 + top**2) ** 0.5
    everything, errors = hard(torch.ones(1, 1, 6, 6, dtype=torch.float64)), []
    for steps in (50, 100, 200):
        levels = torch.linspace(top, 0, steps + 1, dtype=torch.float64)
        result = blended_diffusion(
            posterior_mean(mean, spread), euler, source.double(), everything, z, levels,
            lambda *key: noise(*key).double(),
        )  # fmt: skip
        errors.append(float((result - exact).abs().mean()))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.25)


def test_repainting_harmonises_the_edit_with_its_surroundings():
    """For two correlated cells, one known, the right answer is the conditional mean. Blending
    alone ignores the correlation at high noise; repeats move the sample towards it."""
    rho = 0.95
    precision = torch.linalg.inv(torch.tensor([[1.0, rho], [rho, 1.0]]))
    known = 2.0

    def denoise(z: Tensor, sigma: Tensor) -> Tensor:
        system = precision + torch.eye(2) / float(sigma[0]) ** 2
        pair = z[:, 0, 0, :] / float(sigma[0]) ** 2
        return torch.linalg.solve(system, pair.T).T[:, None, None, :]

    source = torch.tensor([0.0, known]).reshape(1, 1, 1, 2)
    mask = hard(torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2))

    def error(repeats: int) -> float:
        def many(*key):
            return Noise(4)((2000, 1, 1, 2), *key)

        result = blended_diffusion(
            denoise,
            euler_ancestral,
            source,
            mask,
            10 * many("start"),
            sigmas(12),
            many,
            [repeats] * 12,
        )
        return abs(float(result[..., 0].mean()) - rho * known)

    assert error(10) < error(0)


def test_samples_of_a_batch_do_not_depend_on_each_other(source, half):
    whole = blended_diffusion(
        posterior_mean(1, 2), euler_ancestral, source, half, noise("s"), sigmas(5), noise, [1] * 5
    )
    alone = blended_diffusion(
        posterior_mean(1, 2), euler_ancestral, source, half, noise("s")[1:], sigmas(5),
        lambda *key: noise(*key)[1:], [1] * 5,
    )  # fmt: skip
    assert torch.allclose(whole[1:], alone, atol=1e-6)


@pytest.mark.parametrize("sampler", [euler, euler_ancestral])
@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_schedule_in_two_parts_is_the_whole(sampler, cut, source, half):
    """Where steps are repeated; the caller goes on counting them."""
    z, levels, repeats = 10 * noise("start"), sigmas(6), [2, 1, 1, 3, 1, 1]
    model = posterior_mean(1, 2)

    def later(purpose, step, *key):
        return noise(purpose, cut + step, *key)

    whole = blended_diffusion(model, sampler, source, half, z, levels, noise, repeats)
    first = blended_diffusion(
        model, sampler, source, half, z, levels[: cut + 1], noise, repeats[:cut]
    )
    second = blended_diffusion(
        model, sampler, source, half, first, levels[cut:], later, repeats[cut:]
    )
    assert torch.allclose(second, whole, atol=1e-5)


def test_the_wrapper_hands_on_what_the_sampler_passes(source, half):
    seen = {}

    def denoise(z, sigma, **extra):
        seen.update(extra)
        return z

    blended(denoise, source, half, noise("b"))(noise("z"), torch.ones(2), cond="x")
    assert seen == {"cond": "x"}


def test_a_cell_belongs_to_the_edit_if_any_pixel_does():
    painted = torch.zeros(1, 1, 32, 32)
    painted[..., 8, 15] = 0.01
    painted[..., 31, 31] = 1
    mask = latent_mask(painted, 8)
    assert mask.shape == (1, 1, 4, 4)
    assert mask.nonzero()[:, 2:].tolist() == [[1, 1], [3, 3]]


def test_a_cell_lies_inside_if_every_pixel_does():
    painted = torch.zeros(1, 1, 40, 40)
    painted[..., 4:32, 8:40] = 0.5
    inside = inner_mask(painted, 8)
    expected = torch.zeros(1, 1, 5, 5)
    expected[..., 1:4, 1:5] = 0.5
    assert torch.equal(inside, expected)


def test_what_is_too_thin_to_hold_a_cell_keeps_all_it_touches():
    painted = torch.zeros(1, 1, 64, 64)
    painted[..., 10:13, :] = 1
    assert torch.equal(inner_mask(painted, 8), latent_mask(painted, 8))
    painted[..., 32:56, 16:40] = 1
    both = inner_mask(painted, 8)
    assert torch.equal(both[..., :2, :], latent_mask(painted, 8)[..., :2, :])
    assert both[..., 4:7, 2:5].all() and both.sum() == 8 + 9


def test_the_last_steps_of_a_schedule():
    levels = sigmas(10)
    assert torch.equal(last_steps(levels, 10), levels)
    assert torch.equal(last_steps(levels, 4), levels[6:])
    with pytest.raises(AssertionError):
        last_steps(levels, 0)
    with pytest.raises(AssertionError):
        last_steps(levels.flip(0), 3)


def test_a_cells_level_is_its_painted_share() -> None:
    painted = torch.zeros(1, 1, 64, 64)
    painted[..., 12:44, 16:50] = 1
    mean, inner, touched = (reduced(painted, 8) for reduced in (mean_mask, inner_mask, latent_mask))
    assert mean.sum() * 64 == painted.sum()
    assert torch.equal((mean == 1).float(), inner) and torch.equal((mean > 0).float(), touched)
    assert mean[0, 0, 1, 3] == 0.5 and mean[0, 0, 1, 6] == 0.5 * 0.25
    assert torch.allclose(mean_mask(0.3 * painted, 8), 0.3 * mean)


def test_what_is_too_thin_for_a_whole_cell_is_repainted_whole_all_the_same() -> None:
    painted = torch.zeros(1, 1, 64, 64)
    painted[..., 20:25, 4:60] = 1
    assert torch.equal(mean_mask(painted, 8), latent_mask(painted, 8))


@pytest.mark.parametrize("reduced", [latent_mask, inner_mask, mean_mask])
@pytest.mark.parametrize("level", [1.0, 0.4])
def test_cells_across_the_pictures_edge_have_the_level_of_what_is_in_it(reduced, level) -> None:
    painted = torch.full((1, 1, 21, 35), level)
    cells = reduced(painted, 8)
    assert cells.shape == (1, 1, 3, 5)
    assert torch.allclose(cells, torch.tensor(level))


def exactly(level: int, step: int, steps: int) -> bool:
    """Whether a level of 255 is repainted in a step, in whole numbers."""
    return level > 0 and level * steps >= 255 * (steps - step)


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50, 150])
def test_a_level_is_repainted_from_its_step_on(steps: int) -> None:
    levels = torch.arange(256).reshape(1, 1, 16, 16)
    schedule = sigmas(steps)
    mask = Repainted(levels / 255, schedule)
    for step in range(steps):
        expected = torch.tensor([exactly(level, step, steps) for level in range(256)])
        assert torch.equal(mask.at(schedule[step : step + 1]).flatten(), expected)
        between = 0.4 * schedule[step] + 0.6 * schedule[step + 1]
        assert torch.equal(mask.at(between[None]).flatten(), expected)
    above = mask.at(2 * schedule[:1]).flatten()
    assert torch.equal(above, levels.flatten() == 255)


def test_each_sample_of_a_batch_is_repainted_by_its_own_noise_level() -> None:
    schedule = sigmas(10)
    mask = Repainted(torch.tensor([1.0, 0.5, 0.1, 0.0]).reshape(1, 1, 1, 4), schedule)
    seen = mask.at(schedule[[0, 5, 9]]).squeeze().tolist()
    assert seen == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
    ]


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("repeats", [0, 2])
def test_the_network_sees_the_noise_that_it_is_told_at_every_level(name, repeats) -> None:
    """At every call: below its step a cell is the source at the level told, and from then on what
    the sampler has made of it, whose noise is of that level, too."""
    (sampler, _), steps, side = SAMPLERS[name], 8, 64
    schedule = sigmas(steps)
    cells = torch.linspace(0, 1, 9).repeat_interleave(side * side // 9 + 1)[: side * side]
    cells = cells.reshape(1, 1, side, side)
    source = Noise(1)((1, 4, side, side), "source")
    mask = Repainted(cells, schedule)

    def fresh(*key):
        return Noise(3)((1, 4, side, side), *key)

    calls = []

    def network(z: Tensor, sigma: Tensor) -> Tensor:
        begins = (schedule[:-1] >= float(sigma) * 0.9999).sum() - 1
        for level in cells.unique():
            spot = (cells == level).expand_as(z)
            noise = (z - source)[spot] / sigma
            assert abs(float(noise.std()) - 1) < 0.1 and abs(float(noise.mean())) < 0.1
            if level > 0 and level < 1 - begins / steps - 1e-4:
                calls.append((float(level), float(sigma)))
        return source.expand_as(z)  # so that nothing but noise is ever added to it

    z = source + schedule[0] * fresh("start")
    blended_diffusion(network, sampler, source, mask, z, schedule, fresh, [repeats] * steps)
    assert len({level for level, _ in calls}) >= 6


@pytest.mark.parametrize("name", SAMPLERS)
def test_less_of_a_level_is_repainted(name) -> None:
    """How far the result is from the source grows with the level; level 1 is the hard mask."""
    (sampler, _), schedule, side = SAMPLERS[name], sigmas(10), 60
    cells = (
        torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]).repeat_interleave(10).expand(1, 1, side, side)
    )
    source = 3 * Noise(1)((1, 4, side, side), "source")

    def fresh(*key):
        return Noise(5)((1, 4, side, side), *key)

    def painted(levels: Tensor) -> Tensor:
        z = torch.where(levels < 1, source, 0) + schedule[0] * fresh("start")
        mask = Repainted(levels, schedule)
        return blended_diffusion(posterior_mean(8, 1), sampler, source, mask, z, schedule, fresh)

    soft = painted(cells)
    distances = [float((soft - source)[..., i : i + 10].abs().mean()) for i in range(0, 60, 10)]
    assert distances[0] == 0 and distances == sorted(distances)
    assert distances[-1] > 3 * distances[1]
    assert torch.equal(soft[..., 50:], painted((cells == 1).float())[..., 50:])
