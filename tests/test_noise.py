"""Noise is a value: distribution, independence, and no side effects."""

from __future__ import annotations

import torch
from scipy import stats

from msbd.noise import Noise


def test_the_same_name_is_the_same_noise_whatever_was_drawn_before():
    first = Noise(7)((4, 8, 8), "a", 1)
    Noise(7)((100,), "b")
    torch.randn(10)
    assert torch.equal(first, Noise(7)((4, 8, 8), "a", 1))


def test_seed_and_every_part_of_the_key_matter():
    draws = [
        Noise(1)((64,), "a", 1),
        Noise(2)((64,), "a", 1),
        Noise(1)((64,), "b", 1),
        Noise(1)((64,), "a", 2),
        Noise(1)((64,), "a", "1"),
        Noise(1)((64,), "a", 1, 0),
        Noise(-1)((64,), "a", 1),
    ]
    for index, one in enumerate(draws):
        for other in draws[index + 1 :]:
            assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 0.5


def test_it_is_standard_normal_and_white():
    noise = torch.cat([Noise(3)((1000,), key) for key in range(50)])
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01
    assert abs(float(noise.mean())) < 4 / len(noise) ** 0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / len(noise)) ** 0.5
    assert abs(float((noise[1:] * noise[:-1]).mean())) < 4 / len(noise) ** 0.5


def test_global_generators_are_untouched():
    before = torch.get_rng_state()
    Noise(5)((3, 3), "x")
    assert torch.equal(before, torch.get_rng_state())


def test_a_variation_leads_from_one_seed_to_another():
    shape = (4, 64, 64)
    plain, other = Noise(1)(shape, "a"), Noise(2)(shape, "a")
    assert torch.equal(Noise(1, variation=2, strength=0.0)(shape, "a"), plain)
    assert torch.equal(Noise(1, variation=2, strength=1.0)(shape, "a"), other)
    near, half = (Noise(1, variation=2, strength=s)(shape, "a") for s in (0.1, 0.5))
    assert abs(float(half.std()) - 1) < 0.02 and abs(float(half.mean())) < 0.03
    assert (near - plain).norm() < (half - plain).norm() < (other - plain).norm()
    assert torch.allclose((half - plain).norm(), (half - other).norm(), rtol=0.02)
