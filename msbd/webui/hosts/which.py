"""Which WebUI this is: the backend for it, and what its version has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from modules import devices, sd_samplers, shared

if TYPE_CHECKING:
    from .a1111 import HostBackend


def host_backend() -> type[HostBackend]:
    """The class that is a host's `Backend`; another host's would be chosen here."""
    from .a1111 import HostBackend

    return HostBackend


def version() -> str:
    """As its launcher tells it."""
    try:
        from modules import launch_utils

        return str(launch_utils.git_tag())
    except Exception:  # a launcher of another kind
        return "of unknown version"


def stop_requested() -> bool:
    """Whether no further picture shall be begun; before 1.8 there is only the stop at once."""
    return shared.state.interrupted or getattr(shared.state, "stopping_generation", False)


def stopped_how() -> str:
    """In a word, what the user has pressed."""
    return "stopped" if shared.state.interrupted else "skipped"


def sampler_of(name: str, scheduler: str | None) -> str:
    """A request's sampler; since 1.9 a schedule's name is taken off its end."""
    separate = getattr(sd_samplers, "get_sampler_and_scheduler", None)
    return str(separate(name, scheduler)[0]) if separate else name


def rounds_masks(p: Any) -> bool:
    """Whether a request's mask is cut at half; before 1.8 all are."""
    return bool(getattr(p, "mask_round", True))


def network_dtype() -> torch.dtype:
    """The numbers of the denoising network."""
    return getattr(devices, "dtype_unet", torch.float32)


def casting_layers() -> list[Any]:
    """PyTorch's layers whose `forward` is exchanged just now, on cards without autocast."""
    listed = getattr(devices, "patch_module_list", ())
    return [kind for kind in listed if hasattr(kind, "org_forward")]
