"""Noise schedules by name."""

from dataclasses import dataclass
from typing import Any

import torch

import k_diffusion


@dataclass
class Scheduler:
    name: str
    label: str
    function: Any

    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list = None


def uniform(n, sigma_min, sigma_max, inner_model, device):
    return inner_model.get_sigmas(n).to(device)


def sgm_uniform(n, sigma_min, sigma_max, inner_model, device):
    ends = (inner_model.sigma_to_t(torch.tensor(sigma)) for sigma in (sigma_max, sigma_min))
    times = torch.linspace(*(float(end) for end in ends), n + 1)[:-1]
    return torch.cat([inner_model.t_to_sigma(times), torch.zeros(1)]).to(device)


schedulers = [
    Scheduler("automatic", "Automatic", None),
    Scheduler("uniform", "Uniform", uniform, need_inner_model=True),
    Scheduler("karras", "Karras", k_diffusion.sampling.get_sigmas_karras, default_rho=7.0),
    Scheduler("exponential", "Exponential", k_diffusion.sampling.get_sigmas_exponential),
    Scheduler("sgm_uniform", "SGM Uniform", sgm_uniform, need_inner_model=True,
              aliases=["SGMUniform"]),
]  # fmt: skip

schedulers_map = {name: one for one in schedulers for name in (one.name, one.label)}
