"""The host's sampler of the user's choice, as the engine wants it: in sigma space, noise given."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from modules import sd_samplers, sd_samplers_kdiffusion, shared
from torch import Tensor

from ...backend import Denoise
from ...errors import EditError
from ...memory import is_out_of_memory
from .kdiffusion import NoiseSampler, borrowed_randomness, integrated

logger = logging.getLogger(__name__)
REPLACED = {
    "DDIM": ("Euler a", "the same method on noise levels"),
    "DDIM CFG++": ("Euler a", "DDIM's method on noise levels"),
    "PLMS": ("LMS", "the same kind of method on noise levels"),
    "UniPC": ("DPM++ 2M", "a close relative on noise levels"),
    "DPM fast": ("DPM++ 2M", "it cannot be cut into stages"),
    "DPM adaptive": ("DPM++ 2M", "it cannot be cut into stages"),
}
"""Samplers that work on timesteps or choose their own steps: what is used instead, and why."""
_found: dict[str, tuple[str, str]] = {}
"""The same of samplers that failed in a trial."""
_calls: dict[str, int] = {}
"""Network evaluations of a step, of those that did not."""
_SIMPLEST = "Euler a"
_LEVELS = [8.0, 4.0, 2.0, 1.0], [8.0, 1.0], [1.0, 0.5, 0.0]
"""What a trial goes through."""
_COLOUR, _TOLERATED = 3.0, 0.25
"""The pictures of a trial, and an error; those of samplers that work are below 0.06."""


def replaced_sampler(name: str) -> tuple[str, str | None]:
    """The sampler that serves for the host's `name`, and a note if it is another one."""
    substitute, reason = REPLACED.get(name) or _found.get(name) or (name, "")
    if substitute == name:
        return name, None
    return substitute, f"{substitute} is used in place of {name}: {reason}"


def name_of(sampler: str) -> str:
    """What the host calls k-diffusion's `sample_<sampler>`."""
    known = sd_samplers_kdiffusion.samplers_k_diffusion
    return str(next(name for name, function, *_ in known if function == f"sample_{sampler}"))


def calls_per_step(name: str) -> int:
    """Network evaluations of a sampling step, for a sampler's name as the host knows it."""
    used, _ = replaced_sampler(name)
    config = sd_samplers.find_sampler_config(used)
    return _calls.get(used) or (int(config.total_steps(1)) if config is not None else 1)


def try_sampler(name: str) -> None:
    """Find out whether the host's sampler `name` works with us, or which one shall in its place.

    Raises `EditError` if there is none. Only while nothing else is sampled: k-diffusion's `torch`
    is everybody's.
    """
    _found.pop(name, None)
    if name in REPLACED or _works(name):
        return
    substitute = next(filter(_works, _relatives(name)), None)
    if substitute is None:
        if not _works(_SIMPLEST):
            raise EditError(
                "no sampler works with this checkpoint: load it anew, choose another, or see the "
                "console"
            )
        raise EditError(
            f"{name} does not work in stages: choose another sampler, such as {_SIMPLEST}"
        )
    reason = "that one does not work in stages"
    if "CFG++" in name:
        reason += f", so set the CFG scale as for {substitute}"
    _found[name] = substitute, reason


def _relatives(name: str) -> list[str]:
    """Samplers called by a part of the words, nearest first: "Euler" of "Euler SMEA Dy"."""
    names = [sampler.name for sampler in sd_samplers.all_samplers if sampler.name not in REPLACED]
    related = [other for other in names if _words(other) < _words(name)]
    return sorted(related, key=lambda other: -len(_words(other)))


def _words(name: str) -> set[str]:
    return set(name.lower().replace("ancestral", "a").split())


def _works(name: str) -> bool:
    """Whether a sampler finds what is known where all pictures are the same, of one colour:

    at a lower level, the colour and noise of that level.
    """
    try:
        host = sd_samplers.create_sampler(name, shared.sd_model)
        calls = [_calls_in_trial(host, levels) for levels in _LEVELS]
    except Exception as error:  # whatever goes wrong with other people's samplers
        if is_out_of_memory(error):
            raise
        logger.info("%s does not work in stages: %s", name, error)
        return False
    _calls[name] = math.ceil(calls[0] / (len(_LEVELS[0]) - 1))
    return calls[0] > calls[1]  # one that chooses its own steps makes as many of few as of many


def _calls_in_trial(host: Any, levels: list[float]) -> int:
    """Network evaluations between the levels. Raises `ValueError` if the result is wrong."""
    z0 = torch.full((2, 4, 32, 32), _COLOUR, device=shared.device)
    sigmas, calls = torch.tensor(levels, device=shared.device), 0
    generator = torch.Generator().manual_seed(0)

    def noise(*_: Any) -> Tensor:
        return torch.randn(z0.shape, generator=generator).to(z0)

    def model(*_: Any, **__: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return z0.clone()

    with own_randomness():
        z = integrated(host, {"disable": True}, model, z0 + sigmas[0] * noise(), sigmas, noise)
    mean, spread = float((z - z0).mean()), float((z - z0).std())
    if not (abs(mean) < _TOLERATED and abs(spread - levels[-1]) < _TOLERATED):
        raise ValueError(f"noise of {mean:.2f} ± {spread:.2f} in place of 0 ± {levels[-1]:g}")
    return calls


class HostSampler:
    """A k-diffusion sampler of the host, prepared for one call of `p.sample`.

    Calling it integrates as `msbd.backend.Sampler` says. Whatever random numbers the sampler
    wants come from the caller's `noise_sampler`, so that tiles share one field of noise.
    """

    def __init__(self, p: Any) -> None:
        name, _ = replaced_sampler(p.sampler_name)
        self._p = p
        self.host = sd_samplers.create_sampler(name, shared.sd_model)
        if hasattr(self.host, "scheduler_name"):
            self.host.scheduler_name = p.scheduler  # as its own `sample` would
        with borrowed_randomness(self.host.func):
            self._options: dict[str, Any] = self.host.initialize(p)
        if p.sampler_name.startswith("DDIM"):
            # DDIM's own eta, which is 0 unless the user says otherwise.
            self._options["eta"] = p.eta if p.eta is not None else shared.opts.eta_ddim

    def sigmas(self, steps: int) -> Tensor:
        """The noise levels of the host's schedule [steps + 1], strictly descending to 0."""
        try:
            return strictly_descending(self.host.get_sigmas(self._p, steps), steps)
        except Exception as error:  # whatever goes wrong with other people's schedules
            named = getattr(self._p, "scheduler", None) or "Automatic"
            raise EditError(
                f"the schedule type {named} fails ({error}): choose another one"
            ) from error

    def __call__(
        self,
        model: Denoise,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
        disable: bool | None = None,
        noise_sampler: NoiseSampler | None = None,
    ) -> Tensor:
        sigmas = sigmas.to(x.device)
        if len(sigmas) == 2 and sigmas[1] == 0:
            # All samplers do the same here, but for those that stumble over so short a schedule.
            return model(x, sigmas[0].expand(len(x)), **(extra_args or {}))
        options = dict(self._options, extra_args=extra_args, callback=callback, disable=disable)
        return integrated(self.host, options, model, x, sigmas, noise_sampler)


def strictly_descending(sigmas: Tensor, steps: int) -> Tensor:
    """A schedule as it is, if it has `steps` falling levels and then 0; else the nearest such.

    Some schedules repeat levels or have another number of them than was asked for; then the
    levels are interpolated on a logarithmic scale.
    """
    levels = np.unique(sigmas.cpu().double().numpy())[::-1]
    levels = levels[(levels > 0) & np.isfinite(levels)]
    if len(levels) != steps:
        places = np.linspace(0, len(levels) - 1, steps)
        levels = np.exp(np.interp(places, np.arange(len(levels)), np.log(levels)))
    return torch.tensor([*levels, 0.0], dtype=torch.float32)


@contextmanager
def own_randomness() -> Iterator[None]:
    """The global random generators may be used meanwhile, and are put back."""
    device = torch.device(shared.device)
    kept, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(kept)
        np.random.set_state(of_numpy)  # noqa: NPY002
