"""Running a host's sampler of k-diffusion's signature, with our denoiser and our noise."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import k_diffusion.sampling
import torch
from modules import sd_samplers_common
from torch import Tensor

from ...backend import Denoise
from ...errors import EditError
from ...memory import is_out_of_memory

NoiseSampler = Callable[[Tensor, Tensor], Tensor]


def integrated(
    host: Any,
    options: dict[str, Any],
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    noise_sampler: NoiseSampler | None,
) -> Tensor:
    """What a host's sampler makes of x between the levels, with options of its own.

    Raises `EditError` where the sampler fails, and not its model.
    """
    takes = inspect.signature(host.func).parameters
    options = {**options, "extra_args": options.get("extra_args") or {}}
    if host.config.options.get("solver_type") == "heun":
        options["solver_type"] = "heun"
    if "noise_sampler" in takes:
        options["noise_sampler"] = noise_sampler
    if "restart_list" in takes and sigmas[-1] > 0:
        options["restart_list"] = {}  # its own schedule would go down to 0
    asked = _Model(host, model, x.shape)
    try:
        with borrowed_randomness(host.func, noise_sampler):
            return host.func(asked, x, sigmas=sigmas, **options)
    except Exception as error:
        if error is asked.error or is_out_of_memory(error):
            raise
        raise EditError(f"{host.config.name} fails ({error}): choose another sampler") from error


class _Model:
    """A denoiser that the host's samplers may ask whatever they ask the host's own.

    Some ask for the same at another size in between, where there is no source to blend with.
    error: the denoiser's, if it had one.
    """

    def __init__(self, host: Any, model: Denoise, shape: torch.Size) -> None:
        self._own = host.model_wrap_cfg
        self._model = model
        self._shape = shape
        self.error: Exception | None = None

    def __call__(self, x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        if x.shape != self._shape:
            raise ValueError(f"latents of {tuple(x.shape)} in place of {tuple(self._shape)}")
        try:
            return self._model(x, sigma, **extra)
        except Exception as error:
            self.error = error
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


@contextmanager
def borrowed_randomness(sampler: Any, noise_sampler: NoiseSampler | None = None) -> Iterator[None]:
    """Lend a sampler our noise where it asks `torch.randn_like` for it.

    The host itself exchanges the `torch` of k-diffusion's module for the same purpose, also when
    a sampler is initialised; here it is put back.
    """
    modules = {k_diffusion.sampling, *_modules_of(sampler)}
    before = {module: module.torch for module in modules}
    try:
        if noise_sampler is not None:
            for module in modules:
                module.torch = _TorchWithOurNoise(noise_sampler)
        yield
    finally:
        for module, own in before.items():
            module.torch = own


def _modules_of(sampler: Any) -> Iterator[Any]:
    """Where a sampling function takes `torch` from: its own module, and the host's k-diffusion."""
    own = sys.modules.get(getattr(sampler, "__module__", ""))
    for module in (own, getattr(sd_samplers_common, "sampling", None)):
        if hasattr(module, "torch"):
            yield module


class _TorchWithOurNoise:
    """`torch`, but for `randn_like` and `randn`."""

    def __init__(self, noise_sampler: NoiseSampler) -> None:
        self._noise_sampler = noise_sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def randn_like(self, x: Tensor) -> Tensor:
        nothing = x.new_zeros(())
        return self._noise_sampler(nothing, nothing).to(x)

    def randn(self, *_: Any, dtype: Any = None, device: Any = None, **__: Any) -> Tensor:
        nothing = torch.zeros((), device=device)
        return self._noise_sampler(nothing, nothing).to(device, dtype)
