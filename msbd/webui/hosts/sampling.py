"""The host's sampler of the user's choice, as the engine wants it: in sigma space, noise given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import k_diffusion.sampling
import numpy as np
import torch
from modules import sd_samplers, sd_samplers_kdiffusion, shared
from torch import Tensor

from ...backend import Denoise

REPLACED = {
    "DDIM": ("Euler a", "the same method on noise levels"),
    "DDIM CFG++": ("Euler a", "DDIM's method on noise levels"),
    "PLMS": ("LMS", "the same kind of method on noise levels"),
    "UniPC": ("DPM++ 2M", "a close relative on noise levels"),
    "DPM fast": ("DPM++ 2M", "it cannot be cut into stages"),
    "DPM adaptive": ("DPM++ 2M", "it cannot be cut into stages"),
}
"""Samplers that work on timesteps or choose their own steps: what is used instead, and why."""


def replaced_sampler(name: str) -> tuple[str, str | None]:
    """The sampler that serves for the host's `name`, and a note if it is another one."""
    if name not in REPLACED:
        return name, None
    substitute, reason = REPLACED[name]
    return substitute, f"{substitute} is used in place of {name}: {reason}"


def name_of(sampler: str) -> str:
    """What the host calls k-diffusion's `sample_<sampler>`."""
    known = sd_samplers_kdiffusion.samplers_k_diffusion
    return str(next(name for name, function, *_ in known if function == f"sample_{sampler}"))


def calls_per_step(name: str) -> int:
    """Network evaluations of a sampling step, for a sampler's name as the host knows it."""
    config = sd_samplers.find_sampler_config(replaced_sampler(name)[0])
    return int(config.total_steps(1)) if config is not None else 1


class HostSampler:
    """A k-diffusion sampler of the host, prepared for one call of `p.sample`.

    Calling it integrates as `msbd.backend.Sampler` says. Whatever random numbers the sampler
    wants come from the caller's `noise_sampler`, so that tiles share one field of noise.
    """

    def __init__(self, p: Any) -> None:
        name, _ = replaced_sampler(p.sampler_name)
        self._p = p
        self.host = sd_samplers.create_sampler(name, shared.sd_model)
        with _borrowed_randomness():
            self._options: dict[str, Any] = self.host.initialize(p)
        if p.sampler_name.startswith("DDIM"):
            # DDIM's own eta, which is 0 unless the user says otherwise.
            self._options["eta"] = p.eta if p.eta is not None else shared.opts.eta_ddim
        options = self.host.config.options
        if options.get("solver_type") == "heun":
            self._options["solver_type"] = "heun"
        self._takes = inspect.signature(self.host.func).parameters

    def sigmas(self, steps: int) -> Tensor:
        """The noise levels of the host's schedule [steps + 1], strictly descending to 0."""
        return strictly_descending(self.host.get_sigmas(self._p, steps), steps)

    def __call__(
        self,
        model: Denoise,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
        disable: bool | None = None,
        noise_sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> Tensor:
        sigmas = sigmas.to(x.device)
        if len(sigmas) == 2 and sigmas[1] == 0:
            # All samplers do the same here, but for those that stumble over so short a schedule.
            return model(x, sigmas[0].expand(len(x)), **(extra_args or {}))
        options = dict(self._options, extra_args=extra_args, callback=callback, disable=disable)
        if "noise_sampler" in self._takes:
            options["noise_sampler"] = noise_sampler
        if "restart_list" in self._takes and sigmas[-1] > 0:
            options["restart_list"] = {}  # its own schedule would go down to 0
        with _borrowed_randomness(noise_sampler):
            return self.host.func(model, x, sigmas=sigmas, **options)


def strictly_descending(sigmas: Tensor, steps: int) -> Tensor:
    """A schedule as it is, if it has `steps` falling levels and then 0; else the nearest such.

    Some schedules repeat levels or have another number of them than was asked for; then the
    levels are interpolated on a logarithmic scale.
    """
    levels = np.unique(sigmas.cpu().double().numpy())[::-1]
    levels = levels[levels > 0]
    if len(levels) != steps:
        places = np.linspace(0, len(levels) - 1, steps)
        levels = np.exp(np.interp(places, np.arange(len(levels)), np.log(levels)))
    return torch.tensor([*levels, 0.0], dtype=torch.float32)


def own_randomness() -> Any:
    """A context in which the global random generators may be used, and are put back."""
    device = torch.device(shared.device)
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def _borrowed_randomness(
    noise_sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Iterator[None]:
    """Lend k-diffusion's samplers our noise where they ask `torch.randn_like` for it.

    The host itself exchanges that module's `torch` for the same purpose, also when a sampler is
    initialised; here it is put back.
    """
    before = k_diffusion.sampling.torch
    try:
        if noise_sampler is not None:
            k_diffusion.sampling.torch = _TorchWithOurNoise(noise_sampler)
        yield
    finally:
        k_diffusion.sampling.torch = before


class _TorchWithOurNoise:
    """`torch`, but for `randn_like`."""

    def __init__(self, noise_sampler: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._noise_sampler = noise_sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: Tensor) -> Tensor:
        nothing = x.new_zeros(())
        return self._noise_sampler(nothing, nothing).to(x)
